"""Streams of events end with the log-in that they were opened with, are few, and tell when something was missed."""
import threading
import time

import httpx
import pytest

from client import PASSWORD, Client, make_admin, new_user, until, upload


class Stream:
    """What comes as it is, line by line; `ended` when the server has ended it."""

    def __init__(self, client, **headers):
        self.lines, self.ended, self.status, opened = [], threading.Event(), None, threading.Event()

        def listen():
            token = {"authorization": "Bearer " + client.token}
            with httpx.Client(base_url=client.server.url, timeout=60) as c, \
                    c.stream("GET", "/api/v1/events", headers={**token, **headers}) as answer:
                self.status = answer.status_code
                opened.set()
                for line in answer.iter_lines():
                    self.lines.append((time.monotonic(), line.rstrip("\n")))
            self.ended.set()

        threading.Thread(target=listen, daemon=True).start()
        assert opened.wait(30)


def account(admin, c):
    return f"/api/v1/users/{c.get('/api/v1/auth/me')['id']}"


ENDS = {
    "log-out": lambda admin, c: c.call("POST", "/api/v1/auth/logout"),
    "closing": lambda admin, c: admin.call("PATCH", account(admin, c), {"enabled": False}),
    "lost role": lambda admin, c: admin.call("PATCH", account(admin, c), {"role": "user"}),
    "deletion": lambda admin, c: admin.call("DELETE", account(admin, c)),
    "new password": lambda admin, c: c.call("POST", "/api/v1/auth/password",
                                            {"password": PASSWORD, "new_password": PASSWORD + "x"})}


@pytest.mark.parametrize("how", ENDS)
def test_a_stream_ends_with(admin, slack, how):
    c = new_user(admin, "listener " + how.split(" ")[-1], "admin")
    stream = Stream(c)
    assert stream.status == 200
    ENDS[how](admin, c)
    assert stream.ended.wait(5 * slack), f"the stream goes on after {how}"


def test_a_stream_of_another_log_in_goes_on(admin, slack):
    first = new_user(admin, "two log-ins")
    second = Client(admin.server)
    assert second.log_in("two log-ins", PASSWORD) == 200
    streams = Stream(first), Stream(second)
    assert first.call("POST", "/api/v1/auth/logout")[0] == 204
    assert streams[0].ended.wait(5 * slack)
    assert not streams[1].ended.is_set()


def test_an_account_has_eight_streams_at_most(user, other):
    streams = [Stream(user) for _ in range(9)]
    assert [s.status for s in streams] == [200] * 8 + [429]
    assert Stream(other).status == 200


def test_a_silent_stream_has_a_comment_every_fifteen_seconds(user):
    stream = Stream(user)
    began = time.monotonic()
    until(lambda: [at for at, line in stream.lines if line.startswith(":") and at > began + 1], len, 40)
    beats = [at for at, line in stream.lines if line.startswith(":") and at > began + 1]
    assert beats, "none in 40 s"
    assert beats[0] - began < 20


def test_who_was_away_for_too_long_is_told_to_begin_anew(start_server):
    server = start_server()
    admin = make_admin(server)
    admin.call("POST", "/api/v1/events", {"text": "the first one"})
    stream = Stream(admin, **{"Last-Event-ID": "1"})
    until(lambda: [line for _, line in stream.lines], lambda lines: "event: reset" in lines)
    assert "event: reset" in [line for _, line in stream.lines]


# ---- downloads ----

@pytest.fixture
def slow_download(admin, tmp_path):
    """A download of 64 MB that is read slowly: what came of it."""
    c = new_user(admin, "downloader")
    data = upload(c, "large", b"a,b,kind\n" + b"1,2.5,x\n2,3.5,y\n" * (4 << 20), "n.csv")
    outcome, begun = {}, threading.Event()

    def download():
        try:
            with httpx.Client(base_url=c.server.url, timeout=60) as h, h.stream(
                    "GET", f"/api/v1/datasets/{data}/file", headers={"authorization": "Bearer " + c.token}) as answer:
                outcome["size"], outcome["bytes"] = int(answer.headers["content-length"]), 0
                for piece in answer.iter_raw(65536):
                    outcome["bytes"] += len(piece)
                    begun.set()
                    time.sleep(0.01)
        except httpx.HTTPError as e:
            outcome["error"] = e

    thread = threading.Thread(target=download, daemon=True)
    thread.start()
    assert begun.wait(30)
    yield c, thread, outcome


def test_a_download_ends_with_the_log_in(slow_download, slack):
    c, thread, outcome = slow_download
    assert c.call("POST", "/api/v1/auth/logout")[0] == 204
    thread.join(20 * slack)
    assert not thread.is_alive(), "it goes on"
    assert "error" in outcome, outcome
    assert outcome["bytes"] < outcome["size"]
