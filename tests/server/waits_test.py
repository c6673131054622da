"""Calls that wait until a session comes to another state."""
import threading
import time

import httpx
import pytest

from client import Client, cancel, cancel_all, make_admin, new_model, settled, started, train, until, upload
from samples import CHURN, churn

LONG = {"epochs": 100000, "batch_size": 1}  # until it is cancelled


def prepared(server, programs):
    admin = make_admin(server)
    admin.call("PATCH", "/api/v1/system/settings", {"epochs": LONG["epochs"]})
    number = upload(admin, "churn", churn(programs["bench"], 4000))
    assert admin.call("PATCH", f"/api/v1/datasets/{number}", {"public": True})[0] == 200, admin.last.text
    return admin, number


@pytest.fixture(scope="module")
def prepared_here(server, programs):
    return prepared(server, programs)


@pytest.fixture(scope="module")
def admin(prepared_here):
    return prepared_here[0]


@pytest.fixture(scope="module")
def dataset(prepared_here):
    return prepared_here[1]


@pytest.fixture
def running(user, dataset):
    """A session of `user` that trains until the test ends."""
    session = started(user, new_model(user, "net", CHURN), dataset, **LONG)
    settled(user, session, ("running",))
    yield session
    cancel_all(user)


class Waiting:
    """A call that waits, on a thread and a connection of its own."""

    def __init__(self, c, session, seconds=60):
        self.status = self.answer = self.after = None
        self.thread = threading.Thread(target=self._run, args=(c, session, seconds), daemon=True)
        self.thread.start()

    def _run(self, c, session, seconds):
        begin = time.monotonic()
        own = Client(c.server, c.token)
        self.status, self.answer = own.call("GET", f"/api/v1/sessions/{session}?wait={seconds}")
        self.after = time.monotonic() - begin

    def joined(self, seconds=30):
        self.thread.join(seconds)
        assert not self.thread.is_alive(), "no answer"
        return self


def test_a_call_waits_until_the_state_changes(user, running, slack):
    waiting = Waiting(user, running)
    time.sleep(0.5)
    assert waiting.status is None
    cancel(user, running)
    begin = time.monotonic()
    assert waiting.joined().answer["state"] == "cancelled"
    assert time.monotonic() - begin < 5 * slack


def test_a_call_waits_no_longer_than_it_asked_for(user, running):
    begin = time.monotonic()
    assert user.get(f"/api/v1/sessions/{running}?wait=1")["state"] == "running"
    assert 0.9 < time.monotonic() - begin < 5


def test_a_session_that_is_over_is_answered_at_once(user, dataset, slack):
    session = train(user, new_model(user, "net", CHURN), dataset, epochs=1)
    begin = time.monotonic()
    answer = user.get(f"/api/v1/sessions/{session['id']}?wait=60")
    assert time.monotonic() - begin < slack
    assert answer == user.get(f"/api/v1/sessions/{session['id']}")


def test_nothing_is_waited_for_0_seconds(user, running):
    assert user.call("GET", f"/api/v1/sessions/{running}?wait=0")[0] == 200


@pytest.mark.parametrize("seconds", ["121", "-1", "x"])
def test_more_than_120_seconds_are_not_waited(user, running, seconds):
    assert user.call("GET", f"/api/v1/sessions/{running}?wait={seconds}")[0] == 400


def test_the_sessions_of_others_are_not_waited_for(other, running, slack):
    begin = time.monotonic()
    assert other.call("GET", f"/api/v1/sessions/{running}?wait=60")[0] == 404
    assert time.monotonic() - begin < slack


def test_more_calls_wait_than_there_are_threads_and_hold_none(user, running, slack):
    calls = [Waiting(user, running) for _ in range(16)]
    time.sleep(0.5)
    begin = time.monotonic()
    user.get("/api/v1/sessions")
    assert time.monotonic() - begin < slack
    cancel(user, running)
    assert {w.joined().answer["state"] for w in calls} == {"cancelled"}


def test_an_account_has_16_calls_that_wait(user, other, running):
    calls = [Waiting(user, running) for _ in range(16)]
    time.sleep(0.5)
    status, answer = user.call("GET", f"/api/v1/sessions/{running}?wait=60")
    assert status == 429, answer
    cancel(user, running)
    for w in calls:
        w.joined()


def test_a_client_that_leaves_makes_room(user, running):
    for _ in range(16):
        with pytest.raises(httpx.ReadTimeout):
            Client(user.server, user.token, timeout=0.05).call("GET", f"/api/v1/sessions/{running}?wait=60")

    def look():
        return user.call("GET", f"/api/v1/sessions/{running}?wait=1")[0]
    assert until(look, lambda status: status == 200, 5) == 200


def test_a_session_that_is_deleted_is_not_waited_for(user, admin, dataset, running):
    waiting = Waiting(user, running)
    time.sleep(0.3)
    cancel(user, running)
    until(lambda: user.call("DELETE", f"/api/v1/sessions/{running}")[0], lambda status: status == 204)
    assert waiting.joined().status in (200, 404), "whichever comes first"


def test_a_log_in_that_ends_gets_no_answer(user, dataset):
    session = started(user, new_model(user, "net", CHURN), dataset, **LONG)
    settled(user, session, ("running",))
    again = Client(user.server)
    assert again.log_in(user.name, "0123456789") == 200
    waiting = Waiting(again, session)
    time.sleep(0.5)
    assert again.call("POST", "/api/v1/auth/logout")[0] == 204
    cancel_all(user)
    assert waiting.joined().status == 401


def test_a_server_that_stops_answers_what_waits(start_server, programs, slack):
    server = start_server()
    admin, dataset = prepared(server, programs)
    session = started(admin, new_model(admin, "net", CHURN), dataset, **LONG)
    settled(admin, session, ("running",))
    waiting = Waiting(admin, session)
    time.sleep(0.5)
    begin = time.monotonic()
    assert server.stop() == 0
    assert waiting.joined().answer["state"] == "running"
    assert time.monotonic() - begin < 5 * slack
