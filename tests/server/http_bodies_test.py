"""Bodies: how large they may be and who may send them, before they are here; and those that are handed on
while they come."""
import contextlib
import os
import subprocess
import threading
import time

import httpx
import pytest

import raw
from client import until
from raw import DATA, END_HEADERS, END_STREAM, HEADERS, Http2, Rig, frame


@pytest.fixture(scope="module")
def rig(programs, tmp_path_factory):
    r = Rig(programs, tmp_path_factory.mktemp("rig"))
    yield r
    assert r.end() == 0


@pytest.fixture
def start_rig(programs, tmp_path):
    started = []

    def start(*options):
        started.append(Rig(programs, tmp_path, *options))
        return started[-1]

    yield start
    for r in started:
        assert r.end() == 0


def curl(*words, **options):
    return subprocess.run(["curl", "-sS", "--max-time", "120", *words], capture_output=True, text=True, **options)


# ---- who may send how much ----

@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
@pytest.mark.parametrize("path, token, status", [
    ("/private/x", None, 401), ("/private/x", "eve", 403), ("/private/x", "ada", 200), ("/small/x", None, 413),
    ("/size", None, 200)])
def test_who_may_send_a_large_body(rig, tmp_path, version, path, token, status):
    (tmp_path / "body").write_bytes(b"x" * 3_000_000)
    words = ["-H", f"Authorization: Bearer {token}"] if token else []
    out = curl(version, "-o", str(tmp_path / "out"), "-w", "%{http_code} %{size_upload}", "-X", "POST",
               "--data-binary", f"@{tmp_path}/body", *words, rig.url + path)
    code, sent = out.stdout.split()
    assert int(code) == status, out
    if status == 200:
        assert (tmp_path / "out").read_text() == "3000000"
    else:
        assert '"detail"' in (tmp_path / "out").read_text()


@pytest.mark.parametrize("path, status", [("/private/x", b"401"), ("/small/x", b"413")])
def test_a_refusal_comes_instead_of_continue(rig, path, status):
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\nExpect: 100-continue\r\n\r\n".encode()
    answer = raw.ask(rig, head)[1]
    assert answer.startswith(b"HTTP/1.1 " + status) and b"100 Continue" not in answer


