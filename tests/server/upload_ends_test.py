"""How uploads end: in a data set, or in a state that the client sees; whatever happens at the last byte."""
import base64
import hashlib
import os
import socket
import sqlite3
import time

import pytest

from client import PIECE, begin_upload, looked_at, make_admin, new_user, send_piece, until
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


@pytest.fixture
def cut(user):
    """Where an upload is of whose one piece of 8 MiB half has come when the connection breaks."""
    status, location = begin_upload(user, "cut", 8 << 20)
    assert status == 201, location
    with socket.create_connection(user.server.address, timeout=30) as s:
        s.sendall((f"PATCH {location} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {user.token}\r\n"
                   "Content-Type: application/offset+octet-stream\r\nUpload-Offset: 0\r\n"
                   f"Content-Length: {8 << 20}\r\n\r\n").encode() + TABLE * ((4 << 20) // len(TABLE)))
        time.sleep(0.5)
    return location


def test_of_a_piece_that_is_cut_what_has_come_stays(user, cut):
    def offset():
        user.call("HEAD", cut)
        return int(user.last.headers["upload-offset"])
    assert until(offset, lambda n: n > 3 << 20, 10) > 3 << 20
    at = offset()
    status, answer = send_piece(user, cut, at, (TABLE * 9999)[:(8 << 20) - at])
    assert (status, answer) == (204, 8 << 20)


def test_machines_send_no_pieces(admin, user):
    _, location = begin_upload(user, "table", len(TABLE))
    machine = new_user(admin, "sender", "node")
    assert send_piece(machine, location, 0, TABLE)[0] == 403


def test_strangers_send_no_bodies(server):
    """Refused by the head alone: nothing of the body is waited for."""
    for path in ("/api/v1/models", "/api/v1/uploads/abc", "/api/v1/weights/1/evaluate"):
        with socket.create_connection(server.address, timeout=30) as s:
            method = "PATCH" if "uploads" in path else "POST"
            head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n"
            s.sendall(head.encode() + b"x" * 100000)
            assert s.recv(12) in (b"HTTP/1.1 401", b"HTTP/1.1 413"), path


def test_a_length_below_what_has_come_is_refused(user, deferred):
    assert send_piece(user, deferred, 0, TABLE[:1000]) == (204, 1000)
    headers = {"Upload-Offset": "1000", "Upload-Length": "900", **PIECE}
    assert user.call("PATCH", deferred, b"", headers=headers)[0] == 400, user.last.text
    user.call("HEAD", deferred)
    assert "upload-length" not in user.last.headers


def test_another_length_than_was_said_is_refused(user):
    _, location = begin_upload(user, "table", len(TABLE))
    headers = {"Upload-Offset": "0", "Upload-Length": str(len(TABLE) + 1), **PIECE}
    assert user.call("PATCH", location, TABLE[:10], headers=headers)[0] == 400, user.last.text
