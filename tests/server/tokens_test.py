"""Named API tokens: what they may do by their scopes, and when they end."""
import sqlite3
import time

import pytest

from client import Client, Events, begin_upload, make_admin, new_model, new_user, send_piece, until
from samples import MLP, numbers_table

TOKENS = "/api/v1/tokens"
ME = "/api/v1/auth/me"


def make(c, name="ci", scopes=("read",), **more):
    """The answer that has the token."""
    status, answer = c.call("POST", TOKENS, {"name": name, "scopes": list(scopes), **more})
    assert status == 201, answer
    return answer


def caller(c, *scopes, name="ci", **more):
    """A client that calls with a new token of the account."""
    return Client(c.server, make(c, name, scopes or ("read",), **more)["token"])


def change(server, statement, *values):
    """Behind the server's back; its cache is emptied by the next change through it."""
    with sqlite3.connect(server.file("webml.sqlite"), timeout=30) as store:
        store.execute(statement, values)


def forget_cache(admin):
    """Whatever changes the store makes the server read it again."""
    admin.post("/api/v1/users/keys", {})


# ---- making, listing, revoking ----

def test_a_token_is_shown_once(user):
    made = make(user)
    assert made["token"].startswith("webml_") and len(made["token"]) > 40, made
    assert user.last.headers["location"] == f"{TOKENS}/{made['id']}"
    listed = user.get(TOKENS)["tokens"]
    assert [t["id"] for t in listed] == [made["id"]]
    assert "token" not in listed[0]


def test_the_store_does_not_have_the_secret(server, user):
    secret = make(user)["token"]
    for suffix in ("", "-wal"):
        with open(server.file("webml.sqlite" + suffix), "rb") as f:
            assert secret.removeprefix("webml_").encode() not in f.read()


def test_a_token_has_a_name_scopes_and_an_end(user):
    make(user, "nightly", ["read", "predict"], days=2)
    token = user.get(TOKENS)["tokens"][0]
    assert (token["name"], token["scopes"], token["used"]) == ("nightly", ["read", "predict"], None)
    assert abs(token["expires"] - time.time() - 2 * 86400) < 60


def test_a_token_without_days_has_no_end(user):
    assert make(user)["expires"] is None


@pytest.mark.parametrize("body", [
    {"name": "x", "scopes": []}, {"name": "x", "scopes": ["everything"]}, {"name": "x", "scopes": "read"},
    {"name": "x", "scopes": [1]}, {"name": "x", "scopes": ["read", "read"]}, {"name": "x"}, {"scopes": ["read"]},
    {"name": "x", "scopes": ["read"], "days": 0}, {"name": "x", "scopes": ["read"], "days": 3651}])
def test_a_token_that_is_not_said_well_is_refused(user, body):
    assert user.call("POST", TOKENS, body)[0] == 400


def test_an_account_has_one_token_of_a_name(user, other):
    make(user)
    assert user.call("POST", TOKENS, {"name": "ci", "scopes": ["read"]})[0] == 409
    make(other)


def test_tokens_of_others_are_not_there(user, other):
    made = make(user)
    assert other.get(TOKENS)["tokens"] == []
    assert other.call("DELETE", f"{TOKENS}/{made['id']}")[0] == 404


def test_a_revoked_token_is_refused_at_once(user):
    made = make(user)
    c = Client(user.server, made["token"])
    assert c.call("GET", ME)[0] == 200
    assert user.call("DELETE", f"{TOKENS}/{made['id']}")[0] == 204
    assert c.call("GET", ME)[0] == 401
    assert user.get(TOKENS)["tokens"] == []


def test_an_expired_token_is_refused(server, admin, user):
    c = caller(user, days=1)
    change(server, "UPDATE tokens SET expires = ? WHERE expires IS NOT NULL", int(time.time()) - 1)
    forget_cache(admin)
    assert c.call("GET", ME)[0] == 401


