"""Start and stop, accounts, tokens, rights, models; what strangers try."""
import base64
import hashlib
import hmac
import json
import os
import signal
import socket
import stat
import sys
import time

from client import check, Client, new_user, path, report, run, sanitized, Server, write

program = sys.argv[1]

# Use.
for option in ("--help", "--version"):
    code, out, err = run(program, option)
    check(code == 0 and out and max(map(len, out.splitlines())) <= 80, option)
for arguments, words in ((["--listen", "nowhere"], "HOST:PORT"), (["--tls-cert", "x"], "belong together"), (["--wrong"], "Usage")):
    code, out, err = run(program, *arguments)
    check(code == 2 and words in err, f"{arguments}: {err}")
code, out, err = run(program, "--listen", "example.org:80", "--data-dir", path("x"))
check(code == 1 and "numeric" in err, err)
code, out, err = run(program, "--data-dir", "/proc/nothing")
check(code == 1 and "cannot make" in err, err)

# First start.
begin = time.time()
server = Server(program)
check(server.key and server.url, "the first start gives an address and a key: " + server.greeting)
check(time.time() - begin < 2, "starts at once")
check(sanitized(program) or server.memory() < 30, f"idles in {server.memory():.1f} MB")
check(stat.S_IMODE(os.stat(server.data_dir).st_mode) == 0o700 and stat.S_IMODE(os.stat(server.data_dir + "/token.key").st_mode) == 0o600, "nobody else reads the data")
code, out, err = run(program, "--listen", "127.0.0.1:0", "--data-dir", server.data_dir)
check(code == 1 and "another server" in err, "one server per directory: " + err)
code, out, err = run(program, "--listen", server.url.split("/")[-1], "--data-dir", path("other"))
check(code == 1 and "taken" in err, "a port that is taken: " + err)

# Accounts.
admin, nobody = Client(server), Client(server)
check(admin.register("wrong", "admin", "0123456789") == 403, "a wrong key")
check(admin.register(server.key, "ad/min", "0123456789") == 400, "a name with a slash")
check(admin.register(server.key, "admin", "short") == 400, "a short password")
check(admin.register(server.key, "admin", "0123456789") == 201, "the administrator")
check(nobody.register(server.key, "second", "0123456789") == 403, "a key is good once")
status, key = admin.call("POST", "/api/v1/users/keys", {"role": "user"})
user = Client(server)
check(status == 201 and user.register(key["key"], "Ada", "correct horse") == 201, "a user by the administrator's key")
status, key = admin.call("POST", "/api/v1/users/keys", {})
check(nobody.register(key["key"], "ADA", "correct horse") == 409, "names that differ in case only")
check(nobody.register(key["key"], "bob", "correct horse") == 201, "the key is still good after that")
check(user.call("GET", "/api/v1/auth/me")[1]["name"] == "Ada", "who am I")
check(user.log_in("ada", "correct horse") == 200 and user.log_in("ada", "wrong horse!") == 401, "log-in")

# Renewals, password, log-out.
old = user.token
status, answer = user.call("POST", "/api/v1/auth/renew", {"renewal": user.renewal})
check(status == 200 and user.call("POST", "/api/v1/auth/renew", {"renewal": user.renewal})[0] == 401, "a renewal is good once")
status, answer = user.call("POST", "/api/v1/auth/password", {"password": "correct horse", "new_password": "battery staple"})
check(status == 200 and Client(server, old).call("GET", "/api/v1/auth/me")[0] == 401, "a new password ends other tokens")
user.token = answer["token"]
check(user.call("POST", "/api/v1/auth/password", {"password": "wrong", "new_password": "battery staple"})[0] == 403, "the present password is asked for")
check(user.call("POST", "/api/v1/auth/logout")[0] == 204 and user.call("GET", "/api/v1/auth/me")[0] == 401, "log-out")
check(user.log_in("Ada", "battery staple") == 200, "and in again")

# Tokens that are not ours.
def forged(claims, key=b"x" * 32, head=None):
    text = b".".join(base64.urlsafe_b64encode(json.dumps(p, separators=(",", ":")).encode()).rstrip(b"=") for p in (head or {"alg": "HS256", "typ": "JWT"}, claims))
    return (text + b"." + base64.urlsafe_b64encode(hmac.new(key, text, hashlib.sha256).digest()).rstrip(b"=")).decode()


