"""Accounts: keys, log-ins, renewals, passwords, tokens, and what administrators do with them."""
import base64
import hashlib
import hmac
import json
import sqlite3
import time

import pytest

from client import Client, PASSWORD, make_admin, new_key, new_user

ME = "/api/v1/auth/me"


def renew(c):
    return c.call("POST", "/api/v1/auth/renew", {"renewal": c.renewal})[0]


def change_password(c, old, new):
    return c.call("POST", "/api/v1/auth/password", {"password": old, "new_password": new})


def account(admin, name):
    """Where the account is."""
    users = {u["name"]: u["id"] for u in admin.get("/api/v1/users")["users"]}
    return f"/api/v1/users/{users[name]}"


# ---- registration ----

def test_a_wrong_key_makes_no_account(nobody):
    assert nobody.register("wrong", "admin", PASSWORD) == 403, nobody.last.text


def test_a_name_with_a_slash_is_refused(start_server):
    server = start_server()
    assert Client(server).register(server.key, "ad/min", PASSWORD) == 400


def test_a_short_password_is_refused(start_server):
    server = start_server()
    assert Client(server).register(server.key, "admin", "short") == 400


def test_the_first_key_makes_an_administrator(start_server):
    server = start_server()
    c = Client(server)
    assert c.register(server.key, "admin", PASSWORD) == 201, c.last.text
    assert c.get(ME)["role"] == "admin"


def test_a_key_is_good_once(server, admin, nobody):
    assert nobody.register(server.key, "second", PASSWORD) == 403, nobody.last.text


def test_an_administrator_makes_keys_for_users(server, admin):
    status, key = admin.call("POST", "/api/v1/users/keys", {"role": "user"})
    assert status == 201, key
    c = Client(server)
    assert c.register(key["key"], "Ada", "correct horse") == 201, c.last.text
    me = c.get(ME)
    assert me["name"] == "Ada", me


def test_names_that_differ_in_case_only_are_the_same(server, admin):
    new_user(admin, "Grace")
    key, c = new_key(admin), Client(server)
    assert c.register(key, "GRACE", PASSWORD) == 409, c.last.text
    assert c.register(key, "hopper", PASSWORD) == 201, "the key is still good after that"


# ---- log-ins ----

def test_logging_in_takes_the_name_in_any_case_and_the_right_password(user):
    assert user.log_in(user.name.upper(), PASSWORD) == 200
    assert user.log_in(user.name, "wrong horse!") == 401


def spend_long_ago(server, seconds=60):
    """What renewals were used is as if it was a while ago."""
    with sqlite3.connect(server.file("webml.sqlite"), timeout=30) as store:
        store.execute("UPDATE renewals SET spent = spent - ?", (seconds,))


def test_two_tabs_of_a_browser_may_use_a_renewal_at_once(user):
    assert renew(user) == 200
    assert renew(user) == 200


def test_a_renewal_that_comes_again_later_ends_the_log_in(server, user):
    stolen = user.renewal
    status, answer = user.call("POST", "/api/v1/auth/renew", {"renewal": stolen})
    assert status == 200, answer
    spend_long_ago(server)
    assert user.call("POST", "/api/v1/auth/renew", {"renewal": stolen})[0] == 401
    assert user.call("POST", "/api/v1/auth/renew", {"renewal": answer["renewal"]})[0] == 401, "the thief's goes, too"
    assert Client(server, answer["token"]).call("GET", "/api/v1/auth/me")[0] == 401


def test_log_ins_are_listed_and_ended_one_by_one(server, user):
    second = Client(server)
    assert second.log_in(user.name, PASSWORD) == 200
    logins = user.get("/api/v1/auth/logins")["logins"]
    assert sorted(x["current"] for x in logins) == [False, True], logins
    other = next(x for x in logins if not x["current"])
    assert user.call("DELETE", f"/api/v1/auth/logins/{other['id']}")[0] == 204
    assert second.call("GET", "/api/v1/auth/me")[0] == 401
    assert user.call("GET", "/api/v1/auth/me")[0] == 200
    assert user.call("DELETE", f"/api/v1/auth/logins/{other['id']}")[0] == 404


def test_logging_out_ends_this_log_in_or_all(server, user):
    second, third = Client(server), Client(server)
    assert second.log_in(user.name, PASSWORD) == third.log_in(user.name, PASSWORD) == 200
    assert second.call("POST", "/api/v1/auth/logout")[0] == 204
    assert second.call("GET", "/api/v1/auth/me")[0] == 401
    assert third.call("GET", "/api/v1/auth/me")[0] == 200
    assert third.call("POST", "/api/v1/auth/logout", {"everywhere": True})[0] == 204
    assert user.call("GET", "/api/v1/auth/me")[0] == 401


