"""Deleting one's own account, passwords that are set anew, and accounts without a password."""
import sqlite3

import pytest

from client import PASSWORD, Client, make_admin, new_model, new_user, train, upload
from samples import MLP, numbers_table

ME, RESET, USERS, TOKENS = "/api/v1/auth/me", "/api/v1/auth/reset", "/api/v1/users", "/api/v1/tokens"


def number(c):
    return c.get(ME)["id"]


def url(c):
    """Of the account, for administrators."""
    return f"{USERS}/{number(c)}"


def names(admin):
    return {u["name"] for u in admin.get(USERS)["users"]}


def log_of(admin, event):
    """(object, outcome) of the lines of the log."""
    lines = admin.get("/api/v1/system/log", params={"event": event})["lines"]
    return [(x.get("object"), x["outcome"]) for x in lines]


# ---- deleting one's own account ----

def delete_me(c, password=PASSWORD):
    return c.call("DELETE", ME, {"password": password})[0]


def test_an_account_deletes_itself(admin, user):
    assert delete_me(user) == 204
    assert user.name not in names(admin)
    assert user.call("GET", ME)[0] == 401
    assert user.log_in(user.name, PASSWORD) == 401


def test_all_that_it_owns_goes_with_it(server, admin, user):
    model = new_model(user, "net", MLP)
    data = upload(user, "numbers", numbers_table(100), "n.csv")
    token = user.post(TOKENS, {"name": "ci", "scopes": ["read"]})["token"]
    assert delete_me(user) == 204
    assert admin.call("GET", f"/api/v1/models/{model}")[0] == 404
    assert admin.call("GET", f"/api/v1/datasets/{data}")[0] == 404
    assert Client(server, token).call("GET", ME)[0] == 401


def test_a_wrong_password_deletes_nothing(admin, user):
    assert delete_me(user, "wrong horse") == 403
    assert user.name in names(admin)


def test_guessing_the_password_has_to_wait(user):
    assert 429 in [delete_me(user, "guess") for _ in range(8)]


def test_the_last_administrator_does_not_delete_itself(start_server):
    admin = make_admin(start_server())
    assert delete_me(admin) == 409
    assert admin.get(ME)["name"] == "admin"


def test_another_administrator_does(admin):
    assert delete_me(new_user(admin, "second", "admin")) == 204


def test_no_token_deletes_the_account(server, user):
    token = user.post(TOKENS, {"name": "ci", "scopes": ["write"]})["token"]
    assert delete_me(Client(server, token)) == 403


def test_the_log_says_who_has_gone(admin, user):
    assert delete_me(user) == 204
    assert (user.name, "deleted by itself") in log_of(admin, "user")


# ---- passwords that are set anew ----

def reset_key(admin, account):
    """The one-time key that an administrator hands over."""
    status, answer = admin.call("POST", account + "/password")
    assert status == 201, answer
    return answer["key"]


def reset(c, key, password="battery staple"):
    return c.call("POST", RESET, {"key": key, "password": password})[0]


def test_a_person_sets_a_new_password_with_the_key(admin, nobody, user):
    key = reset_key(admin, url(user))
    assert reset(nobody, key) == 204
    assert user.log_in(user.name, "battery staple") == 200
    assert user.log_in(user.name, PASSWORD) == 401


def test_a_reset_key_is_good_once(admin, nobody, user):
    key = reset_key(admin, url(user))
    assert reset(nobody, key) == 204
    assert reset(nobody, key, "another horse") == 403


def test_a_newer_reset_key_voids_the_one_before(admin, nobody, user):
    account = url(user)
    first, second = reset_key(admin, account), reset_key(admin, account)
    assert reset(nobody, first) == 403
    assert reset(nobody, second) == 204


def test_a_reset_key_is_good_for_a_day(server, admin, nobody, user):
    status, answer = admin.call("POST", url(user) + "/password")
    assert status == 201 and 86000 < answer["expires"] - answer["created"] <= 86400, answer
    with sqlite3.connect(server.file("webml.sqlite"), timeout=30) as store:
        store.execute("UPDATE password_resets SET expires = 1")
    assert reset(nobody, answer["key"]) == 403


def test_a_reset_ends_log_ins_and_the_old_password(admin, user):
    account = url(user)
    reset_key(admin, account)
    assert user.call("GET", ME)[0] == 401
    assert user.call("POST", "/api/v1/auth/renew", {"renewal": user.renewal})[0] == 401
    assert user.log_in(user.name, PASSWORD) == 401


def test_a_short_new_password_uses_no_key(admin, nobody, user):
    key = reset_key(admin, url(user))
    assert reset(nobody, key, "short") == 400
    assert reset(nobody, key) == 204


def test_a_key_opens_no_closed_account(admin, nobody, user):
    account = url(user)
    key = reset_key(admin, account)
    assert admin.call("PATCH", account, {"enabled": False})[0] == 200
    assert reset(nobody, key) == 403


def test_administrators_do_not_reset_themselves(admin):
    assert admin.call("POST", url(admin) + "/password")[0] == 409
    assert admin.get(ME)["name"] == "admin"


