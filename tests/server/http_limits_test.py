"""Descriptors that run out, TLS, and texts in paths."""
import os
import resource
import socket
import ssl
import subprocess
import time

import httpx
import pytest

import raw
from client import Server, folder, make_admin


def processor_time(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_without_descriptors_the_loop_rests_and_goes_on(start_server):
    server = start_server("--threads", "1")
    pid, crowd = server.process.pid, []
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{pid}/fd")) + 20,) * 2)
    for _ in range(60):
        crowd.append(raw.dial(server))
        crowd[-1].sendall(b"G")
    time.sleep(0.5)
    before = processor_time(pid)
    time.sleep(2)
    used = processor_time(pid) - before
    assert used < 0.4, f"{used:.2f} s of 2"
    for s in crowd:
        s.close()
    time.sleep(0.5)
    assert httpx.get(server.url + "/healthz", timeout=5).status_code == 200


def test_connections_leave_descriptors_for_files(programs, tmp_path):
    program = tmp_path / "server.sh"
    program.write_text(f'#!/bin/sh\nexec prlimit --nofile=600:600 {programs["server"]} "$@"\n')
    program.chmod(0o755)
    server = Server(str(program))
    admin = make_admin(server)
    crowd = [raw.dial(server) for _ in range(700)]
    for s in crowd:
        try:
            s.sendall(b"G")
        except OSError:
            pass
    time.sleep(0.5)
    assert admin.call("GET", "/api/v1/models")[0] == 200
    assert admin.call("POST", "/api/v1/backups")[0] < 500
    for s in crowd:
        s.close()
    server.end()


# ---- TLS ----

@pytest.fixture(scope="module")
def secure(start_server_of_module, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = str(folder / "c.pem"), str(folder / "k.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost"], check=True, capture_output=True)
    return start_server_of_module("--tls-cert", certificate, "--tls-key", key)


def shake_hands(server, *words, data=""):
    host, port = raw.address_of(server)
    return subprocess.run(["openssl", "s_client", "-connect", f"{host}:{port}", *words], input=data, capture_output=True, text=True, timeout=20)


@pytest.mark.parametrize("cipher", ["AES128-GCM-SHA256", "AES256-SHA", "ECDHE-RSA-AES128-SHA", "ECDHE-RSA-AES256-SHA384", "DHE-RSA-AES128-GCM-SHA256"])
def test_without_forward_secrecy_or_aead_there_is_no_handshake(secure, cipher):
    assert "Cipher is (NONE)" in shake_hands(secure, "-tls1_2", "-cipher", cipher + ":@SECLEVEL=0").stdout


@pytest.mark.parametrize("words", [["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"], ["-tls1_2", "-cipher", "ECDHE-RSA-CHACHA20-POLY1305"], ["-tls1_3"]])
def test_with_them_there_is(secure, words):
    out = shake_hands(secure, *words).stdout
    assert "Cipher is" in out and "Cipher is (NONE)" not in out


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_old_versions_are_refused(secure, version):
    assert "Cipher is (NONE)" in shake_hands(secure, version, "-cipher", "ALL:@SECLEVEL=0").stdout


def test_no_renegotiation(secure):
    out = shake_hands(secure, "-tls1_2", data="R\n")
    assert "RENEGOTIATING" in out.stdout + out.stderr
    assert "no renegotiation" in (out.stdout + out.stderr).lower() or "error" in (out.stdout + out.stderr).lower()
    assert httpx.get(secure.url + "/healthz", verify=False).status_code == 200


@pytest.mark.parametrize("http2", [False, True])
def test_requests_over_tls(secure, http2):
    with httpx.Client(verify=False, http1=not http2, http2=http2) as c:
        for _ in range(5):
            answer = c.get(secure.url + "/healthz")
            assert answer.status_code == 200 and answer.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
        assert c.post(secure.url + "/api/v1/auth/login", content=b"x" * 17_000_000).status_code == 413


def test_a_certificate_is_read_again_while_a_handshake_waits(secure):
    import signal
    with raw.dial(secure) as s:
        time.sleep(1.2)  # accepted without a byte
        secure.process.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(s) as t:
            t.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert raw.read_answer(t)[0] == 200


def test_a_refusal_over_tls(secure):
    with raw.secure(secure) as s:
        s.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
        assert raw.read_answer(s)[0] == 400


def test_a_handshake_that_does_not_go_on_ends(start_server_of_module, secure, slack):
    impatient = start_server_of_module("--timeout", "1", "--tls-cert", secure.options[1], "--tls-key", secure.options[3])
    for first in (b"", b"\x16\x03\x01\x02\x00\x01"):
        with raw.dial(impatient) as s:
            if first:
                s.sendall(first)
            assert raw.is_closed(s, 5 * slack)


# ---- texts ----

@pytest.fixture(scope="module")
def rig(programs, tmp_path_factory):
    r = raw.Rig(programs, tmp_path_factory.mktemp("rig"))
    yield r
    assert r.end() == 0


@pytest.mark.parametrize("target", [
    "/api/v1/%00", "/api/v1/models%0a", "/%ff", "/%c0%af", "/%ed%a0%80", "/%f4%90%80%80", "/%e2%82", "/healthz?a=%00", "/healthz?a=%ff", "/healthz?%0d%0a", "/healthz?a=%7f", "/healthz?a=%c0%80"])
@pytest.mark.parametrize("version", [1, 2])
def test_what_is_no_text_is_400(server, target, version):
    if version == 1:
        with raw.dial(server) as s:
            s.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            status, _, body = raw.read_answer(s)
    else:
        c = raw.Http2(server)
        c.send(raw.frame(raw.HEADERS, raw.END_HEADERS | raw.END_STREAM, 1, raw.head(target)))
        status, body = c.answer(1)
    assert status == 400 and b'"detail"' in body


@pytest.mark.parametrize("target", [b"/healthz?a=\xff", b"/\xc3\x28"])
def test_bytes_that_are_no_text_are_400(server, target):
    with raw.dial(server) as s:
        s.sendall(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        assert raw.read_answer(s)[0] == 400


@pytest.mark.parametrize("target", ["/size?a=%c3%a9", "/size?a=\u00e9", "/size?a=100%25&b=%", "/size?a=%F0%9F%98%80", "/%e2%82%ac"])
def test_text_is_taken(rig, target):
    with raw.dial(rig) as s:
        s.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert raw.read_answer(s)[0] == 200


@pytest.mark.parametrize("path", ["/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/a/..%2f..%2fx", "//..//..", "/..", "/%2e%2e", "/a/%2e%2e%2f%2e%2e"])
def test_paths_say_nothing_to_the_log(server, path):
    log = os.path.join(folder, "server.log")  # what the server writes to its errors
    before = os.stat(log).st_size
    with raw.dial(server) as s:
        s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert raw.read_answer(s)[0] in (200, 404, 400)  # 200: what leads to / is /
    assert os.stat(log).st_size == before