@pytest.mark.parametrize("text", ["webml_", "webml_" + "A" * 43, "webml_" + "A" * 400])
def test_a_token_that_is_none_is_refused(server, text):
    assert Client(server, text).call("GET", ME)[0] == 401


# ---- whose it is ----

def test_me_says_the_account_and_what_the_token_may(user):
    me = caller(user, "read", "predict").get(ME)
    assert (me["name"], me["role"], me["scopes"], me["expires"]) == (user.name, "user", ["read", "predict"], None)
    assert "login" not in me or me["login"] is None


def test_logging_out_everywhere_leaves_tokens(user):
    c = caller(user)
    assert user.call("POST", "/api/v1/auth/logout", {"everywhere": True})[0] == 204
    assert c.call("GET", ME)[0] == 200


def test_a_closed_account_shuts_its_tokens_out(admin, user):
    c = caller(user)
    me = c.get(ME)["id"]
    assert admin.call("PATCH", f"/api/v1/users/{me}", {"enabled": False})[0] == 200
    assert c.call("GET", ME)[0] == 401


def test_a_token_loses_what_its_account_loses(admin):
    second = new_user(admin, "second", "admin")
    c = caller(second, "read", "admin")
    assert c.call("GET", "/api/v1/users")[0] == 200
    assert admin.call("PATCH", f"/api/v1/users/{c.get(ME)['id']}", {"role": "user"})[0] == 200
    assert c.call("GET", "/api/v1/users")[0] == 403
    assert c.call("GET", "/api/v1/models")[0] == 200


# ---- used ----

def used(c):
    return c.get(TOKENS)["tokens"][0]["used"]


def test_the_use_of_a_token_is_noted(user):
    c = caller(user)
    c.get(ME)
    assert abs(used(user) - time.time()) < 60


def test_the_use_is_noted_at_most_once_a_minute(server, admin, user):
    c = caller(user)
    c.get(ME)
    for ago, noted in ((30, False), (90, True)):
        then = int(time.time()) - ago
        change(server, "UPDATE tokens SET used = ? WHERE name = 'ci'", then)
        forget_cache(admin)
        c.get(ME)
        assert (used(user) > then) == noted, ago


# ---- scopes ----

def test_read_reads_and_writes_nothing(user):
    c = caller(user, "read")
    assert c.call("GET", "/api/v1/models")[0] == 200
    status, answer = c.call("POST", "/api/v1/models", {"name": "net", "description": MLP})
    assert status == 403 and "write" in answer["detail"], answer
    assert 'insufficient_scope' in c.last.headers["www-authenticate"]


def test_write_does_what_its_account_may(user):
    c = caller(user, "write")
    model = new_model(c, "net", MLP)
    assert c.call("GET", f"/api/v1/models/{model}")[0] == 200
    assert c.call("DELETE", f"/api/v1/models/{model}")[0] == 204


def test_predict_predicts_and_reads_nothing_else(public_net, user):
    c = caller(user, "predict")
    row = {"a": 1, "b": 2, "c": 3}
    assert c.call("POST", f"/api/v1/weights/{public_net.weights}/predict", row)[0] == 200
    assert c.call("GET", "/v2/models")[0] == 200
    assert c.call("GET", "/api/v1/models")[0] == 403
    assert c.call("POST", "/v2/repository/models/x/unload")[0] == 403


def test_a_revoked_token_predicts_no_more(public_net, user):
    made = make(user, scopes=["predict"])
    c, url = Client(user.server, made["token"]), f"/api/v1/weights/{public_net.weights}/predict"
    for _ in range(3):  # from the second on the event loop answers
        assert c.call("POST", url, {"a": 1, "b": 2, "c": 3})[0] == 200
    assert user.call("DELETE", f"{TOKENS}/{made['id']}")[0] == 204
    assert c.call("POST", url, {"a": 1, "b": 2, "c": 3})[0] == 401


