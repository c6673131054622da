"""The system log: who did what, and no secret."""
import json
import os

from client import Client, PASSWORD, make_admin, new_user


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
