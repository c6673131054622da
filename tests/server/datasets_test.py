"""Uploads by tus 1.0, data sets, events; kills while pieces come in."""
import base64
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import zipfile

import httpx

from client import Client, Server, check, path, report, run, sanitized, write

program = sys.argv[1]
server = Server(program)
admin = Client(server)
admin.register(server.key, "admin", "0123456789")


def new_user(name):
    c = Client(server)
    c.register(admin.call("POST", "/api/v1/users/keys", {})[1]["key"], name, "0123456789")
    return c


def begin(c, name, size, filename="data.csv"):
    meta = ",".join(f"{k} {base64.b64encode(v.encode()).decode()}" for k, v in (("name", name), ("filename", filename)))
    status, answer = c.call("POST", "/api/v1/uploads", headers={"Upload-Length": str(size), "Upload-Metadata": meta, "Tus-Resumable": "1.0.0"})
    return status, c.last.headers.get("location") if status == 201 else answer


def piece(c, location, offset, data):
    status, answer = c.call("PATCH", location, data, headers={"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"})
    return status, c.last.headers.get("upload-offset") if status == 204 else answer


def upload(c, name, data, filename="data.csv", size=1 << 20):
    status, location = begin(c, name, len(data), filename)
    if status != 201:
        return status, location
    for at in range(0, len(data), size):
        status, answer = piece(c, location, at, data[at:at + size])
        if status != 204:
            return status, answer
    return status, location


def settled(c, name, seconds=30):
    for _ in range(seconds * 20):
        rows = [d for d in c.call("GET", "/api/v1/datasets")[1]["datasets"] if d["name"] == name]
        if rows and rows[0]["state"] != "checking":
            return rows[0]
        time.sleep(0.05)
    return None


user, other = new_user("ada"), new_user("bob")
table = ("a,b,kind\n" + "".join(f"{i % 7},{i % 5}.5,{'x' if i % 2 else 'y'}\n" for i in range(3000))).encode()

# Events come while all this happens.
heard, stop = [], threading.Event()


def listen(c, into, last=None):
    headers = {"authorization": "Bearer " + c.token, **({"last-event-id": str(last)} if last else {})}
    try:
        with httpx.stream("GET", server.url + "/api/v1/events", headers=headers, timeout=httpx.Timeout(60)) as r:
            event = {}
            for line in r.iter_lines():
                line = line.rstrip("\n")
                if line.startswith(("id: ", "event: ", "data: ")):
                    key, value = line.split(": ", 1)
                    event[key] = value
                elif not line and event:
                    if event.get("event") != "devices":
                        into.append(event)
                    event = {}
                if stop.is_set():
                    return
    except httpx.HTTPError:
        pass


others = []
threads = [threading.Thread(target=listen, args=a, daemon=True) for a in ((user, heard), (other, others))]
for t in threads:
    t.start()
time.sleep(0.5)

# tus.
status, _ = user.call("OPTIONS", "/api/v1/uploads")
check(status == 204 and user.last.headers["tus-version"] == "1.0.0" and "creation" in user.last.headers["tus-extension"], "OPTIONS")
status, location = begin(user, "table", len(table))
check(status == 201 and location.startswith("/api/v1/uploads/"), f"creation: {status} {location}")
check(piece(user, location, 0, table[:5000]) == (204, "5000"), "a first piece")
check(piece(user, location, 0, table[:5000])[0] == 409 and piece(user, location, 6000, table[6000:])[0] == 409, "a piece for another offset")
check(piece(user, location, 5000, table + b"x")[0] == 400, "more than was announced")
check(user.call("PATCH", location, b"x", headers={"Upload-Offset": "5000"})[0] == 415, "another content type")
status, _ = user.call("HEAD", location)
check(status == 204 and user.last.headers["upload-offset"] == "5000" and user.last.headers["upload-length"] == str(len(table)), "HEAD")
check(other.call("HEAD", location)[0] == 404 and piece(other, location, 5000, b"x")[0] == 404, "others' uploads are not there")
check(piece(user, location, 5000, table[5000:]) == (204, str(len(table))), "the last piece")
ready = settled(user, "table")
check(ready and ready["state"] == "ready" and ready["format"] == "csvdata", f"looked at: {ready}")
check(user.call("HEAD", location)[0] == 404, "a whole upload is one no more")
mine = f"/api/v1/datasets/{ready['id']}"
status, whole = user.call("GET", mine)
check(whole["properties"]["rows"] == 3000 and "file" not in whole and server.data_dir not in json.dumps(whole), "properties, and no paths")
check(user.call("GET", mine + "/file")[1] == table and "attachment" in user.last.headers["content-disposition"], "downloaded as it was")
code, out, err = run("curl", "-s", "--http2-prior-knowledge", "-H", f"Authorization: Bearer {user.token}", "-o", path("down.csv"), "-w", "%{http_code}", server.url + mine + "/file")
check(out == "200" and open(path("down.csv"), "rb").read() == table, "over HTTP/2, too")

# Names, rights.
check(begin(user, "table", 10)[0] == 409 and begin(other, "table", 10)[0] == 201, "a name is one's own")
check(other.call("GET", mine)[0] == 404 and other.call("DELETE", mine)[0] == 404 and other.call("PATCH", mine, {"public": True})[0] == 403, "others' data sets are not there")
check(admin.call("PATCH", mine, {"public": True})[0] == 204 and other.call("GET", mine)[0] == 200 and other.call("DELETE", mine)[0] == 403, "published")
check(begin(new_user("eve"), "table", 10)[0] == 409, "a public name is taken")
for name, size, what in (("../x", 5, "a path"), ("", 5, "no name"), ("a/b", 5, "a slash"), ("x" * 101, 5, "a long name"), ("n", 0, "no bytes"), ("n", -1, "less than none"), ("n", 1 << 60, "far too many")):
    check(begin(user, name, size)[0] in (400, 413), f"{what} is refused: {begin(user, name, size)}")
