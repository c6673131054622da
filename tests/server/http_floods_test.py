"""Frames of HTTP/2 that cost a server more than the client: connections that send many of them are ended,
and say nothing to the log."""
import os
import time

import pytest

import raw
from client import folder
from raw import END_HEADERS, END_STREAM, Http2, frame

FLOODS = {
    "unknown": frame(0x42, 0, 0, b""),
    "ping": frame(raw.PING, 0, 0, b"12345678"),
    "settings": frame(raw.SETTINGS, 0, 0, b""),
    "settings acknowledged": frame(raw.SETTINGS, 1, 0, b""),
    "priority": frame(raw.PRIORITY, 0, 1, b"\0\0\0\0\x10"),
    "window": frame(raw.WINDOW_UPDATE, 0, 0, b"\0\0\0\1"),
    "empty data": frame(raw.DATA, 0, 1),
    "reset": frame(raw.RST_STREAM, 0, 3, b"\0\0\0\0"),
    "goaway": frame(raw.GOAWAY, 0, 0, b"\0" * 8),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_ends_the_connection(server, name):
    c = Http2(server)
    c.send(frame(raw.HEADERS, END_HEADERS, 1, raw.head("/healthz", "POST")))
    c.send(frame(raw.HEADERS, END_HEADERS | END_STREAM, 3, raw.head()))
    try:
        for _ in range(200):
            c.send(FLOODS[name] * 1000)
    except OSError:
        return
    assert raw.is_closed(c.s, 5)


def test_unknown_frames_are_not_in_the_log(server):
    before = os.stat(os.path.join(folder, "server.log")).st_size
    for _ in range(5):
        c = Http2(server)
        try:
            for _ in range(50):
                c.send(FLOODS["unknown"] * 1000)
        except OSError:
            pass
    time.sleep(0.3)
    assert os.stat(os.path.join(folder, "server.log")).st_size - before < 2000


def test_resets_of_streams_that_the_server_makes_count(server):
    """CVE-2025-8671: the client makes the server reset streams."""
    c = Http2(server)
    try:
        for stream in range(1, 40_000, 2):
            c.send(frame(raw.HEADERS, END_HEADERS, stream, raw.head("/healthz", "POST")), frame(raw.WINDOW_UPDATE, 0, stream, b"\x7f\xff\xff\xff"))
    except OSError:
        return
    assert raw.is_closed(c.s, 5)


def test_those_who_work_are_not_ended(server):
    c = Http2(server)
    for i in range(3000):
        stream = 2 * i + 1
        c.send(frame(raw.HEADERS, END_HEADERS | END_STREAM, stream, raw.head()), frame(raw.PING, 0, 0, b"12345678"), frame(raw.WINDOW_UPDATE, 0, 0, b"\0\0\x10\0"))
        assert c.answer(stream, 5)[0] == 200, i


def test_what_comes_after_the_last_words_is_not_kept(server, slack):
    """The server wants to say why it closes, to a client that does not read, and goes on sending."""
    raw.memory_counts(slack)
    c = Http2(server, b"\0\4\x7f\xff\xff\xff", receive_buffer=4096)
    c.send(frame(raw.WINDOW_UPDATE, 0, 0, b"\x7f\x00\0\0"))
    for stream in range(1, 199, 2):
        c.send(frame(raw.HEADERS, END_HEADERS | END_STREAM, stream, raw.head("/openapi.json")))
    time.sleep(1)
    before, sent = server.memory(), 0
    try:
        c.send(frame(raw.DATA, 0, 0, b"x"))
        while sent < 400_000_000:
            c.s.sendall(b"x" * 1_000_000)
            sent += 1_000_000
    except OSError:
        pass
    assert server.memory() - before < 60, f"{server.memory() - before:.0f} MB of {sent}"
