"""Models: made, seen, cloned, saved and deleted by their owners alone; requests that are not as declared."""
import pytest

MODELS = "/api/v1/models"
MLP = {"size": [4], "optimizer": "adam", "loss": "mse", "layers": [{"type": "Dense", "layer": {"units": 2}}]}


@pytest.fixture
def model(user):
    """The path of a new model named "first"."""
    return f"{MODELS}/{user.post(MODELS, {'name': 'first', 'description': MLP})['id']}"


def test_names_are_unique(user):
    status, answer = user.call("POST", MODELS, {"name": "first", "description": MLP})
    assert status == 201, answer
    status, answer = user.call("POST", MODELS, {"name": "first", "description": MLP})
    assert status == 409, answer


def test_all_errors_are_told_at_once(someone):
    wrong = {"size": [4], "layers": [{"type": "Dense", "layer": {"unit": 2}}]}
    status, answer = someone.call("POST", MODELS, {"name": "wrong", "description": wrong})
    assert status == 422, answer
    assert "did you mean" in answer["detail"]
    assert "is required" in answer["detail"]


def test_a_new_model_is_editable_and_has_a_summary(user, model):
    assert user.get(model)["state"] == "editable"
    status, answer = user.call("GET", model + "/summary")
    assert status == 200, answer


def test_the_models_of_others_are_not_there(other, model):
    for method, url, body in (("GET", model, None), ("PATCH", model, {"name": "mine"}), ("DELETE", model, None),
                              ("POST", model + "/clone", {"name": "x"})):
        status, answer = other.call(method, url, body)
        assert status == 404, f"{method} {url}: {answer}"
    assert other.get(MODELS)["models"] == []


def test_administrators_see_all_models(admin, model):
    status, answer = admin.call("GET", model)
    assert status == 200, answer


def test_a_clone_has_a_name_of_its_own(user, model):
    status, answer = user.call("POST", model + "/clone", {"name": "second"})
    assert status == 201, answer
    status, answer = user.call("PATCH", model, {"name": "second"})
    assert status == 409, answer


def test_a_model_is_renamed_and_published(user, model):
    status, answer = user.call("PATCH", model, {"name": "renamed", "public": True})
    assert status == 200, answer
    assert user.get(model)["public"] is True


def test_a_deleted_model_is_gone(user, model):
    status, answer = user.call("DELETE", model)
    assert status == 204, answer
    assert user.call("GET", model)[0] == 404


@pytest.mark.parametrize("body, words", [
    ("{", "not JSON"), ("[]", "object"), ('{"name":1}', "a text"), ('{"nam":"x"}', "no member"),
    ('{"name":"a","name":"b"}', "not JSON"), (b"\xff\xfe", "not JSON"), ('{"name":"' + "x" * 101 + '"}', "1 to 100")])
def test_a_body_that_is_not_as_declared_is_refused(someone, body, words):
    status, answer = someone.call("POST", MODELS, body)
    assert status == 400, answer
    assert words in answer["detail"]


@pytest.mark.parametrize("method, url, expected", [
    pytest.param("GET", MODELS + "?x=1", 400, id="a query that there is not"),
    pytest.param("GET", MODELS + "/x", 404, id="no number"),
    pytest.param("PUT", MODELS, 405, id="a wrong method"),
    pytest.param("GET", MODELS + "/99999999999999999999999", 404, id="a number beyond all")])
def test_a_request_that_is_not_as_declared_is_refused(someone, method, url, expected):
    status, answer = someone.call(method, url)
    assert status == expected, answer


# ---- problems ----

def test_a_wrong_description_is_told_place_by_place(user):
    wrong = {"layers": [{"type": "Dens", "layer": {}}], "size": [3]}
    status, answer = user.call("POST", "/api/v1/models", {"name": "wrong", "description": wrong})
    assert status == 422, answer
    places = {e["path"]: e for e in answer["errors"]}
    assert places["/description/layers/0/type"]["cure"]["patch"], answer


@pytest.mark.parametrize("url, body, path", [
    ("/api/v1/models", {"name": 1, "description": {}}, "/name"), ("/api/v1/models", {"description": {}}, "/name"),
    ("/api/v1/models/check?x", {}, None), ("/api/v1/sessions", {"model": 1, "dataset": 1, "epochs": 0}, "/epochs")])
def test_a_wrong_member_is_named(user, url, body, path):
    status, answer = user.call("POST", url, body)
    assert status == 400, answer
    assert [e["path"] for e in answer.get("errors", [])] == ([path] if path else []), answer
