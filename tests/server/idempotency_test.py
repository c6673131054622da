"""Idempotency-Key: a request that comes again is not done again."""
import sqlite3
import threading
import time
import uuid

import pytest

from client import Client, cancel_all, make_admin, new_model, new_user, upload
from samples import MLP, numbers_table

MODELS, TOKENS = "/api/v1/models", "/api/v1/tokens"
UPLOAD = {"Upload-Length": "100", "Upload-Metadata": "name bnVtYmVycw==,filename bi5jc3Y="}


def again(c, key, url=MODELS, body=None, **headers):
    """(status, text, Location) of a request with the key."""
    c.call("POST", url, body, headers={"Idempotency-Key": key, **headers})
    return c.last.status_code, c.last.text, c.last.headers.get("location")


def model(name="net"):
    return {"name": name, "description": MLP}


@pytest.fixture
def key():
    return str(uuid.uuid4())


# ---- the same again ----

def test_a_model_is_made_once(user, key):
    first = again(user, key, body=model())
    assert first[0] == 201 and first[2], first
    assert again(user, key, body=model()) == first
    assert len(user.get(MODELS)["models"]) == 1


def test_an_upload_begins_once(user, key):
    first = again(user, key, "/api/v1/uploads", **UPLOAD)
    assert first[0] == 201, first
    assert again(user, key, "/api/v1/uploads", **UPLOAD) == first
    assert user.last.headers["tus-resumable"] == "1.0.0"
    assert len(user.get("/api/v1/uploads")["uploads"]) == 1


def test_a_training_starts_once(user, key):
    body = {"model": new_model(user, "net", MLP), "dataset": upload(user, "numbers", numbers_table(300), "n.csv"),
            "epochs": 15}
    first = again(user, key, "/api/v1/sessions", body)
    assert first[0] == 201, first
    assert again(user, key, "/api/v1/sessions", body) == first
    assert len(user.get("/api/v1/sessions")["sessions"]) == 1
    cancel_all(user)


def test_a_token_is_made_once_and_shown_again(server, user, key):
    body = {"name": "ci", "scopes": ["read"]}
    first = again(user, key, TOKENS, body)
    assert first[0] == 201, first
    assert again(user, key, TOKENS, body) == first
    assert Client(server, user.last.json()["token"]).call("GET", "/api/v1/auth/me")[0] == 200


def test_the_store_has_no_secret_of_an_answer(server, user, key):
    again(user, key, TOKENS, {"name": "ci", "scopes": ["read"]})
    secret = user.last.json()["token"].removeprefix("webml_")
    with sqlite3.connect(server.file("webml.sqlite"), timeout=30) as store:
        rows = store.execute("SELECT * FROM idempotency").fetchall()
    assert rows and secret not in str(rows)


def test_a_refusal_is_answered_again(user, key):
    new_model(user, "net", MLP)
    first = again(user, key, body=model())
    assert first[0] == 409
    number = user.get(MODELS)["models"][0]["id"]
    assert user.call("DELETE", f"{MODELS}/{number}")[0] == 204
    assert again(user, key, body=model()) == first


def test_a_key_may_be_in_quotation_marks(user, key):
    first = again(user, f'"{key}"', body=model())
    assert again(user, key, body=model()) == first


def test_without_a_key_requests_are_done_each_time(user):
    assert user.call("POST", MODELS, model())[0] == 201
    assert user.call("POST", MODELS, model())[0] == 409


def test_a_key_outlives_the_server(start_server, key):
    server = start_server()
    user = new_user(make_admin(server), "ada")
    first = again(user, key, body=model())
    server.stop()
    server.start()
    user.connect()
    assert again(user, key, body=model()) == first


# ---- something else ----

def test_another_body_is_refused(user, key):
    again(user, key, body=model())
    assert again(user, key, body=model("other"))[0] == 422


def test_another_upload_is_refused(user, key):
    again(user, key, "/api/v1/uploads", **UPLOAD)
    assert again(user, key, "/api/v1/uploads", **{**UPLOAD, "Upload-Length": "101"})[0] == 422


def test_another_resource_is_refused(user, key):
    again(user, key, body=model())
    assert again(user, key, TOKENS, {"name": "ci", "scopes": ["read"]})[0] == 422


def test_a_request_that_is_not_valid_uses_no_key(user, key):
    assert again(user, key, body={"name": "net"})[0] == 400
    assert again(user, key, body=model())[0] == 201


def test_a_refusal_for_the_moment_uses_no_key(user, key):
    for _ in range(100):
        assert user.call("POST", "/api/v1/uploads", headers=UPLOAD)[0] == 201
    assert again(user, key, "/api/v1/uploads", **UPLOAD)[0] == 429
    started = user.get("/api/v1/uploads")["uploads"]
    assert user.call("DELETE", f"/api/v1/uploads/{started[0]['key']}")[0] == 204
    assert again(user, key, "/api/v1/uploads", **UPLOAD)[0] == 201


def test_keys_of_another_account_are_others(user, other, key):
    assert again(user, key, body=model())[0] == 201
    assert again(other, key, body=model("other"))[0] == 201


@pytest.mark.parametrize("bad", ["", '""', "x" * 300])
def test_a_key_that_is_none_is_refused(user, bad):
    assert again(user, bad, body=model())[0] == 400


def test_other_routes_take_no_notice(user, key):
    number = new_model(user, "net", MLP)
    for name in ("one", "two"):
        assert user.call("POST", f"{MODELS}/{number}/clone", {"name": name},
                         headers={"Idempotency-Key": key})[0] == 201


def test_the_document_names_the_header(user):
    paths = user.get("/openapi.json")["paths"]
    for url in (MODELS, TOKENS, "/api/v1/uploads", "/api/v1/sessions"):
        assert "Idempotency-Key" in [p["name"] for p in paths[url]["post"]["parameters"]], url


# ---- time ----

def change(server, statement):
    with sqlite3.connect(server.file("webml.sqlite"), timeout=30) as store:
        store.execute(statement)


def test_a_request_under_way_is_refused(server, user, key):
    again(user, key, body=model())
    change(server, "UPDATE idempotency SET status = NULL")
    assert again(user, key, body=model())[0] == 409


def test_a_start_of_the_server_ends_what_was_under_way(start_server, key):
    server = start_server()
    admin = make_admin(server)
    again(admin, key, body=model())
    change(server, "UPDATE idempotency SET status = NULL")
    server.stop()
    server.start()
    admin.connect()
    status, text, _ = again(admin, key, body=model())
    assert status == 409 and "name" in text, text


def test_requests_at_once_are_done_once(user, key):
    clients = [Client(user.server, user.token) for _ in range(6)]
    answers = []
    threads = [threading.Thread(target=lambda c=c: answers.append(again(c, key, body=model()))) for c in clients]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    made = {a for a in answers if a[0] == 201}
    assert len(made) == 1 and {a[0] for a in answers} <= {201, 409}, answers
    assert all("under way" in a[1] for a in answers if a[0] == 409), answers
    assert len(user.get(MODELS)["models"]) == 1


def test_a_key_is_forgotten_after_a_day(server, user, key):
    assert again(user, key, body=model())[0] == 201
    change(server, f"UPDATE idempotency SET created = {int(time.time()) - 86400 - 1}")
    assert again(user, key, body=model("other"))[0] == 201