def test_a_reset_of_nobody_is_not_found(admin):
    assert admin.call("POST", USERS + "/999999/password")[0] == 404


def test_guessing_reset_keys_has_to_wait(start_server):
    server = start_server()
    assert 429 in [reset(Client(server), "x" * 43) for _ in range(30)]


def test_the_log_says_who_reset_what(admin, nobody, user):
    assert reset(nobody, reset_key(admin, url(user))) == 204
    lines = log_of(admin, "password")
    assert (user.name, "reset by an administrator") in lines
    assert any(outcome == "set by a reset key" for _, outcome in lines)


# ---- accounts that administrators make ----

def make(admin, name, role="service"):
    status, answer = admin.call("POST", USERS, {"name": name, "role": role})
    assert status == 201, answer
    return answer


def service(admin, name, *scopes):
    """A client of a new service account."""
    account = f"{USERS}/{make(admin, name)['id']}"
    answer = admin.post(account + "/tokens", {"name": "ci", "scopes": list(scopes)})
    c = Client(admin.server, answer["token"])
    c.account, c.token_id = account, answer["id"]
    return c


def test_a_service_account_is_made(admin):
    made = make(admin, "builder")
    assert admin.last.headers["location"] == f"{USERS}/{made['id']}"
    assert (made["name"], made["role"], made["enabled"]) == ("builder", "service", True)
    assert admin.get(f"{USERS}/{made['id']}") == made


def test_an_account_of_a_name_that_is_taken_is_refused(admin, user):
    assert admin.call("POST", USERS, {"name": user.name.upper(), "role": "service"})[0] == 409


@pytest.mark.parametrize("password", ["", "0123456789"])
def test_a_service_account_does_not_log_in(admin, nobody, password):
    name = f"locked {len(password)}"
    make(admin, name)
    assert nobody.log_in(name, password or " ") == 401


def test_a_service_account_gets_no_password(admin):
    assert admin.call("POST", f"{USERS}/{make(admin, 'mute')['id']}/password")[0] == 409


def test_a_service_account_calls_with_its_token(admin):
    me = service(admin, "caller", "read").get(ME)
    assert (me["name"], me["role"], me["scopes"]) == ("caller", "service", ["read"])


def test_a_service_account_owns_what_it_makes(admin, user):
    c = service(admin, "trainer", "write")
    data = upload(c, "service numbers", numbers_table(300), "n.csv")
    session = train(c, new_model(c, "net", MLP), data, epochs=1)
    assert session["owner_name"] == "trainer"
    assert user.call("GET", f"/api/v1/sessions/{session['id']}")[0] == 404


def test_a_service_account_administers_nothing(admin):
    c = service(admin, "modest", "write")
    assert c.call("GET", USERS)[0] == 403
    assert admin.call("POST", c.account + "/tokens", {"name": "more", "scopes": ["admin"]})[0] == 403


def test_a_service_account_keeps_its_role(admin):
    account = f"{USERS}/{make(admin, 'steady')['id']}"
    assert admin.call("PATCH", account, {"role": "admin"})[0] == 409
    assert admin.get(account)["role"] == "service"


def test_no_account_becomes_a_service_account(admin, user):
    assert admin.call("PATCH", url(user), {"role": "service"})[0] == 400


def test_a_closed_service_account_is_shut_out(admin):
    c = service(admin, "closed", "read")
    assert admin.call("PATCH", c.account, {"enabled": False})[0] == 200
    assert c.call("GET", ME)[0] == 401
    assert admin.call("PATCH", c.account, {"enabled": True})[0] == 200
    assert c.call("GET", ME)[0] == 200


def test_administrators_list_and_revoke_its_tokens(admin):
    c = service(admin, "revoked", "read")
    assert [t["id"] for t in admin.get(c.account + "/tokens")["tokens"]] == [c.token_id]
    assert admin.call("DELETE", f"{c.account}/tokens/{c.token_id}")[0] == 204
    assert c.call("GET", ME)[0] == 401
    assert admin.call("DELETE", f"{c.account}/tokens/{c.token_id}")[0] == 404


def test_administrators_make_no_tokens_of_people(admin, user):
    assert admin.call("POST", url(user) + "/tokens", {"name": "x", "scopes": ["read"]})[0] == 409


def test_administrators_revoke_tokens_of_people(admin, user):
    made = user.post(TOKENS, {"name": "ci", "scopes": ["read"]})
    assert admin.call("DELETE", f"{url(user)}/tokens/{made['id']}")[0] == 204
    assert Client(user.server, made["token"]).call("GET", ME)[0] == 401


def test_a_person_gets_an_account_and_a_key_for_its_password(admin, nobody):
    made = make(admin, "Grace", "user")
    assert nobody.log_in("Grace", "battery staple") == 401
    assert reset(nobody, reset_key(admin, f"{USERS}/{made['id']}")) == 204
    assert nobody.log_in("Grace", "battery staple") == 200


def test_an_administrator_without_a_password_is_not_the_last_one(start_server):
    admin = make_admin(start_server())
    make(admin, "second", "admin")
    assert delete_me(admin) == 409
