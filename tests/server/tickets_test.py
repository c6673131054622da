"""One-time tickets: downloads of a page that has its token in memory alone."""
import os
import sqlite3
import time

import pytest

from client import PASSWORD, Client, make_admin, new_user, until, upload
from samples import certificate, numbers_table

TICKETS, LOG = "/api/v1/tickets", "/api/v1/system/log"


@pytest.fixture(scope="module")
def dataset(admin):
    """The path of a public file, and what it has."""
    data = numbers_table(400)
    number = upload(admin, "numbers to load", data, "n.csv")
    assert admin.call("PATCH", f"/api/v1/datasets/{number}", {"public": True})[0] == 200
    return f"/api/v1/datasets/{number}/file", data


@pytest.fixture
def file(dataset):
    return dataset[0]


def ticket(c, path):
    """The address with the ticket."""
    return c.post(TICKETS, {"path": path})["url"]


# ---- what it opens ----

def test_a_ticket_opens_a_download(user, nobody, dataset):
    file, data = dataset
    assert nobody.call("GET", ticket(user, file)) == (200, data)


def test_a_ticket_is_said_with_its_address_and_its_end(user, file):
    answer = user.post(TICKETS, {"path": file})
    assert user.last.status_code == 201
    assert answer["url"] == f"{file}?ticket={answer['ticket']}"
    assert abs(answer["expires"] - time.time() - 60) < 5


def test_a_ticket_opens_weights(admin, nobody, table_net):
    status, data = nobody.call("GET", ticket(admin, f"/api/v1/weights/{table_net.weights}/file"))
    assert status == 200
    with open(table_net.file, "rb") as f:
        assert data == f.read()


def test_a_ticket_opens_a_backup(admin, nobody):
    backup = admin.post("/api/v1/system/backups", {})["backup"]
    until(lambda: any(b["backup"] == backup for b in admin.get("/api/v1/system/backups")["backups"]))
    status, data = nobody.call("GET", ticket(admin, f"/api/v1/system/backups/{backup}/file"))
    assert status == 200 and data[:2] == b"PK"


def test_a_ticket_opens_the_log_with_its_parameters(admin, nobody):
    status, answer = nobody.call("GET", ticket(admin, LOG) + "&most=1")
    assert status == 200 and len(answer["lines"]) == 1


def test_the_ticket_may_stand_behind_other_parameters(admin, nobody):
    path, secret = ticket(admin, LOG).split("?")
    assert nobody.call("GET", f"{path}?most=1&{secret}")[0] == 200


def test_a_ticket_opens_what_its_account_may_see_and_nothing_else(admin, user, nobody):
    number = upload(admin, "private numbers", numbers_table(10), "n.csv")
    path = f"/api/v1/datasets/{number}/file"
    assert nobody.call("GET", ticket(user, path))[0] == 404
    assert nobody.call("GET", ticket(admin, path))[0] == 200


def test_users_get_no_ticket_for_what_administrators_may(user):
    assert user.call("POST", TICKETS, {"path": LOG})[0] == 403


@pytest.mark.parametrize("path", [
    "/api/v1/auth/me", "/api/v1/models", "/api/v1/datasets/1", "/api/v1/events", "/healthz", "/nothing",
    "/api/v1/datasets/1/file?x=1", "/api/v1/datasets/1/file/"])
def test_only_downloads_have_tickets(admin, path):
    assert admin.call("POST", TICKETS, {"path": path})[0] == 422


def test_nobody_gets_a_ticket(nobody, file):
    assert nobody.call("POST", TICKETS, {"path": file})[0] == 401


def test_an_api_token_gets_no_ticket(user, file):
    made = user.post("/api/v1/tokens", {"name": "all", "scopes": ["write"]})
    assert Client(user.server, made["token"]).call("POST", TICKETS, {"path": file})[0] == 403


# ---- what it does not open ----

def test_a_ticket_is_good_once(user, nobody, file):
    url = ticket(user, file)
    assert nobody.call("GET", url)[0] == 200
    status, answer = nobody.call("GET", url)
    assert status == 401 and "ticket" in answer["detail"]


def test_a_ticket_that_was_used_for_another_path_is_used_up(admin, user, nobody, file):
    number = upload(admin, "other numbers", numbers_table(20), "n.csv")
    secret = ticket(user, file).split("?")[1]
    assert nobody.call("GET", f"/api/v1/datasets/{number}/file?{secret}")[0] == 401
    assert nobody.call("GET", f"{file}?{secret}")[0] == 401


@pytest.mark.parametrize("method, path", [
    ("GET", "/api/v1/auth/me"), ("GET", "/api/v1/models"), ("GET", "/api/v1/events"), ("POST", "/api/v1/models"),
    ("DELETE", "/api/v1/auth/me"), ("GET", "/api/v1/datasets/1")])
def test_a_ticket_is_for_downloads_alone(user, nobody, file, method, path):
    url = ticket(user, file)
    assert nobody.call(method, f"{path}?{url.split('?')[1]}", {} if method == "POST" else None)[0] == 401
    assert nobody.call("GET", url)[0] == 200


def test_elsewhere_a_ticket_is_a_parameter_that_is_not_known(user, file):
    secret = ticket(user, file).split("?")[1]
    assert user.call("GET", f"/api/v1/models?{secret}")[0] == 400


def test_a_head_does_not_take_a_ticket_and_leaves_it_good(user, nobody, file):
    url = ticket(user, file)
    assert nobody.call("HEAD", url)[0] == 401
    assert nobody.call("GET", url)[0] == 200


