"""Clients that mean harm or are slow: others are answered meanwhile, and memory stays bounded."""
import contextlib
import resource
import socket
import time

import h2.config
import h2.connection
import httpx
import pytest

from client import run, until, write

HEADERS = [(":method", "POST"), (":path", "/api/v1/auth/login"), (":scheme", "http"), (":authority", "x")]


@pytest.fixture(scope="module")
def files():
    """How many may be open, here and in servers that are started from here."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


@pytest.fixture(scope="module")
def server(files, start_server_of_module):
    """Which waits for nobody longer than 3 s."""
    return start_server_of_module("--timeout", "3")


@pytest.fixture
def answers(server, slack):
    """Asserts that somebody else is answered soon."""
    def ask():
        began = time.monotonic()
        assert httpx.get(server.url + "/healthz", timeout=10).status_code == 200
        assert time.monotonic() - began < slack

    return ask


@pytest.fixture
def dial(server):
    """Connects, from an address of this machine, until the test ends."""
    opened = []

    def connect(source="127.0.0.1"):
        s = socket.socket()
        opened.append(s)
        s.settimeout(10)
        s.bind((source, 0))
        s.connect(server.address)
        return s

    yield connect
    for s in opened:
        s.close()


def counts(admin):
    return admin.get("/api/v1/system/counts")


def is_closed(s, seconds):
    s.settimeout(seconds)
    try:
        while s.recv(65536):
            pass
        return True
    except ConnectionError:
        return True
    except TimeoutError:
        return False


# ---- connections ----

def test_ten_thousand_idle_connections_cost_little_and_are_closed_in_time(files, server, admin, dial, answers, slow):
    """Half of them after a request; from several addresses, since one address may have 2,048."""
    count = 10000 if files >= 11000 else 2000
    before, idle = server.memory(), []
    for i in range(count):
        s = dial(f"127.0.0.{2 + i // 2000}")
        s.sendall(b"G" if i % 2 else b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        idle.append(s)
    answers()
    memory = server.memory()
    print(f"{count} idle connections: {memory:.0f} MB, from {before:.0f}")
    assert slow or memory < 100
    assert counts(admin)["open_connections"] > count * 0.9
    assert is_closed(idle[1], 12), "after a byte"
    assert is_closed(idle[0], 12), "after a request"
    for s in idle:
        s.close()
    left = until(lambda: counts(admin)["open_connections"], lambda left: left < 100)
    assert left < 100
    assert slow or server.memory() <= memory + 5


def test_one_address_does_not_take_all_connections(admin, dial, answers):
    before = counts(admin)["refused_connections"]
    with contextlib.suppress(OSError):
        for i in range(2100):
            dial("127.0.0.9").sendall(b"G")
    assert until(lambda: counts(admin)["refused_connections"] - before, lambda refused: refused >= 30) >= 30
    answers()


# ---- slow ones ----

def slow_head(s):
    s.sendall(b"GET /healthz HTTP/1.1\r\nX: ")
    return b"x"


def slow_body(s):
    s.sendall(b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
    return b"x"


def slow_http2_body(s):
    c = h2.connection.H2Connection()
    c.initiate_connection()
    c.send_headers(1, [*HEADERS, ("content-length", "1000")])
    s.sendall(c.data_to_send())
    c.send_data(1, b"x")
    return c.data_to_send()


def has_ended(s, piece):
    """After one more piece."""
    try:
        s.sendall(piece)
        s.setblocking(False)
        try:
            return not s.recv(65536)
        except BlockingIOError:
            return False
        finally:
            s.settimeout(5)
    except OSError:
        return True


def test_clients_that_send_a_byte_now_and_then_are_ended(dial, answers):
    kinds = (slow_head, slow_body, slow_http2_body)
    connections = [(kind, dial()) for kind in kinds for _ in range(20)]
    connections = [(kind, s, kind(s)) for kind, s in connections]
    began, ended = time.monotonic(), {}
    while time.monotonic() - began < 12 and len(ended) < len(connections):
        for kind, s, piece in connections:
            if s not in ended and has_ended(s, piece):
                ended[s] = time.monotonic() - began
        if not ended:
            answers()
        time.sleep(0.3)
    left = [kind.__name__ for kind, s, _ in connections if s not in ended]
    assert left == []
    assert max(ended.values()) < 11


# ---- requests ----

def test_a_connection_that_resets_its_requests_is_closed(admin, dial, answers):
    before = counts(admin)["given_up"]
    s, sent = dial(), 0
    c = h2.connection.H2Connection(config=h2.config.H2Configuration(validate_outbound_headers=False))
    c.initiate_connection()
    s.sendall(c.data_to_send())
    headers = [(":method", "GET"), (":path", "/api/v1/models"), (":scheme", "http"), (":authority", "x"),
               ("authorization", "Bearer x")]
    with contextlib.suppress(OSError):
        for stream in range(1, 20001, 2):
            c.send_headers(stream, headers, end_stream=True)
            c.reset_stream(stream)
            s.sendall(c.data_to_send())
            sent += 1
    assert sent < 9000
    answers()
    assert 150 <= until(lambda: counts(admin)["given_up"] - before, lambda given_up: given_up >= 150) < 5000


@pytest.fixture(scope="module")
def big():
    return write("big", b"x" * (17 << 20))


@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
def test_bodies_that_are_too_large_are_refused_and_cost_little(server, answers, big, slow, version):
    before = server.memory()
    code, out, err = run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", version, "-H", "Expect:", "-X", "PATCH",
                         "--data-binary", "@" + big, server.url + "/api/v1/uploads/x")
    assert out in ("401", "413", "000"), err
    answers()
    assert slow or server.memory() < before + 80