secret = open(server.data_dir + "/token.key", "rb").read()
now = int(time.time())
check(Client(server, forged({"sub": "1", "gen": 1, "exp": now + 60}, secret)).call("GET", "/api/v1/users")[0] == 200, "a token as another program makes it")
for name, token in (("of another key", forged({"sub": "1", "gen": 1, "exp": now + 60})), ("expired", forged({"sub": "1", "gen": 1, "exp": now - 1}, secret)),
                    ("of another generation", forged({"sub": "1", "gen": 9, "exp": now + 60}, secret)), ("without an algorithm", forged({"sub": "1", "gen": 1, "exp": now + 60}, secret, {"alg": "none"})),
                    ("of nobody", forged({"sub": "99", "gen": 1, "exp": now + 60}, secret)), ("cut", forged({"sub": "1", "gen": 1, "exp": now + 60}, secret)[:-3]), ("empty", "."), ("long", "x" * 9000)):
    check(Client(server, token).call("GET", "/api/v1/users")[0] == 401, "a token " + name)

# Every endpoint, every right.
status, document = nobody.call("GET", "/openapi.json")
operations = [(m.upper(), p, o) for p, methods in document["paths"].items() for m, o in methods.items()]
check(status == 200 and document["openapi"] == "3.1.0" and len(operations) > 20, "the document")
bob = Client(server)
bob.log_in("bob", "correct horse")
admin_only = {("GET", "/api/v1/users"), ("GET", "/api/v1/users/{id}"), ("PATCH", "/api/v1/users/{id}"), ("DELETE", "/api/v1/users/{id}"), ("POST", "/api/v1/users/keys"), ("GET", "/api/v1/system/counts"), ("PATCH", "/api/v1/datasets/{id}"), ("PATCH", "/api/v1/devices/{name}"), ("PATCH", "/api/v1/system/settings"), ("POST", "/api/v1/events"), ("GET", "/api/v1/system/log"),
              ("GET", "/api/v1/system/backups"), ("POST", "/api/v1/system/backups"), ("GET", "/api/v1/system/backups/{key}/file"), ("POST", "/api/v1/system/backups/{key}/restore"), ("DELETE", "/api/v1/system/backups/{key}")}
machine = new_user(admin, "machine", "node")
for_machines = {("GET", "/api/v1/auth/me"), ("POST", "/api/v1/auth/password"), ("GET", "/api/v1/devices"), ("GET", "/api/v1/devices/{name}")}
for method, url, operation in operations:
    public = "security" not in operation
    if url.endswith("logout"):
        continue
    if url.endswith("/events") and method == "GET": # goes on for ever with a token
        check(Client(server).call(method, url)[0] == 401, "events without a token")
        continue
    concrete = url.replace("{id}", "999999").replace("{key}", "abc")
    statuses = [c.call(method, concrete, None if method == "GET" else {})[0] for c in (Client(server), bob, admin)]
    check((statuses[0] != 401) == public or url.startswith("/api/v1/auth/") and public, f"{method} {url} without a token: {statuses[0]}")
    check((statuses[1] == 403) == ((method, url) in admin_only), f"{method} {url} as a user: {statuses[1]}")
    if not public:
        check((machine.call(method, concrete, None if method == "GET" else {})[0] == 403) == ((method, url) not in for_machines), f"{method} {url} as a machine")
    check(statuses[2] not in (401, 403, 500) or public, f"{method} {url} as an administrator: {statuses[2]}")

# Administrators.
users = {u["name"]: u["id"] for u in admin.call("GET", "/api/v1/users")[1]["users"]}
check(set(users) == {"admin", "Ada", "bob", "machine"}, "all accounts")
check(admin.call("DELETE", f"/api/v1/users/{users['admin']}")[0] == 409 and admin.call("PATCH", f"/api/v1/users/{users['admin']}", {"role": "user"})[0] == 409, "the last administrator stays")
check(admin.call("PATCH", f"/api/v1/users/{users['bob']}", {"enabled": False})[0] == 204 and bob.call("GET", "/api/v1/auth/me")[0] == 401 and bob.log_in("bob", "correct horse") == 401, "a closed account")
check(admin.call("PATCH", f"/api/v1/users/{users['bob']}", {"enabled": True})[0] == 204 and bob.log_in("bob", "correct horse") == 200, "and opened again")

