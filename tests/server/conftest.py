"""What the server's tests share: the programs under test, servers, and people with accounts on them.

    python3 -m pytest tests/server -k ids --server build/bin/webml-server

A test takes `server` where it may share one with the other tests of its file, and `start_server` where it
needs options, a stop, or a server that nobody else has touched."""
import contextlib
import itertools
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
pytest.register_assert_rewrite("servers", "client", "samples", "cards")
from cards import Cards  # noqa: E402
from client import Client, Server, make_admin, new_net, new_user, sanitized, upload  # noqa: E402
from samples import CNN, MLP, churn, numbers_table, zip_of_pictures  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAMS = {"server": "bin/webml-server", "bench": "bin/webml-bench", "nvml": "stand-in/libnvidia-ml.so.1",
            "cuda": "lib/libwebml-cuda-emulated.so"}
user_numbers = itertools.count(1)


def pytest_addoption(parser):
    for name, default in PROGRAMS.items():
        parser.addoption("--" + name, default=os.path.join(ROOT, "build", default))


def pytest_configure(config):
    config.addinivalue_line("markers", "long: only with WEBML_LONG=1")


def pytest_collection_modifyitems(items):
    if os.environ.get("WEBML_LONG") == "1":
        return
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.skip(reason="takes long; WEBML_LONG=1 runs it"))


@pytest.fixture(scope="session")
def programs(request):
    """Paths by name: server, bench, nvml (a stand-in for the driver's library), cuda (the emulated back end),
    webml (the command line, beside the server)."""
    paths = {name: os.path.abspath(request.config.getoption("--" + name)) for name in PROGRAMS}
    return dict(paths, webml=os.path.join(os.path.dirname(paths["server"]), "webml"))


@pytest.fixture(scope="session")
def slow(programs):
    """Whether sanitizers slow everything down; memory means nothing then."""
    return sanitized(programs["server"])


@pytest.fixture(scope="session")
def slack(slow):
    """What a limit on time is multiplied with: sanitizers slow everything down."""
    return 5 if slow else 1


def starting(programs):
    """Starts servers; those that still run at the end must end well."""
    with contextlib.ExitStack() as ends:
        def start(*options, data_dir=None, **environment):
            server = Server(programs["server"], data_dir, *options, **environment)
            ends.callback(server.end)
            return server

        yield start


@pytest.fixture(scope="module")
def start_server_of_module(programs):
    """Starts servers that live as long as the file's tests."""
    yield from starting(programs)


@pytest.fixture
def start_server(programs):
    """start_server(*options, data_dir=None, **environment) -> Server; it ends with the test."""
    yield from starting(programs)


@pytest.fixture(scope="module")
def server(start_server_of_module):
    """One server for all tests of the file."""
    return start_server_of_module()


@pytest.fixture(scope="module")
def admin(server):
    """The administrator of `server`."""
    return make_admin(server)


@pytest.fixture
def user(admin):
    """A new account on `server`, of this test alone."""
    return new_user(admin, f"user{next(user_numbers)}")


@pytest.fixture(scope="module")
def someone(admin):
    """An account of all tests of the file that leave nothing behind."""
    return new_user(admin, "someone")


@pytest.fixture
def other(admin):
    """Another one."""
    return new_user(admin, f"user{next(user_numbers)}")


@pytest.fixture(scope="module")
def nobody(server):
    """Without an account."""
    return Client(server)


@pytest.fixture(scope="module")
def churn_set(admin, programs):
    """A public data set of 4,000 customers who stay or leave."""
    number = upload(admin, "churn", churn(programs["bench"], 4000))
    assert admin.call("PATCH", f"/api/v1/datasets/{number}", {"public": True})[0] == 200, admin.last.text
    return number


@pytest.fixture(scope="module")
def table_net(admin):
    """A model of the administrator, trained on a table: a, b and c, of which the kind follows, x or y."""
    return new_net(admin, "table net", MLP, upload(admin, "numbers", numbers_table(400), "n.csv"), epochs=4)


@pytest.fixture(scope="module")
def picture_net(admin):
    """Another one, trained on pictures: k0, k1 and k2, of 6 x 5 pixels."""
    pictures = upload(admin, "pictures", zip_of_pictures(("k0", "k1", "k2"), 12), "p.zip")
    return new_net(admin, "pictures", CNN, pictures, epochs=3, batch_size=8)


@pytest.fixture
def public_net(admin, table_net):
    """`table_net`, while anybody may predict with it."""
    for public in (True, False):
        status, answer = admin.call("PATCH", f"/api/v1/models/{table_net.model}", {"public": public})
        assert status == 200, answer
        if public:
            yield table_net


@pytest.fixture(scope="module")
def cards(programs, start_server_of_module):
    """Two cards of a server (`cards.server`) that show what tests want; the first one computes."""
    return Cards(programs, start_server_of_module)


@pytest.fixture
def settings(admin):
    """settings(**values): as the test needs them, and as they were when it ends."""
    url, changed = "/api/v1/system/settings", {}
    before = admin.get(url)

    def change(**values):
        status, answer = admin.call("PATCH", url, values)
        assert status in (200, 204), answer
        changed.update({name: before[name] for name in values})

    yield change
    if changed:
        assert admin.call("PATCH", url, changed)[0] in (200, 204), admin.last.text
