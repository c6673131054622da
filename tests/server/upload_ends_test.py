"""How uploads end: in a data set, or in a state that the client sees; whatever happens at the last byte."""
import base64
import hashlib
import os
import sqlite3

import pytest

from client import PIECE, begin_upload, looked_at, make_admin, new_user, send_piece
from samples import numbers_table

TABLE = numbers_table(300)


def test_a_name_that_was_taken_meanwhile_gets_a_number(user):
    _, first = begin_upload(user, "table", len(TABLE))
    _, second = begin_upload(user, "table", len(TABLE))
    assert send_piece(user, first, 0, TABLE) == (204, len(TABLE))
    assert send_piece(user, second, 0, TABLE) == (204, len(TABLE))
    assert looked_at(user, "table")["state"] == looked_at(user, "table 2")["state"] == "ready"
    assert user.last.status_code == 200
    assert user.get("/api/v1/uploads") == {"uploads": []}


def test_the_last_piece_tells_where_the_data_set_is(user):
    _, location = begin_upload(user, "table", len(TABLE))
    send_piece(user, location, 0, TABLE)
    data_set = user.get(user.last.headers["location"])
    assert data_set["name"] == "table"


def test_an_upload_that_a_kill_left_whole_becomes_a_data_set(start_server):
    server = start_server()
    user = new_user(make_admin(server), "user")
    _, location = begin_upload(user, "table", len(TABLE))
    send_piece(user, location, 0, TABLE[:100])
    server.stop()
    with open(server.file("uploads", location.split("/")[-1]), "ab") as f:  # as after a kill behind the last write
        f.write(TABLE[100:])
    server.start()
    user.connect()
    assert looked_at(user, "table")["state"] == "ready"
    assert user.get("/api/v1/uploads") == {"uploads": []}


def test_a_kill_between_the_file_and_the_rows_loses_nothing(start_server):
    server = start_server()
    user = new_user(make_admin(server), "user")
    _, location = begin_upload(user, "table", len(TABLE))
    send_piece(user, location, 0, TABLE[:-1])
    server.stop()
    upload = server.file("uploads", location.split("/")[-1])
    with open(upload, "ab") as f:
        f.write(TABLE[-1:])
    os.makedirs(server.file("datasets", "1"))  # the file has its second name, the rows are as they were
    os.link(upload, server.file("datasets", "1", "data.csv"))
    server.start()
    user.connect()
    assert looked_at(user, "table")["state"] == "ready"
    assert os.listdir(server.file("uploads")) == []


def test_uploads_under_way_are_listed(user, other):
    _, location = begin_upload(user, "table", len(TABLE))
    send_piece(user, location, 0, TABLE[:100])
    upload, = user.get("/api/v1/uploads")["uploads"]
    assert (upload["name"], upload["offset"], upload["bytes"], upload["state"]) == ("table", 100, len(TABLE), "open")
    assert other.get("/api/v1/uploads") == {"uploads": []}


def metadata(name):
    return f"name {base64.b64encode(name.encode()).decode()},filename {base64.b64encode(b't.csv').decode()}"


@pytest.fixture
def deferred(user):
    """An upload whose length is said later."""
    headers = {"Upload-Defer-Length": "1", "Upload-Metadata": metadata("table"), "Tus-Resumable": "1.0.0"}
    assert user.call("POST", "/api/v1/uploads", headers=headers)[0] == 201, user.last.text
    return user.last.headers["location"]


def test_the_length_may_come_with_the_last_piece(user, deferred):
    assert send_piece(user, deferred, 0, TABLE[:1000]) == (204, 1000)
    user.call("HEAD", deferred)
    assert user.last.headers["upload-defer-length"] == "1"
    assert "upload-length" not in user.last.headers
    headers = {"Upload-Offset": "1000", "Upload-Length": str(len(TABLE)), **PIECE}
    assert user.call("PATCH", deferred, TABLE[1000:], headers=headers)[0] == 204, user.last.text
    assert looked_at(user, "table")["state"] == "ready"


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "md5"])
def test_a_piece_is_what_its_checksum_says(user, algorithm):
    _, location = begin_upload(user, "table", len(TABLE))
    right = base64.b64encode(hashlib.new(algorithm, TABLE).digest()).decode()
    wrong = base64.b64encode(hashlib.new(algorithm, b"x").digest()).decode()
    headers = {"Upload-Offset": "0", **PIECE}
    assert user.call("PATCH", location, TABLE, headers={**headers, "Upload-Checksum": f"{algorithm} {wrong}"})[0] == 460
    user.call("HEAD", location)
    assert user.last.headers["upload-offset"] == "0", "nothing of it was kept"
    assert user.call("PATCH", location, TABLE, headers={**headers, "Upload-Checksum": f"{algorithm} {right}"})[0] == 204


def test_an_unknown_checksum_is_refused(user):
    _, location = begin_upload(user, "table", len(TABLE))
    headers = {"Upload-Offset": "0", "Upload-Checksum": "crc32 AAAA", **PIECE}
    assert user.call("PATCH", location, TABLE, headers=headers)[0] == 400


@pytest.mark.parametrize("method", ["POST", "HEAD", "PATCH", "DELETE"])
def test_another_version_of_tus_is_refused(user, method):
    _, location = begin_upload(user, "table", len(TABLE))
    headers = {"Tus-Resumable": "0.2.2", "Upload-Length": "10", "Upload-Metadata": metadata("other"),
               "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    url = "/api/v1/uploads" if method == "POST" else location
    assert user.call(method, url, headers=headers)[0] == 412, user.last.text
    assert user.last.headers["tus-version"] == "1.0.0"
