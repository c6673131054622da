"""Log-ins of browsers by cookie: over TLS, for pages of this server alone."""
import hashlib
import sqlite3
import time

import pytest

from client import PASSWORD, Client, begin_upload, make_admin, new_key, new_model, new_user, until
from samples import MLP, certificate

ME, LOG_IN, LOG_OUT, MODELS = "/api/v1/auth/me", "/api/v1/auth/login", "/api/v1/auth/logout", "/api/v1/models"
COOKIE = "__Host-webml"
OWN_PAGE, OTHER_PORT = {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "same-site"}


class Page(Client):
    """A page in a browser, which keeps the server's cookie and says with each request where it is from."""
    cookie, comes_from = None, OWN_PAGE

    def call(self, method, url, body=None, headers=(), **options):
        headers = {**self.comes_from, **dict(headers)}
        if self.cookie:
            headers.setdefault("cookie", f"{COOKIE}={self.cookie}")
        self.http.cookies.clear()
        result = super().call(method, url, body, headers=headers, **options)
        set_cookie = self.last.headers.get("set-cookie", "")
        if set_cookie.startswith(COOKIE + "="):
            self.cookie = set_cookie.split(";")[0].split("=", 1)[1] or None
        return result

    def from_page(self, method, url, body=None, page=None):
        """The status where a page of this origin asks."""
        self.comes_from = OWN_PAGE if page is None else page
        try:
            return self.call(method, url, body)[0]
        finally:
            self.comes_from = OWN_PAGE


@pytest.fixture(scope="module")
def server(start_server_of_module):
    return start_server_of_module(*certificate("cookies", "localhost"))


@pytest.fixture(scope="module", params=[False, True], ids=["HTTP/1.1", "HTTP/2"])
def options(request):
    return {"http2": request.param, "verify": False}


@pytest.fixture(scope="module")
def admin(server):
    return make_admin(server, verify=False)


def log_in(server, name, options):
    c = Page(server, **options)
    assert c.call("POST", LOG_IN, {"name": name, "password": PASSWORD, "cookie": True})[0] == 200, c.last.text
    assert c.cookie
    return c


@pytest.fixture
def page(server, user, options):
    """A page that an account of this test alone has logged in from."""
    return log_in(server, user.name, options)


@pytest.fixture(scope="module")
def visitor(server, admin, options):
    """A page of an account that all tests share which change nothing."""
    account = new_user(admin, "visitor by HTTP " + ("2" if options["http2"] else "1"))
    page = log_in(server, account.name, options)
    page.account = account
    return page


def models(user):
    return [m["name"] for m in user.get(MODELS)["models"]]


# ---- logging in ----

def test_the_cookie_is_for_this_host_and_no_script(page):
    page.call("POST", LOG_IN, {"name": page.get(ME)["name"], "password": PASSWORD, "cookie": True})
    name, *options = page.last.headers["set-cookie"].split("; ")
    assert name.startswith(COOKIE + "=")
    assert {"Secure", "HttpOnly", "SameSite=Strict", "Path=/"} <= set(options)
    assert not any(o.startswith("Domain") for o in options)


def test_the_body_of_a_log_in_by_cookie_has_no_secret(page):
    status, answer = page.call("POST", LOG_IN, {"name": page.get(ME)["name"], "password": PASSWORD, "cookie": True})
    assert status == 200
    assert sorted(answer) == ["expires", "login", "user"]
    assert page.cookie not in page.last.text


def test_a_log_in_without_the_wish_sets_no_cookie(server, user):
    c = Page(server, verify=False)
    assert c.call("POST", LOG_IN, {"name": user.name, "password": PASSWORD})[0] == 200
    assert "set-cookie" not in c.last.headers


def test_the_cookie_is_the_account(visitor):
    me = visitor.get(ME)
    assert me["name"] == visitor.account.name
    assert abs(me["expires"] - time.time() - 30 * 86400) < 120


