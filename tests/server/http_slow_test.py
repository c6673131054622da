"""Clients that ask and do not read: they are ended after a time, and hold little memory until then."""
import os
import struct
import threading
import time

import pytest

import raw
from raw import END_HEADERS, END_STREAM, HEADERS, Http2, frame

NO_WINDOW = struct.pack(">HI", 4, 0)
ASK = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def impatient(start_server_of_module):
    return start_server_of_module("--timeout", "2")


def test_a_window_of_zero_ends(impatient, slack):
    c = Http2(impatient, NO_WINDOW)
    for stream in range(1, 50, 2):
        c.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, raw.head("/openapi.json")))
    assert raw.is_closed(c.s, 8 * slack)


def test_a_window_of_zero_ends_though_it_talks(impatient, slack):
    c = Http2(impatient, NO_WINDOW)
    c.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, raw.head("/openapi.json")))
    try:
        for i in range(40 * slack):
            c.send(frame(raw.PING, 0, 0, b"12345678"), frame(HEADERS, END_HEADERS | END_STREAM, 3 + 2 * i, raw.head()), frame(raw.WINDOW_UPDATE, 0, 3 + 2 * i, b"\0\0\1\0"))
            time.sleep(0.25)
    except OSError:
        return
    assert raw.is_closed(c.s, 1)


def test_pipelined_requests_without_reading_end(impatient, slack):
    with raw.dial(impatient, receive_buffer=4096) as s:
        try:
            for _ in range(200 * slack):
                s.sendall(ASK * 10)
                time.sleep(0.05)
        except OSError:
            return
        assert raw.is_closed(s, 1)


def test_half_an_answer_ends(impatient, slack):
    """Over HTTP/1.1, from a client whose system takes a little and then no more."""
    with raw.dial(impatient, receive_buffer=4096) as s:
        s.sendall(ASK * 50)
        time.sleep(6 * slack)
        assert raw.is_closed(s, 3)


def test_a_slow_reader_is_served(impatient):
    with raw.dial(impatient, receive_buffer=4096) as s:
        s.sendall(ASK + b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        data, began = b"", time.monotonic()
        while piece := s.recv(4096):
            data += piece
            time.sleep(0.1 if time.monotonic() - began < 7 else 0)
    assert data.count(b"HTTP/1.1 200 ") == 2


def test_answers_that_nobody_takes_are_bounded(server, slack):
    raw.memory_counts(slack)
    size = len(raw.ask(server, ASK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))[1])
    before, crowd = raw.anonymous_memory(server), []

    def attack():
        for _ in range(20):
            c = Http2(server, NO_WINDOW)
            crowd.append(c)
            try:
                for stream in range(1, 20_000, 2):
                    c.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, raw.head("/openapi.json")))
            except OSError:
                pass

    threads = [threading.Thread(target=attack) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    grown = raw.anonymous_memory(server) - before
    assert grown < 700, f"{grown:.0f} MB for answers of {size} bytes"
    for c in crowd:
        c.s.close()


def test_what_a_client_that_has_gone_has_asked_for_besides_is_not_computed(server):
    """65 kB of pipelined requests, closed after the first answers."""
    with raw.dial(server) as s:
        s.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 1500)
        s.recv(1000)
    time.sleep(0.5)
    before = cpu_seconds(server)
    time.sleep(1)
    assert cpu_seconds(server) - before < 0.2


def cpu_seconds(server):
    with open(f"/proc/{server.process.pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
