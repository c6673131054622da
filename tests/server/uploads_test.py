"""Uploads in pieces by tus 1.0: what is acknowledged stays, through kills, too; what is wrong is refused."""
import os
import random
import signal
import threading

import httpx
import pytest

from client import begin_upload, looked_at, make_admin, new_user, send_piece

TABLE = ("a,b,kind\n" + "".join(f"{i % 7},{i % 5}.5,{'x' if i % 2 else 'y'}\n" for i in range(3000))).encode()


@pytest.fixture
def begun(user):
    """Where an upload of TABLE goes on, of which 5,000 bytes are there."""
    status, location = begin_upload(user, "table", len(TABLE))
    assert status == 201, location
    assert send_piece(user, location, 0, TABLE[:5000]) == (204, 5000)
    return location


def test_options_tell_what_there_is_of_tus(someone):
    status, answer = someone.call("OPTIONS", "/api/v1/uploads")
    assert status == 204, answer
    assert someone.last.headers["tus-version"] == "1.0.0"
    assert "creation" in someone.last.headers["tus-extension"]


def test_pieces_become_a_data_set(user, begun):
    assert begun.startswith("/api/v1/uploads/")
    assert send_piece(user, begun, 5000, TABLE[5000:]) == (204, len(TABLE))
    ready = looked_at(user, "table")
    assert ready["state"] == "ready", ready
    assert ready["format"] == "csvdata", ready
    assert user.call("HEAD", begun)[0] == 404, "a whole upload is one no more"


def test_head_tells_how_much_is_there(user, begun):
    assert user.call("HEAD", begun)[0] == 204
    assert user.last.headers["upload-offset"] == "5000"
    assert user.last.headers["upload-length"] == str(len(TABLE))


@pytest.mark.parametrize("offset", [0, 6000])
def test_a_piece_for_another_offset_is_refused(user, begun, offset):
    status, answer = send_piece(user, begun, offset, TABLE[offset:offset + 5000])
    assert status == 409, answer


def test_more_than_was_announced_is_refused(user, begun):
    status, answer = send_piece(user, begun, 5000, TABLE + b"x")
    assert status == 400, answer


def test_another_content_type_is_refused(user, begun):
    status, answer = user.call("PATCH", begun, b"x", headers={"Upload-Offset": "5000"})
    assert status == 415, answer


def test_the_uploads_of_others_are_not_there(other, begun):
    assert other.call("HEAD", begun)[0] == 404
    status, answer = send_piece(other, begun, 5000, b"x")
    assert status == 404, answer


def test_an_upload_may_be_given_up(user, begun):
    status, answer = user.call("DELETE", begun)
    assert status == 204, answer
    assert user.call("HEAD", begun)[0] == 404


@pytest.mark.parametrize("name, size", [
    pytest.param("../x", 5, id="a path"), pytest.param("", 5, id="no name"), pytest.param("a/b", 5, id="a slash"),
    pytest.param("x" * 101, 5, id="a long name"), pytest.param("n", 0, id="no bytes"),
    pytest.param("n", -1, id="less than none"), pytest.param("n", 1 << 60, id="far too many")])
def test_a_name_or_a_size_that_cannot_be_is_refused(someone, name, size):
    status, answer = begin_upload(someone, name, size)
    assert status in (400, 413), answer


def test_more_than_the_share_of_the_account_is_refused(someone):
    status, answer = begin_upload(someone, "huge", 30 << 30)
    assert status == 413, answer


def test_broken_metadata_is_refused(someone):
    headers = {"Upload-Length": "5", "Upload-Metadata": "name !!!"}
    status, answer = someone.call("POST", "/api/v1/uploads", headers=headers)
    assert status == 400, answer


def test_a_hundred_uploads_may_be_under_way(user):
    codes = [begin_upload(user, f"n{i}", 10)[0] for i in range(102)]
    assert codes[99] == 201, codes
    assert codes[101] == 429, codes


def test_a_kill_loses_nothing_that_was_acknowledged(start_server, slow):
    server = start_server()
    user = new_user(make_admin(server), "ada")
    text = b"n\n" + b"".join(b"%d\n" % b for b in os.urandom(1 << 20))
    size = 100000
    random.seed(4)
    for k in range(3 if slow else 6):
        status, location = begin_upload(user, f"killed {k}", len(text))
        assert status == 201, location
        at = acknowledged = 0
        kill = threading.Timer(random.uniform(0, 0.01), lambda: server.process.send_signal(signal.SIGKILL))
        first = random.randrange(0, len(text), size)
        try:
            while at < len(text):
                if at >= first and kill.ident is None:
                    kill.start()
                status, got = send_piece(user, location, at, text[at:at + size])
                if status != 204:
                    break
                at = acknowledged = got
        except httpx.HTTPError:
            pass
        kill.join()
        server.process.wait()
        server.process.stdout.close()
        server.start()
        user.connect()
        status, _ = user.call("HEAD", location)
        if status == 204:
            at = int(user.last.headers["upload-offset"])
            assert at >= acknowledged, f"kill {k}"
            while at < len(text):
                status, at = send_piece(user, location, at, text[at:at + size])
                assert status == 204, f"kill {k}: {at}"
        whole = looked_at(user, f"killed {k}")
        assert whole["state"] == "ready", f"kill {k}: {whole}"
        assert user.get(f"/api/v1/datasets/{whole['id']}/file") == text, f"kill {k}"


def test_files_that_belong_to_nothing_go_at_the_start(start_server):
    server = start_server()
    data_set, piece = server.file("datasets", "987654"), server.file("uploads", "orphan")
    os.mkdir(data_set)
    for name in (os.path.join(data_set, "data.csv"), piece):
        open(name, "w").close()
    assert server.stop() == 0
    server.start()
    assert not os.path.exists(data_set)
    assert not os.path.exists(piece)