def test_a_new_password_ends_other_tokens(server, user):
    old = user.token
    status, answer = change_password(user, PASSWORD, "battery staple")
    assert status == 200, answer
    assert Client(server, old).call("GET", ME)[0] == 401
    assert Client(server, answer["token"]).call("GET", ME)[0] == 200
    assert user.log_in(user.name, "battery staple") == 200


def test_the_present_password_is_asked_for(user):
    status, answer = change_password(user, "wrong", "battery staple")
    assert status == 403, answer


def test_logging_out_ends_the_token(user):
    assert user.call("POST", "/api/v1/auth/logout")[0] == 204
    assert user.call("GET", ME)[0] == 401
    assert user.log_in(user.name, PASSWORD) == 200, "and in again"


def test_guessing_passwords_has_to_wait(start_server):
    server = start_server()
    new_user(make_admin(server), "Ada")
    nobody = Client(server)
    tries = [nobody.log_in("Ada", "guess") for _ in range(8)]
    assert tries[0] == 401, tries
    assert 429 in tries, tries


# ---- tokens ----

def forged(claims, key=b"x" * 32, algorithm="HS256"):
    parts = ({"alg": algorithm, "typ": "JWT"}, claims) if algorithm != "none" else ({"alg": "none"}, claims)
    text = b".".join(base64.urlsafe_b64encode(json.dumps(p, separators=(",", ":")).encode()).rstrip(b"=")
                     for p in parts)
    mark = base64.urlsafe_b64encode(hmac.new(key, text, hashlib.sha256).digest()).rstrip(b"=")
    return (text + b"." + mark).decode()


@pytest.fixture(scope="module")
def secret(server):
    with open(server.file("token.key"), "rb") as f:
        return f.read()


@pytest.fixture
def claims(admin):
    """claims(**changes): what the administrator's own token says, with changes."""
    head, payload, mark = admin.token.split(".")
    ours = json.loads(base64.urlsafe_b64decode(payload + "=="))
    return lambda **changes: {**ours, **changes}


def test_a_token_that_another_program_makes_with_the_key_is_good(server, claims, secret):
    status, answer = Client(server, forged(claims(exp=int(time.time()) + 60), secret)).call("GET", "/api/v1/users")
    assert status == 200, answer


@pytest.mark.parametrize("make", [
    pytest.param(lambda claims, secret: forged(claims()), id="of another key"),
    pytest.param(lambda claims, secret: forged(claims(exp=int(time.time()) - 1), secret), id="expired"),
    pytest.param(lambda claims, secret: forged(claims(gen=9), secret), id="of another generation"),
    pytest.param(lambda claims, secret: forged(claims(sid=99999), secret), id="of another log-in"),
    pytest.param(lambda claims, secret: forged(claims(), secret, "none"), id="without an algorithm"),
    pytest.param(lambda claims, secret: forged(claims(sub="99999"), secret), id="of nobody"),
    pytest.param(lambda claims, secret: forged(claims(), secret)[:-3], id="cut"),
    pytest.param(lambda claims, secret: ".", id="empty"),
    pytest.param(lambda claims, secret: "x" * 9000, id="long")])
def test_a_token_that_is_none_of_ours_is_refused(server, claims, secret, make):
    status, answer = Client(server, make(claims, secret)).call("GET", "/api/v1/users")
    assert status == 401, answer


# ---- administrators ----

def test_administrators_see_all_accounts(start_server):
    admin = make_admin(start_server())
    for name, role in (("Ada", "user"), ("bob", "user"), ("machine", "node")):
        new_user(admin, name, role)
    names = {u["name"] for u in admin.get("/api/v1/users")["users"]}
    assert names == {"admin", "Ada", "bob", "machine"}


def test_the_last_administrator_stays(admin):
    status, answer = admin.call("DELETE", account(admin, "admin"))
    assert status == 409, answer
    status, answer = admin.call("PATCH", account(admin, "admin"), {"role": "user"})
    assert status == 409, answer


def test_a_closed_account_is_shut_out_until_it_is_opened(admin, user):
    status, answer = admin.call("PATCH", account(admin, user.name), {"enabled": False})
    assert status == 200, answer
    assert user.call("GET", ME)[0] == 401
    assert user.log_in(user.name, PASSWORD) == 401
    status, answer = admin.call("PATCH", account(admin, user.name), {"enabled": True})
    assert status == 200, answer
    assert user.log_in(user.name, PASSWORD) == 200
