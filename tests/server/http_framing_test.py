"""Where a request of HTTP/1.1 begins and ends: as RFC 9112 says, and not otherwise."""
import socket
import time

import pytest

import raw

BAD = {
    "two lengths that differ": b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "length and coding": b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding and length": b"POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "coding twice": b"POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding in HTTP/1.0": b"POST /healthz HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bare line feeds": b"GET /healthz HTTP/1.1\nHost: x\n\n",
    "one bare line feed": b"GET /healthz HTTP/1.1\r\nHost: x\nX: y\r\n\r\n",
    "bare carriage return": b"GET /healthz HTTP/1.1\r\nHost: x\rX: y\r\n\r\n",
    "negative length": b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "length with a sign": b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nhello",
    "length in hexadecimal": b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 0x5\r\n\r\nhello",
    "lengths in a list": b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\nhello",
    "length that overflows": b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551621\r\n\r\nhello",
    "folded field": b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n",
    "space before the colon": b"GET /healthz HTTP/1.1\r\nHost: x\r\nX : a\r\n\r\n",
    "space before the first name": b"GET /healthz HTTP/1.1\r\n Host: x\r\n\r\n",
    "field without a colon": b"GET /healthz HTTP/1.1\r\nHost: x\r\nnothing\r\n\r\n",
    "field without a name": b"GET /healthz HTTP/1.1\r\nHost: x\r\n: a\r\n\r\n",
    "zero byte in a value": b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n",
    "no Host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "Host with a path": b"GET /healthz HTTP/1.1\r\nHost: x/y\r\n\r\n",
    "two spaces": b"GET  /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "no version": b"GET /healthz\r\nHost: x\r\n\r\n",
    "chunk size without digits": b"POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
    "chunk size with a sign": b"POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n",
    "chunk size with 0x": b"POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
    "chunk size that overflows": b"POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n",
    "chunk size with a space": b"POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n",
    "chunk with a bare line feed": b"POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
    "chunk longer than its size": b"POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhello\r\n0\r\n\r\n",
    "trailer that is no field": b"POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n x\r\n\r\n",
}


