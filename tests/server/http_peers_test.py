"""Who the client is: its own address, or the one that a trusted proxy names."""
import time

import pytest

import raw


@pytest.fixture(scope="module")
def rig(programs, tmp_path_factory):
    """127.0.0.1 and 10/8 are proxies, and fd00::/8; 127.0.0.2 is anybody."""
    r = raw.Rig(programs, tmp_path_factory.mktemp("rig"), "proxies", "127.0.0.1, 10.0.0.0/8,fd00::/8", "connections-per-address", "8")
    yield r
    assert r.end() == 0


def peer(rig, *fields, source="127.0.0.1"):
    with raw.dial(rig, source) as s:
        s.sendall(("GET /peer HTTP/1.1\r\nHost: x\r\n" + "".join(f + "\r\n" for f in fields) + "\r\n").encode())
        return raw.read_answer(s)[2].decode()


@pytest.mark.parametrize("fields, client", [
    ([], "127.0.0.1"),
    (["X-Forwarded-For: 203.0.113.7"], "203.0.113.7"),
    (["X-Forwarded-For: 198.51.100.1, 203.0.113.7"], "203.0.113.7"),
    (["X-Forwarded-For: 198.51.100.1, 203.0.113.7, 10.1.2.3"], "203.0.113.7"),
    (["X-Forwarded-For: 198.51.100.1", "X-Forwarded-For: 203.0.113.7", "X-Forwarded-For: 10.1.2.3"], "203.0.113.7"),
    (["X-Forwarded-For: 10.9.9.9, 10.1.2.3"], "10.9.9.9"),
    (["X-Forwarded-For: 203.0.113.7:4711"], "203.0.113.7"),
    (["X-Forwarded-For: [2001:db8::1]:4711"], "2001:db8::1"),
    (["X-Forwarded-For: 2001:DB8:0::1"], "2001:db8::1"),
    (["X-Forwarded-For: 203.0.113.7, fd00::5"], "203.0.113.7"),
    (["X-Forwarded-For: 203.0.113.7, unknown"], "127.0.0.1"),
    (["X-Forwarded-For: 203.0.113.7, unknown, 10.1.2.3"], "10.1.2.3"),
    (["X-Forwarded-For: ::ffff:203.0.113.7"], "203.0.113.7"),
    (["X-Forwarded-For: <script>"], "127.0.0.1"),
    (["Forwarded: for=203.0.113.7"], "203.0.113.7"),
    (["Forwarded: For=\"203.0.113.7:80\";proto=http;by=10.0.0.1"], "203.0.113.7"),
    (["Forwarded: for=198.51.100.1, proto=https;for=\"[2001:db8::1]:4711\", for=10.1.2.3"], "2001:db8::1"),
    (["Forwarded: for=198.51.100.1;host=\"a, for=1.2.3.4\", for=203.0.113.7"], "203.0.113.7"),
    (["Forwarded: for=_hidden"], "127.0.0.1"),
    (["Forwarded: for=203.0.113.7", "X-Forwarded-For: 203.0.113.7"], "203.0.113.7"),
])
def test_what_a_proxy_says(rig, fields, client):
    assert peer(rig, *fields) == client


@pytest.mark.parametrize("field", ["X-Forwarded-For: 203.0.113.7", "Forwarded: for=203.0.113.7"])
def test_what_anybody_says_counts_for_nothing(rig, server, field):
    assert peer(rig, field, source="127.0.0.2") == "127.0.0.2"


def test_two_fields_that_differ_are_400(rig):
    assert "different clients" in peer(rig, "X-Forwarded-For: 203.0.113.7", "Forwarded: for=198.51.100.1")


def test_over_http2(rig):
    c = raw.Http2(rig)
    c.send(raw.frame(raw.HEADERS, raw.END_HEADERS | raw.END_STREAM, 1, raw.head("/peer", "GET", ("x-forwarded-for", "203.0.113.7"))))
    assert c.answer(1) == (200, b"203.0.113.7")


def test_a_proxy_may_have_more_connections_than_a_client(rig):
    crowd = [raw.dial(rig) for _ in range(30)]
    for s in crowd:
        s.sendall(b"G")
    time.sleep(0.2)
    assert peer(rig) == "127.0.0.1"
    others = [raw.dial(rig, "127.0.0.3") for _ in range(12)]
    for s in others:
        s.sendall(b"G")
    time.sleep(0.2)
    assert sum(raw.is_closed(s, 0.1) for s in others) == 4
    for s in crowd + others:
        s.close()


def test_requests_at_a_time_of_one_client_are_bounded(rig):
    crowd = []
    for i in range(14):
        crowd.append(raw.dial(rig))
        crowd[-1].sendall(f"POST /slow HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 2001:db8::{i}\r\nContent-Length: 1\r\n\r\nx".encode())
    codes = [raw.read_answer(s)[0] for s in crowd]
    assert sorted(codes) == [200] * 8 + [429] * 6
    assert peer(rig, "X-Forwarded-For: 2001:db8::1") == "2001:db8::1"


def test_a_network_that_is_none(programs, tmp_path):
    with pytest.raises(IndexError):
        raw.Rig(programs, tmp_path, "proxies", "10.0.0.0/33")
    assert "10.0.0.0/33" in open(tmp_path / "log").read()
