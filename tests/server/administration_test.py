"""What administrators do: settings and limits, the system log, letting people in, backups made and put back
while the server runs, after a kill and on a fresh machine; options from a file. And what their users do with
data and weights: previews, samples, evaluations, pictures by multipart, batching."""
import io
import json
import os
import shutil
import socket
import sys
import threading
import time
import zipfile

import h2.connection
import httpx
import numpy as np
from PIL import Image

from client import Client, Server, check, new_user, path, report, run, sanitized, settled, upload, write

program, bench = sys.argv[1:3]
webml = os.path.join(os.path.dirname(program), "webml")

# Options: the command line before the environment before the file.
write("options.json", json.dumps({"data-dir": path("from-file"), "jobs": 2, "log-bytes": 65536}))
server = Server(program, path("from-option"), "--config", path("options.json"), WEBML_JOBS="3")
check(os.path.exists(path("from-option")) and not os.path.exists(path("from-file")), "the command line wins")
admin = Client(server)
admin.register(server.key, "admin", "0123456789")
check(admin.call("GET", "/api/v1/system/settings")[1]["sessions_per_device"] == 3, "the environment before the file")
for text, words in (("[]", "object"), ('{"nothing": 1}', 'no option "nothing"'), ('{"jobs": "2"}', "whole number"), ('{"listen": 1}', "text"), ("{", "line 1")):
    write("wrong.json", text)
    code, out, err = run(program, "--config", path("wrong.json"))
    check(code == 2 and words in err, f"{text}: {err}")
check(run(program, "--config", path("none.json"))[0] == 2, "no such file")

# Settings are limits of users, not of administrators.
ada = new_user(admin, "ada")
everything = admin.call("GET", "/api/v1/system/settings")[1]
check(everything["epochs"] == 15 and everything["batch_size"] == 1024 and everything["rotation_range"] == 45 and everything["zoom_range"] == 0.5, f"the dissertation's: {everything}")
check(admin.call("PATCH", "/api/v1/system/settings", {"epochs": 0})[0] == 400 and admin.call("PATCH", "/api/v1/system/settings", {"epoch": 3})[0] == 400, "ranges and names are checked")
rng = np.random.default_rng(3)
table = "a,b,c,kind\n" + "".join(f"{a:.3f},{b:.3f},{c:.3f},{'x' if a + b > c else 'y'}\n" for a, b, c in rng.normal(size=(300, 3)))
with zipfile.ZipFile(path("p.zip"), "w") as z:
    for kind in ("low & slow", "k1", "k2"):
        for i in range(20):
            pixels = rng.integers(0, 80, (6, 5, 3), dtype=np.uint8)
            pixels[..., ("low & slow", "k1", "k2").index(kind)] += 120
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "PNG")
            z.writestr(f"{kind}/{i:02}.png", buffer.getvalue())
numbers, pictures = upload(ada, "numbers", table.encode(), "n.csv"), upload(ada, "pictures", open(path("p.zip"), "rb").read(), "p.zip")
dense = lambda units, activation: {"type": "Dense", "layer": {"units": units, "activation": activation}}
mlp = {"size": [None], "dynamic": True, "optimizer": "adam", "loss": None, "layers": [dense(16, "relu"), dense(None, "softmax")]}
cnn = {"size": [6, 5, 3], "dynamic": True, "optimizer": "adam", "loss": None, "layers": [{"type": "Conv2D", "layer": {"filters": 4, "kernel_size": 3, "activation": "relu"}}, {"type": "Flatten", "layer": {}}, dense(None, "softmax")]}
model = lambda c, name, description: c.call("POST", "/api/v1/models", {"name": name, "description": description})[1]["id"]
start = lambda c, m, d, **more: c.call("POST", "/api/v1/sessions", {"model": m, "dataset": d, "epochs": 2, **more})
net = model(ada, "net", mlp)
for limit, words in (({"layers": 1}, "2 layers"), ({"parameters": 10}, "parameters"), ({"weights_bytes": 1024}, None), ({"epochs": 1}, "epochs is at most 1")):
    before = {k: everything[k] for k in limit}
    admin.call("PATCH", "/api/v1/system/settings", limit)
    status, answer = start(ada, net, numbers)
    check((status in (400, 422) and words in answer["error"]) if words else status == 201, f"{limit}: {status} {answer}")
    admin.call("PATCH", "/api/v1/system/settings", before)
