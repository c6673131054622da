"""A backup that somebody has changed names no file outside the server's folders, and does not fill the disk."""
import contextlib
import io
import os
import shutil
import sqlite3
import subprocess
import zipfile

import pytest

from client import make_admin, until, upload
from samples import numbers_table


@pytest.fixture(scope="module")
def backup(start_server_of_module, tmp_path_factory):
    """Of a server with a data set; bytes."""
    admin = make_admin(start_server_of_module())
    upload(admin, "numbers", numbers_table(300), "n.csv")
    key = admin.post("/api/v1/system/backups")["backup"]
    until(lambda: admin.get("/api/v1/system/backups")["backups"], len)
    return admin.get(f"/api/v1/system/backups/{key}/file")


@pytest.fixture
def restore(programs, tmp_path):
    """restore(bytes) -> (exit code, what is said), into a folder of its own that must stay empty of data."""
    def run(data):
        (tmp_path / "b.zip").write_bytes(data)
        done = subprocess.run([programs["server"], "--data-dir", tmp_path / "data", "--listen", "127.0.0.1:0",
                               "--restore", tmp_path / "b.zip"], capture_output=True, text=True, timeout=15)
        return done.returncode, done.stderr

    return run


def changed(backup, tmp_path, sql):
    """The backup after a statement on its store."""
    store = tmp_path / "changed.sqlite"
    with zipfile.ZipFile(io.BytesIO(backup)) as z:
        entries = {n: z.read(n) for n in z.namelist()}
    store.write_bytes(entries["webml.sqlite"])
    with contextlib.closing(sqlite3.connect(store)) as db:  # closed: all is in the file
        db.executescript(sql)
    entries["webml.sqlite"] = store.read_bytes()
    return packed(entries)


def packed(entries, how=zipfile.ZIP_DEFLATED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", how) as z:
        for name, data in entries.items():
            z.writestr(name, data)
    return out.getvalue()


@pytest.mark.parametrize("sql", [
    pytest.param("UPDATE datasets SET file = '../../../../etc/passwd'", id="a path upwards"),
    pytest.param("UPDATE datasets SET file = '/etc/passwd'", id="a path from the root"),
    pytest.param("UPDATE datasets SET file = 'data/../../x'", id="a path with data"),
    pytest.param("CREATE TRIGGER t AFTER INSERT ON logins BEGIN UPDATE users SET role = 'admin'; END",
                 id="a trigger"),
    pytest.param("PRAGMA foreign_keys = OFF; UPDATE datasets SET owner = 999", id="a row of nobody")])
def test_a_store_that_was_changed_is_refused(backup, restore, tmp_path, sql):
    code, said = restore(changed(backup, tmp_path, sql))
    assert code == 1
    assert "no backup" in said, said


def test_a_bomb_is_refused_before_it_is_unpacked(backup, restore, tmp_path):
    with zipfile.ZipFile(io.BytesIO(backup)) as z:
        entries = {n: z.read(n) for n in z.namelist()}
    entries["datasets/9/data.csv"] = bytes(600 << 20)
    code, said = restore(packed(entries))
    assert code == 1
    assert "unpack" in said, said
    left = sum(os.path.getsize(os.path.join(d, f)) for d, _, files in os.walk(tmp_path / "data") for f in files)
    assert left < 50 << 20, left
    shutil.rmtree(tmp_path / "data")


def test_the_backup_as_it_was_is_restored(backup, start_server, tmp_path):
    (tmp_path / "b.zip").write_bytes(backup)
    server = start_server("--restore", str(tmp_path / "b.zip"))
    assert server.url, "it starts"
