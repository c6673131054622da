"""Log-ins that fail make one wait, longer and longer; nobody is locked out by others, and a restart forgets nothing."""
import sqlite3

import httpx
import pytest

from client import PASSWORD, Client, make_admin, new_user, until


@pytest.fixture
def server(start_server):
    return start_server()


@pytest.fixture
def admin(server):
    return make_admin(server)


def from_address(server, address):
    return Client(server, transport=httpx.HTTPTransport(local_address=address))


def fail(c, name, times):
    return [c.log_in(name, "wrong password") for _ in range(times)]


def test_after_five_failures_one_waits(server, admin):
    c = Client(server)
    assert fail(c, "admin", 5) == [401] * 5
    assert c.log_in("admin", PASSWORD) == 429
    assert int(c.last.headers["retry-after"]) >= 1


def test_nobody_is_locked_out_from_elsewhere(server, admin):
    fail(from_address(server, "127.0.0.2"), "admin", 6)
    assert from_address(server, "127.0.0.3").log_in("admin", PASSWORD) == 200


def test_a_restart_forgets_nothing(server, admin):
    fail(Client(server), "admin", 7)
    server.stop()
    server.start()
    assert Client(server).log_in("admin", PASSWORD) == 429


def test_many_names_push_nobody_out(server, admin):
    """Failures are rows: none takes another one's place."""
    c = Client(server)
    fail(c, "admin", 6)
    with sqlite3.connect(server.file("webml.sqlite"), timeout=30) as store:
        count, = store.execute("SELECT COUNT(*) FROM failures").fetchone()
        keys = [k for k, in store.execute("SELECT key FROM failures")]
        store.executemany("INSERT INTO failures VALUES (?, 6, strftime('%s', 'now'))",
                          [(f"{i:032x}",) for i in range(20000)])
    assert count == 2, "one of the name at the address, one of the address"
    assert not any("admin" in k or "127" in k for k in keys), "what is kept names nobody"
    assert c.log_in("admin", PASSWORD) == 429


def test_an_address_that_tries_many_names_waits(server, admin):
    attacker = from_address(server, "127.0.0.4")
    statuses = [attacker.log_in(f"name{i}", "wrong password") for i in range(60)]
    assert statuses[0] == 401
    assert statuses[-1] == 429
    assert from_address(server, "127.0.0.5").log_in("admin", PASSWORD) == 200


def test_a_success_forgets_the_failures(server, admin):
    c = Client(server)
    fail(c, "admin", 4)
    assert c.log_in("admin", PASSWORD) == 200
    assert fail(c, "admin", 4) == [401] * 4
    assert c.log_in("admin", PASSWORD) == 200


def test_keys_that_were_made_are_listed_and_revoked(server, admin):
    key = admin.post("/api/v1/users/keys", {"role": "admin"})
    listed = admin.get("/api/v1/users/keys")["keys"]
    assert [(k["id"], k["role"]) for k in listed] == [(key["id"], "admin")]
    assert "key" not in listed[0]
    assert admin.call("DELETE", f"/api/v1/users/keys/{key['id']}")[0] == 204
    assert admin.get("/api/v1/users/keys") == {"keys": []}
    assert Client(server).register(key["key"], "too late", PASSWORD) == 403
    assert admin.call("DELETE", f"/api/v1/users/keys/{key['id']}")[0] == 404


def test_log_ins_that_are_over_are_purged(server, admin):
    user = new_user(admin, "user")
    with sqlite3.connect(server.file("webml.sqlite"), timeout=30) as store:
        store.execute("UPDATE renewals SET expires = 1 WHERE login = ?", (user.get("/api/v1/auth/me")["login"],))
    server.stop()
    server.start()
    with sqlite3.connect(server.file("webml.sqlite"), timeout=30) as store:
        left = until(lambda: store.execute("SELECT COUNT(*) FROM logins").fetchone()[0], lambda n: n == 1, 10)
    assert left == 1, "the administrator's"
