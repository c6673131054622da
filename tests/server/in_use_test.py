"""What others use is not deleted under them, and limits hold when thirty ask at once."""
import concurrent.futures

import pytest

from client import Client, Events, PASSWORD, cancel, make_admin, new_model, new_user, settled, start, started, train, upload
from samples import MLP, numbers_table

LONG = {"epochs": 50000, "batch_size": 1}
TABLE = numbers_table(300)


@pytest.fixture
def public(admin):
    """A data set of the administrator's that everybody may use."""
    number = upload(admin, "public table", TABLE, "n.csv")
    assert admin.call("PATCH", f"/api/v1/datasets/{number}", {"public": True})[0] == 200
    yield number
    for s in admin.get("/api/v1/sessions")["sessions"]:
        cancel(admin, s["id"])
        settled(admin, s["id"])
    admin.call("DELETE", f"/api/v1/datasets/{number}")


def test_a_data_set_that_a_training_of_others_uses_is_not_deleted(admin, user, public, settings):
    settings(epochs=100000)
    session = started(user, new_model(user, "m", MLP), public, **LONG)
    settled(user, session, ("running",))
    status, answer = admin.call("DELETE", f"/api/v1/datasets/{public}")
    assert status == 409, answer
    assert user.get(f"/api/v1/sessions/{session}")["state"] == "running"
    cancel(user, session)
    settled(user, session)
    assert admin.call("DELETE", f"/api/v1/datasets/{public}")[0] == 204, admin.last.text


def test_sessions_that_are_over_keep_row_and_history(admin, user, public):
    session = train(user, new_model(user, "m", MLP), public, epochs=3)
    assert admin.call("DELETE", f"/api/v1/datasets/{public}")[0] == 204, admin.last.text
    after = user.get(f"/api/v1/sessions/{session['id']}")
    assert after["history"] == session["history"] != []
    assert (after["dataset"], after["dataset_name"]) == (None, "public table")


def test_ones_own_data_set_in_use_is_named_with_its_session(user, settings):
    settings(epochs=100000)
    number = upload(user, "own", TABLE, "n.csv")
    session = started(user, new_model(user, "m", MLP), number, **LONG)
    status, answer = user.call("DELETE", f"/api/v1/datasets/{number}")
    assert status == 409, answer
    assert f"session {session}" in answer["detail"]
    cancel(user, session)


def test_waiting_trainings_of_a_deleted_owner_of_data_fail_with_a_reason(admin, settings):
    settings(sessions_per_device=1, epochs=100000)
    owner, trainer = new_user(admin, "data owner"), new_user(admin, "trainer")
    number = upload(owner, "shared", TABLE, "n.csv")
    assert admin.call("PATCH", f"/api/v1/datasets/{number}", {"public": True})[0] == 200
    model = new_model(trainer, "m", MLP)
    sessions = [started(trainer, model, number, **LONG) for _ in range(2)]
    settled(trainer, sessions[0], ("running",))
    assert admin.call("DELETE", f"/api/v1/users/{owner.get('/api/v1/auth/me')['id']}")[0] == 204
    waited = settled(trainer, sessions[1])
    assert (waited["state"], waited["error"]) == ("failed", "its data set was deleted")
    cancel(trainer, sessions[0])
    settled(trainer, sessions[0])


def at_once(c, n, act):
    """The statuses of n calls that begin together, each over a connection of its own."""
    clients = [Client(c.server, c.token) for _ in range(n)]
    with concurrent.futures.ThreadPoolExecutor(n) as threads:
        return list(threads.map(act, clients))


def test_sessions_per_user_hold_when_thirty_ask_at_once(user, settings):
    settings(sessions_per_user=3, epochs=100000)
    model, number = new_model(user, "m", MLP), upload(user, "own", TABLE, "n.csv")
    statuses = at_once(user, 30, lambda c: start(c, model, number, **LONG)[0])
    sessions = [s["id"] for s in user.get("/api/v1/sessions")["sessions"]]
    for s in sessions:
        cancel(user, s)
    assert statuses.count(201) == len(sessions) <= 3, statuses


def test_a_one_time_key_makes_one_account_when_thirty_use_it(start_server):
    admin = make_admin(start_server())  # of its own: what fails here counts against the address
    key = admin.post("/api/v1/users/keys", {})["key"]
    numbers = iter(range(100))
    statuses = at_once(admin, 30, lambda c: Client(c.server).register(key, f"many {next(numbers)} x", PASSWORD))
    assert statuses.count(201) == 1, statuses


def test_events_name_no_path_of_the_server(admin, user, server):
    heard = Events(user)
    train(user, new_model(user, "m", MLP), upload(user, "own", TABLE, "n.csv"), epochs=1)
    assert heard.of("progress"), "it was told of the training"
    assert server.data_dir not in str(heard.heard)
    assert server.data_dir not in admin.get("/api/v1/sessions").__str__()
