"""HTTP/1.1 and HTTP/2 as other programs speak them, headers, raw bytes, many connections, large bodies, TLS."""
import signal
import socket

import pytest

from client import Client, path, run, until, write
from samples import certificate

LAB = "https://lab.example"
PREFLIGHT = {"Origin": LAB, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
ONLY_STATUS = ("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}")


# ---- headers ----

@pytest.mark.parametrize("header", ["x-content-type-options", "content-security-policy", "cache-control"])
def test_answers_carry_headers_that_protect_pages(nobody, header):
    nobody.call("GET", "/healthz")
    assert header in nobody.last.headers


def test_pages_of_other_origins_are_refused(nobody):
    headers = {"Origin": LAB, "Access-Control-Request-Method": "POST"}
    status, answer = nobody.call("OPTIONS", "/api/v1/models", headers=headers)
    assert status == 405, answer


def test_an_origin_that_is_configured_asks_first_and_reads_the_answer(start_server):
    page = Client(start_server("--cors-origin", LAB))
    status, answer = page.call("OPTIONS", "/api/v1/models", headers=PREFLIGHT)
    allowed = page.last.headers
    assert status == 204, answer
    assert "POST" in allowed["access-control-allow-methods"]
    assert "authorization" in allowed["access-control-allow-headers"]
    assert allowed["access-control-allow-origin"] == LAB
    status, answer = page.call("GET", "/healthz")
    assert status == 200, answer
    assert page.last.headers["access-control-allow-origin"] == LAB
    assert "location" in page.last.headers["access-control-expose-headers"]


# ---- what strangers send ----

@pytest.fixture(scope="module")
def large():
    return write("large", b"x" * (17 << 20))


def test_a_body_that_is_too_large_is_refused(server, large):
    code, out, err = run(*ONLY_STATUS, "--http1.1", "-H", "Expect:", "--data-binary", "@" + large,
                         server.url + "/v2/models/x/infer")
    assert out == "413", err


def test_a_body_that_is_too_large_is_refused_over_http2(server, nobody, large):
    code, out, err = run(*ONLY_STATUS, "--http2-prior-knowledge", "--data-binary", "@" + large,
                         server.url + "/v2/models/x/infer")
    assert out in ("000", "413"), err
    assert nobody.call("GET", "/healthz")[0] == 200


@pytest.mark.parametrize("raw", [
    pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="no host"),
    pytest.param(b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n", id="a zero in the path"),
    pytest.param(b"\x00" * 100, id="zeros"),
    pytest.param(b"GET " + b"/a" * 50000 + b" HTTP/1.1\r\n\r\n", id="a long path"),
    pytest.param(b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
                 id="a length beyond all"),
    pytest.param(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n",
                 id="a chunk beyond all"),
    pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 64, id="no frame of HTTP/2"),
    pytest.param(b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", id="a path that leaves")])
def test_it_answers_raw_bytes_or_hangs_up_and_answers_others(server, nobody, raw):
    with socket.create_connection(server.address, timeout=5) as s:
        s.sendall(raw)
        s.settimeout(2)
        try:
            got = s.recv(4096)
        except (TimeoutError, ConnectionError):
            got = b""
    assert b"root:" not in got
    assert nobody.call("GET", "/healthz")[0] == 200


# ---- other programs ----

def test_curl_speaks_http2_without_tls(server):
    code, out, err = run("curl", "-s", "--http2-prior-knowledge", "-w", "%{http_version} %{http_code}", "-o",
                         "/dev/null", server.url + "/healthz")
    assert out == "2 200", err


def test_nghttp_speaks_http2_without_tls(server):
    code, out, err = run("nghttp", "-ns", server.url + "/healthz")
    assert code == 0, err
    assert " 200 " in out


def test_many_requests_at_once_succeed(server):
    code, out, err = run("h2load", "-n", "3000", "-c", "8", "-m", "32", server.url + "/healthz")
    assert "3000 succeeded" in out, err


def test_idle_connections_cost_little(server, nobody, slow):
    idle = [socket.create_connection(server.address) for _ in range(1500)]
    status, memory = nobody.call("GET", "/healthz")[0], server.memory()
    for s in idle:
        s.close()
    assert status == 200
    assert slow or memory < 120


# ---- TLS ----

@pytest.fixture(scope="module")
def secure(start_server_of_module):
    return start_server_of_module(*certificate("secure", "127.0.0.1"))


def subject(server):
    """Whom its certificate is for, as openssl says it."""
    out = run("openssl", "s_client", "-connect", "%s:%d" % server.address, input="")[1]
    return next((line for line in out.splitlines() if line.startswith("subject=")), out)


def test_http2_over_tls(secure):
    code, out, err = run("curl", "-s", "--cacert", path("secure.pem"), "-w", "%{http_version} %{http_code}", "-o",
                         "/dev/null", secure.url + "/healthz")
    assert out == "2 200", err
    assert secure.url.startswith("https://")


def test_http1_over_tls_asks_for_tls_from_now_on(secure):
    code, out, err = run("curl", "-sI", "--http1.1", "--cacert", path("secure.pem"), "-X", "GET",
                         secure.url + "/healthz")
    assert "HTTP/1.1 200" in out, err
    assert "strict-transport-security" in out


def test_sighup_reads_the_certificate_again(start_server):
    server = start_server(*certificate("changing", "first"))
    before = subject(server)
    certificate("changing", "renewed")
    server.process.send_signal(signal.SIGHUP)
    after = until(lambda: subject(server), lambda who: "CN = renewed" in who, 10)
    assert "CN = first" in before
    assert "CN = renewed" in after


def test_a_server_with_tls_ends_well(start_server):
    assert start_server(*certificate("ending", "127.0.0.1")).stop() == 0