@pytest.mark.parametrize("secret", ["", "A" * 43, "A" * 42, "A" * 44, "%41" * 43, "{0}A"])
def test_a_ticket_that_is_none_is_refused(user, nobody, file, secret):
    made = user.post(TICKETS, {"path": file})["ticket"]
    assert nobody.call("GET", f"{file}?ticket={secret.format(made)}")[0] == 401


def test_a_ticket_is_no_token(user, nobody, file):
    made = user.post(TICKETS, {"path": file})["ticket"]
    assert nobody.call("GET", file, headers={"authorization": "Bearer " + made})[0] == 401


# ---- parts ----

def test_a_download_by_ticket_may_begin_anywhere(user, nobody, dataset):
    file, data = dataset
    status, part = nobody.call("GET", ticket(user, file), headers={"range": "bytes=100-"})
    assert (status, part) == (206, data[100:])


def test_a_download_goes_on_with_another_ticket(user, nobody, dataset):
    file, data = dataset
    _, first = nobody.call("GET", ticket(user, file), headers={"range": "bytes=0-99"})
    tag = nobody.last.headers["etag"]
    status, rest = nobody.call("GET", ticket(user, file), headers={"range": "bytes=100-", "if-range": tag})
    assert (status, first + rest) == (206, data)


def test_a_download_does_not_go_on_with_the_same_ticket(user, nobody, file):
    url = ticket(user, file)
    assert nobody.call("GET", url, headers={"range": "bytes=0-99"})[0] == 206
    assert nobody.call("GET", url, headers={"range": "bytes=100-"})[0] == 401


# ---- beside other credentials ----

def test_authorization_counts_before_a_ticket(user, nobody, file):
    url = ticket(user, file)
    assert nobody.call("GET", url, headers={"authorization": "Bearer none"})[0] == 401
    assert user.call("GET", url)[0] == 200
    assert nobody.call("GET", url)[0] == 200  # nobody has used it


def test_a_ticket_counts_before_a_cookie(start_server):
    server = start_server(*certificate("tickets", "localhost"))
    admin = make_admin(server, verify=False)
    number = upload(admin, "private", numbers_table(10), "n.csv")
    user = new_user(admin, "somebody")
    answer = Client(server, verify=False).http.post(
        "/api/v1/auth/login", json={"name": user.name, "password": PASSWORD, "cookie": True},
        headers={"sec-fetch-site": "same-origin"})
    headers = {"cookie": answer.headers["set-cookie"].split(";")[0], "sec-fetch-site": "same-origin"}
    path, nobody = f"/api/v1/datasets/{number}/file", Client(server, verify=False)
    assert nobody.call("GET", path, headers=headers)[0] == 404
    assert nobody.call("GET", ticket(admin, path), headers=headers)[0] == 200


# ---- its end ----

def test_a_ticket_ends_after_a_minute(start_server, programs, tmp_path):
    ahead = tmp_path / "ahead"
    options = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
    clock = os.path.join(os.path.dirname(programs["nvml"]), "clock-ahead.so")
    server = start_server(LD_PRELOAD=clock, WEBML_CLOCK_AHEAD=str(ahead), ASAN_OPTIONS=options)
    admin, nobody = make_admin(server), Client(server)
    urls = [ticket(admin, LOG) for _ in range(2)]
    assert nobody.call("GET", urls[0])[0] == 200
    ahead.touch()
    assert nobody.call("GET", urls[1])[0] == 401


def test_a_ticket_ends_with_its_log_in(user, nobody, file):
    url = ticket(user, file)
    assert user.call("POST", "/api/v1/auth/logout", {})[0] == 204
    assert nobody.call("GET", url)[0] == 401


def test_a_ticket_does_not_outlive_a_role(admin, nobody):
    second = new_user(admin, "second admin", "admin")
    url = ticket(second, LOG)
    number = second.get("/api/v1/auth/me")["id"]
    assert admin.call("PATCH", f"/api/v1/users/{number}", {"role": "user"})[0] == 200
    assert nobody.call("GET", url)[0] == 401


def test_an_account_has_64_tickets_at_most(user, other, file):
    for _ in range(64):
        user.post(TICKETS, {"path": file})
    assert user.call("POST", TICKETS, {"path": file})[0] == 429
    other.post(TICKETS, {"path": file})


def test_a_used_ticket_makes_room(user, nobody, file):
    urls = [ticket(user, file) for _ in range(64)]
    assert nobody.call("GET", urls[0])[0] == 200
    user.post(TICKETS, {"path": file})


# ---- secrecy ----

def test_no_log_has_the_ticket(server, admin, user, nobody, file):
    url = ticket(user, file)
    secret = url.split("=")[1]
    nobody.call("GET", url)
    nobody.call("GET", url)
    nobody.call("GET", f"/api/v1/models?ticket={secret}")
    user.call("GET", f"/api/v1/models?ticket={secret}")
    lines = admin.get(LOG + "?most=10000")["lines"]
    assert [line.get("path") for line in lines].count(file) >= 2
    assert secret not in admin.last.text
    for name in os.listdir(server.file("log")):
        with open(server.file("log", name), encoding="utf-8") as f:
            assert secret not in f.read()


def test_the_store_has_no_ticket(server, user, file):
    secret = user.post(TICKETS, {"path": file})["ticket"]
    with sqlite3.connect(server.file("webml.sqlite"), timeout=30) as store:
        assert all(secret not in line for line in store.iterdump())
