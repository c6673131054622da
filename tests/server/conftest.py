"""What the server's tests share: the programs under test, servers, and people with accounts on them.

    python3 -m pytest tests/server -k ids --server build/bin/webml-server

A test takes `server` where it may share one with the other tests of its file, and `start_server` where it
needs options, a stop, or a server that nobody else has touched."""
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from client import Client, Server, new_user, sanitized  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def pytest_addoption(parser):
    for name, default in (("server", "bin/webml-server"), ("bench", "bin/webml-bench"), ("nvml", "stand-in/libnvidia-ml.so.1"), ("cuda", "lib/libwebml-cuda-emulated.so")):
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
    """Paths by name: server, bench, nvml (a stand-in for the driver's library), cuda (the emulated back end)."""
    return {name: os.path.abspath(request.config.getoption("--" + name)) for name in ("server", "bench", "nvml", "cuda")}


@pytest.fixture(scope="session")
def slack(programs):
    """What a limit on time is multiplied with: sanitizers slow everything down."""
    return 5 if sanitized(programs["server"]) else 1


@pytest.fixture(scope="module")
def start_server_of_module(programs):
    """Starts servers that live as long as the file's tests."""
    started = []

    def start(*options, data_dir=None, **environment):
        started.append(Server(programs["server"], data_dir, *options, **environment))
        return started[-1]

    yield start
    for s in started:
        s.end()


@pytest.fixture
def start_server(programs):
    """start_server(*options, data_dir=None, **environment) -> Server; it ends with the test."""
    started = []

    def start(*options, data_dir=None, **environment):
        started.append(Server(programs["server"], data_dir, *options, **environment))
        return started[-1]

    yield start
    for s in started:
        s.end()


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
    user.count = getattr(user, "count", 0) + 1
    return new_user(admin, f"user{user.count}")


def make_admin(server, name="admin", password="0123456789"):
    """The first account of a server that was just started."""
    c = Client(server)
    assert c.register(server.key, name, password) == 201
    return c