check(begin(user, "huge", 30 << 30)[0] == 413, "more than the account's share")
check(user.call("POST", "/api/v1/uploads", headers={"Upload-Length": "5", "Upload-Metadata": "name !!!"})[0] == 400, "broken metadata")
status, location = begin(user, "given up", 100)
check(user.call("DELETE", location)[0] == 204 and user.call("HEAD", location)[0] == 404, "given up")

# What is broken says why, and hurts nobody.
upload(user, "broken", b"a,b\n1,2\n1\n")
upload(user, "pictures", b"PK\x03\x04 no zip at all", "x.zip")
check("row 2" in (settled(user, "broken") or {}).get("error", "") or "line" in settled(user, "broken")["error"], f"a broken table: {settled(user, 'broken')}")
bad = settled(user, "pictures")
check(bad["state"] == "broken" and server.data_dir not in bad["error"], f"a broken zip: {bad}")
with zipfile.ZipFile(path("p.zip"), "w") as z:
    from PIL import Image
    for kind in "ab":
        for i in range(4):
            Image.new("RGB", (8, 8), (i * 20, 90, 30)).save(path("p.png"))
            z.write(path("p.png"), f"{kind}/{i}.png")
upload(user, "zip", open(path("p.zip"), "rb").read(), "pictures.zip", 300)
check(settled(user, "zip")["state"] == "ready" and settled(user, "zip")["format"] == "images", f"a zip of pictures: {settled(user, 'zip')}")

# A kill at any time loses nothing that was acknowledged.
data = os.urandom(1 << 20)
text = b"n\n" + b"".join(b"%d\n" % b for b in data)
random.seed(4)
for k in range(3 if sanitized(program) else 6):
    name = f"killed {k}"
    status, location = begin(user, name, len(text))
    at, acknowledged = 0, 0
    timer = threading.Timer(random.uniform(0.0, 0.25), lambda: server.process.send_signal(signal.SIGKILL))
    timer.start()
    try:
        while at < len(text):
            status, got = piece(user, location, at, text[at:at + 100000])
            if status != 204:
                break
            at = acknowledged = int(got)
    except httpx.HTTPError:
        pass
    timer.join()
    server.process.wait()
    server.process.stdout.close()
    server.start()
    for c in (user, other, admin):
        c.http = httpx.Client(base_url=server.url, timeout=60)
    status, _ = user.call("HEAD", location)
    if status == 204:
        at = int(user.last.headers["upload-offset"])
        check(at >= acknowledged, f"kill {k}: {at} of {acknowledged} acknowledged bytes are there")
        while at < len(text):
            status, got = piece(user, location, at, text[at:at + 100000])
            at = int(got)
    done = settled(user, name)
    check(done and done["state"] == "ready" and user.call("GET", f"/api/v1/datasets/{done['id']}/file")[1] == text, f"kill {k}: whole afterwards: {done}")
orphan = os.path.join(server.data_dir, "datasets", "987654")
os.mkdir(orphan)
open(os.path.join(orphan, "data.csv"), "w").close()
open(os.path.join(server.data_dir, "uploads", "orphan"), "w").close()
server.stop()
server.start()
check(not os.path.exists(orphan) and not os.path.exists(os.path.join(server.data_dir, "uploads", "orphan")), "what belongs to nothing goes")
for c in (user, other, admin):
    c.http = httpx.Client(base_url=server.url, timeout=60)

# Deleting an account deletes its data.

check(user.call("DELETE", f"/api/v1/datasets/{settled(user, 'zip')['id']}")[0] == 204, "deleting")

many = new_user("many")
codes = [many.call("POST", "/api/v1/uploads", headers={"Upload-Length": "10", "Upload-Metadata": f"name {base64.b64encode(f'n{i}'.encode()).decode()},filename eC5jc3Y="})[0] for i in range(102)]
check(codes[99] == 201 and codes[101] == 429, f"uploads under way: {codes[98:]}")

gone = new_user("gone")
upload(gone, "of nobody", table)
number = settled(gone, "of nobody")["id"]
users = {u["name"]: u["id"] for u in admin.call("GET", "/api/v1/users")[1]["users"]}
check(admin.call("DELETE", f"/api/v1/users/{users['gone']}")[0] == 204, "an account is deleted")
time.sleep(0.3)
check(not os.path.exists(os.path.join(server.data_dir, "datasets", str(number))), "and its files with it")

# Events: one's own, in order, and those that were missed.
heard = [e for e in heard if "name" in json.loads(e["data"])]
first = [json.loads(e["data"]) for e in heard]
check([e["name"] for e in first][:4] == ["table", "broken", "pictures", "zip"] and first[0]["state"] == "ready", f"events: {first}")
check(not others, f"others hear nothing: {others}")
again, late = [], []
upload(user, "late", table)
t = threading.Thread(target=listen, args=(user, again), daemon=True)
t.start()
settled(user, "late")
upload(user, "later", table)
settled(user, "later")
time.sleep(0.5)
check([json.loads(e["data"])["name"] for e in again][-1:] == ["later"], f"after a restart: {again}")
t = threading.Thread(target=listen, args=(user, late, int(again[-1]["id"]) - 1), daemon=True)
t.start()
time.sleep(0.5)
check([json.loads(e["data"])["name"] for e in late] == ["later"], f"replayed: {late}")
begin_stop = time.time()
check(server.stop() == 0 and time.time() - begin_stop < 5, "listeners do not keep it from ending")
report()
