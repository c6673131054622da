"""Training sessions: progress, queue, cancelling; kills of jobs and of the server while they train."""
import json
import os
import random
import signal
import sys
import threading
import time

import httpx

from client import Client, Server, check, new_user, path, report, run, sanitized, skip, upload, write
from client import settled as wait

program, bench = sys.argv[1:3]
server = Server(program)
admin = Client(server)
admin.register(server.key, "admin", "0123456789")


def pid_of(session):
    """Written right after the process has started."""
    for _ in range(200):
        try:
            return int(open(os.path.join(server.data_dir, "jobs", str(session), "pid")).read())
        except (FileNotFoundError, ValueError):
            time.sleep(0.02)


def reconnect(*clients):
    for c in clients:
        c.http = httpx.Client(base_url=server.url, timeout=60)


run(bench, "make", "churn", path("churn.csv"), "20000")
table = open(path("churn.csv"), "rb").read()
mlp = {"size": [None], "dynamic": True, "optimizer": "adam", "loss": None, "metrics": ["accuracy"], "outputArray": [], "layers": [
    {"type": "Dense", "layer": {"units": 48, "activation": "relu"}}, {"type": "Dense", "layer": {"units": 48, "activation": "relu"}}, {"type": "Dense", "layer": {"units": None, "activation": "sigmoid"}}]}
mlp.pop("outputArray")
ada, bob = new_user(admin, "ada"), new_user(admin, "bob")
dataset = upload(ada, "churn", table)
status, answer = ada.call("POST", "/api/v1/models", {"name": "mlp", "description": mlp})
model = answer["id"]
check(status == 201 and ada.call("GET", f"/api/v1/models/{model}")[1]["state"] == "dynamic", f"a dynamic model: {answer}")

# Shaping, as a new model and in place.
status, made = ada.call("POST", f"/api/v1/models/{model}/shape", {"dataset": dataset, "name": "shaped"})
check(status == 201 and ada.call("GET", f"/api/v1/models/{made['id']}")[1]["state"] == "editable" and ada.call("GET", f"/api/v1/models/{model}")[1]["state"] == "dynamic", f"shaped: {made}")
status, copy = ada.call("POST", f"/api/v1/models/{model}/clone", {"name": "in place"})
status, answer = ada.call("POST", f"/api/v1/models/{copy['id']}/shape", {"dataset": dataset})
check(status == 200 and answer["chosen"] and ada.call("GET", f"/api/v1/models/{copy['id']}")[1]["state"] == "editable", f"shaped in place: {answer}")
check(ada.call("POST", f"/api/v1/models/{model}/shape", {"dataset": 99})[0] == 404 and bob.call("POST", f"/api/v1/models/{model}/shape", {"dataset": dataset})[0] == 404, "others' models and data sets")
check(not [f for f in os.listdir(server.data_dir) if f.startswith("shape-")], "nothing is left behind")

# What is refused before it starts.
start = lambda c, **more: c.call("POST", "/api/v1/sessions", {"model": model, "dataset": dataset, "epochs": 3, "batch_size": 64, "validation_split": 0.2, "seed": 5, **more})
check(start(bob)[0] == 404, "others' models")
check(start(ada, epochs=16)[0] == 400 and start(ada, batch_size=0)[0] == 400 and start(ada, zoom_range=0.6)[0] == 400 and start(ada, rotation_range=1.5)[0] == 400, "limits")
check(start(ada, dataset=999)[0] == 404 and start(ada, nothing=1)[0] == 400, "what is not there")

# One training, followed live.
heard = []


def listen(c, into, query=""):
    with httpx.stream("GET", server.url + "/api/v1/events" + query, headers={"authorization": "Bearer " + c.token}, timeout=60) as r:
        try:
            for line in r.iter_lines():
                if line.startswith("data: "):
                    into.append(json.loads(line[6:]))
        except httpx.HTTPError:
            pass


