"""Settings, which are limits of users, and people who come without a key."""
import pytest

from client import Client, PASSWORD, begin_upload, make_admin, new_model, settled, start, train, upload
from samples import MLP, numbers_table

SETTINGS = "/api/v1/system/settings"


@pytest.fixture(scope="module")
def dataset(admin):
    """A public one."""
    number = upload(admin, "numbers", numbers_table(300), "n.csv")
    assert admin.call("PATCH", f"/api/v1/datasets/{number}", {"public": True})[0] == 200, admin.last.text
    return number


@pytest.fixture
def model(user):
    return new_model(user, "net", MLP)


def test_the_limits_are_those_of_the_dissertation(admin):
    settings = admin.get(SETTINGS)
    assert settings["epochs"] == 15
    assert settings["batch_size"] == 1024
    assert settings["rotation_range"] == 45
    assert settings["zoom_range"] == 0.5


@pytest.mark.parametrize("change", [{"epochs": 0}, {"epoch": 3}], ids=str)
def test_ranges_and_names_are_checked(admin, change):
    status, answer = admin.call("PATCH", SETTINGS, change)
    assert status == 400, answer


@pytest.mark.parametrize("limit, words", [
    ({"layers": 1}, "2 layers"), ({"parameters": 10}, "parameters"), ({"epochs": 1}, "epochs is at most 1")], ids=str)
def test_a_training_above_a_limit_is_refused(user, model, dataset, settings, limit, words):
    settings(**limit)
    status, answer = start(user, model, dataset, epochs=2)
    assert status in (400, 422), answer
    assert words in answer["detail"]


def test_weights_of_the_size_that_is_allowed_are_trained(user, model, dataset, settings):
    settings(weights_bytes=1024)
    status, answer = start(user, model, dataset, epochs=2)
    assert status == 201, answer
    settled(user, answer["id"])


def test_a_model_has_as_many_weights_as_are_allowed(user, model, dataset, settings):
    train(user, model, dataset, epochs=2)
    have = len(user.get("/api/v1/weights")["weights"])
    assert have == 1
    settings(weights_per_model=have)
    status, answer = start(user, model, dataset, epochs=2)
    assert status == 429, answer
    assert "weights" in answer["detail"]
    settings(weights_per_model=20)
    train(user, model, dataset, epochs=2)


def test_an_account_has_as_much_storage_as_is_allowed(user, settings):
    settings(storage_bytes=1000)
    status, answer = begin_upload(user, "n", 5000)
    assert status == 413, answer
    assert "0 bytes of 1.0 kB; this one has 5.0 kB" in answer["detail"]


# ---- without a key ----

def ask(c, name):
    """The status when somebody asks to be let in."""
    return c.call("POST", "/api/v1/auth/register", {"name": name, "password": PASSWORD})[0]


@pytest.fixture
def open_admin(start_server):
    """The administrator of a server where anybody may ask to be let in."""
    c = make_admin(start_server())
    status, answer = c.call("PATCH", SETTINGS, {"self_registration": 1})
    assert status in (200, 204), answer
    return c


def test_nobody_comes_without_a_key_unless_it_is_allowed(admin, nobody):
    assert ask(nobody, "stranger") == 403, nobody.last.text


def test_who_comes_without_a_key_waits_until_an_administrator_lets_them_in(open_admin):
    stranger = Client(open_admin.server)
    assert ask(stranger, "stranger") == 202, stranger.last.text
    assert stranger.log_in("stranger", PASSWORD) == 401
    waiting = [u for u in open_admin.get("/api/v1/users")["users"] if u["waiting"]]
    assert [u["name"] for u in waiting] == ["stranger"]
    status, answer = open_admin.call("PATCH", f"/api/v1/users/{waiting[0]['id']}", {"enabled": True})
    assert status == 200, answer
    assert stranger.log_in("stranger", PASSWORD) == 200


def test_nobody_fills_the_list_of_those_who_wait(open_admin):
    nobody = Client(open_admin.server)
    codes = [ask(nobody, f"robot{i}") for i in range(60)]
    assert codes[0] == 202, codes
    assert codes[-1] == 429, codes
