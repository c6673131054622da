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


SETTINGS, DEVICE = "/api/v1/system/settings", "/api/v1/devices/cpu"


@pytest.fixture(params=[(SETTINGS, {"epochs": 21}, {"epochs": 22}), (DEVICE, {"closed": True}, {"closed": False})],
                ids=["settings", "device"])
def of_machine(request, admin):
    """Of what administrators change: url and two changes; it is as before afterwards."""
    url, first, _ = request.param
    before = admin.get(url)
    yield request.param
    assert admin.call("PATCH", url, {name: before[name] for name in first})[0] == 200


def test_a_change_of_the_machine_answers_with_another_version(admin, of_machine):
    url, first, _ = of_machine
    admin.get(url)
    seen = admin.last.headers["etag"]
    status, answer = admin.call("PATCH", url, first)
    assert status == 200 and first.items() <= answer.items()
    assert admin.last.headers["etag"].split(".")[0] != seen.split(".")[0]


def test_a_version_of_the_machine_that_is_no_more_is_not_changed(admin, of_machine):
    url, first, second = of_machine
    admin.get(url)
    seen = {"If-Match": admin.last.headers["etag"]}
    assert admin.call("PATCH", url, first, headers=seen)[0] == 200, admin.last.text
    assert admin.call("PATCH", url, second, headers=seen)[0] == 412, admin.last.text
    assert first.items() <= admin.get(url).items()


def test_the_version_that_a_change_answers_with_can_be_changed(admin, of_machine):
    url, first, second = of_machine
    assert admin.call("PATCH", url, first)[0] == 200
    seen = {"If-Match": admin.last.headers["etag"]}
    assert admin.call("PATCH", url, second, headers=seen)[0] == 200, admin.last.text


@pytest.mark.parametrize("seen", [None, "*"])
def test_the_machine_is_changed_unseen_where_nothing_is_compared(admin, of_machine, seen):
    url, first, second = of_machine
    headers = {"If-Match": seen} if seen else {}
    assert admin.call("PATCH", url, first, headers=headers)[0] == 200
    assert admin.call("PATCH", url, second, headers=headers)[0] == 200


@pytest.mark.parametrize("seen", ['"0"', '"none"', '"1"extra', "1"])
def test_a_tag_that_was_never_given_changes_nothing(admin, of_machine, seen):
    url, first, _ = of_machine
    assert admin.call("PATCH", url, first)[0] == 200  # 1 is no version any more
    assert admin.call("PATCH", url, first, headers={"If-Match": seen})[0] == 412


def test_settings_that_have_not_changed_are_not_sent_again(admin):
    admin.get(SETTINGS)
    assert admin.call("GET", SETTINGS, headers={"If-None-Match": admin.last.headers["etag"]})[0] == 304


def test_a_device_is_always_sent_again(admin):
    admin.get(DEVICE)
    assert admin.call("GET", DEVICE, headers={"If-None-Match": admin.last.headers["etag"]})[0] == 200


def test_versions_of_devices_are_their_own(admin, of_machine):
    admin.get(SETTINGS)
    seen = {"If-Match": admin.last.headers["etag"]}
    assert admin.call("PATCH", DEVICE, {"closed": False})[0] == 200
    assert admin.call("PATCH", SETTINGS, {"epochs": 23}, headers=seen)[0] == 200


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
