"""Partial changes: what is named changes, nothing else does, and nobody overwrites what they have not seen."""
import pytest

from client import new_model, new_user, settled, upload
from samples import MLP, numbers_table


def account(admin, c):
    return f"/api/v1/users/{c.get('/api/v1/auth/me')['id']}"


def test_role_and_closing_are_changed_together(admin, user):
    url = account(admin, user)
    status, answer = admin.call("PATCH", url, {"role": "node", "enabled": False})
    assert status == 200, answer
    assert (answer["role"], answer["enabled"]) == ("node", False)
    assert user.log_in(user.name, "0123456789") == 401


def test_an_empty_change_opens_no_closed_account(admin, user):
    url = account(admin, user)
    assert admin.call("PATCH", url, {"enabled": False})[0] == 200
    admin.call("PATCH", url, {})
    assert admin.get(url)["enabled"] is False


def test_a_new_role_opens_no_closed_account(admin, user):
    url = account(admin, user)
    assert admin.call("PATCH", url, {"enabled": False})[0] == 200
    assert admin.call("PATCH", url, {"role": "admin"})[0] == 200
    assert admin.get(url)["enabled"] is False


def test_the_log_says_who_changed_what_to_what(admin, user):
    number = user.get("/api/v1/auth/me")["id"]
    assert admin.call("PATCH", f"/api/v1/users/{number}", {"role": "node"})[0] == 200
    lines = admin.get("/api/v1/system/log", params={"event": "user"})["lines"]
    line = next(x for x in lines if x["path"] == f"/api/v1/users/{number}")
    assert (line["before"], line["after"]) == ('{"role":"user"}', '{"role":"node"}')
    assert line["user"] == admin.get("/api/v1/auth/me")["id"]


@pytest.fixture
def things(user):
    """Everything that can be changed: url and two changes."""
    model = new_model(user, "model", MLP)
    data = upload(user, "data", numbers_table(300), "n.csv")
    return [(f"/api/v1/models/{model}", {"name": "second"}, {"name": "third"}),
            (f"/api/v1/datasets/{data}", {"about": "second"}, {"name": "third"})]


def test_a_change_answers_with_the_thing_and_its_new_version(user, things):
    for url, first, _ in things:
        user.call("GET", url)
        seen = user.last.headers["etag"]
        status, answer = user.call("PATCH", url, first)
        assert status == 200, answer
        assert first.items() <= answer.items()
        assert user.last.headers["etag"] != seen
        assert user.get(url) == answer


def test_an_update_of_a_version_that_is_no_more_is_refused(user, things):
    for url, first, second in things:
        user.call("GET", url)
        seen = {"If-Match": user.last.headers["etag"]}
        assert user.call("PATCH", url, first, headers=seen)[0] == 200, user.last.text
        assert user.call("PATCH", url, second, headers=seen)[0] == 412, user.last.text
        assert not second.items() <= user.get(url).items()
        assert user.call("PATCH", url, second, headers={"If-Match": "*"})[0] == 200, user.last.text


def test_an_account_of_a_version_that_is_no_more_is_not_changed(admin, user):
    url = account(admin, user)
    admin.call("GET", url)
    seen = {"If-Match": admin.last.headers["etag"]}
    assert admin.call("PATCH", url, {"enabled": False}, headers=seen)[0] == 200
    assert admin.call("PATCH", url, {"enabled": True}, headers=seen)[0] == 412


def test_others_change_nothing(admin, user, other, things):
    for url, first, _ in things:
        assert other.call("PATCH", url, first)[0] == 404, url


def test_a_data_set_of_ones_own_is_renamed_and_described(user):
    number = upload(user, "before", numbers_table(300), "n.csv")
    status, answer = user.call("PATCH", f"/api/v1/datasets/{number}", {"name": "after", "about": "300 rows"})
    assert status == 200, answer
    assert (answer["name"], answer["about"]) == ("after", "300 rows")
    assert user.call("PATCH", f"/api/v1/datasets/{number}", {"public": True})[0] == 403


def test_waiting_trainings_of_a_closed_account_do_not_start(admin, settings):
    settings(sessions_per_device=1, epochs=100000)
    first, second = new_user(admin, "first"), new_user(admin, "second")
    sessions = []
    for c in (first, second):
        data = upload(c, "numbers", numbers_table(300), "n.csv")
        sessions.append(c.post("/api/v1/sessions", {"model": new_model(c, "m", MLP), "dataset": data,
                                                    "epochs": 50000, "batch_size": 1})["id"])
    assert admin.call("PATCH", account(admin, second), {"enabled": False})[0] == 200
    assert first.call("POST", f"/api/v1/sessions/{sessions[0]}/cancel")[0] == 202
    assert settled(admin, sessions[1])["state"] == "cancelled"