threading.Thread(target=listen, args=(ada, heard), daemon=True).start()
time.sleep(0.3)
status, answer = start(ada)
session = answer["id"]
check(status == 201 and answer["state"] == "waiting", f"started: {answer}")
done = wait(ada, session)
check(done["state"] == "finished" and len(done["history"]) == 3 and done["weights"], f"finished: {done}")
time.sleep(0.4)
states = [e["state"] for e in heard if "state" in e and e.get("session") == session]
epochs = [e for e in heard if e.get("event") == "epoch"]
check(states == ["running", "finished"] and len(epochs) == 3 and all("val_loss" in e for e in epochs), f"events: {states} {len(epochs)}")
status, all_weights = ada.call("GET", "/api/v1/weights")
weights = all_weights["weights"][0]
check(weights["id"] == done["weights"] and weights["metrics"]["loss"] > 0 and bob.call("GET", f"/api/v1/weights/{weights['id']}")[0] == 404, "weights are their owner's")
status, tensors = ada.call("GET", f"/api/v1/weights/{weights['id']}/file")
check(status == 200 and len(tensors) == weights["bytes"] and b"dense/kernel" in tensors[:5000], "weights downloaded")
check(ada.call("GET", f"/api/v1/models/{model}")[1]["state"] == "static" and ada.call("PATCH", f"/api/v1/models/{model}", {"description": mlp | {"size": [3], "dynamic": False}})[0] in (409, 422), "the model is static now")
check(ada.call("PATCH", f"/api/v1/models/{model}", {"name": "renamed"})[0] == 204, "but may be renamed")

# A training that cannot be says why.
status, answer = ada.call("POST", "/api/v1/models", {"name": "cnn", "description": {"size": [8, 8, 3], "optimizer": "adam", "loss": "categorical_crossentropy", "layers": [{"type": "Flatten", "layer": {}}, {"type": "Dense", "layer": {"units": 3, "activation": "softmax"}}]}})
status, answer = ada.call("POST", "/api/v1/sessions", {"model": answer["id"], "dataset": dataset})
check(status == 422 and "images" in answer["error"] and server.data_dir not in answer["error"], f"a model that does not fit the data: {answer}")

# The queue is round robin over users; waiting and running ones can be cancelled.
admin.call("PATCH", f"/api/v1/datasets/{dataset}", {"public": True})
bob_model = bob.call("POST", "/api/v1/models", {"name": "mlp", "description": mlp})[1]["id"]
long = {"epochs": 15, "batch_size": 8}
# The first takes long enough to be cancelled while it runs, on fast processors too.
ours = [start(ada, **dict(long, batch_size=size))[1]["id"] for size in (1, 8, 8)]
time.sleep(0.3)
theirs = bob.call("POST", "/api/v1/sessions", {"model": bob_model, "dataset": dataset, "epochs": 1, "batch_size": 64})[1]["id"]
check(wait(ada, ours[0], ("running",))["state"] == "running" and ada.call("GET", f"/api/v1/sessions/{ours[1]}")[1]["state"] == "waiting", "one at a time")
check(bob.call("POST", f"/api/v1/sessions/{ours[0]}/cancel")[0] == 404, "others' sessions are not there")
check(ada.call("DELETE", f"/api/v1/models/{model}")[0] == 409, "a model that trains is not deleted")
check(ada.call("POST", f"/api/v1/sessions/{ours[2]}/cancel")[0] == 202 and wait(ada, ours[2])["state"] == "cancelled", "a waiting one is cancelled")
check(ada.call("POST", f"/api/v1/sessions/{ours[0]}/cancel")[0] == 202 and wait(ada, ours[0])["state"] == "cancelled", "a running one is cancelled")
check(ada.call("POST", f"/api/v1/sessions/{ours[0]}/cancel")[0] == 409, "only once")
check(wait(bob, theirs)["state"] == "finished", "the other user's came next")
order = [(s["id"], s["started"]) for s in (wait(ada, ours[1], ("running", "finished")), wait(bob, theirs))]
check(order[0][1] >= order[1][1], f"round robin: {order}")
ada.call("POST", f"/api/v1/sessions/{ours[1]}/cancel")
wait(ada, ours[1])

# Kills: of the process, of the server, of both; the weights are those of an undisturbed training.
whole = wait(ada, start(ada, epochs=6, batch_size=16)[1]["id"])
body = lambda w: (lambda data: data[8 + int.from_bytes(data[:8], "little"):])(ada.call("GET", f"/api/v1/weights/{w}/file")[1])
expected = body(whole["weights"])
random.seed(2)
for k in range(2 if sanitized(program) else 5):
    session = start(ada, epochs=6, batch_size=16)[1]["id"]
    wait(ada, session, ("running",))
    time.sleep(random.uniform(0.05, 1.2))
    pid = pid_of(session)
    if k % 3 != 1:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    if k % 3 != 0:
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        server.process.stdout.close()
        time.sleep(random.uniform(0.0, 0.5))
        server.start()
        reconnect(ada, bob, admin)
    done = wait(ada, session)
    check(done["state"] == "finished" and body(done["weights"]) == expected, f"kill {k}: {done['state']} {done['error']}")