# Models.
mlp = {"size": [4], "optimizer": "adam", "loss": "mse", "layers": [{"type": "Dense", "layer": {"units": 2}}]}
status, made = user.call("POST", "/api/v1/models", {"name": "first", "description": mlp})
check(status == 201 and user.call("POST", "/api/v1/models", {"name": "first", "description": mlp})[0] == 409, "names are unique")
status, answer = user.call("POST", "/api/v1/models", {"name": "wrong", "description": {"size": [4], "layers": [{"type": "Dense", "layer": {"unit": 2}}]}})
check(status == 422 and "did you mean" in answer["error"] and "loss" in answer["error"], f"all errors at once: {answer}")
model = f"/api/v1/models/{made['id']}"
check(user.call("GET", model)[1]["state"] == "editable" and user.call("GET", model + "/summary")[0] == 200, "state and summary")
check(bob.call("GET", model)[0] == 404 and bob.call("PATCH", model, {"name": "mine"})[0] == 404 and bob.call("DELETE", model)[0] == 404 and bob.call("POST", model + "/clone", {"name": "x"})[0] == 404, "others' models are not there")
check(admin.call("GET", model)[0] == 200 and len(bob.call("GET", "/api/v1/models")[1]["models"]) == 0, "administrators see all")
check(user.call("POST", model + "/clone", {"name": "second"})[0] == 201 and user.call("PATCH", model, {"name": "second"})[0] == 409, "clones")
check(user.call("PATCH", model, {"name": "renamed", "public": True})[0] == 204 and user.call("GET", model)[1]["public"] is True, "saving")
check(user.call("DELETE", model)[0] == 204 and user.call("GET", model)[0] == 404, "deleting")

user.call("POST", "/api/v1/auth/login", '{"name": "Ada", "password": "open sesame')
user.call("POST", "/api/v1/auth/login", '{"name": "Ada", "password": open sesame}')
# What is not as declared.
for body, words in (("{", "not JSON"), ("[]", "object"), ('{"name":1}', "a text"), ('{"nam":"x"}', "no member"), ('{"name":"a","name":"b"}', "not JSON"), (b"\xff\xfe", "not JSON"), ('{"name":"' + "x" * 101 + '"}', "1 to 100")):
    status, answer = user.call("POST", "/api/v1/models", body)
    check(status == 400 and words in answer["error"], f"{body[:30]}: {status} {answer}")
check(user.call("GET", "/api/v1/models?x=1")[0] == 400 and user.call("GET", "/api/v1/models/x")[0] == 404 and user.call("PUT", "/api/v1/models")[0] == 405, "paths and queries")
check(user.call("GET", "/api/v1/models/99999999999999999999999")[0] == 404, "a number beyond all")
write("large", "x" * (17 << 20))
code, out, err = run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--http1.1", "-H", "Expect:", "--data-binary", "@" + path("large"), server.url + "/api/v1/models")
check(out == "413", f"a body that is too large: {out}")
code, out, err = run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--http2-prior-knowledge", "--data-binary", "@" + path("large"), server.url + "/api/v1/models")
check(out in ("000", "413") and nobody.call("GET", "/healthz")[0] == 200, f"the same over HTTP/2: {out}")
# Pages of another origin: only where that is configured.
check(nobody.call("OPTIONS", "/api/v1/models", headers={"Origin": "https://lab.example", "Access-Control-Request-Method": "POST"})[0] == 405, "no other origins")
lab = Server(program, None, "--cors-origin", "https://lab.example")
page = Client(lab)
status, _ = page.call("OPTIONS", "/api/v1/models", headers={"Origin": "https://lab.example", "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"})
check(status == 204 and "POST" in page.last.headers["access-control-allow-methods"] and "authorization" in page.last.headers["access-control-allow-headers"] and page.last.headers["access-control-allow-origin"] == "https://lab.example", "an origin that is allowed asks first")
check(page.call("GET", "/healthz")[0] == 200 and page.last.headers["access-control-allow-origin"] == "https://lab.example" and "location" in page.last.headers["access-control-expose-headers"], "and reads the answer")
lab.stop()
for header in ("x-content-type-options", "content-security-policy", "cache-control"):
    user.call("GET", "/healthz")
    check(header in user.last.headers, header)

