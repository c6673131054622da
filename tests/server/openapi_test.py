"""The OpenAPI document: every operation and event has a name and schemas, and clients can be generated from it. That
answers are as it says is checked with every call of every test (client.Document)."""
import os
import re

import httpx
import pytest

from client import Document


@pytest.fixture(scope="module")
def document(nobody):
    return nobody.get("/openapi.json")


@pytest.fixture(scope="module")
def operations(document):
    return [(f"{method.upper()} {url}", o) for url, methods in document["paths"].items() for method, o in methods.items()]


def test_every_operation_has_a_name_of_its_own(operations):
    names = [o["operationId"] for _, o in operations]
    assert len(set(names)) == len(names)
    assert not [n for n in names if not re.fullmatch(r"[a-z][A-Za-z0-9]+", n)]


def test_every_operation_says_what_it_answers(operations):
    for name, o in operations:
        assert o["responses"]["default"]["content"], name
        good = o["responses"]["2XX"].get("content")
        if good is None:
            assert re.match("DELETE|OPTIONS|HEAD|PATCH /api/v1/uploads|POST /api/v1/(auth/(logout|reset)|events)", name), name


def with_json(operations):
    """(name, what it is about, its content) of every request and answer in JSON."""
    for name, o in operations:
        for what, place in (("request", o.get("requestBody", {})), ("answer", o["responses"]["2XX"])):
            content = place.get("content", {}).get("application/json")
            if content:
                yield name, what, content


def test_every_request_and_answer_in_json_has_an_example(operations):
    assert not [(name, what) for name, what, content in with_json(operations) if "example" not in content]
    assert len(list(with_json(operations))) > 100


def test_examples_are_as_the_schemas_say(server, operations):
    document = Document.of(server)
    for name, what, content in with_json(operations):
        document.check(content["schema"], content["example"], f"the example of {name} ({what})")


def test_no_example_is_of_an_operation_that_is_not_there(document, operations):
    with open(os.path.join(os.path.dirname(__file__), "../../server/api/examples.c"), encoding="utf-8") as f:
        named = re.findall(r'^  \{"(\w+)",$', f.read(), re.M)
    assert sorted(named) == sorted({o["operationId"] for name, o in operations
                                    if any(n == name for n, _, _ in with_json(operations))})


def test_every_reference_leads_to_a_schema(document):
    used = set(re.findall(r"#/components/schemas/(\w+)", str(document)))
    assert used == set(document["components"]["schemas"])


def test_events_have_schemas(document):
    assert {"session", "progress", "dataset", "devices", "notice", "reset"} <= set(document["x-events"])


def test_an_answer_that_is_not_as_the_document_says_is_noticed(server, nobody):
    """The tester, tested."""
    request = httpx.Request("GET", server.url + "/healthz")
    for body in ({"status": "ok"}, {"status": 1, "version": "", "seconds": 1}, {**nobody.get("/healthz"), "more": 1}):
        with pytest.raises(AssertionError):
            Document.of(server).check_answer("GET", "/healthz", httpx.Response(200, json=body, request=request))


def test_problems_are_rfc_9457_documents(nobody):
    status, answer = nobody.call("GET", "/api/v1/nothing")
    assert status == 404
    assert nobody.last.headers["content-type"] == "application/problem+json"
    assert (answer["title"], answer["status"], answer["code"]) == ("Not Found", 404, "not_found")
    assert answer["detail"]


def test_a_wrong_method_says_which_are_right(nobody):
    status, _ = nobody.call("DELETE", "/healthz")
    assert (status, nobody.last.headers["allow"]) == (405, "GET, HEAD")
    status, _ = nobody.call("PUT", "/api/v1/models/1")
    assert (status, nobody.last.headers["allow"]) == (405, "GET, HEAD, PATCH, DELETE")


def test_the_inference_protocols_have_their_own_form_of_an_error(nobody):
    assert list(nobody.call("GET", "/v2/models/nothing")[1]) == ["error"]
    assert list(nobody.call("GET", "/v1/models/nothing")[1]) == ["error"]
