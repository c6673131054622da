"""Events: one's own, in order, and those that were missed."""
import signal
import time

from client import Events, looked_at, make_admin, new_user, send, until
from samples import zip_of_pictures

TABLE = b"a,b,kind\n" + b"1,2.5,x\n2,3.5,y\n" * 500


def names(events):
    return [e["name"] for e in events.of("dataset")]


def heard(events, expected):
    """The names of the data sets that were told of, when all of them were, or too many."""
    return until(lambda: names(events), lambda seen: len(seen) >= len(expected))


def send_all(user, *data_sets):
    for name, data, file in data_sets:
        send(user, name, data, file)
        looked_at(user, name)


def test_events_come_in_order(user):
    events = Events(user)
    send_all(user, ("table", TABLE, "t.csv"), ("broken", b"a,b\n1,2\n1\n", "t.csv"),
             ("pictures", b"PK\x03\x04 no zip at all", "x.zip"), ("zip", zip_of_pictures("ab", 4), "p.zip"))
    expected = ["table", "broken", "pictures", "zip"]
    assert heard(events, expected) == expected
    first = events.of("dataset")[0]
    assert first["state"] == "ready", first
    numbers = [e.id for e in events.heard]
    assert numbers == sorted(numbers)


def test_others_hear_nothing(user, other):
    mine, theirs = Events(user), Events(other)
    send_all(user, ("table", TABLE, "t.csv"))
    assert heard(mine, ["table"]) == ["table"]
    assert [e for e in theirs.heard if e.kind != "devices"] == []


def test_events_go_on_after_a_kill(start_server):
    server = start_server()
    user = new_user(make_admin(server), "ada")
    before = Events(user)
    send_all(user, ("early", TABLE, "t.csv"))
    assert heard(before, ["early"]) == ["early"]
    server.stop(signal.SIGKILL)
    server.start()
    user.connect()
    after = Events(user)
    send_all(user, ("late", TABLE, "t.csv"), ("later", TABLE, "t.csv"))
    assert heard(after, ["late", "later"]) == ["late", "later"]


def test_events_that_were_missed_are_told_again(user):
    events = Events(user)
    send_all(user, ("late", TABLE, "t.csv"), ("later", TABLE, "t.csv"))
    assert heard(events, ["late", "later"]) == ["late", "later"]
    number = next(e.id for e in events.heard if e.kind == "dataset" and e.data["name"] == "later")
    again = Events(user, last=number - 1)
    assert heard(again, ["later"]) == ["later"]


def test_listeners_do_not_keep_it_from_ending(start_server):
    server = start_server()
    user = new_user(make_admin(server), "ada")
    Events(user)
    Events(user)
    begin = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - begin < 5