# A server that ends leaves its trainings alone; the next one accounts for them.
session = start(ada, epochs=6, batch_size=16)[1]["id"]
wait(ada, session, ("running",))
pid = pid_of(session)
begin = time.time()
check(server.stop() == 0 and time.time() - begin < 5, "it ends at once")
time.sleep(0.2)
alive = os.path.exists(f"/proc/{pid}")
server.start()
reconnect(ada, bob, admin)
done = wait(ada, session)
check(alive and done["state"] == "finished" and body(done["weights"]) == expected, f"the training went on: {alive} {done['state']}")

# A precision of one's own, where the processor has it.
check(start(ada, precision="half")[0] == 400, "a precision that there is not")
has = admin.call("GET", "/api/v1/devices/cpu")[1]["bfloat16"]
status, answer = start(ada, precision="mixed_bfloat16", device="cpu")
check(status == (201 if has else 422), f"a session in bfloat16 on a processor that has {has}: {answer}")
if has:
    other = wait(ada, answer["id"])
    file = ada.call("GET", f"/api/v1/weights/{other['weights']}/file")[1]
    check(other["state"] == "finished" and b"mixed_bfloat16" in file, f"in bfloat16: {other['state']} {other['error']}")
    # What it needs was computed for that precision, as the command line says it.
    needs, said = [], []
    write("mlp.json", json.dumps(mlp))
    for precision in ("float32", "mixed_bfloat16"):
        answer = ada.call("POST", "/api/v1/devices/select", {
            "model": model, "dataset": dataset, "batch_size": 512, "precision": precision})[1]
        needs.append(answer["devices"][0]["needed"])
        out = run(os.path.join(os.path.dirname(program), "webml"), "summary", path("mlp.json"), "--data",
                  path("churn.csv"), "--device", "cpu", "--batch-size", "512", "--precision", precision, "--json")[1]
        said.append(json.loads(out)["memory"][0]["training"]["total"])
    check(needs == said and needs[0] != needs[1] > 0, f"needs in float32 and in bfloat16: {needs} {said}")
else:
    skip("a session in bfloat16", answer["error"])

# Deleting takes the files along.
folder = os.path.join(server.data_dir, "jobs", str(session))
check(os.path.exists(folder) and ada.call("DELETE", f"/api/v1/weights/{done['weights']}")[0] == 204 and not os.path.exists(folder), "deleted weights")
check(server.memory() < 60 or sanitized(program), f"{server.memory():.0f} MB after all that")
check(server.stop() == 0, "ends")

# A machine without bfloat16 says so at once, and what would do; nothing waits for it.
server = Server(program, None, DNNL_MAX_CPU_ISA="AVX2")
admin = Client(server)
admin.register(server.key, "admin", "0123456789")
dataset = upload(admin, "churn", table)
model = admin.call("POST", "/api/v1/models", {"name": "mlp", "description": mlp})[1]["id"]
check(admin.call("GET", "/api/v1/devices/cpu")[1]["bfloat16"] is False, "a processor without bfloat16")
for device in ("cpu", "auto"):
    status, answer = start(admin, precision="mixed_bfloat16", device=device)
    error = answer.get("error", "")
    check(status == 422 and "device cpu does not compute in bfloat16" in error and "mixed_bfloat16" in error
          and "use precision float32" in error, f"bfloat16 on {device}: {status} {answer}")
check(admin.call("GET", "/api/v1/sessions")[1]["sessions"] == [], "no session was made")
status, answer = start(admin, precision="mixed_bfloat16", device="cuda:3")
check(status == 422 and 'no device "cuda:3"' in answer["error"], f"no such device: {answer}")
status, answer = admin.call("POST", "/api/v1/devices/select", {
    "model": model, "dataset": dataset, "precision": "mixed_bfloat16"})
cpu = answer["devices"][0]
check(status == 200 and answer["device"] is None and not answer["waiting_helps"] and cpu["needed"] is None
      and "bfloat16" in cpu["reason"], f"nothing to select: {answer}")
status, answer = start(admin, precision="float32", device="auto")
check(status == 201 and wait(admin, answer["id"])["state"] == "finished", f"float32: {answer}")
check(server.stop() == 0, "ends, too")
report()
