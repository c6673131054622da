"""Header fields: what a client may send of them, what they may cost, and what is kept afterwards."""
import threading
import time

import pytest

import raw
from raw import CONTINUATION, END_HEADERS, END_STREAM, HEADERS, Http2, frame

CALM = 11  # ENHANCE_YOUR_CALM


def bomb(size, stream=1):
    """A field of the dynamic table, and then `size` bytes that refer to it."""
    entry = b"\x40" + raw.literal("x-field", "v" * 4000)[1:]
    yield frame(HEADERS, 0, stream, raw.head() + entry)
    for at in range(0, size, 16384):
        yield frame(CONTINUATION, 0, stream, b"\xbe" * min(16384, size - at))


def test_references_are_counted_before_they_are_decoded(server, slack):
    raw.memory_counts(slack)
    before, sockets = raw.anonymous_memory(server), []

    def attack():
        c = Http2(server)
        sockets.append(c)
        try:
            for stream in range(1, 9, 2):
                c.send(*bomb(400_000, stream), frame(CONTINUATION, END_HEADERS, stream))
        except OSError:
            pass

    threads = [threading.Thread(target=attack) for _ in range(20)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    time.sleep(0.5)
    grown = raw.anonymous_memory(server) - before
    assert grown < 60, f"{grown:.0f} MB"


def test_memory_goes_back_after_an_attack(start_server, slack):
    raw.memory_counts(slack)
    server = start_server()
    before = raw.anonymous_memory(server)
    crowd = []
    for _ in range(200):
        c = Http2(server)
        crowd.append(c)
        for stream in range(1, 100, 2):
            block = raw.head("/healthz", "POST", *[("x-%02d" % i, "v" * 600) for i in range(20)])
            c.send(frame(HEADERS, END_HEADERS, stream, block))
    time.sleep(0.5)
    peak = raw.anonymous_memory(server)
    for c in crowd:
        c.s.close()
    for _ in range(90):
        time.sleep(0.1)
        after = raw.anonymous_memory(server)
        if after - before < 40:
            break
    assert after - before < 40, f"{before:.0f}, {peak:.0f}, {after:.0f} MB"


@pytest.mark.parametrize("piece", [0, 1, 1000, 16384])
def test_continuations_without_an_end(server, piece):
    c = Http2(server)
    c.send(frame(HEADERS, END_STREAM, 1, raw.head()))
    try:
        for _ in range(100_000):
            c.send(frame(CONTINUATION, 0, 1, b"\x82" * piece))
    except OSError:
        pass
    else:
        assert c.end() == CALM


@pytest.mark.parametrize("fields", [[("x-%d" % i, "v") for i in range(120)], [("x-large", "v" * 40_000)], [("x-%d" % i, "v" * 900) for i in range(40)]], ids=["many", "long", "together"])
def test_too_large_over_http2_is_431(server, fields):
    c = Http2(server)
    block = raw.head("/healthz", "GET", *fields)
    pieces = [block[i:i + 16384] for i in range(0, len(block), 16384)]
    c.send(frame(HEADERS, END_STREAM | (END_HEADERS if len(pieces) == 1 else 0), 1, pieces[0]))
    for i, p in enumerate(pieces[1:]):
        c.send(frame(CONTINUATION, END_HEADERS if i == len(pieces) - 2 else 0, 1, p))
    status, body = c.answer(1)
    assert status == 431 and b'"detail"' in body


def test_references_that_would_be_too_large_are_431(server):
    c = Http2(server)
    entry = b"\x40" + raw.literal("x-field", "v" * 3900)[1:]
    c.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, raw.head() + entry + b"\xbe" * 90))
    assert c.answer(1)[0] == 431


@pytest.mark.parametrize("request_head", [
    b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: v\r\n" % i for i in range(120)) + b"\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"v" * 40_000 + b"\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"v" * 400_000,
], ids=["many", "long", "without an end"])
def test_too_large_over_http1_is_431(server, request_head):
    status, answer = raw.ask(server, request_head)
    assert status == 431 and b'"detail":' in answer and b"application/problem+json" in answer


def test_a_path_without_an_end_is_414(server):
    status, answer = raw.ask(server, b"GET /" + b"a" * 60_000)
    assert status == 414 and b'"detail":' in answer


def test_what_browsers_send_is_small(server):
    c = Http2(server)
    fields = [("cookie", "c" * 4000), ("user-agent", "u" * 300), ("authorization", "Bearer " + "t" * 2000)] + [("x-%d" % i, "v" * 20) for i in range(60)]
    c.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, raw.head("/healthz", "GET", *fields)))
    assert c.answer(1)[0] == 200


def test_the_limit_is_announced(server):
    c = Http2(server)
    for kind, _, _, payload in c.frames(2):
        if kind == raw.SETTINGS and b"\x00\x06" in [payload[i:i + 2] for i in range(0, len(payload), 6)]:
            return
    pytest.fail("no SETTINGS_MAX_HEADER_LIST_SIZE")