settled(ada, answer["id"]) if "id" in answer else None
for s in ada.call("GET", "/api/v1/sessions")[1]["sessions"]:
    settled(ada, s["id"])
have = len(ada.call("GET", "/api/v1/weights")[1]["weights"])
admin.call("PATCH", "/api/v1/system/settings", {"weights_per_model": have})
status, answer = start(ada, net, numbers)
check(status == 429 and "weights" in answer["error"], f"weights per model: {answer}")
admin.call("PATCH", "/api/v1/system/settings", {"weights_per_model": 20, "storage_bytes": 1000})
status, answer = ada.call("POST", "/api/v1/uploads", headers={"Upload-Length": "5000", "Upload-Metadata": "name bg==,filename bi5jc3Y="})
check(status == 413 and "GB" in answer["error"], f"storage: {answer}")
admin.call("PATCH", "/api/v1/system/settings", {"storage_bytes": everything["storage_bytes"]})
session = settled(ada, start(ada, net, numbers)[1]["id"])
weights = session["weights"]

# What there is to see.
status, seen = ada.call("GET", f"/api/v1/datasets/{numbers}/preview")
check(status == 200 and seen["columns"] == ["a", "b", "c", "kind"] and len(seen["rows"]) == 5 and str(table.splitlines()[1].split(",")[3]) in str(seen["rows"][0]), f"rows: {seen}")
status, seen = ada.call("GET", f"/api/v1/datasets/{pictures}/preview")
check([c["class"] for c in seen["classes"]] == ["k1", "k2", "low & slow"] and seen["classes"][2]["training"] + seen["classes"][2]["validation"] == 20, f"classes: {seen}")
status, png = ada.call("GET", seen["classes"][2]["sample"] + "&size=64")
image = np.array(Image.open(io.BytesIO(png)).convert("RGB"))
expected = np.array(Image.open(io.BytesIO(zipfile.ZipFile(path("p.zip")).read("low & slow/00.png"))).resize((64, 64), Image.NEAREST))
check(ada.last.headers["content-type"] == "image/png" and image.shape == (64, 64, 3) and np.abs(image.astype(int) - expected).mean() < 25, "a sample is the picture")
check(ada.call("GET", f"/api/v1/datasets/{pictures}/sample?class=k1&index=20")[0] == 404 and "20 pictures" in ada.last.text, "only as many as there are: " + ada.last.text)
check(ada.call("GET", f"/api/v1/datasets/{pictures}/sample?class=none")[0] == 404 and ada.call("GET", f"/api/v1/datasets/{pictures}/sample")[0] == 400 and ada.call("GET", f"/api/v1/datasets/{numbers}/sample?class=x")[0] == 409, "no such class")
for evil in ("../../etc/passwd", "-o", "--out", "$(id)", "%00"):
    check(ada.call("GET", f"/api/v1/datasets/{pictures}/sample", params={"class": evil})[0] in (400, 404, 422, 500) and "root" not in ada.last.text, f"class {evil}: {ada.last.text[:80]}")

# Evaluation, as the command line's.
status, ours = ada.call("POST", f"/api/v1/weights/{weights}/evaluate", {"dataset": numbers, "part": "training"})
write("n.csv", table)
file = os.path.join(server.data_dir, "jobs", str(session["id"]), "weights.safetensors")
theirs = json.loads(run(webml, "evaluate", file, "--data", path("n.csv"), "--part", "training", "--json")[1])
check(status == 200 and abs(ours["loss"] - theirs["loss"]) < 1e-6 and ours.get("confusion") == theirs.get("confusion"), f"evaluation: {ours}")
status, answer = ada.call("POST", f"/api/v1/weights/{weights}/evaluate", {"dataset": pictures})
check(status == 422 and server.data_dir not in answer["error"], f"of other data: {answer}")
check(ada.call("POST", f"/api/v1/weights/{weights}/evaluate", {"dataset": 99})[0] == 404 and admin.call("POST", f"/api/v1/weights/{weights}/evaluate", {"dataset": numbers})[0] == 404, "no such data set, others' data")