def test_chunks_are_asked_about_as_they_come(rig):
    with raw.dial(rig) as s:
        s.sendall(b"POST /private/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(4):
            s.sendall(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")
        assert raw.read_all(s).startswith(b"HTTP/1.1 401 ")


def test_data_is_asked_about_as_it_comes(rig):
    c = Http2(rig)
    c.send(frame(HEADERS, END_HEADERS, 1, raw.head("/private/x", "POST")))
    for _ in range(8):
        c.send(frame(DATA, 0, 1, b"x" * 16384))
    assert c.answer(1)[0] == 401


def spooled(rig):
    """Bodies that the server keeps in files."""
    folder, files = f"/proc/{rig.process.pid}/fd", []
    for name in os.listdir(folder):
        with contextlib.suppress(OSError):  # closed meanwhile
            if "body-" in os.readlink(os.path.join(folder, name)):
                files.append(name)
    return files


def test_a_stranger_fills_neither_memory_nor_disk(rig, slack):
    raw.memory_counts(slack)
    before = raw.anonymous_memory(rig)

    def send():
        try:
            with raw.dial(rig) as s:
                s.sendall(b"POST /private/x HTTP/1.1\r\nHost: x\r\nContent-Length: 60000000\r\n\r\n")
                for _ in range(60):
                    s.sendall(b"x" * 1_000_000)
        except OSError:
            pass

    threads = [threading.Thread(target=send) for _ in range(20)]
    for t in threads:
        t.start()
    peak = 0
    while any(t.is_alive() for t in threads):
        peak = max(peak, raw.anonymous_memory(rig))
        time.sleep(0.02)
    assert peak - before < 40, f"{peak - before:.0f} MB"
    assert until(lambda: spooled(rig), lambda files: not files, 10) == []  # what was begun goes with its connection


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("option", ["held", "held-per-address"])
def test_all_bodies_together_are_bounded(start_rig, option, version, slack):
    rig, crowd, codes = start_rig(option, 8 << 20), [], []
    for _ in range(12):
        if version == 1:
            s = raw.dial(rig)
            crowd.append(s)
            try:
                s.sendall(b"POST /size HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n" + b"x" * 1_500_000)
            except OSError:
                pass
        else:
            c = Http2(rig)
            crowd.append(c)
            c.send(frame(HEADERS, END_HEADERS, 1, raw.head("/size", "POST")),
                   *[frame(DATA, 0, 1, b"x" * 16384) for _ in range(90)])
        time.sleep(0.05 * slack)  # else all grow together, and all are refused
    for c in crowd:
        if version == 1:
            c.settimeout(0.3)
            try:
                codes.append(raw.read_answer(c)[0])
            except (TimeoutError, ConnectionError):
                codes.append(None)
        else:
            codes.append(c.answer(1, 0.3)[0])
    assert codes.count(503) >= 4 and None in codes, codes
    for c in crowd:
        (c if version == 1 else c.s).close()
    time.sleep(0.3)
    assert httpx.post(rig.url + "/size", content=b"x" * 1_000_000).text == "1000000"


@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
@pytest.mark.parametrize("size", [0, 1, 1000, 65536, 70_000, 5_000_000, 60_000_000])
@pytest.mark.parametrize("path", ["/echo", "/slow"])
def test_bodies_come_back_as_they_are(rig, tmp_path, version, size, path):
    body = os.urandom(size)
    (tmp_path / "body").write_bytes(body)
    again = []
    if "1.1" in version:  # curl 7.88 cannot do that over HTTP/2
        again = ["--next", version, "-sS", "-o", str(tmp_path / "again"), "--data-binary", f"@{tmp_path}/body",
                 rig.url + "/echo"]
    out = curl(version, "-o", str(tmp_path / "out"), "-w", "%{http_code}", "--data-binary", f"@{tmp_path}/body",
               rig.url + path, *again)
    assert out.stdout.startswith("200"), out
    assert (tmp_path / "out").read_bytes() == body
    assert not again or (tmp_path / "again").read_bytes() == body


def test_a_large_body_is_not_copied_for_a_thread(start_rig, tmp_path, slack):
    raw.memory_counts(slack)
    rig = start_rig()
    (tmp_path / "body").write_bytes(b"x" * 60_000_000)
    peak, out = 0, subprocess.Popen(["curl", "-sS", "-o", str(tmp_path / "out"), "--data-binary", f"@{tmp_path}/body",
                                     "-H", "Expect:", rig.url + "/slow"])
    while out.poll() is None:
        peak = max(peak, raw.anonymous_memory(rig))
        time.sleep(0.01)
    assert (tmp_path / "out").stat().st_size == 60_000_000
    # the answer's two copies are there: of the caller's bytes, and libh2o's
    assert peak < 140, f"{peak:.0f} MB"


def test_a_client_that_goes_while_a_thread_has_its_body(rig):
    for version in (1, 2) * 5:
        if version == 1:
            s = raw.dial(rig)
            s.sendall(b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n" + b"x" * 5_000_000)
        else:
            c = Http2(rig)
            c.send(frame(HEADERS, END_HEADERS, 1, raw.head("/slow", "POST")),
                   *[frame(DATA, END_STREAM if i == 299 else 0, 1, b"x" * 16384) for i in range(300)])
            s = c.s
        time.sleep(0.05)
        s.close()
    time.sleep(0.5)
    assert httpx.get(rig.url + "/size").status_code == 200


# ---- bodies that are handed on ----

VERSIONS = {"HTTP/1.1": "--http1.1", "HTTP/2": "--http2-prior-knowledge"}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [1, 1000, 524288, 20_000_001])
def test_handed_on_as_it_is(rig, tmp_path, version, chunked, size):
    body, name = os.urandom(size), f"{version[-1]}-{chunked}-{size}"
    (tmp_path / "body").write_bytes(body)
    words = []
    if chunked:
        words = ["-H", "Transfer-Encoding: chunked" if version == "HTTP/1.1" else "Content-Length:"]
    again = ["--next", "-sS", f"{rig.url}/size"] if version == "HTTP/1.1" else []
    out = curl(VERSIONS[version], "-X", "PATCH", "--data-binary", f"@{tmp_path}/body", *words,
               f"{rig.url}/stream/{name}", *again)
    assert out.stdout == (f"{size}0" if again else f"{size}"), out
    assert open(rig.path(name), "rb").read() == body


@pytest.mark.parametrize("version", VERSIONS)
def test_what_came_before_a_break_is_kept(rig, version):
    name, size = f"broken-{version[-1]}", 3_000_000 if version == "HTTP/1.1" else 3_010_000
    if version == "HTTP/1.1":
        s = raw.dial(rig)
        head = f"PATCH /stream/{name} HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n"
        s.sendall(head.encode() + b"x" * 3_000_000)
    else:
        c = Http2(rig)
        c.send(frame(HEADERS, END_HEADERS, 1, raw.head("/stream/" + name, "PATCH")),
               *[frame(DATA, 0, 1, b"x" * 10_000) for _ in range(301)])
        s = c.s
    time.sleep(0.5)
    s.close()
    assert rig.said(f"end broken after {size}")
    assert os.stat(rig.path(name)).st_size == size


def test_a_stream_that_is_reset_breaks_its_body_only(rig):
    c = Http2(rig)
    c.send(frame(HEADERS, END_HEADERS, 1, raw.head("/stream/reset", "PATCH")), frame(DATA, 0, 1, b"x" * 777))
    time.sleep(0.2)
    c.send(frame(raw.RST_STREAM, 0, 1, b"\0\0\0\x08"), frame(HEADERS, END_HEADERS | END_STREAM, 3, raw.head("/size")))
    assert c.answer(3)[0] == 200 and rig.said("end broken after 777")


@pytest.mark.parametrize("version", VERSIONS)
def test_refused_at_the_beginning(rig, tmp_path, version):
    (tmp_path / "body").write_bytes(b"x" * 5_000_000)
    out = curl(VERSIONS[version], "-w", " %{http_code}", "-X", "PATCH",
               "-H", "Authorization: Bearer eve", "--data-binary", f"@{tmp_path}/body", rig.url + "/stream/refused")
    assert '"detail":"not for you"' in out.stdout and out.stdout.endswith(" 403"), out


@pytest.mark.parametrize("version", VERSIONS)
def test_refused_in_the_middle(rig, tmp_path, version):
    (tmp_path / "body").write_bytes(b"x" * 524288 + b"full" * 1_000_000)
    out = curl(VERSIONS[version], "-w", " %{http_code}", "-X", "PATCH", "-H", "Expect:",
               "--data-binary", f"@{tmp_path}/body", rig.url + f"/stream/full-{version[-1]}")
    assert out.stdout.endswith(" 507") or "full" in open(rig.path(f"full-{version[-1]}")).read(), out


def test_continue_is_said_when_it_has_begun(rig):
    with raw.dial(rig) as s:
        s.sendall(b"PATCH /stream/continued HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert s.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        s.sendall(b"hello" + b"GET /size HTTP/1.1\r\nHost: x\r\n\r\n")
        assert raw.read_answer(s)[2] == b"5" and raw.read_answer(s)[2] == b"0"


def test_refused_instead_of_continue(rig):
    with raw.dial(rig) as s:
        s.sendall(b"PATCH /stream/continued HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
                  b"Expect: 100-continue\r\nAuthorization: Bearer eve\r\n\r\n")
        assert raw.read_all(s).startswith(b"HTTP/1.1 403 ")


def test_several_on_one_connection(rig):
    c = Http2(rig)
    streams = range(1, 20, 2)
    for i in streams:
        c.send(frame(HEADERS, END_HEADERS, i, raw.head(f"/stream/many-{i}", "PATCH")))
    for round in range(50):
        for i in streams:
            c.send(frame(DATA, END_STREAM if round == 49 else 0, i, bytes([i]) * 10_000))
    got, ended = {}, set()
    for kind, flags, stream, payload in c.frames(10):
        if kind == DATA:
            got[stream] = got.get(stream, b"") + payload
        if kind in (DATA, HEADERS) and flags & END_STREAM:
            ended.add(stream)
        if len(ended) == len(streams):
            break
    assert got == {i: b"500000" for i in streams}
    for i in streams:
        assert open(rig.path(f"many-{i}"), "rb").read() == bytes([i]) * 500_000


def test_a_body_of_another_length_than_announced(rig):
    c = Http2(rig)
    c.send(frame(HEADERS, END_HEADERS, 1, raw.head("/stream/short", "PATCH", ("content-length", "10"))),
           frame(DATA, END_STREAM, 1, b"12345"))
    assert c.answer(1)[0] == 400 and rig.said("end broken after")


@pytest.mark.parametrize("version", VERSIONS)
def test_five_gigabytes_in_little_memory(start_rig, tmp_path, version, slack):
    raw.memory_counts(slack)
    rig = start_rig()
    size = (5 << 30) if os.environ.get("WEBML_LONG") == "1" else 300 << 20
    with open(tmp_path / "body", "wb") as f:
        f.truncate(size)
    peak = 0
    out = subprocess.Popen(["curl", "-sS", VERSIONS[version], "-X", "PATCH", "-T", str(tmp_path / "body"),
                            rig.url + "/stream/large"], stdout=subprocess.PIPE, text=True)
    while out.poll() is None:
        peak = max(peak, raw.anonymous_memory(rig))
        time.sleep(0.02)
    assert out.communicate()[0] == str(size)
    assert peak < 60, f"{peak:.0f} MB"
    os.unlink(rig.path("large"))


def test_drips_are_ended(start_rig, slack):
    rig = start_rig("idle", 2)
    with raw.dial(rig) as s:
        s.sendall(b"PATCH /stream/drip HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 1_000_000)
        began = time.monotonic()
        try:
            while time.monotonic() - began < 8 * slack:
                s.sendall(b"x")
                time.sleep(0.2)
            pytest.fail("it is still open")
        except OSError:
            pass
    assert rig.said("end broken")