# Raw bytes: it answers, or hangs up, and answers others afterwards.
host, port = server.url.split("/")[-1].split(":")
for raw in (b"GET / HTTP/1.1\r\n\r\n", b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n", b"\x00" * 100, b"GET " + b"/a" * 50000 + b" HTTP/1.1\r\n\r\n", b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 64, b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n"):
    with socket.create_connection((host, int(port)), timeout=5) as s:
        s.sendall(raw)
        s.settimeout(2)
        try:
            got = s.recv(4096)
        except (TimeoutError, ConnectionError):
            got = b""
    check(b"root:" not in got and nobody.call("GET", "/healthz")[0] == 200, f"{raw[:40]}")

# HTTP/2, and many at once.
code, out, err = run("curl", "-s", "--http2-prior-knowledge", "-w", "%{http_version} %{http_code}", "-o", "/dev/null", server.url + "/healthz")
check(out == "2 200", "h2c: " + out)
code, out, err = run("nghttp", "-ns", server.url + "/healthz")
check(code == 0 and " 200 " in out, "nghttp: " + out[-200:])
code, out, err = run("h2load", "-n", "3000", "-c", "8", "-m", "32", server.url + "/healthz")
check("3000 succeeded" in out, "h2load: " + out[-300:])
idle = [socket.create_connection((host, int(port))) for _ in range(1500)]
check(nobody.call("GET", "/healthz")[0] == 200 and (sanitized(program) or server.memory() < 120), f"1,500 idle connections: {server.memory():.0f} MB")
for s in idle:
    s.close()

# Guessing passwords.
tries = [nobody.call("POST", "/api/v1/auth/login", {"name": "Ada", "password": "guess"})[0] for _ in range(8)]
check(429 in tries and tries[0] == 401, f"guessing: {tries}")

# TLS.
run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", path("key.pem"), "-out", path("cert.pem"))
secure = Server(program, None, "--tls-cert", path("cert.pem"), "--tls-key", path("key.pem"))
code, out, err = run("curl", "-s", "--cacert", path("cert.pem"), "-w", "%{http_version} %{http_code}", "-o", "/dev/null", secure.url + "/healthz")
check(out == "2 200" and secure.url.startswith("https://"), "h2 over TLS: " + out + err)
code, out, err = run("curl", "-sI", "--http1.1", "--cacert", path("cert.pem"), "-X", "GET", secure.url + "/healthz")
check("strict-transport-security" in out and "HTTP/1.1 200" in out, "HTTP/1.1 over TLS: " + out)
before = run("openssl", "s_client", "-connect", secure.url.split("/")[-1], input="")[1]
run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=renewed", "-keyout", path("key.pem"), "-out", path("cert.pem"))
secure.process.send_signal(signal.SIGHUP)
time.sleep(0.5)
after = run("openssl", "s_client", "-connect", secure.url.split("/")[-1], input="")[1]
check("CN = renewed" in after and "CN = renewed" not in before, "SIGHUP reads the certificate again")
check(secure.stop() == 0, "TLS server stops")

# Stop and start again: everything is there.
check(server.stop() == 0, "SIGTERM ends it with 0")
server.start()
check(server.key is None and Client(server).log_in("admin", "0123456789") == 200, "accounts outlive a restart")
server.stop(signal.SIGKILL)
server.start()
check(Client(server).log_in("bob", "correct horse") == 200, "and a kill")
log = open(os.path.join(server.data_dir, "log", "server.log")).read()
lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
check(len(lines) > 100 and any(l["event"] == "log-in" and l["outcome"] == "refused" for l in lines), "the log")
check("sesame" not in log and "correct horse" not in log and "battery staple" not in log and admin.token not in log and admin.renewal not in log, "no secret in the log")
server.stop()
report()
