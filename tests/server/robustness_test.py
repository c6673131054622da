"""Clients that mean harm or are slow, disks that fill, a store that is locked, kills under load. Others are
answered meanwhile, memory stays bounded, and nothing that was acknowledged is lost.

50 kills with WEBML_LONG=1, else a few."""
import json
import os
import random
import resource
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

import h2.connection
import h2.config
import httpx
import numpy as np

from client import Client, Server, check, new_user, path, report, run, sanitized, settled, skip, upload, write

program, bench = sys.argv[1:3]
long = os.environ.get("WEBML_LONG") == "1"
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
server = Server(program, None, "--timeout", "3")
admin = Client(server)
admin.register(server.key, "admin", "0123456789")
host, port = server.url.split("//")[1].split(":")
port = int(port)


def answers(seconds=1.0):
    """How long the server takes to answer somebody else; must be below `seconds`."""
    began = time.monotonic()
    try:
        ok = httpx.get(server.url + "/healthz", timeout=10).status_code == 200
        return ok and time.monotonic() - began < seconds * (5 if sanitized(program) else 1)
    except httpx.HTTPError:
        return False


def dial(source="127.0.0.1"):
    s = socket.socket()
    s.settimeout(10)
    s.bind((source, 0))
    s.connect((host, port))
    return s


def is_closed(s, seconds=10):
    s.settimeout(seconds)
    try:
        while s.recv(65536):
            pass
        return True
    except ConnectionError:
        return True
    except TimeoutError:
        return False