def test_a_registration_may_ask_for_a_cookie(server, admin, options):
    c = Page(server, **options)
    name = "by cookie " + ("2" if options["http2"] else "1")
    status, answer = c.call("POST", "/api/v1/auth/register",
                            {"key": new_key(admin), "name": name, "password": PASSWORD, "cookie": True})
    assert (status, "token" in answer) == (201, False)
    assert c.get(ME)["name"] == name


@pytest.mark.parametrize("page", [OTHER_PORT, {"sec-fetch-site": "cross-site"}, {"origin": "https://example.org"}, {}])
def test_a_page_of_another_origin_logs_nobody_in_by_cookie(server, user, page):
    c = Page(server, verify=False)
    c.comes_from = page
    assert c.call("POST", LOG_IN, {"name": user.name, "password": PASSWORD, "cookie": True})[0] == 403
    assert "set-cookie" not in c.last.headers


def test_the_store_does_not_have_the_cookie(server, visitor):
    for suffix in ("", "-wal"):
        with open(server.file("webml.sqlite" + suffix), "rb") as f:
            assert visitor.cookie.encode() not in f.read()


def test_the_log_does_not_have_the_cookie(server, admin, visitor):
    visitor.get(ME)
    admin.get("/api/v1/system/log?most=10000")
    assert visitor.cookie not in admin.last.text


# ---- whose pages it counts for ----

@pytest.mark.parametrize("page_of", [OWN_PAGE, {"sec-fetch-site": "none"}, {}])
def test_what_reads_is_taken_from_pages_of_this_server_and_from_people(visitor, page_of):
    assert visitor.from_page("GET", ME, page=page_of) == 200


@pytest.mark.parametrize("page_of", [
    OTHER_PORT, {"sec-fetch-site": "cross-site"}, {"origin": "https://example.org"}, {"origin": "null"}])
def test_other_pages_read_nothing(visitor, page_of):
    assert visitor.from_page("GET", ME, page=page_of) == 403


@pytest.mark.parametrize("page_of", [
    OTHER_PORT, {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "none"}, {"origin": "https://example.org"},
    {"origin": "null"}, {}])
def test_other_pages_change_nothing(visitor, page_of):
    assert visitor.from_page("POST", MODELS, {"name": "net", "description": MLP}, page_of) == 403
    assert models(visitor.account) == []


@pytest.mark.parametrize("page_of", [OTHER_PORT, {"origin": "https://example.org"}])
def test_other_pages_delete_nothing(page, user, page_of):
    number = new_model(user, "net", MLP)
    assert page.from_page("DELETE", f"{MODELS}/{number}", page=page_of) == 403
    assert models(user) == ["net"]


def test_other_pages_do_not_log_out(page):
    assert page.from_page("POST", LOG_OUT, {}, OTHER_PORT) == 403
    assert page.from_page("GET", ME) == 200


def test_own_pages_change_things(page, user):
    assert page.from_page("POST", MODELS, {"name": "net", "description": MLP}) == 201
    assert models(user) == ["net"]


def test_an_old_browser_says_only_the_origin(server, page, user):
    assert page.from_page("POST", MODELS, {"name": "net", "description": MLP}, {"origin": server.url}) == 201
    assert models(user) == ["net"]


def test_another_port_is_another_origin(server, visitor):
    origin = {"origin": f"https://{server.address[0]}:{server.address[1] + 1}"}
    assert visitor.from_page("POST", MODELS, {"name": "net", "description": MLP}, origin) == 403
    assert models(visitor.account) == []


def test_where_the_browser_says_the_site_the_origin_does_not_count(server, visitor):
    assert visitor.from_page("POST", MODELS, {}, {"origin": server.url, "sec-fetch-site": "same-site"}) == 403


def test_for_other_pages_what_is_public_stays_so(visitor):
    assert visitor.from_page("GET", "/v2/models/none", page=OTHER_PORT) == 404
    assert visitor.from_page("GET", "/healthz", page=OTHER_PORT) == 200


# ---- the cookie beside other things ----

