"""The system log: who did what, and no secret."""
import json
import os
import time

from client import Client, PASSWORD, make_admin, new_user, run


def log_of(server):
    """The text of all its files."""
    text = ""
    for name in sorted(os.listdir(server.file("log"))):
        with open(server.file("log", name), encoding="utf-8") as f:
            text += f.read()
    return text


def test_the_log_tells_of_requests_and_of_log_ins_that_fail(start_server):
    server = start_server()
    make_admin(server)
    nobody = Client(server)
    assert nobody.log_in("admin", "wrong horse!") == 401
    for _ in range(101):
        nobody.call("GET", "/api/v1/models")
    assert server.stop() == 0
    lines = [json.loads(line) for line in log_of(server).splitlines() if line.startswith("{")]
    assert len(lines) > 100
    assert any(line["event"] == "log-in" and line["outcome"] == "refused" for line in lines), lines


def test_no_secret_is_in_the_log(start_server):
    server = start_server()
    admin = make_admin(server)
    ada = new_user(admin, "Ada")
    ada.call("POST", "/api/v1/auth/login", '{"name": "Ada", "password": "open sesame')
    ada.call("POST", "/api/v1/auth/login", '{"name": "Ada", "password": open sesame}')
    assert ada.log_in("Ada", "correct horse") == 401
    ada.call("POST", "/api/v1/auth/password", {"password": PASSWORD, "new_password": "battery staple"})
    assert ada.log_in("Ada", "battery staple") == 200
    assert server.stop() == 0
    log = log_of(server)
    assert '"log-in"' in log
    for secret in ("sesame", "correct horse", "battery staple", PASSWORD, admin.token, admin.renewal, ada.token):
        assert secret not in log


# ---- as administrators read it ----

def read(admin, **query):
    return admin.get("/api/v1/system/log", params=query)["lines"]


def test_the_log_is_read_by_event(admin, table_net):
    session = admin.get("/api/v1/sessions")["sessions"][0]["id"]
    lines = read(admin, event="session", most=1000)
    assert lines
    assert all(line["event"] == "session" for line in lines), lines
    assert lines[0]["time"] >= lines[-1]["time"]
    assert any(line["outcome"] == "finished" and line["object"] == str(session) for line in lines), lines


def test_the_log_is_read_by_user_status_and_path(admin, user):
    number = user.get("/api/v1/auth/me")["id"]
    assert user.call("POST", "/api/v1/sessions", {"model": 99, "dataset": 99})[0] == 404
    lines = read(admin, user=number, status=400, path="/api/v1/sessions")
    assert lines
    for line in lines:
        assert line["user"] == number, line
        assert line["status"] >= 400, line
        assert line["path"].startswith("/api/v1/sessions"), line
        assert line["ms"] >= 0, line


def test_the_log_is_read_as_far_as_one_wants(admin):
    for _ in range(7):
        admin.get("/api/v1/auth/me")
    assert len(read(admin, most=7)) == 7
    assert read(admin, since=int(time.time()) + 100) == []


def test_the_log_is_bounded_and_json_whatever_the_requests(start_server):
    server = start_server("--log-bytes", "65536")
    admin = make_admin(server)
    code, out, err = run("h2load", "-n", "4000", "-c", "2", "-m", "10", server.url + "/healthz")
    assert code == 0, err
    for url, status in (("/healthz", 200), ('/api/v1/nothing"\\%0a', 400), ("/api/v1/%ff%fe", 400)):
        assert admin.call("GET", url)[0] == status, url
    assert read(admin, path='/api/v1/nothing"', most=1) == []
    logs = sorted(os.listdir(server.file("log")))
    assert 2 < len(logs) <= 8, logs
    sizes = {name: os.path.getsize(server.file("log", name)) for name in logs}
    assert all(size < 140000 for size in sizes.values()), sizes
    for line in log_of(server).splitlines():
        json.loads(line)
