"""Backups: made while the server runs, put back while it runs, after a kill and on a fresh machine."""
import io
import os
import tempfile
import zipfile

import numpy as np
import pytest

from client import (Client, PASSWORD, cancel, folder, make_admin, new_net, new_user, path, run, settled, started, until,
                    upload, write)
from samples import MLP, ROWS, numbers_table, outputs, unzip

BACKUPS = "/api/v1/system/backups"
TABLE = numbers_table(300)


def make_backup(admin):
    """Its key, when it is there."""
    key = admin.post(BACKUPS)["backup"]
    found = until(lambda: [b["backup"] for b in admin.get(BACKUPS)["backups"]], lambda keys: key in keys)
    assert key in found
    return key


class Original:
    """A server with two accounts, data and weights, and a backup of it."""

    def __init__(self, server):
        self.server, self.admin = server, make_admin(server)
        self.ada = new_user(self.admin, "ada")
        self.numbers = upload(self.ada, "numbers", TABLE, "n.csv")
        self.net = new_net(self.ada, "net", MLP, self.numbers, epochs=2)
        self.weights = self.ada.get(f"/api/v1/weights/{self.net.weights}/file")
        self.outputs = outputs(self.ada, "net", ROWS)
        self.backup = self.admin.get(f"{BACKUPS}/{make_backup(self.admin)}/file")
        self.file = write("whole.zip", self.backup)

    def check(self, server):
        """It has the accounts, the data and the weights of the original, and predicts as it did."""
        ada = Client(server)
        assert ada.log_in("ada", PASSWORD) == 200, ada.last.text
        assert Client(server).log_in("admin", PASSWORD) == 200
        assert ada.get(f"/api/v1/datasets/{self.numbers}/file") == TABLE
        assert ada.get(f"/api/v1/weights/{self.net.weights}/file") == self.weights
        assert np.allclose(outputs(ada, "net", ROWS), self.outputs, atol=1e-6)


@pytest.fixture(scope="module")
def original(start_server_of_module):
    return Original(start_server_of_module())


@pytest.fixture
def copy(original, start_server):
    """A server on a fresh machine that was started with the backup."""
    return start_server("--restore", original.file, data_dir=tempfile.mkdtemp(prefix="copy-", dir=folder) + "/data")


@pytest.fixture
def admin(copy):
    return logged_in(copy, "admin")


def logged_in(server, name):
    c = Client(server)
    assert c.log_in(name, PASSWORD) == 200, c.last.text
    return c


# ---- what is in it ----

def test_a_backup_has_the_store_data_and_weights_but_no_secret(original):
    names = zipfile.ZipFile(io.BytesIO(original.backup)).namelist()
    assert "webml.sqlite" in names
    assert f"datasets/{original.numbers}/data.csv" in names
    assert any(name.endswith("weights.safetensors") for name in names), names
    assert not any("token" in name or "log" in name for name in names), names
    assert unzip(original.backup, f"datasets/{original.numbers}/data.csv") == TABLE


def test_making_a_backup_leaves_nothing_behind(original):
    assert [f for f in os.listdir(original.server.data_dir) if f.startswith("work-")] == []


# ---- put back ----

def test_a_fresh_machine_starts_with_a_backup(original, copy):
    assert copy.key is None, copy.greeting
    original.check(copy)


def test_a_running_server_puts_a_backup_back(original, copy, admin):
    key, ada = make_backup(admin), logged_in(copy, "ada")
    assert ada.call("DELETE", f"/api/v1/datasets/{original.numbers}")[0] == 204, ada.last.text
    assert ada.call("DELETE", f"/api/v1/weights/{original.net.weights}")[0] == 204, ada.last.text
    upload(ada, "later", b"a,b\n1,2\n3,4\n", "later.csv")
    new_user(admin, "eve")
    status, answer = admin.call("POST", f"{BACKUPS}/{key}/restore")
    assert status == 200, answer
    for c in (admin, ada):
        assert c.call("GET", "/api/v1/auth/me")[0] == 401, "old tokens are void"
    original.check(copy)
    assert Client(copy).log_in("eve", PASSWORD) == 401
    names = [d["name"] for d in logged_in(copy, "ada").get("/api/v1/datasets")["datasets"]]
    assert names == ["numbers"]


def test_a_training_is_in_the_way_of_a_restoration_and_not_of_a_backup(original, copy, admin):
    key, ada = make_backup(admin), logged_in(copy, "ada")
    admin.call("PATCH", "/api/v1/system/settings", {"epochs": 100000})
    session = started(ada, original.net.model, original.numbers, epochs=50000, batch_size=1)
    settled(ada, session, ("running",))
    status, answer = admin.call("POST", f"{BACKUPS}/{key}/restore")
    assert status == 409, answer
    assert make_backup(admin)
    cancel(ada, session)
    assert settled(ada, session)["state"] == "cancelled"


@pytest.mark.parametrize("in_place", [False, True], ids=["before anything", "between the files"])
def test_a_restoration_that_a_kill_has_cut_short_is_finished_by_the_next_start(original, copy, in_place):
    ada = logged_in(copy, "ada")
    assert ada.call("DELETE", f"/api/v1/weights/{original.net.weights}")[0] == 204, ada.last.text
    if not in_place:
        assert ada.call("DELETE", f"/api/v1/datasets/{original.numbers}")[0] == 204, ada.last.text
    assert copy.stop() == 0
    copy.options = ()
    restore = copy.file("restore")
    os.mkdir(restore)
    archive = zipfile.ZipFile(io.BytesIO(original.backup))
    for name in archive.namelist():
        with open(os.path.join(restore, name.replace("/", "-")), "wb") as f:
            f.write(archive.read(name))
    open(os.path.join(restore, "whole"), "w").close()
    if in_place:
        open(os.path.join(restore, "cleared"), "w").close()
        os.unlink(os.path.join(restore, f"datasets-{original.numbers}-data.csv"))
    copy.start()
    assert not os.path.exists(restore)
    original.check(copy)


# ---- what is no backup ----

def packed(**files):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as z:
        for name, content in files.items():
            z.writestr(name, content)
    return data.getvalue()


@pytest.mark.parametrize("make, words", [
    pytest.param(lambda backup: packed(**{"webml.sqlite": unzip(backup, "webml.sqlite"),
                                          "datasets/1/../../../evil": "x"}), "no backup", id="a path that leaves"),
    pytest.param(lambda backup: packed(**{"datasets/1/data.csv": "x"}), "no webml.sqlite", id="no store"),
    pytest.param(lambda backup: backup[:len(backup) // 2], "no zip", id="half a file"),
    pytest.param(lambda backup: packed(**{"webml.sqlite": b"SQLite format 3\0" + b"\xff" * 4096}), "",
                 id="a broken store")])
def test_a_file_that_is_no_backup_is_refused(original, programs, make, words):
    place = tempfile.mkdtemp(prefix="none-", dir=folder)
    code, out, err = run(programs["server"], "--data-dir", os.path.join(place, "data"), "--listen", "127.0.0.1:0",
                         "--restore", write("none.zip", make(original.backup)))
    assert code == 1, err
    assert words in err
    assert not os.path.exists(os.path.join(place, "evil"))
    assert not os.path.exists(path("evil"))