# A picture as a browser's form sends it; examples of its class.
eyes = settled(ada, start(ada, model(ada, "eyes", cnn), pictures, epochs=15, batch_size=8)[1]["id"])["weights"]
picture = zipfile.ZipFile(path("p.zip")).read("low & slow/03.png")
status, plain = ada.call("POST", f"/api/v1/weights/{eyes}/predict", picture)
form = httpx.post(f"{server.url}/api/v1/weights/{eyes}/predict", headers={"authorization": "Bearer " + ada.token}, files={"file": ("a.png", picture, "image/png")})
check(status == 200 and form.status_code == 200 and form.json()["class"] == plain["class"] and abs(form.json()["probability"] - plain["probability"]) < 1e-6, f"multipart: {form.text[:200]}")
check(plain["class"] == "low & slow" and len(plain["examples"]) == 16 and ada.call("GET", plain["examples"][15])[0] == 200, f"examples: {plain.get('examples')}")
for kind, body in (("multipart/form-data", b"x"), ("multipart/form-data; boundary=", b"----"), ("multipart/form-data; boundary=b", b"--b\r\n\r\n--b--"), ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: x\r\n\r\nno end"), ("multipart/form-data; boundary=b", b"")):
    check(ada.call("POST", f"/api/v1/weights/{eyes}/predict", body, headers={"content-type": kind})[0] == 400, f"a form that is none: {kind} {body[:20]}")

# Batching: set per model, shown in V2's configuration; requests are put together.
number = next(m["id"] for m in ada.call("GET", "/api/v1/models")[1]["models"] if m["name"] == "net")
check(ada.call("PATCH", f"/api/v1/models/{number}", {"max_batch_size": 16, "max_queue_delay_microseconds": 100000, "max_queue_size": 6})[0] == 204, "batching is set")
config = ada.call("GET", "/v2/models/net/config")[1]["dynamic_batching"]
check(config["preferred_batch_size"] == [16] and config["max_queue_delay_microseconds"] == 100000, f"configuration: {config}")
row = {"inputs": [{"name": "input", "shape": [4, 3], "datatype": "FP32", "data": [0.5] * 12}]}
alone = ada.call("POST", "/v2/models/net/infer", row)[1]["outputs"][0]["data"]
answers = []


def ask():
    c = Client(server, ada.token)
    answers.append(c.call("POST", "/v2/models/net/infer", row))


def together(n):
    answers.clear()
    threads = [threading.Thread(target=ask) for _ in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return [a[0] for a in answers]


stats = lambda: ada.call("GET", "/v2/models/net/stats")[1]["model_stats"][0]
before = stats()
began = time.monotonic()
codes = together(4)
took = time.monotonic() - began
after = stats()
runs = after["execution_count"] - before["execution_count"]
check(codes == [200] * 4 and all(np.allclose(a[1]["outputs"][0]["data"], alone, atol=1e-6) for a in answers), "answers are those of rows alone")
check(runs <= 2 and (took < 2 or sanitized(program)) and any(b["batch_size"] in (12, 16) for b in after["batch_stats"]), f"four requests in {runs} runs: {after['batch_stats']}")
check(after["inference_stats"]["queue"]["ns"] > before["inference_stats"]["queue"]["ns"], "time in the queue is counted")
ada.call("PATCH", f"/api/v1/models/{number}", {"max_batch_size": 64, "max_queue_delay_microseconds": 400000, "max_queue_size": 2})
codes = together(8)
check(sorted(set(codes)) == [200, 503] and codes.count(200) >= 2, f"a full queue refuses at once: {codes}")
metrics = Client(server).call("GET", "/metrics")[1].decode()
check(f'nv_inference_request_failure{{model="",version="{weights}",reason="REJECTED"}} {codes.count(503)}' in metrics, "and is counted")
# A client that leaves before its turn: the work is dropped, those beside it are answered.
host, port = server.url.split("//")[1].split(":")
leaver, c = socket.create_connection((host, int(port))), h2.connection.H2Connection()
c.initiate_connection()
body = json.dumps(row).encode()
c.send_headers(1, [(":method", "POST"), (":path", "/v2/models/net/infer"), (":scheme", "http"), (":authority", "x"), ("authorization", "Bearer " + ada.token), ("content-length", str(len(body)))])
c.send_data(1, body, end_stream=True)
leaver.sendall(c.data_to_send())
beside = threading.Thread(target=ask)
answers.clear()
beside.start()
time.sleep(0.15)
c.reset_stream(1)
leaver.sendall(c.data_to_send())
beside.join()
metrics = Client(server).call("GET", "/metrics")[1].decode()
check(answers[0][0] == 200 and f'version="{weights}",reason="CANCELED"}} 1\n' in metrics, f"work of a client that left is dropped: {answers}")
leaver.close()
ada.call("PATCH", f"/api/v1/models/{number}", {"max_queue_delay_microseconds": 0, "max_queue_size": 1024})
check(ada.call("POST", "/v2/models/net/infer", row)[0] == 200, "and goes on")

# The log: who did what, filtered; rotated by size; bounded.
lines = admin.call("GET", "/api/v1/system/log", params={"event": "session", "most": 1000})[1]["lines"]
check(lines and all(l["event"] == "session" for l in lines) and lines[0]["time"] >= lines[-1]["time"] and any(l["outcome"] == "finished" and l["object"] == str(session["id"]) for l in lines), f"sessions: {lines[:2]}")
ada_id = ada.call("GET", "/api/v1/auth/me")[1]["id"]
lines = admin.call("GET", "/api/v1/system/log", params={"user": ada_id, "status": 400, "path": "/api/v1/sessions"})[1]["lines"]
check(lines and all(l["user"] == ada_id and l["status"] >= 400 and l["path"].startswith("/api/v1/sessions") and l["ms"] >= 0 for l in lines), f"what failed: {lines[:2]}")
check(len(admin.call("GET", "/api/v1/system/log", params={"most": 7})[1]["lines"]) == 7 and admin.call("GET", "/api/v1/system/log", params={"since": int(time.time()) + 100})[1]["lines"] == [], "how many, since when")
write("log body", json.dumps(row))
run("h2load", "-n", "4000", "-c", "2", "-m", "10", server.url + "/healthz")
admin.call("GET", "/healthz")
admin.call("GET", '/api/v1/nothing"\\%0a')
admin.call("GET", "/api/v1/%ff%fe")
line = admin.call("GET", "/api/v1/system/log", params={"path": '/api/v1/nothing"', "most": 1})[1]["lines"]
logs = sorted(os.listdir(os.path.join(server.data_dir, "log")))
check(2 < len(logs) <= 8 and all(os.path.getsize(os.path.join(server.data_dir, "log", f)) < 140000 for f in logs), f"rotated: {logs}")
for f in logs:
    for text in open(os.path.join(server.data_dir, "log", f), encoding="utf-8"):
        json.loads(text)
whole = "".join(open(os.path.join(server.data_dir, "log", f)).read() for f in logs)
check("0123456789" not in whole and ada.token not in whole and admin.renewal not in whole, "no secret")

# People who come without a key.
stranger = Client(server)
body = {"name": "stranger", "password": "0123456789"}
check(stranger.call("POST", "/api/v1/auth/register", body)[0] == 403, "not unless it is allowed")
admin.call("PATCH", "/api/v1/system/settings", {"self_registration": 1})
check(stranger.call("POST", "/api/v1/auth/register", body)[0] == 202 and stranger.log_in("stranger", "0123456789") == 401, "asked, not let in yet")
waiting = [u for u in admin.call("GET", "/api/v1/users")[1]["users"] if u["waiting"]]
check([u["name"] for u in waiting] == ["stranger"] and admin.call("PATCH", f"/api/v1/users/{waiting[0]['id']}", {"enabled": True})[0] == 204 and stranger.log_in("stranger", "0123456789") == 200, "let in")
codes = [Client(server).call("POST", "/api/v1/auth/register", {"name": f"robot{i}", "password": "0123456789"})[0] for i in range(60)]
check(codes[0] == 202 and codes[-1] == 429, f"nobody fills the list: {codes}")


# Backups.
def make_backup():
    key = admin.call("POST", "/api/v1/system/backups")[1]["backup"]
    for _ in range(200):
        if any(b["backup"] == key for b in admin.call("GET", "/api/v1/system/backups")[1]["backups"]):
            return key
        time.sleep(0.05)


expected_weights = ada.call("GET", f"/api/v1/weights/{weights}/file")[1]
key = make_backup()
status, data = admin.call("GET", f"/api/v1/system/backups/{key}/file")
names = zipfile.ZipFile(io.BytesIO(data)).namelist()
check(status == 200 and "webml.sqlite" in names and f"datasets/{numbers}/data.csv" in names and any(n.endswith("weights.safetensors") for n in names) and not any("token" in n or "log" in n for n in names), f"in it: {names}")
check(zipfile.ZipFile(io.BytesIO(data)).read(f"datasets/{numbers}/data.csv") == table.encode() and not [f for f in os.listdir(server.data_dir) if f.startswith("work-")], "whole, and nothing left over")
ada.call("DELETE", f"/api/v1/datasets/{numbers}")
ada.call("DELETE", f"/api/v1/weights/{weights}")
later = upload(ada, "later", b"a,b\n1,2\n3,4\n", "later.csv")
eve = new_user(admin, "eve")
old_token = ada.token
status, answer = admin.call("POST", f"/api/v1/system/backups/{key}/restore")
check(status == 200 and admin.call("GET", "/api/v1/auth/me")[0] == 401 and Client(server, old_token).call("GET", "/api/v1/auth/me")[0] == 401, f"put back; old tokens are void: {answer}")
check(ada.log_in("ada", "0123456789") == 200 and admin.log_in("admin", "0123456789") == 200 and eve.log_in("eve", "0123456789") == 401, "accounts as they were")
check(ada.call("GET", f"/api/v1/datasets/{numbers}/file")[1] == table.encode() and ada.call("GET", f"/api/v1/weights/{weights}/file")[1] == expected_weights and "later" not in ada.call("GET", "/api/v1/datasets")[1].__str__(), "data and weights as they were")
check(np.allclose(ada.call("POST", "/v2/models/net/infer", row)[1]["outputs"][0]["data"], alone, atol=1e-6), "and predictions")

# One that runs is in the way.
admin.call("PATCH", "/api/v1/system/settings", {"epochs": 100000})
busy = start(ada, number, numbers, epochs=50000, batch_size=1)[1]["id"]
settled(ada, busy, ("running",))
check(admin.call("POST", f"/api/v1/system/backups/{key}/restore")[0] == 409, "not while trainings run")
second = make_backup()
ada.call("POST", f"/api/v1/sessions/{busy}/cancel")
settled(ada, busy)
write("whole.zip", data)
check(server.stop() == 0, "ends")

# A restoration that a kill has cut short is finished by the next start, wherever it was cut.
for cut in ("before anything", "between the files"):
    folder = os.path.join(server.data_dir, "restore")
    shutil.rmtree(folder, ignore_errors=True)
    os.mkdir(folder)
    archive = zipfile.ZipFile(path("whole.zip"))
    for n in archive.namelist():
        open(os.path.join(folder, n.replace("/", "-")), "wb").write(archive.read(n))
    open(os.path.join(folder, "whole"), "w")
    if cut == "between the files":
        open(os.path.join(folder, "cleared"), "w")
        os.unlink(os.path.join(folder, f"datasets-{numbers}-data.csv"))  # in place already
    server.start()
    for c in (admin, ada):
        c.http = httpx.Client(base_url=server.url, timeout=60)
    check(ada.log_in("ada", "0123456789") == 200 and ada.call("GET", f"/api/v1/datasets/{numbers}/file")[1] == table.encode() and not os.path.exists(folder), f"cut {cut}")
    server.stop()

# On a fresh machine; and files that are no backup.
fresh = Server(program, path("fresh"), "--restore", path("whole.zip"))
c = Client(fresh)
check(c.log_in("ada", "0123456789") == 200 and c.call("GET", f"/api/v1/weights/{weights}/file")[1] == expected_weights and fresh.key is None, "on a fresh machine")
fresh.stop()
with zipfile.ZipFile(path("evil.zip"), "w") as z:
    z.writestr("webml.sqlite", zipfile.ZipFile(path("whole.zip")).read("webml.sqlite"))
    z.writestr("datasets/1/../../../evil", "x")
with zipfile.ZipFile(path("empty.zip"), "w") as z:
    z.writestr("datasets/1/data.csv", "x")
write("broken.zip", data[:len(data) // 2])
with zipfile.ZipFile(path("other.zip"), "w") as z:
    z.writestr("webml.sqlite", b"SQLite format 3\0" + b"\xff" * 4096)
for name, words in (("evil", "no backup"), ("empty", "no webml.sqlite"), ("broken", "no zip"), ("other", "")):
    code, out, err = run(program, "--data-dir", path("x" + name), "--listen", "127.0.0.1:0", "--restore", path(name + ".zip"))
    check(code == 1 and words in err and not os.path.exists(path("evil")), f"{name}: {err}")
report()
