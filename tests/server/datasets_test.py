"""Data sets: looked at, downloaded, published, deleted; what is broken says why."""
import os

import pytest

from client import begin_upload, looked_at, new_user, path, run, send, until, upload
from samples import zip_of_pictures

TABLE = ("a,b,kind\n" + "".join(f"{i % 7},{i % 5}.5,{'x' if i % 2 else 'y'}\n" for i in range(3000))).encode()


@pytest.fixture
def table(user):
    """The path of a data set of `user`, named "table"."""
    return f"/api/v1/datasets/{upload(user, 'table', TABLE)}"


def test_a_data_set_has_properties_and_no_paths(server, user, table):
    seen = user.get(table)
    assert seen["properties"]["rows"] == 3000
    assert "file" not in seen
    assert server.data_dir not in user.last.text


def test_a_data_set_is_downloaded_as_it_was(user, table):
    assert user.get(table + "/file") == TABLE
    assert "attachment" in user.last.headers["content-disposition"]


def test_a_data_set_is_downloaded_over_http2(server, user, table):
    code, out, err = run("curl", "-s", "--http2-prior-knowledge", "-H", f"Authorization: Bearer {user.token}", "-o",
                         path("down.csv"), "-w", "%{http_code}", server.url + table + "/file")
    assert out == "200", err
    with open(path("down.csv"), "rb") as f:
        assert f.read() == TABLE


def test_a_name_is_taken_for_its_owner_alone(user, other, table):
    status, answer = begin_upload(user, "table", 10)
    assert status == 409, answer
    status, answer = begin_upload(other, "table", 10)
    assert status == 201, answer


def test_the_data_sets_of_others_are_not_there(other, table):
    assert other.call("GET", table)[0] == 404
    assert other.call("DELETE", table)[0] == 404
    assert other.call("PATCH", table, {"public": True})[0] == 404


@pytest.fixture
def published(admin, user):
    """The path of a public data set of `user`, named "published"."""
    data_set = f"/api/v1/datasets/{upload(user, 'published', TABLE)}"
    assert admin.call("PATCH", data_set, {"public": True})[0] == 200, admin.last.text
    yield data_set
    admin.call("DELETE", data_set)


def test_what_is_published_is_seen_by_all_and_changed_by_administrators(other, published):
    assert other.call("GET", published)[0] == 200
    assert other.call("DELETE", published)[0] == 403


def test_the_name_of_a_public_data_set_is_taken_for_all(other, published):
    status, answer = begin_upload(other, "published", 10)
    assert status == 409, answer


def test_a_broken_table_says_where(user):
    send(user, "broken", b"a,b\n1,2\n1\n")
    broken = looked_at(user, "broken")
    assert "row 2" in broken["error"] or "line" in broken["error"], broken


def test_a_broken_zip_says_so_without_paths(server, user):
    send(user, "pictures", b"PK\x03\x04 no zip at all", "x.zip")
    broken = looked_at(user, "pictures")
    assert broken["state"] == "broken", broken
    assert server.data_dir not in broken["error"]


def test_a_zip_of_pictures_is_a_data_set(user):
    send(user, "zip", zip_of_pictures("ab", 4), "pictures.zip", 300)
    pictures = looked_at(user, "zip")
    assert pictures["state"] == "ready", pictures
    assert pictures["format"] == "images", pictures


def test_a_deleted_data_set_is_gone(user, table):
    assert user.call("DELETE", table)[0] == 204
    assert user.call("GET", table)[0] == 404


def test_the_files_of_an_account_go_with_it(server, admin):
    gone = new_user(admin, "gone")
    folder = server.file("datasets", str(upload(gone, "of nobody", TABLE)))
    assert os.path.exists(folder)
    number = gone.get("/api/v1/auth/me")["id"]
    status, answer = admin.call("DELETE", f"/api/v1/users/{number}")
    assert status == 204, answer
    assert until(lambda: not os.path.exists(folder)), os.listdir(folder)
