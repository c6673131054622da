"""Kills of the server at random moments under load, and of its trainings: all that was acknowledged is there and
whole. Six kills, and fifty more with WEBML_LONG=1."""
import contextlib
import random
import threading
import time

import httpx
import pytest

from client import (Client, PASSWORD, begin_upload, cancel_all, looked_at, make_admin, new_model, new_user, send_piece,
                    settled, start, tensors, train, upload)
from samples import MLP, ROWS, infer, numbers_table, tensor

TABLE = numbers_table(400)
EPOCHS = 12


class Load:
    """What clients do until it is stopped, through kills, and what was acknowledged to them."""

    def __init__(self, server, token, model, dataset):
        self.server, self.token, self.model, self.dataset = server, token, model, dataset
        self.models, self.data_sets, self.uploads, self.sessions, self.halves = set(), {}, {}, [], []
        self.stopped, self.lock = threading.Event(), threading.Lock()
        works = (self.make_model, self.make_data, self.predict, self.predict, self.train)
        self.threads = [threading.Thread(target=self.repeat, args=(work,), daemon=True) for work in works]
        for t in self.threads:
            t.start()

    def repeat(self, work):
        n = 0
        while not self.stopped.is_set():
            with contextlib.suppress(httpx.HTTPError, OSError, KeyError, ValueError):
                c = Client(self.server, self.token)
                c.http.timeout = httpx.Timeout(5)
                while not self.stopped.is_set():
                    n += 1
                    work(c, n)
            time.sleep(0.02)

    def stop(self):
        self.stopped.set()
        for t in self.threads:
            t.join(20)

    def make_model(self, c, n):
        name = f"m{n}-{random.getrandbits(40)}"
        if c.call("POST", "/api/v1/models", {"name": name, "description": MLP})[0] == 201:
            with self.lock:
                self.models.add(name)
        time.sleep(0.02)

    def make_data(self, c, n):
        name, data = f"d{n}-{random.getrandbits(40)}", TABLE + f"{n},{n},{n},x\n".encode()
        status, location = begin_upload(c, name, len(data))
        if status != 201:
            return
        half = len(data) // 2
        if send_piece(c, location, 0, data[:half])[0] == 204:
            with self.lock:
                self.uploads[location] = (half, name)
            if send_piece(c, location, half, data[half:])[0] == 204:
                with self.lock:
                    self.data_sets[name] = data
                    self.uploads.pop(location)
        time.sleep(0.1)

    def train(self, c, n):
        status, answer = start(c, self.model, self.dataset, epochs=EPOCHS, batch_size=2, seed=1)
        if status == 201:
            with self.lock:
                self.sessions.append(answer["id"])
        time.sleep(0.5)

    def predict(self, c, n):
        status, answer = infer(c, "net", {"inputs": [tensor(ROWS[:1])]})
        if status == 200 and len(answer["outputs"][0]["data"]) != 2:
            self.halves.append(answer)


@pytest.fixture(scope="module", params=[6, pytest.param(50, marks=pytest.mark.long)], ids=lambda n: f"{n} kills")
def kills(request, slow):
    return 3 if slow and request.param < 50 else request.param


@pytest.fixture(scope="module")
def load(start_server_of_module, kills):
    """What was acknowledged while the server was killed again and again. Now it runs."""
    server = start_server_of_module()
    admin = make_admin(server)
    ada = new_user(admin, "ada")
    dataset, model = upload(ada, "table", TABLE), new_model(ada, "net", MLP)
    train(ada, model, dataset, epochs=2, seed=1)
    status, answer = admin.call("PATCH", "/api/v1/system/settings", {
        "sessions_per_user": 10000, "weights_per_model": 100000, "sessions_per_device": 2})
    assert status in (200, 204), answer
    random.seed(7)
    load = Load(server, ada.token, model, dataset)
    for k in range(kills):
        time.sleep(random.uniform(0.2, 1.5))
        if k % 2:
            for session in server.jobs():
                server.kill_job(session)
        server.process.kill()
        server.process.wait()
        server.process.stdout.close()
        server.start()
        assert server.url is not None, f"kill {k}: {server.greeting}"
    load.stop()
    load.kills, load.server = kills, server
    print(f"{kills} kills: {len(load.models)} models, {len(load.data_sets)} data sets, {len(load.sessions)} trainings")
    yield load
    ada.connect()
    cancel_all(ada)


@pytest.fixture(scope="module")
def ada(load):
    c = Client(load.server)
    assert c.log_in("ada", PASSWORD) == 200, c.last.text
    return c


def test_accounts_are_there(load, ada):
    assert ada.get("/api/v1/auth/me")["name"] == "ada"
    assert Client(load.server).log_in("admin", PASSWORD) == 200


def test_models_are_there(load, ada):
    assert len(load.models) > load.kills
    assert load.models - {m["name"] for m in ada.get("/api/v1/models")["models"]} == set()


def test_data_sets_are_there_and_whole(load, ada):
    assert len(load.data_sets) > load.kills // 2
    for name, data in load.data_sets.items():
        found = looked_at(ada, name)
        assert found["state"] == "ready", f"{name}: {found}"
        assert ada.get(f"/api/v1/datasets/{found['id']}/file") == data, name


def test_uploads_that_were_begun_go_on(load, ada):
    names = {d["name"] for d in ada.get("/api/v1/datasets")["datasets"]}
    for location, (half, name) in load.uploads.items():
        status, _ = ada.call("HEAD", location)
        offset = int(ada.last.headers.get("upload-offset", -1))
        assert status == 404 and name in names or offset >= half, f"{name}: {status}"


def test_no_prediction_is_half_an_answer(load):
    assert load.halves == []


def test_trainings_go_on(load, ada):
    states = {s: settled(ada, s, seconds=240)["state"] for s in sorted(load.sessions)[:6]}
    assert states
    assert set(states.values()) == {"finished"}, states


def test_the_weights_of_all_trainings_are_the_same_to_the_bit(load, ada):
    sessions = [settled(ada, s, seconds=240) for s in sorted(load.sessions)[:6]]
    sessions += [ada.get(f"/api/v1/sessions/{w['session']}") for w in ada.get("/api/v1/weights")["weights"]]
    weights = {s["weights"] for s in sessions if s["parameters"]["epochs"] == EPOCHS}
    assert len({tensors(ada, w) for w in weights}) == 1
