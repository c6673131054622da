"""Every operation of the document at /openapi.json, by everybody: without a token, as a user, as a machine, as an
administrator."""
import pytest

from client import new_user

ADMINS_ONLY = {
    ("GET", "/api/v1/users"), ("GET", "/api/v1/users/{id}"), ("PATCH", "/api/v1/users/{id}"),
    ("DELETE", "/api/v1/users/{id}"), ("POST", "/api/v1/users/keys"), ("GET", "/api/v1/users/keys"),
    ("DELETE", "/api/v1/users/keys/{id}"), ("GET", "/api/v1/system/counts"), ("PATCH", "/api/v1/devices/{name}"), ("PATCH", "/api/v1/system/settings"),
    ("POST", "/api/v1/events"), ("GET", "/api/v1/system/log"), ("GET", "/api/v1/system/backups"),
    ("POST", "/api/v1/system/backups"), ("GET", "/api/v1/system/backups/{key}/file"),
    ("POST", "/api/v1/system/backups/{key}/restore"), ("DELETE", "/api/v1/system/backups/{key}"),
    ("POST", "/api/v1/users/{id}/tokens"), ("GET", "/api/v1/users/{id}/tokens"),
    ("DELETE", "/api/v1/users/{id}/tokens/{token}"), ("POST", "/api/v1/users"),
    ("POST", "/api/v1/users/{id}/password")}
FOR_MACHINES = {("GET", "/api/v1/auth/me"), ("GET", "/api/v1/auth/logins"),
                ("DELETE", "/api/v1/auth/logins/{id}"), ("POST", "/api/v1/auth/password"), ("GET", "/api/v1/devices"),
                ("GET", "/api/v1/devices/{name}"), ("GET", "/api/v1/devices/{name}/history")}


@pytest.fixture(scope="module")
def document(nobody):
    return nobody.get("/openapi.json")


@pytest.fixture(scope="module")
def operations(document):
    """(method, path): whether it is public. Without what logs out, and events, which go on for ever."""
    return {(method.upper(), url): {} in operation.get("security", [{}])
            for url, methods in document["paths"].items() for method, operation in methods.items()
            if not url.endswith("logout") and (method, url) != ("get", "/api/v1/events")}


def statuses(c, operations):
    """What each operation answers."""
    answers = {}
    for method, url in operations:
        here = url.replace("{id}", "999999").replace("{token}", "999999").replace("{key}", "abc")
        answers[method, url] = c.call(method, here, None if method == "GET" else {})[0]
    return answers


def test_the_document_lists_the_operations(document):
    assert document["openapi"] == "3.1.0"
    assert sum(len(methods) for methods in document["paths"].values()) > 20


def test_only_public_operations_work_without_a_token(nobody, admin, operations):
    wrong = {operation: status for operation, status in statuses(nobody, operations).items()
             if (status != 401) != operations[operation]
             and not (operations[operation] and operation[1].startswith("/api/v1/auth/"))}
    assert not wrong


def test_events_need_a_token(nobody):
    status, answer = nobody.call("GET", "/api/v1/events")
    assert status == 401, answer


def test_users_do_all_but_administration(user, operations):
    refused = {operation for operation, status in statuses(user, operations).items() if status == 403}
    assert refused == ADMINS_ONLY


def test_machines_do_next_to_nothing(admin, operations):
    private = [operation for operation, public in operations.items() if not public]
    answers = statuses(new_user(admin, "machine", "node"), private)
    allowed = {operation for operation, status in answers.items() if status != 403}
    assert allowed == FOR_MACHINES, answers


def test_administrators_do_everything(admin, operations):
    wrong = {operation: status for operation, status in statuses(admin, operations).items()
             if status in (401, 403, 500) and not operations[operation]}
    assert not wrong
