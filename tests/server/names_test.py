"""Names are their owner's: what is public cannot be taken, and nobody is imitated."""
import pytest

from client import Client, PASSWORD, begin_upload, make_admin, new_key, new_net, new_user, upload
from samples import MLP, numbers_table


def model_of(c):
    return f"/api/v1/models/{c.get('/api/v1/models')['models'][0]['id']}"


@pytest.fixture
def shop(admin):
    """A public model of one account, and another account with a model that is private."""
    for old in admin.get("/api/v1/users")["users"]:
        if old["name"] in ("owner", "rival"):
            admin.call("DELETE", f"/api/v1/users/{old['id']}")
    owner, rival = new_user(admin, "owner"), new_user(admin, "rival")
    for c, name in ((owner, "prices"), (rival, "other")):
        new_net(c, name, MLP, upload(c, "numbers", numbers_table(300), "n.csv"), epochs=1)
    assert owner.call("PATCH", model_of(owner), {"public": True})[0] == 200, owner.last.text
    return owner, rival


@pytest.mark.parametrize("name", ["prices", "PRICES", "рrices", "pr1ces"], ids=["same", "case", "Cyrillic", "digit"])
def test_the_name_of_a_public_model_is_not_published_again(shop, name):
    owner, rival = shop
    status, answer = rival.call("PATCH", model_of(rival), {"name": name, "public": True})
    assert status in (400, 409), answer
    assert Client(owner.server).get("/v2/models") == {"models": ["prices"]}


def test_a_public_model_is_unloaded_by_its_owner_and_by_administrators_only(shop, admin):
    owner, rival = shop
    url = "/v2/repository/models/prices/unload"
    assert rival.call("POST", url, {})[0] == 403, rival.last.text
    assert owner.call("POST", url, {})[0] == 200, owner.last.text
    assert admin.call("POST", url, {})[0] == 200, admin.last.text


def test_a_closed_account_serves_nobody(shop, admin):
    owner, rival = shop
    user = f"/api/v1/users/{owner.get('/api/v1/auth/me')['id']}"
    assert rival.call("GET", "/v2/models/prices")[0] == 200
    assert admin.call("PATCH", user, {"enabled": False})[0] == 200
    assert rival.call("GET", "/v2/models/prices")[0] == 404
    assert admin.call("PATCH", user, {"enabled": True})[0] == 200
    assert rival.call("GET", "/v2/models/prices")[0] == 200


@pytest.mark.parametrize("name", [
    "Аdmin", "ad\u200bmin", "adm\u202enim", "аdmіn", "ADM1N", "ａｄｍｉｎ", "admi\u0301n", "a.d.m.i.n", "𝐚𝐝𝐦𝐢𝐧"],
    ids=["Cyrillic A", "zero width", "right to left", "mixed", "one for i", "wide", "combining", "dotted", "bold"])
def test_no_account_looks_like_another_one(admin, name):
    c = Client(admin.server)
    status = c.register(new_key(admin), name, PASSWORD)
    assert status in (400, 409), c.last.text


@pytest.mark.parametrize("name", ["Jürgen Groß", "Анна", "Ελένη", "山田 太郎", "ユーザー 1", "김철수", "Łukasz", "دانيال"])
def test_people_have_names_in_their_own_script(admin, name):
    c = Client(admin.server)
    assert c.register(new_key(admin), name, PASSWORD) == 201, c.last.text
    assert c.get("/api/v1/auth/me")["name"] == name


def test_a_name_that_looks_like_a_public_data_set_is_taken(start_server):
    admin = make_admin(start_server())
    user = new_user(admin, "user")
    number = upload(admin, "corpus", numbers_table(300), "n.csv")
    assert admin.call("PATCH", f"/api/v1/datasets/{number}", {"public": True})[0] == 200
    for name in ("corpus", "Corpus", "c0rpus"):
        assert begin_upload(user, name, 10)[0] == 409, name
    assert begin_upload(user, "corpus of mine", 10)[0] == 201