def test_authorization_counts_before_a_cookie(visitor, other):
    assert visitor.get(ME, headers={"authorization": "Bearer " + other.token})["name"] == other.name
    assert visitor.call("GET", ME, headers={"authorization": "Bearer none"})[0] == 401


def test_a_token_works_from_any_page(user):
    assert user.call("GET", ME, headers={"sec-fetch-site": "cross-site"})[0] == 200


@pytest.mark.parametrize("others", ["{0}; a=b", "a=b; {0}", "a=b;{0}", "x__Host-webml=y; {0}"])
def test_other_cookies_do_not_matter(visitor, others):
    cookie = others.format(f"{COOKIE}={visitor.cookie}")
    assert visitor.get(ME, headers={"cookie": cookie})["name"] == visitor.account.name


def test_cookies_may_come_in_several_fields(visitor):
    fields = [("cookie", "a=b"), ("cookie", f"{COOKIE}={visitor.cookie}"), ("sec-fetch-site", "same-origin")]
    answer = visitor.http.request("GET", ME, headers=fields)
    assert answer.json()["name"] == visitor.account.name, answer.text


@pytest.mark.parametrize("text", ["", "A" * 43, "A" * 400, "{0}A"])
def test_a_cookie_that_is_none_is_refused(visitor, text):
    assert visitor.call("GET", ME, headers={"cookie": f"{COOKIE}={text.format(visitor.cookie)}"})[0] == 401


def test_a_cookie_of_another_name_is_none(visitor):
    assert visitor.call("GET", ME, headers={"cookie": f"webml={visitor.cookie}"})[0] == 401


def test_a_cookie_is_no_token(visitor):
    assert visitor.call("GET", ME, headers={"authorization": "Bearer " + visitor.cookie})[0] == 401
    assert visitor.call("POST", "/api/v1/auth/renew", {"renewal": visitor.cookie})[0] == 401


def test_large_bodies_come_by_cookie(page):
    body = {"name": "net", "description": {"x": "y" * (1 << 20)}}
    assert page.from_page("POST", MODELS, body) in (400, 422), page.last.text
    page.cookie = None
    assert page.from_page("POST", MODELS, body) == 401


def test_pieces_of_uploads_come_by_cookie_from_own_pages(page):
    status, location = begin_upload(page, "data", 8)
    assert status == 201, location
    headers = {"upload-offset": "0", "content-type": "application/offset+octet-stream"}
    assert page.call("PATCH", location, b"a,b\n1,2\n", headers={**headers, **OTHER_PORT})[0] == 403
    assert page.call("PATCH", location, b"a,b\n1,2\n", headers=headers)[0] == 204


def test_events_come_by_cookie(visitor):
    headers = {**OWN_PAGE, "cookie": f"{COOKIE}={visitor.cookie}"}
    with visitor.connection() as http, http.stream("GET", "/api/v1/events", headers=headers) as answer:
        assert answer.status_code == 200


# ---- plain http ----

def hash_of(secret):
    """As the store keeps it."""
    return hashlib.blake2b(secret.encode(), digest_size=32).hexdigest()


def test_the_store_has_the_hash_of_the_cookie(server, visitor):
    with sqlite3.connect(server.file("webml.sqlite"), timeout=30) as store:
        row = store.execute("SELECT cookie FROM logins WHERE id = ?", (visitor.get(ME)["login"],)).fetchone()
    assert row == (hash_of(visitor.cookie),)

@pytest.fixture(scope="module")
def plain(start_server_of_module, server):
    """A server over plain http."""
    return start_server_of_module()


@pytest.fixture(scope="module")
def plain_admin(plain):
    return make_admin(plain)


def test_plain_http_gives_no_cookie(plain, plain_admin):
    c = Page(plain)
    status, answer = c.call("POST", LOG_IN, {"name": "admin", "password": PASSWORD, "cookie": True})
    assert status == 400 and "TLS" in answer["detail"]
    assert "set-cookie" not in c.last.headers


