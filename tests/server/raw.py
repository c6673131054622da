"""Clients that say exactly what a test wants: bytes over a socket, frames of HTTP/2."""
import os
import socket
import ssl
import struct
import subprocess
import time

import hpack
import pytest

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS = 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def address_of(server):
    host, port = server.url.split("//")[1].split(":")
    return host, int(port)


def dial(server, source=None, receive_buffer=None, seconds=10):
    s = socket.socket()
    if receive_buffer:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    if source:
        s.bind((source, 0))
    s.settimeout(seconds)
    s.connect(address_of(server))
    return s


def secure(server, **options):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for name, value in options.items():
        setattr(context, name, value)
    return context.wrap_socket(dial(server))


def read_all(s, seconds=10):
    """What comes until the server closes; None: it did not."""
    s.settimeout(seconds)
    data, until = b"", time.monotonic() + seconds
    try:
        while piece := s.recv(65536):
            data += piece
            if time.monotonic() > until:
                return None
    except ConnectionError:
        pass
    except TimeoutError:
        return None
    return data


def is_closed(s, seconds=10):
    return read_all(s, seconds) is not None


def ask(server, request, seconds=10):
    """The status and the bytes of the answer to a request after which the server closes."""
    with dial(server) as s:
        s.sendall(request)
        answer = read_all(s, seconds)
    assert answer is not None, "the connection stays open"
    return int(answer.split()[1]) if answer else None, answer


def read_answer(s):
    """One answer of HTTP/1.1 with a Content-Length, and no byte more: (status, fields, body)."""
    head, body = b"", b""
    while not head.endswith(b"\r\n\r\n"):
        piece = s.recv(1)
        if not piece:
            return None, {}, head
        head += piece
    lines = head.decode("latin-1").split("\r\n")[:-2]
    fields = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines[1:])}
    while (left := int(fields.get("content-length", 0)) - len(body)) > 0:
        piece = s.recv(min(left, 65536))
        if not piece:
            break
        body += piece
    return int(lines[0].split()[1]), fields, body


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name, value):
    """A field without indexing and without Huffman codes."""
    def text(t):
        t = t if isinstance(t, bytes) else t.encode()
        n = len(t)
        return (bytes([n]) if n < 127 else bytes([127]) + integer(n - 127)) + t
    return b"\x00" + text(name) + text(value)


def integer(n):
    out = b""
    while n >= 128:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def head(path="/healthz", method="GET", *fields):
    pairs = ((":method", method), (":scheme", "http"), (":authority", "x"), (":path", path), *fields)
    return b"".join(literal(n, v) for n, v in pairs)


class Http2:
    """A connection that has said hello."""

    def __init__(self, server, settings=b"", **options):
        self.s = dial(server, **options)
        self.s.sendall(PREFACE + frame(SETTINGS, payload=settings))
        self.buffer, self.decoder = b"", hpack.Decoder()

    def send(self, *frames):
        self.s.sendall(b"".join(frames))

    def frames(self, seconds=5):
        """Frames as they come, until the server closes or nothing comes for some time."""
        self.s.settimeout(seconds)
        while True:
            while len(self.buffer) < 9 or len(self.buffer) < 9 + int.from_bytes(self.buffer[:3], "big"):
                try:
                    piece = self.s.recv(65536)
                except (TimeoutError, ConnectionError):
                    return
                if not piece:
                    return
                self.buffer += piece
            n = int.from_bytes(self.buffer[:3], "big")
            yield self.buffer[3], self.buffer[4], int.from_bytes(self.buffer[5:9], "big"), self.buffer[9:9 + n]
            self.buffer = self.buffer[9 + n:]

    def end(self, seconds=5):
        """The error code of the GOAWAY with which the server ended the connection; None without one."""
        code = None
        for kind, _, _, payload in self.frames(seconds):
            if kind == GOAWAY:
                code = int.from_bytes(payload[4:8], "big")
        return code

    def answer(self, stream, seconds=5):
        """(status, body), or ("reset", code), or (None, b"")"""
        status, body = None, b""
        for kind, flags, where, payload in self.frames(seconds):
            if kind == HEADERS:
                fields = dict(self.decoder.decode(payload))
                if where == stream:
                    status = int(fields[":status"])
            if where == stream and kind == DATA:
                body += payload
            if where == stream and kind == RST_STREAM and status is None:
                return "reset", int.from_bytes(payload, "big")
            if where == stream and kind in (HEADERS, DATA) and flags & END_STREAM:
                return status, body
        return status, body


def memory_counts(slack):
    """Sanitizers keep what was freed: a test of memory says nothing with them."""
    if slack > 1:
        pytest.skip("memory is not counted under sanitizers")


def anonymous_memory(server):
    """Megabytes that are not files'."""
    for line in open(f"/proc/{server.process.pid}/status"):
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024


class Rig:
    """A server of server/http alone (http_rig.c); it looks like client.Server to the functions above."""

    def __init__(self, programs, folder, *options):
        program = os.path.join(os.path.dirname(programs["server"]), "http-rig")
        self.folder, self.log = str(folder), os.path.join(str(folder), "log")
        self.process = subprocess.Popen([program, self.folder, *map(str, options)], stdout=subprocess.PIPE, stderr=open(self.log, "wb"), text=True)
        self.url = self.process.stdout.readline().split()[-1]

    def path(self, name):
        return os.path.join(self.folder, name)

    def said(self, text, seconds=5):
        """Its errors have such a line, or will have soon."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if text in open(self.log).read():
                return True
            time.sleep(0.02)
        return False

    def end(self):
        self.process.terminate()
        self.process.wait(30)
        self.process.stdout.close()
        return self.process.returncode
