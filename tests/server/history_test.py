"""What devices did: seconds in memory, minutes and quarters of an hour in the store, and for whom."""
import contextlib
import signal
import sqlite3
import time

import pytest

from client import cancel_all, make_admin, new_model, new_user, settled, started, until, upload
from samples import CHURN, churn

FIGURES = ("utilisation", "memory", "power", "temperature")
LONG = {"epochs": 100000, "batch_size": 1}  # until it is cancelled


def history(c, device="cpu", **options):
    return c.get(f"/api/v1/devices/{device}/history", params=options)


def seen(answer, figure="memory"):
    """The values of the seconds that were seen."""
    return [v for v in answer[figure] if v is not None]


def with_store(server, statement, rows=()):
    """Rows of a server that does not run; or adds them."""
    with contextlib.closing(sqlite3.connect(server.file("webml.sqlite"))) as db, db:
        return db.executemany(statement, rows) if rows else db.execute(statement).fetchall()


def add_samples(server, rows, device="cpu"):
    """(level, time, utilisation)"""
    with_store(server, "INSERT INTO samples (device, level, time, seconds, utilisation, utilisation_max) "
               "VALUES (?, ?, ?, ?, ?, ?)", [(device, level, at, level, u, u + 5) for level, at, u in rows])


@pytest.fixture
def stopped(start_server):
    """A server with an administrator that does not run."""
    server = start_server()
    server.admin = make_admin(server)
    assert server.stop() == 0
    return server


def again(server):
    """The administrator of a server that is started again."""
    server.start()
    server.admin.connect()
    return server.admin


# ---- seconds ----

def test_seconds_are_seen(admin):
    answer = until(lambda: history(admin), lambda a: len(seen(a)) >= 2, 10)
    assert answer["step"] == 1
    assert answer["device"] == "cpu"
    assert len(answer["times"]) == 600
    assert len(seen(answer)) >= 2
    assert all(0 <= u <= 100 for u in seen(answer, "utilisation"))
    assert all(len(answer[f]) == len(answer[f + "_max"]) == 600 for f in FIGURES)


def test_what_is_not_measured_is_null(admin):
    until(lambda: history(admin), seen, 10)
    assert seen(history(admin), "power") == []


def test_before_the_start_nothing_was_seen(admin):
    answer = history(admin)
    assert answer["memory"][0] is None
    assert answer["utilisation"][0] is None


def test_a_server_that_sleeps_leaves_a_gap(start_server):
    server = start_server()
    admin = make_admin(server)
    until(lambda: history(admin), lambda a: len(seen(a)) >= 2, 10)
    server.process.send_signal(signal.SIGSTOP)
    time.sleep(4.5)
    server.process.send_signal(signal.SIGCONT)
    count = len(seen(history(admin)))
    answer = until(lambda: history(admin), lambda a: len(seen(a)) >= count + 2, 10)
    values = answer["memory"]
    first = next(i for i, v in enumerate(values) if v is not None)
    assert values[first:].count(None) >= 3


def test_cards_have_a_history_by_name_and_uuid(cards):
    cards.show(cards.one, cards.two)
    answer = until(lambda: history(cards.admin, "cuda:0"), lambda a: seen(a, "power"), 10)
    assert answer["device"] == cards.uuid
    assert seen(answer, "power")[-1] == pytest.approx(120.5)
    assert seen(answer, "temperature")[-1] == 61
    assert seen(answer, "utilisation")[-1] == 35
    assert seen(answer)[-1] == 1000 << 20
    assert history(cards.admin, cards.uuid)["device"] == cards.uuid


# ---- minutes and quarters ----

def test_a_stop_writes_what_was_seen_of_the_minute(start_server):
    server = start_server()
    admin = make_admin(server)
    until(lambda: history(admin), lambda a: len(seen(a)) >= 2, 10)
    server.stop()
    for level in (60, 900):
        rows = with_store(server, f"SELECT time, seconds, memory, memory_max FROM samples WHERE level = {level}")
        assert rows
        assert all(at % level == 0 and 0 < memory <= most for at, _, memory, most in rows)
        assert 2 <= sum(seconds for _, seconds, _, _ in rows) < 20


def test_a_restart_goes_on_with_the_same_minute(stopped):
    admin = again(stopped)
    until(lambda: history(admin), lambda a: len(seen(a)) >= 2, 10)
    stopped.stop()
    rows = with_store(stopped, "SELECT COUNT(*), COUNT(DISTINCT time), MAX(seconds) FROM samples WHERE level = 60")
    assert rows[0][0] == rows[0][1]
    assert rows[0][2] <= 60


