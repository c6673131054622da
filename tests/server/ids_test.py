"""Numbers never come again: what was given for a thing that is gone opens, shows or overwrites nothing else."""
import base64
import json
import sqlite3
import time

import pytest

from client import (Client, Events, PASSWORD, cancel, make_admin, new_model, new_net, new_user, started, train, until,
                    upload)
from samples import MLP, numbers_table

LONG = {"epochs": 50000, "batch_size": 1}
ROW = {"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 3], "data": [1.0, 2.0, 3.0]}]}


@pytest.fixture(scope="module")
def numbers(admin):
    return upload(admin, "numbers", numbers_table(400), "n.csv")


def me(c):
    return c.get("/api/v1/auth/me")


def delete(c, url):
    status, answer = c.call("DELETE", url)
    assert status == 204, answer


def infer(c, name):
    status, answer = c.call("POST", f"/v2/models/{name}/infer", ROW)
    assert status == 200, answer
    return answer["model_version"], answer["outputs"][0]["data"]


# ---- accounts ----

def test_the_token_of_a_deleted_account_opens_no_other(server, admin):
    gone = new_user(admin, "gone")
    delete(admin, f"/api/v1/users/{me(gone)['id']}")
    next_one = new_user(admin, "next one", "admin")
    assert me(next_one)["id"] != me_of(gone), "its number came again"
    status, answer = gone.call("GET", "/api/v1/auth/me")
    assert status == 401, f"opens {answer}"


def me_of(c):
    """The number in a token."""
    return int(json.loads(base64.urlsafe_b64decode(c.token.split(".")[1] + "=="))["sub"])


def test_accounts_begin_with_generations_of_their_own(server, admin, user, other):
    with sqlite3.connect(server.file("webml.sqlite"), timeout=30) as store:
        generations = [g for g, in store.execute("SELECT generation FROM users")]
    assert len(set(generations)) == len(generations)


def test_a_new_account_does_not_hear_what_happened_to_the_one_before(server, admin):
    gone = new_user(admin, "listener")
    upload(gone, "secret name", b"a,b\n1,2\n3,4\n")
    delete(admin, f"/api/v1/users/{me(gone)['id']}")
    after = new_user(admin, "after")
    heard = Events(after, last=1 << 40)
    upload(after, "own", b"a,b\n1,2\n3,4\n")
    until(lambda: heard.of("dataset"), lambda events: any(e["name"] == "own" for e in events))
    assert not [e for e in heard.of("dataset") if e["name"] == "secret name"]


# ---- trainings ----

def test_a_training_overwrites_no_weights_of_an_earlier_session(server, admin, numbers):
    data = upload(admin, "short lived", numbers_table(300), "s.csv")
    model = new_model(admin, "kept", MLP)
    first = train(admin, model, data, epochs=2)
    weights = f"/api/v1/weights/{first['weights']}/file"
    before = admin.get(weights)
    delete(admin, f"/api/v1/datasets/{data}")  # its finished sessions may go with it; their numbers do not come again
    second = train(admin, new_model(admin, "next", MLP), numbers, epochs=3, seed=7)
    assert second["id"] != first["id"]
    assert admin.get(weights) == before


def test_a_deleted_session_number_is_not_given_again(server, admin, numbers):
    model = new_model(admin, "deleted", MLP)
    session = started(admin, model, numbers, **LONG)
    cancel(admin, session)
    until(lambda: admin.get(f"/api/v1/sessions/{session}")["state"], lambda s: s == "cancelled")
    delete(admin, f"/api/v1/models/{model}")
    again = started(admin, new_model(admin, "deleted", MLP), numbers, **LONG)
    cancel(admin, again)
    assert again > session


# ---- predictors ----

def test_the_predictor_of_a_deleted_model_answers_for_no_other(server, admin, numbers):
    first = new_net(admin, "served", MLP, numbers, epochs=2)
    _, before = infer(admin, "served")
    delete(admin, f"/api/v1/models/{first.model}")
    second = new_net(admin, "served", MLP, numbers, epochs=6, seed=5)
    version, after = infer(admin, "served")
    assert version == str(second.weights) != str(first.weights)
    assert after != before


def loaded(c):
    return {(m["name"], m["version"]) for m in c.post("/v2/repository/index", {}) if m["state"] == "READY"}


def predictors(admin):
    """The versions of all that are loaded, whoever they belong to."""
    page = admin.get("/metrics").decode()
    return {line.split('version="')[1].split('"')[0] for line in page.splitlines()
            if line.startswith("nv_inference_count{")}


@pytest.mark.parametrize("what", ["weights", "model", "account"])
def test_what_is_deleted_is_unloaded(server, admin, numbers, what):
    owner = new_user(admin, f"owner of {what}")
    data = upload(owner, "own numbers", numbers_table(300), "n.csv")
    net = new_net(owner, f"net of {what}", MLP, data, epochs=1)
    infer(owner, net.name)
    assert str(net.weights) in predictors(admin)
    if what == "weights":
        delete(owner, f"/api/v1/weights/{net.weights}")
    elif what == "model":
        delete(owner, f"/api/v1/models/{net.model}")
    else:
        delete(admin, f"/api/v1/users/{me(owner)['id']}")
    assert str(net.weights) not in predictors(admin)


# ---- backups, migration ----

def test_a_restoration_gives_no_number_again(start_server):
    admin = make_admin(start_server())
    key = admin.post("/api/v1/system/backups")["backup"]
    until(lambda: admin.get("/api/v1/system/backups")["backups"], len)
    model = new_model(admin, "after the backup", MLP)
    assert admin.call("POST", f"/api/v1/system/backups/{key}/restore")[0] == 200, admin.last.text
    assert admin.log_in("admin", PASSWORD) == 200
    assert new_model(admin, "after the restoration", MLP) > model


OLD_STORE = """
CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE COLLATE NOCASE, password TEXT NOT NULL,
 role TEXT NOT NULL CHECK (role IN ('admin', 'user', 'node')), enabled INTEGER NOT NULL DEFAULT 1,
 generation INTEGER NOT NULL DEFAULT 1, created INTEGER NOT NULL, waiting INTEGER NOT NULL DEFAULT 0);
CREATE TABLE registration_keys (hash TEXT PRIMARY KEY, role TEXT NOT NULL, created INTEGER NOT NULL,
 expires INTEGER NOT NULL, used_by INTEGER);
CREATE TABLE renewals (hash TEXT PRIMARY KEY, user INTEGER NOT NULL REFERENCES users(id) ON DELETE CASCADE,
 created INTEGER NOT NULL, expires INTEGER NOT NULL);
CREATE TABLE models (id INTEGER PRIMARY KEY, owner INTEGER NOT NULL REFERENCES users(id) ON DELETE CASCADE,
 name TEXT NOT NULL, description TEXT NOT NULL, dataset INTEGER, public INTEGER NOT NULL DEFAULT 0,
 created INTEGER NOT NULL, changed INTEGER NOT NULL, max_batch_size INTEGER, max_queue_delay_microseconds INTEGER,
 max_queue_size INTEGER, UNIQUE (owner, name));
CREATE TABLE datasets (id INTEGER PRIMARY KEY, owner INTEGER NOT NULL REFERENCES users(id) ON DELETE CASCADE,
 name TEXT NOT NULL, public INTEGER NOT NULL DEFAULT 0, state TEXT NOT NULL, bytes INTEGER NOT NULL,
 file TEXT NOT NULL, format TEXT, properties TEXT, error TEXT, created INTEGER NOT NULL, UNIQUE (owner, name));
CREATE TABLE uploads (key TEXT PRIMARY KEY, owner INTEGER NOT NULL REFERENCES users(id) ON DELETE CASCADE,
 name TEXT NOT NULL, suffix TEXT NOT NULL, bytes INTEGER NOT NULL, created INTEGER NOT NULL);
CREATE TABLE sessions (id INTEGER PRIMARY KEY, owner INTEGER NOT NULL REFERENCES users(id) ON DELETE CASCADE,
 model INTEGER NOT NULL REFERENCES models(id) ON DELETE CASCADE,
 dataset INTEGER NOT NULL REFERENCES datasets(id) ON DELETE CASCADE, device TEXT NOT NULL, parameters TEXT NOT NULL,
 state TEXT NOT NULL, tries INTEGER NOT NULL DEFAULT 0, cancelled INTEGER NOT NULL DEFAULT 0, error TEXT,
 created INTEGER NOT NULL, started INTEGER, ended INTEGER, need_cpu INTEGER, need_gpu INTEGER, placed TEXT,
 waits_for TEXT);
CREATE TABLE weights (id INTEGER PRIMARY KEY, owner INTEGER NOT NULL REFERENCES users(id) ON DELETE CASCADE,
 model INTEGER NOT NULL REFERENCES models(id) ON DELETE CASCADE, session INTEGER NOT NULL UNIQUE,
 bytes INTEGER NOT NULL, metrics TEXT NOT NULL, created INTEGER NOT NULL);
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
PRAGMA user_version = 2;
"""


@pytest.fixture
def migrated(start_server, tmp_path):
    """The administrator of a server that finds a store of the version before; sessions up to 7 are gone from it, the
    weights of one are there."""
    first = start_server()
    make_admin(first)
    first.stop()
    with sqlite3.connect(first.file("webml.sqlite")) as store:
        password, = store.execute("SELECT password FROM users").fetchone()
    data = tmp_path / "old"
    data.mkdir(mode=0o700)
    with sqlite3.connect(data / "webml.sqlite") as store:
        store.executescript(OLD_STORE)
        now = int(time.time())
        store.execute("INSERT INTO users (id, name, password, role, created) VALUES (4, 'admin', ?, 'admin', ?)",
                      (password, now))
        store.execute("INSERT INTO registration_keys VALUES ('abc', 'user', ?, ?, 9)", (now, now + 1000))
        store.execute("INSERT INTO models (id, owner, name, description, created, changed) VALUES"
                      " (3, 4, 'old', '{}', ?, ?)", (now, now))
        store.execute("INSERT INTO datasets (id, owner, name, state, bytes, file, created) VALUES"
                      " (5, 4, 'old table', 'broken', 1, 'data.csv', ?)", (now,))
        store.execute("INSERT INTO sessions (id, owner, model, dataset, device, parameters, state, cancelled, created)"
                      " VALUES (2, 4, 3, 5, 'cpu', '{}', 'cancelled', 1, ?)", (now,))
        store.execute("INSERT INTO weights VALUES (6, 4, 3, 7, 100, '{}', ?)", (now,))
    server = start_server(data_dir=str(data))
    c = Client(server)
    assert c.log_in("admin", PASSWORD) == 200, c.last.text
    return c


def test_a_store_of_the_version_before_is_brought_up_to_date(migrated):
    assert me(migrated)["id"] == 4
    assert [m["name"] for m in migrated.get("/api/v1/models")["models"]] == ["old"]
    assert [w["session"] for w in migrated.get("/api/v1/weights")["weights"]] == [7]
    session = migrated.get("/api/v1/sessions/2")
    assert (session["state"], session["dataset_name"]) == ("cancelled", "old table")


def test_numbers_that_were_given_before_the_migration_do_not_come_again(migrated):
    assert me(new_user(migrated, "new"))["id"] == 10, "behind the account that a key was used by"
    data = upload(migrated, "numbers", numbers_table(300), "n.csv")
    session = started(migrated, new_model(migrated, "new", MLP), data, epochs=1)
    assert session == 8, "behind the session that the weights are of"
    assert data == 6