def test_read_does_not_predict(public_net, user):
    c = caller(user, "read")
    assert c.call("POST", f"/api/v1/weights/{public_net.weights}/predict", {"a": 1, "b": 2, "c": 3})[0] == 403


def test_no_scope_but_admin_administers(admin):
    c = caller(admin, "read", "write", "predict", name="all but one")
    assert c.call("GET", "/api/v1/users")[0] == 403


def test_without_the_scope_administrators_are_users(admin, user):
    model = new_model(user, "net", MLP)
    plain, full = caller(admin, "write", name="plain"), caller(admin, "admin", name="full")
    assert plain.call("GET", f"/api/v1/models/{model}")[0] == 404
    assert full.call("GET", f"/api/v1/models/{model}")[0] == 200


def test_users_have_no_tokens_that_administer(user):
    assert user.call("POST", TOKENS, {"name": "x", "scopes": ["admin"]})[0] == 403


@pytest.mark.parametrize("method, url, body", [
    ("POST", TOKENS, {"name": "more", "scopes": ["read"]}), ("GET", TOKENS, None), ("DELETE", TOKENS + "/1", None),
    ("GET", "/api/v1/auth/logins", None), ("DELETE", "/api/v1/auth/logins/1", None),
    ("POST", "/api/v1/auth/logout", {}),
    ("POST", "/api/v1/auth/password", {"password": "0123456789", "new_password": "9876543210"})])
def test_no_token_touches_the_account(server, admin, method, url, body):
    c = caller(admin, "read", "write", "predict", "admin", name=' '.join([method, *url.split('/')[3:]]))
    assert c.call(method, url, body)[0] == 403


# ---- bodies and streams ----

def test_large_bodies_come_with_a_token(user):
    c = caller(user, "write")
    status, answer = c.call("POST", "/api/v1/models", {"name": "net", "description": {"x": "y" * (1 << 20)}})
    assert status in (400, 422), answer


def test_pieces_of_uploads_need_the_scope(user):
    data = numbers_table(100)
    assert begin_upload(caller(user, "read", name="reads"), "numbers", len(data))[0] == 403
    status, location = begin_upload(caller(user, "write", name="writes"), "numbers", len(data))
    assert status == 201, location
    assert send_piece(caller(user, "read", name="reads on"), location, 0, data)[0] == 403
    assert send_piece(caller(user, "write", name="writes on"), location, 0, data)[0] == 204


def streams(c, seconds=10):
    """Whether a stream of events is still open after a while."""
    with c.connection() as http:
        with http.stream("GET", "/api/v1/events", headers={"authorization": "Bearer " + c.token},
                         timeout=seconds) as answer:
            assert answer.status_code == 200
            yield True
            try:
                for _ in answer.iter_bytes():
                    pass
            except Exception:
                yield "it went on"
            yield "it ended"


def test_streams_end_with_their_token(user):
    made = make(user)
    stream = streams(Client(user.server, made["token"]), 5)
    next(stream)
    assert user.call("DELETE", f"{TOKENS}/{made['id']}")[0] == 204
    assert next(stream) == "it ended"


def test_streams_go_on_with_their_token(user):
    stream = streams(caller(user), 3)
    next(stream)
    assert next(stream) == "it went on"


def test_events_are_heard_with_a_token(admin, user):
    events = Events(caller(user))
    admin.call("POST", "/api/v1/events", {"text": "hello"})
    assert until(lambda: events.of("notice"))[0]["text"] == "hello"


# ---- restores ----

def test_a_restore_brings_no_tokens_back(start_server):
    admin = make_admin(start_server())
    c = caller(admin)
    admin.post("/api/v1/system/backups")
    key = until(lambda: [b for b in admin.get("/api/v1/system/backups")["backups"]])[0]["backup"]
    until(lambda: admin.call("POST", f"/api/v1/system/backups/{key}/restore")[0], lambda status: status < 300)
    assert c.call("GET", ME)[0] == 401