@pytest.mark.parametrize("name", BAD)
def test_refused_and_closed(server, name):
    status, answer = raw.ask(server, BAD[name] + b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
    assert status == 400 and answer.count(b"HTTP/1.1 ") == 1, answer
    assert b'"detail":' in answer and b"onnection: close" in answer


@pytest.mark.parametrize("name", BAD)
def test_refused_when_it_comes_byte_by_byte(server, name):
    with raw.dial(server) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for byte in BAD[name]:
                s.sendall(bytes([byte]))
                time.sleep(0.0005)
        except OSError:
            pass
        answer = raw.read_all(s)
    assert answer and answer.startswith(b"HTTP/1.1 400 "), answer


def test_other_codings_are_501(server):
    assert raw.ask(server, b"POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n")[0] == 501


def test_other_versions_are_505(server):
    assert raw.ask(server, b"GET /healthz HTTP/3.0\r\nHost: x\r\n\r\n")[0] == 505


GOOD = {
    "plain": b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "an empty line before": b"\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "HTTP/1.0 with keep-alive": b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "spaces around a value": b"GET /healthz HTTP/1.1\r\nHost: \t x \t\r\n\r\n",
    "an IPv6 host": b"GET /healthz HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
    "a length": b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n{   }",
    "chunks": b"GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n5;a=\"b\"\r\n{    \r\n00a\r\n         }\r\n0\r\nX: y\r\n\r\n",
}


@pytest.mark.parametrize("name", GOOD)
def test_taken(server, name):
    with raw.dial(server) as s:
        for _ in range(3):
            s.sendall(GOOD[name])
            assert raw.read_answer(s)[0] == 200


@pytest.mark.parametrize("name", [n for n in GOOD if "1.0" not in n])
def test_taken_one_behind_the_other(server, name):
    with raw.dial(server) as s:
        s.sendall(GOOD[name] * 50)
        data = b""
        while data.count(b"HTTP/1.1 200 ") < 50:
            piece = s.recv(65536)
            assert piece, data.count(b"HTTP/1.1 200 ")
            data += piece
        assert data.count(b"HTTP/1.1 ") == 50


@pytest.mark.parametrize("name", [n for n in GOOD if "1.0" not in n])
def test_taken_byte_by_byte(server, name):
    with raw.dial(server) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in GOOD[name] * 2:
            s.sendall(bytes([byte]))
            time.sleep(0.0003)
        assert raw.read_answer(s)[0] == 200


def test_a_chunked_body_arrives_as_it_is(server, admin):
    body = b'{"name": "admin", "password": "0123456789"}'
    chunks = b"".join(b"%x\r\n%c\r\n" % (1, c) for c in body) + b"0\r\n\r\n"
    request = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
    with raw.dial(server) as s:
        for i in range(0, len(request), 7):
            s.sendall(request[i:i + 7])
            time.sleep(0.001)
        status, _, answer = raw.read_answer(s)
        assert status == 200 and b'"token"' in answer
        s.sendall(request + b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert raw.read_answer(s)[0] == 200


def test_continue_is_said(server):
    with raw.dial(server) as s:
        s.sendall(b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert s.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        s.sendall(b"{}GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert raw.read_answer(s)[0] == 400
        assert raw.read_answer(s)[0] == 200


def test_chunks_that_come_before_continue_is_said(server):
    """libh2o takes them apart later than those that come after it."""
    body = b'{"name": "nobody", "password": "0123456789"}'
    with raw.dial(server) as s:
        for _ in range(3):
            s.sendall(b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n" + b"".join(b"1\r\n%c\r\n" % b for b in body[:30]))
            assert s.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
            s.sendall(b"".join(b"1\r\n%c\r\n" % b for b in body[30:]) + b"0\r\n\r\n")
            assert raw.read_answer(s)[0] == 401


def test_other_expectations_are_417(server):
    assert raw.ask(server, b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: coffee\r\n\r\n{}")[0] == 417


def test_too_large_over_http1_is_413(server):
    status, answer = raw.ask(server, b"POST /v2/models/x/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 100_000)
    assert status == 413 and b'"detail":' in answer and b"application/problem+json" in answer


def test_too_large_in_chunks_is_413(server):
    with raw.dial(server) as s:
        s.sendall(b"POST /v2/models/x/infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(40):
                s.sendall(b"80000\r\n" + b"x" * 0x80000 + b"\r\n")
        except OSError:
            pass
        answer = raw.read_all(s)
    assert answer and answer.startswith(b"HTTP/1.1 413 ")


def test_too_large_is_told_instead_of_continue(server):
    status, answer = raw.ask(server, b"POST /v2/models/x/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\nExpect: 100-continue\r\n\r\n")
    assert status == 413 and b"100 Continue" not in answer


@pytest.mark.parametrize("length", [True, False], ids=["announced", "found out"])
def test_too_large_over_http2_is_413(server, length):
    c = raw.Http2(server)
    fields = [("content-length", "99999999")] if length else []
    c.send(raw.frame(raw.HEADERS, raw.END_HEADERS, 1, raw.head("/v2/models/x/infer", "POST", *fields)))
    try:
        for _ in range(17 * 64):
            c.send(raw.frame(raw.DATA, 0, 1, b"x" * 16384))
    except OSError:
        pass
    status, body = c.answer(1)
    assert status == 413 and b'"detail"' in body


def test_after_413_other_streams_go_on(server):
    c = raw.Http2(server)
    c.send(raw.frame(raw.HEADERS, raw.END_HEADERS, 1, raw.head("/api/v1/models", "POST", ("content-length", "99999999"))))
    for _ in range(300):
        c.send(raw.frame(raw.DATA, 0, 1, b"x" * 16384))
    c.send(raw.frame(raw.HEADERS, raw.END_HEADERS | raw.END_STREAM, 3, raw.head()))
    assert c.answer(3)[0] == 200


def test_requests_that_are_sent_ahead_are_bounded(server, slack):
    """64 KiB of them wait; whoever sends more before the first answer is refused, and nothing is kept."""
    raw.memory_counts(slack)
    request = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 8000 + b"\r\n\r\n"
    crowd, before = [], server.memory()
    for _ in range(30):
        s = raw.dial(server, receive_buffer=4096)
        s.settimeout(0.2)
        crowd.append(s)
        try:
            for _ in range(100):
                s.sendall(request * 10)
        except OSError:
            pass
    time.sleep(0.3)
    assert server.memory() - before < 40, f"{server.memory() - before:.0f} MB"
    for s in crowd:
        s.close()