def test_a_minute_that_is_seen_twice_has_no_more_seconds_than_it_has(stopped):
    """As after a clock that was put back."""
    now = int(time.time())
    rows = [(level, at // level * level, 50) for level in (60, 900) for at in (now, now + level)]
    with_store(stopped, "DELETE FROM samples WHERE ?", [(1,)])
    add_samples(stopped, rows)
    admin = again(stopped)
    until(lambda: history(admin), lambda a: len(seen(a)) >= 2, 10)
    stopped.stop()
    kept = with_store(stopped, "SELECT level, seconds, utilisation FROM samples")
    assert len(kept) == 4
    assert all(seconds == level for level, seconds, _ in kept)
    assert all(0 <= utilisation <= 100 for _, _, utilisation in kept)


def test_minutes_outlive_a_restart_and_have_means_and_maxima(stopped):
    now = int(time.time()) // 3600 * 3600
    add_samples(stopped, [(60, now - 7200, 10), (60, now - 7140, 20)])
    answer = history(again(stopped), **{"from": now - 7200, "to": now - 7080})
    assert answer["step"] == 60
    assert answer["utilisation"] == [10, 20]
    assert answer["utilisation_max"] == [15, 25]


def test_a_longer_step_joins_samples_and_leaves_gaps(stopped):
    now = int(time.time()) // 3600 * 3600
    add_samples(stopped, [(60, now - 7200, 10), (60, now - 7140, 20), (60, now - 6960, 90)])
    answer = history(again(stopped), step=120, **{"from": now - 7200, "to": now - 6840})
    assert answer["times"] == [now - 7200, now - 7080, now - 6960]
    assert answer["utilisation"] == [15, None, 90]
    assert answer["utilisation_max"] == [25, None, 95]


@pytest.mark.parametrize("span", ["10m", "7d", "2y"])
def test_an_answer_has_at_most_1000_points(admin, span):
    answer = history(admin, span=span)
    assert 500 < len(answer["times"]) <= 1000
    assert all(b - a == answer["step"] for a, b in zip(answer["times"], answer["times"][1:]))


def test_what_is_too_old_is_deleted(stopped):
    now = int(time.time())
    add_samples(stopped, [(60, now // 60 * 60 - 8 * 86400, 1), (60, now // 60 * 60 - 6 * 86400, 1),
                          (900, now // 900 * 900 - 740 * 86400, 1), (900, now // 900 * 900 - 700 * 86400, 1)])
    again(stopped)
    stopped.stop()
    kept = with_store(stopped, f"SELECT level, COUNT(*) FROM samples WHERE time < {now - 3600} GROUP BY level")
    assert kept == [(60, 1), (900, 1)]


def test_a_store_of_an_earlier_version_gets_the_tables(stopped):
    with contextlib.closing(sqlite3.connect(stopped.file("webml.sqlite"))) as db, db:
        db.execute("DROP TABLE samples")
        db.execute("DROP TABLE samples_of_people")
        db.execute("DROP INDEX logins_of_cookie")
        db.execute("DROP INDEX sessions_of_evaluates")
        db.execute("ALTER TABLE sessions DROP COLUMN evaluates")
        db.execute("ALTER TABLE sessions DROP COLUMN report")
        db.execute("ALTER TABLE logins DROP COLUMN cookie")
        db.execute("PRAGMA user_version = 4")
    assert history(again(stopped))["step"] == 1


# ---- people ----

@pytest.fixture(scope="module")
def trainer(admin, programs):
    """An account whose training runs until the tests of the file end."""
    admin.call("PATCH", "/api/v1/system/settings", {"epochs": LONG["epochs"]})
    number = upload(admin, "churn", churn(programs["bench"], 4000))
    assert admin.call("PATCH", f"/api/v1/datasets/{number}", {"public": True})[0] == 200, admin.last.text
    c = new_user(admin, "trainer")
    settled(c, started(c, new_model(c, "net", CHURN), number, **LONG), ("running",))
    c.id = c.get("/api/v1/auth/me")["id"]
    yield c
    cancel_all(c)


def people(c):
    return until(lambda: history(c), lambda a: a["people"], 10)["people"]


def test_the_seconds_of_a_training_are_its_owners(trainer):
    until(lambda: sum(people(trainer)[0]["seconds"]), lambda s: s >= 2, 10)
    one, = people(trainer)
    assert one["user"] == trainer.id
    assert one["name"] == "trainer"
    assert set(one["seconds"]) <= {0, 1}
    assert max(one["memory"]) > 1 << 20


def test_administrators_see_who_it_was(admin, trainer):
    people(trainer)
    assert [p["name"] for p in people(admin)] == ["trainer"]


def test_others_do_not_see_who_it_was(user, trainer):
    people(trainer)
    one, = people(user)
    assert one["name"] is None
    assert one["user"] is None
    assert sum(one["seconds"]) > 0


def test_people_are_kept_by_minutes(stopped):
    now, number = int(time.time()) // 3600 * 3600, 1  # the first account's
    with_store(stopped, "INSERT INTO samples_of_people VALUES ('cpu', 60, ?, ?, ?, ?)",
               [(now - 7200, number, 30, 100), (now - 7140, number, 60, 400), (now - 7200, 999, 5, 1)])
    answer = history(again(stopped), step=120, **{"from": now - 7200, "to": now - 7080})
    assert answer["people"] == [{"user": number, "name": "admin", "seconds": [90], "memory": [300]},
                                {"user": 999, "name": None, "seconds": [5], "memory": [1]}]


# ---- what is refused ----

def test_a_device_that_there_is_not_has_no_history(admin):
    assert admin.call("GET", "/api/v1/devices/cuda:7/history")[0] == 404


@pytest.mark.parametrize("query", ["span=1h", "from=20&to=10", "from=-5", "span=7d&from=5", "step=0", "from=1",
                                   f"from={1 << 60}", f"to={1 << 60}"])
def test_what_cannot_be_is_refused(admin, query):
    assert admin.call("GET", f"/api/v1/devices/cpu/history?{query}")[0] == 400


def test_a_year_of_many_devices_is_answered_soon(stopped, slow):
    now = int(time.time()) // 900 * 900
    with contextlib.closing(sqlite3.connect(stopped.file("webml.sqlite"))) as db, db:
        for device in ("cpu", "GPU-a", "GPU-b"):
            db.executemany("INSERT INTO samples VALUES (?, 900, ?, 900, 1, 2, 3, 4, 5, 6, 7, 8)",
                           ((device, now - 900 * i) for i in range(1, 70000)))
    admin = again(stopped)
    begin = time.monotonic()
    answer = history(admin, span="2y")
    took = time.monotonic() - begin
    assert len(seen(answer)) > 700
    assert slow or took < 0.5
