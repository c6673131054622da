"""A disk that fills: nothing that was acknowledged is lost, others read on, and with room again it goes on."""
import contextlib
import os
import subprocess
import tempfile

import pytest

from client import PASSWORD, begin_upload, folder, make_admin, new_model, send_piece, settled, start, train, upload
from samples import MLP, numbers_table


@pytest.fixture
def disk():
    """A folder that holds 12 MiB."""
    place = tempfile.mkdtemp(prefix="disk-", dir=folder)
    mount = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", place]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("needs root and tmpfs")
    yield place
    subprocess.run(["umount", "-l", place])


@pytest.fixture
def server(disk, start_server):
    server = start_server(data_dir=os.path.join(disk, "data"))
    yield server
    server.end()  # before the disk is gone


@pytest.fixture
def admin(server):
    c = make_admin(server)
    c.dataset, c.model = upload(c, "table", numbers_table(400)), new_model(c, "net", MLP)
    return c


def test_an_upload_that_fills_the_disk_keeps_what_was_acknowledged(admin):
    status, location = begin_upload(admin, "big", 30 << 20)
    assert status == 201, location
    at, codes = 0, []
    while len(codes) < 12 and codes[-1:] != [507]:
        codes.append(send_piece(admin, location, at, b"x" * (1 << 20))[0])
        if codes[-1] == 204:
            at += 1 << 20
    assert codes[0] == 204, codes
    assert codes[-1] == 507, codes
    admin.call("HEAD", location)
    assert at <= int(admin.last.headers["upload-offset"]) < at + (1 << 20), "and what was there of the last piece"
    assert admin.call("GET", "/api/v1/models")[0] == 200, "others read"
    assert admin.call("DELETE", location)[0] == 204
    train(admin, admin.model, admin.dataset, epochs=1)


@pytest.fixture
def filled(admin, disk):
    """Not a byte is left. Calling it makes room again."""
    name = os.path.join(disk, "filler")
    filler = open(name, "wb", buffering=0)
    with contextlib.suppress(OSError):
        while True:
            filler.write(b"x" * 4096)

    def make_room():
        filler.close()
        os.unlink(name)

    return make_room


def test_without_a_byte_left_models_are_refused_and_others_answered(admin, filled):
    status, answer = admin.call("POST", "/api/v1/models", {"name": "second", "description": MLP})
    assert status in (201, 507), answer
    assert admin.call("GET", "/healthz")[0] == 200


def test_without_a_byte_left_a_training_ends_with_a_reason_or_is_refused(admin, filled):
    status, answer = start(admin, admin.model, admin.dataset, epochs=1)
    if status == 201:
        assert settled(admin, answer["id"])["state"] in ("failed", "finished")
    else:
        assert status in (500, 503, 507), answer


def test_with_room_again_it_goes_on(admin, filled):
    admin.call("POST", "/api/v1/models", {"name": "second", "description": MLP})
    status, answer = start(admin, admin.model, admin.dataset, epochs=1)
    if status == 201:
        settled(admin, answer["id"])
    filled()
    train(admin, admin.model, admin.dataset, epochs=1)


def test_without_a_byte_left_one_logs_in_and_deletes_what_takes_room(admin, filled):
    while admin.call("POST", "/api/v1/models", {"name": f"m{len(admin.get('/api/v1/models')['models'])}",
                                                "description": MLP})[0] == 201:
        pass  # what room the store had left
    assert admin.log_in("admin", PASSWORD) == 200, admin.last.text
    assert admin.call("POST", "/api/v1/auth/renew", {"renewal": admin.renewal})[0] == 200, admin.last.text
    for url in (f"/api/v1/datasets/{admin.dataset}", f"/api/v1/models/{admin.model}"):
        status, answer = admin.call("DELETE", url)
        assert status == 204, answer
    assert admin.call("POST", "/api/v1/auth/logout")[0] == 204, admin.last.text