# 10,000 connections that do nothing, half of them after a request; from several addresses, since one
# address may have 2,048.
count = 10000 if hard >= 11000 else 2000
before = server.memory()
idle = []
for i in range(count):
    s = dial(f"127.0.0.{2 + i // 2000}")
    s.sendall(b"G" if i % 2 else b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    idle.append(s)
check(answers(), f"answers beside {count} idle connections")
memory = server.memory()
check(memory < 100 or sanitized(program), f"{count} idle connections: {memory:.0f} MB (from {before:.0f})")
print(f"{count} idle connections: {memory:.0f} MB, from {before:.0f}")
counts = admin.call("GET", "/api/v1/system/counts")[1]
check(counts["open_connections"] > count * 0.9, f"they are open: {counts}")
check(is_closed(idle[1], 12) and is_closed(idle[0], 12), "and are closed when their time is over")
for s in idle:
    s.close()
time.sleep(1)
check(server.memory() <= memory + 5 or sanitized(program), f"afterwards {server.memory():.0f} MB")
crowd = []
try:
    for i in range(2100):
        crowd.append(dial("127.0.0.9"))
        crowd[-1].sendall(b"G")
except OSError:
    pass
time.sleep(0.5)
refused = admin.call("GET", "/api/v1/system/counts")[1]["refused_connections"]
check(refused >= 30 and answers(), f"one address does not take all: {refused} refused")
for s in crowd:
    s.close()

# A byte now and then: HTTP/1 headers, HTTP/1 bodies, HTTP/2 bodies.
drips = []
for i in range(60):
    s, piece = dial(), b"x"
    if i % 3 == 0:
        s.sendall(b"GET /healthz HTTP/1.1\r\nX: ")
    elif i % 3 == 1:
        s.sendall(b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
    else:
        c = h2.connection.H2Connection()
        c.initiate_connection()
        c.send_headers(1, [(":method", "POST"), (":path", "/api/v1/auth/login"), (":scheme", "http"), (":authority", "x"), ("content-length", "1000")])
        s.sendall(c.data_to_send())
        c.send_data(1, b"x")
        piece = c.data_to_send()
    drips.append((s, piece))
began, ended, slowest = time.monotonic(), {}, 0
while time.monotonic() - began < 12 and len(ended) < len(drips):
    for i, (s, piece) in enumerate(drips):
        if i in ended:
            continue
        try:
            s.sendall(piece)
            s.setblocking(False)
            try:
                if not s.recv(65536):
                    ended[i] = time.monotonic() - began
            except BlockingIOError:
                pass
            s.settimeout(5)
        except OSError:
            ended[i] = time.monotonic() - began
    at = time.monotonic()
    check(answers(), "answers beside slow ones") if len(ended) == 0 else None
    time.sleep(0.3)
kinds = [sum(1 for i in ended if i % 3 == k) for k in range(3)]
check(kinds == [20, 20, 20] and max(ended.values()) < 11, f"slow ones are ended, of each kind {kinds}")

# Streams opened and reset at once.
s = dial()
c = h2.connection.H2Connection(config=h2.config.H2Configuration(validate_outbound_headers=False))
c.initiate_connection()
s.sendall(c.data_to_send())
sent = 0
try:
    for stream in range(1, 20001, 2):
        c.send_headers(stream, [(":method", "GET"), (":path", "/api/v1/models"), (":scheme", "http"), (":authority", "x"), ("authorization", "Bearer x")], end_stream=True)
        c.reset_stream(stream)
        s.sendall(c.data_to_send())
        sent += 1
except OSError:
    pass
check(sent < 9000 and answers(), f"a connection that resets its requests is closed: after {sent}")
resets = admin.call("GET", "/api/v1/system/counts")[1]["given_up"]
check(150 <= resets < 5000, f"{resets} were given up")

# Bodies that are too large, by both versions; the connection's others are answered.
big = write("big", b"x" * (17 << 20))
for version in ("--http1.1", "--http2-prior-knowledge"):
    code, out, err = run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", version, "-H", "Expect:", "-X", "PATCH", "--data-binary", "@" + path("big"), server.url + "/api/v1/uploads/x")
    check(out in ("413", "000") and answers(), f"17 MiB by {version}: {out}")
check(server.memory() < memory + 80 or sanitized(program), f"{server.memory():.0f} MB after large bodies")

# A store that somebody else has locked: what needs it waits or is refused, the rest is answered.
ada = new_user(admin, "ada")
rng = np.random.default_rng(1)
table = "a,b,kind\n" + "".join(f"{a:.3f},{b:.3f},{'x' if a > b else 'y'}\n" for a, b in rng.normal(size=(400, 2)))
dataset = upload(ada, "table", table.encode(), "t.csv")
dense = lambda units, activation: {"type": "Dense", "layer": {"units": units, "activation": activation}}
mlp = {"size": [None], "dynamic": True, "optimizer": "adam", "loss": None, "layers": [dense(16, "relu"), dense(None, "softmax")]}
model = ada.call("POST", "/api/v1/models", {"name": "net", "description": mlp})[1]["id"]
trained = settled(ada, ada.call("POST", "/api/v1/sessions", {"model": model, "dataset": dataset, "epochs": 2})[1]["id"])
row = {"inputs": [{"name": "input", "shape": [1, 2], "datatype": "FP32", "data": [0.5, 0.1]}]}
for _ in range(3):
    ada.call("POST", "/v2/models/net/infer", row)
locker = sqlite3.connect(os.path.join(server.data_dir, "webml.sqlite"), isolation_level=None)
locker.execute("BEGIN IMMEDIATE")
late = []
waiter = threading.Thread(target=lambda: late.append(Client(server, ada.token).call("POST", "/api/v1/models", {"name": "late", "description": mlp})))
waiter.start()
time.sleep(0.5)
began = time.monotonic()
status, answer = ada.call("POST", "/v2/models/net/infer", row)
check(status == 200 and time.monotonic() - began < 1 and answers(), f"predictions and health beside a locked store: {status}")
time.sleep(1)
locker.execute("ROLLBACK")
waiter.join()
check(late[0][0] == 201, f"a short lock is waited for: {late}")
locker.execute("BEGIN IMMEDIATE")
status, answer = ada.call("POST", "/api/v1/models", {"name": "later", "description": mlp})
check(status == 503 and "busy" in answer["error"], f"a long one is not: {status} {answer}")
locker.execute("ROLLBACK")
locker.close()
check(ada.call("POST", "/api/v1/models", {"name": "later", "description": mlp})[0] == 201 and server.stop() == 0, "and then it goes on")

# A disk that fills.
mount = path("small")
os.makedirs(mount)
if os.geteuid() == 0 and subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", mount], capture_output=True).returncode == 0:
    try:
        full = Server(program, os.path.join(mount, "data"))
        c = Client(full)
        c.register(full.key, "admin", "0123456789")
        dataset = upload(c, "table", table.encode(), "t.csv")
        model = c.call("POST", "/api/v1/models", {"name": "net", "description": mlp})[1]["id"]
        c.call("POST", "/api/v1/uploads", headers={"Upload-Length": str(30 << 20), "Upload-Metadata": "name YmlnMQ==,filename YmlnLmNzdg=="})
        location, at, codes = c.last.headers["location"], 0, []
        for _ in range(12):
            status, _ = c.call("PATCH", location, b"x" * (1 << 20), headers={"Upload-Offset": str(at), "Content-Type": "application/offset+octet-stream"})
            codes.append(status)
            if status == 204:
                at += 1 << 20
        check(codes[0] == 204 and codes[-1] == 507, f"a full disk: {codes}")
        c.call("HEAD", location)
        check(int(c.last.headers["upload-offset"]) == at and c.call("GET", "/api/v1/models")[0] == 200, "what was acknowledged is there, and others read")
        filler = open(os.path.join(mount, "filler"), "wb")
        try:
            while True:
                filler.write(b"x" * 4096)
                filler.flush()
        except OSError:
            pass
        status, answer = c.call("POST", "/api/v1/models", {"name": "second", "description": mlp})
        check(status in (201, 507) and c.call("GET", "/healthz")[0] == 200, f"not a byte is left: {status} {answer}")
        status, answer = c.call("POST", "/api/v1/sessions", {"model": model, "dataset": dataset, "epochs": 1})
        if status == 201:
            check(settled(c, answer["id"])["state"] in ("failed", "finished"), "a training ends with a reason")
        else:
            check(status in (500, 503, 507), f"a training is refused: {status} {answer}")
        try:
            filler.close()
        except OSError:
            pass
        os.unlink(os.path.join(mount, "filler"))
        c.call("DELETE", location)
        done = settled(c, c.call("POST", "/api/v1/sessions", {"model": model, "dataset": dataset, "epochs": 1})[1]["id"])
        check(done["state"] == "finished", f"with room again it goes on: {done}")
        check(full.stop() == 0, "ends")
    finally:
        subprocess.run(["umount", "-l", mount])
else:
    skip("a disk that fills", "needs root and tmpfs")

# Kills at random points under load: all that was acknowledged is there and whole.
random.seed(7)
server = Server(program)
admin = Client(server)
admin.register(server.key, "admin", "0123456789")
ada = new_user(admin, "ada")
dataset = upload(ada, "table", table.encode(), "t.csv")
trained_model = ada.call("POST", "/api/v1/models", {"name": "net", "description": mlp})[1]["id"]
settled(ada, ada.call("POST", "/api/v1/sessions", {"model": trained_model, "dataset": dataset, "epochs": 2, "seed": 1})[1]["id"])
kept = {"models": set(), "datasets": {}, "sessions": {}, "uploads": {}}
stop, lock = threading.Event(), threading.Lock()


def client():
    c = Client(server, ada.token)
    c.http.timeout = httpx.Timeout(5)
    return c


def load(work):
    """Repeats work(client, n), through kills."""
    n = 0
    while not stop.is_set():
        try:
            c = client()
            while not stop.is_set():
                n += 1
                work(c, n)
        except (httpx.HTTPError, OSError, KeyError, ValueError, StopIteration):
            time.sleep(0.02)


def make_models(c, n):
    name = f"m{n}-{random.getrandbits(40)}"
    if c.call("POST", "/api/v1/models", {"name": name, "description": mlp})[0] == 201:
        with lock:
            kept["models"].add(name)


def make_data(c, n):
    import base64
    name, data = f"d{n}-{random.getrandbits(40)}", (table + f"{n},{n},x\n").encode()
    encode = lambda t: base64.b64encode(t.encode()).decode()
    if c.call("POST", "/api/v1/uploads", headers={"Upload-Length": str(len(data)), "Upload-Metadata": f"name {encode(name)},filename {encode('t.csv')}"})[0] != 201:
        return
    location, half = c.last.headers["location"], len(data) // 2
    kind = {"Content-Type": "application/offset+octet-stream"}
    if c.call("PATCH", location, data[:half], headers={"Upload-Offset": "0", **kind})[0] == 204:
        with lock:
            kept["uploads"][location] = (half, data, name)
        if c.call("PATCH", location, data[half:], headers={"Upload-Offset": str(half), **kind})[0] == 204:
            with lock:
                kept["datasets"][name] = data
                kept["uploads"].pop(location)
    time.sleep(0.05)


def train(c, n):
    status, answer = c.call("POST", "/api/v1/sessions", {"model": trained_model, "dataset": dataset, "epochs": 12, "batch_size": 2, "seed": 1})
    if status == 201:
        with lock:
            kept["sessions"][answer["id"]] = True
    time.sleep(0.5)


def predict(c, n):
    status, answer = c.call("POST", "/v2/models/net/infer", row)
    if status == 200 and len(answer["outputs"][0]["data"]) != 2:
        check(False, f"half an answer: {answer}")


admin.call("PATCH", "/api/v1/system/settings", {"sessions_per_user": 10000, "weights_per_model": 100000, "sessions_per_device": 2})
kills = 50 if long else (3 if sanitized(program) else 6)
workers = [threading.Thread(target=load, args=(w,), daemon=True) for w in (make_models, make_data, predict, predict, train)]
for w in workers:
    w.start()
for k in range(kills):
    time.sleep(random.uniform(0.2, 1.5))
    jobs = os.path.join(server.data_dir, "jobs")
    if k % 2:
        for j in os.listdir(jobs):
            try:
                os.kill(int(open(os.path.join(jobs, j, "pid")).read()), 9)
            except (OSError, ValueError):
                pass
    server.process.kill()
    server.process.wait()
    server.process.stdout.close()
    server.start()
    check(server.url is not None, f"starts after kill {k}")
stop.set()
for w in workers:
    w.join(20)
ada = Client(server)
admin = Client(server)
check(ada.log_in("ada", "0123456789") == 200 and admin.log_in("admin", "0123456789") == 200, "accounts")
models = {m["name"] for m in ada.call("GET", "/api/v1/models")[1]["models"]}
check(len(kept["models"]) > kills and kept["models"] <= models, f"{len(kept['models'])} models, lost: {kept['models'] - models}")
for _ in range(600):
    sets = {d["name"]: d for d in ada.call("GET", "/api/v1/datasets")[1]["datasets"]}
    if not any(d["state"] == "checking" for d in sets.values()):
        break
    time.sleep(0.05)
check(len(kept["datasets"]) > kills // 2 and set(kept["datasets"]) <= set(sets), f"{len(kept['datasets'])} data sets, lost: {set(kept['datasets']) - set(sets)}")
check(all(sets[n]["state"] == "ready" and ada.call("GET", f"/api/v1/datasets/{sets[n]['id']}/file")[1] == data for n, data in kept["datasets"].items()), "data sets are whole")
for location, (half, data, name) in kept["uploads"].items():
    status, _ = ada.call("HEAD", location)
    check(status == 404 and name in sets or int(ada.last.headers.get("upload-offset", -1)) >= half, f"an upload that was begun: {status}")
states = {s: settled(ada, s, seconds=240)["state"] for s in sorted(kept["sessions"])[:6]}
check(states and set(states.values()) == {"finished"}, f"trainings go on: {states}")
bodies = set()
for w in ada.call("GET", "/api/v1/weights")[1]["weights"]:
    s = ada.call("GET", f"/api/v1/sessions/{w['session']}")[1]
    if s["parameters"]["epochs"] == 12:
        data = ada.call("GET", f"/api/v1/weights/{w['id']}/file")[1]
        bodies.add(data[8 + int.from_bytes(data[:8], "little"):])
check(len(bodies) == 1, f"the same weights from all, to the bit: {len(bodies)} kinds")
print(f"{kills} kills: {len(kept['models'])} models, {len(kept['datasets'])} data sets, {len(kept['sessions'])} trainings acknowledged")
for s in ada.call("GET", "/api/v1/sessions")[1]["sessions"]:
    if s["state"] in ("waiting", "running"):
        ada.call("POST", f"/api/v1/sessions/{s['id']}/cancel")
time.sleep(1)
check(server.stop() == 0, "ends")
report()