def test_plain_http_takes_no_cookie(plain, plain_admin):
    secret = "A" * 43
    login = plain_admin.get("/api/v1/auth/logins")["logins"][0]["id"]
    with sqlite3.connect(plain.file("webml.sqlite"), timeout=30) as store:
        store.execute("UPDATE logins SET cookie = ? WHERE id = ?", (hash_of(secret), login))
    c = Page(plain)
    c.cookie = secret
    assert c.call("GET", ME)[0] == 401


# ---- its end ----

def test_a_log_out_ends_the_cookie_and_the_browser_forgets_it(page):
    kept = page.cookie
    assert page.from_page("POST", LOG_OUT, {}) == 204
    assert "Max-Age=0" in page.last.headers["set-cookie"]
    page.cookie = kept
    assert page.from_page("GET", ME) == 401


def test_a_log_out_by_token_sets_no_cookie(user):
    assert user.call("POST", LOG_OUT, {})[0] == 204
    assert "set-cookie" not in user.last.headers


def test_the_list_of_log_ins_has_the_one_by_cookie(visitor):
    assert [entry["current"] for entry in visitor.get("/api/v1/auth/logins")["logins"]].count(True) == 1


def test_a_new_password_ends_cookies_and_gives_this_page_another(server, page, user, options):
    second, kept = log_in(server, user.name, options), page.cookie
    status, answer = page.call("POST", "/api/v1/auth/password", {"password": PASSWORD, "new_password": "9876543210"})
    assert (status, "token" in answer) == (200, False)
    assert page.cookie != kept
    assert page.from_page("GET", ME) == 200
    assert second.from_page("GET", ME) == 401


def test_a_closed_account_shuts_its_cookie_out(admin, page):
    number = page.get(ME)["id"]
    assert admin.call("PATCH", f"/api/v1/users/{number}", {"enabled": False})[0] == 200
    assert page.from_page("GET", ME) == 401


def set_used(server, admin, login, when):
    """Behind the server's back, which reads it again when something has changed through it."""
    with sqlite3.connect(server.file("webml.sqlite"), timeout=30) as store:
        store.execute("UPDATE logins SET used = ? WHERE id = ?", (when, login))
    new_key(admin)


def test_a_cookie_ends_thirty_days_after_its_last_use(server, admin, page):
    login, now = page.get(ME)["login"], int(time.time())
    set_used(server, admin, login, now - 29 * 86400)
    assert page.get(ME)["expires"] > now + 29 * 86400
    set_used(server, admin, login, now - 30 * 86400 - 1)
    assert page.from_page("GET", ME) == 401


def test_a_stream_ends_with_the_log_out(page):
    headers = {**OWN_PAGE, "cookie": f"{COOKIE}={page.cookie}"}
    with page.connection() as http, http.stream("GET", "/api/v1/events", headers=headers) as answer:
        assert page.from_page("POST", LOG_OUT, {}) == 204
        end = time.monotonic() + 25  # a comment comes every 15 s
        assert all(time.monotonic() < end for line in answer.iter_lines())


def test_a_purge_leaves_cookies_that_are_used(start_server):
    server = start_server(*certificate("purge", "localhost"))
    make_admin(server, verify=False)
    page = log_in(server, "admin", {"verify": False})
    server.stop()
    server.start()  # purges at once
    page.server = server
    page.connect()
    time.sleep(1)
    assert page.from_page("GET", ME) == 200


def test_unused_cookies_are_purged(start_server):
    server = start_server(*certificate("purge", "localhost"))
    admin = make_admin(server, verify=False)
    page = log_in(server, "admin", {"verify": False})
    login = page.get(ME)["login"]
    server.stop()
    with sqlite3.connect(server.file("webml.sqlite")) as store:
        store.execute("UPDATE logins SET used = 1 WHERE id = ?", (login,))
    server.start()
    admin.server = server
    admin.connect()

    def logins():
        return [entry["id"] for entry in admin.get("/api/v1/auth/logins")["logins"]]
    assert login not in until(logins, lambda ids: login not in ids, 10)
