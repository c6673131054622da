"""Devices: what is seen through NVML (a stand-in for the driver's library: several cards, processes, sensors
that are missing), which device a training gets and why, the queue over several cards, closing one."""
import json
import os
import subprocess
import sys
import threading
import time

import httpx

from client import Client, Server, check, new_user, path, report, run, settled, upload, write

program, bench, stand_in, module = sys.argv[1:5]
state = path("nvml")


def cards(*lines):
    write("nvml.new", "\n".join(lines) + "\n")
    os.rename(path("nvml.new"), state)


# Without a driver the CPU is the one device, and the reason is said.
plain = Server(program)
admin = Client(plain)
admin.register(plain.key, "admin", "0123456789")
status, answer = admin.call("GET", "/api/v1/devices")
cpu = answer["devices"][0]
check(status == 200 and [d["name"] for d in answer["devices"]] == ["cpu"] and "libnvidia-ml" in answer["unavailable"][0]["reason"], f"no driver: {answer}")
check(cpu["threads"] == os.cpu_count() and 0 < cpu["memory"]["free"] < cpu["memory"]["total"] and cpu["disk"]["free"] > 0 and 0 <= cpu["load"] <= 1 and cpu["reservation"] is None, f"the CPU: {cpu}")
check(admin.call("GET", "/api/v1/devices/cpu")[1]["kind"] == "cpu" and admin.call("GET", "/api/v1/devices/cuda:0")[0] == 404, "one device")
plain.stop()

# Two cards, one of which measures little; a process of ours and one that is not there.
emulated = json.loads(run(os.path.join(os.path.dirname(program), "webml"), "devices", "--json", env=dict(os.environ, WEBML_CUDA_MODULE=module))[1])["devices"][1]["uuid"]
sleeper = subprocess.Popen(["sleep", "200"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
one, two = f"gpu {emulated} 8000 1000 35 61 120500 NVIDIA Test Card", "gpu GPU-bbbb 4000 3900 - - - NVIDIA Other Card"
cards(one, two, f"process 0 {sleeper.pid} 900", f"graphics 0 {sleeper.pid} 950", f"process 0 {os.getpid()} 30")
server = Server(program, None, LD_LIBRARY_PATH=os.path.dirname(stand_in), NVML_STAND_IN=state, WEBML_CUDA_MODULE=module, WEBML_CACHE=path("cache"))
admin = Client(server)
admin.register(server.key, "admin", "0123456789")
ada = new_user(admin, "ada")
devices = ada.call("GET", "/api/v1/devices")[1]["devices"]
first, second = devices[1:]
check([d["name"] for d in devices] == ["cpu", "cuda:0", "cuda:1"], "names in the order of the buses")
check(first["uuid"] == emulated and first["description"] == "NVIDIA Test Card" and first["memory"] == {"total": 8000 << 20, "used": 1000 << 20, "free": 7000 << 20}, f"memory: {first}")
check(first["utilisation"] == 35 and first["temperature"] == 61 and first["power"] == 120.5 and first["fan"] is None, f"sensors: {first}")
check(second["utilisation"] is None and second["temperature"] is None and second["power"] is None, f"what is not measured is null: {second}")
ours = next(p for p in first["processes"] if p["pid"] == sleeper.pid)
import pwd
check(len(first["processes"]) == 2 and ours == {"pid": sleeper.pid, "user": pwd.getpwuid(os.getuid()).pw_name, "command": "sleep", "memory": 950 << 20, "session": None}, f"processes: {first['processes']}")

# Changes are told, and only changes.
heard = []


def listen():
    with httpx.stream("GET", server.url + "/api/v1/events", headers={"authorization": "Bearer " + ada.token}, timeout=60) as r:
        kind = None
        try:
            for line in r.iter_lines():
                kind = line[7:].strip() if line.startswith("event: ") else kind
                if line.startswith("data: ") and kind == "devices":
                    heard.append(json.loads(line[6:]))
        except httpx.HTTPError:
            pass


threading.Thread(target=listen, daemon=True).start()
time.sleep(0.5)
cards(one.replace(" 1000 35", " 5000 95"), two, "stride 32", f"process 0 {sleeper.pid} 900", f"process 0 {os.getpid()} 4000")
used = lambda: [next(d for d in e["devices"] if d["name"] == "cuda:0") for e in heard]
for _ in range(60):
    if used() and used()[-1]["memory"]["used"] == 5000 << 20:
        break
    time.sleep(0.05)
check(used() and used()[-1]["utilisation"] == 95, "a change is told within a second")
check({p["pid"]: p["memory"] for p in used()[-1]["processes"]} == {sleeper.pid: 900 << 20, os.getpid(): 4000 << 20}, f"processes at a distance of 32 bytes: {used()[-1]['processes']}")
gpu_part = lambda e: [{k: v for k, v in d.items() if k != "load"} for d in e["devices"] if d["name"] != "cpu"]
time.sleep(1)
n = len(heard)
time.sleep(2.5)
check(len(heard) - n <= 3, f"not every look is told: {len(heard) - n}")
metrics = Client(server).call("GET", "/metrics")[1].decode()
check(f'DCGM_FI_DEV_FB_USED{{gpu="0",UUID="{emulated}"' in metrics and "DCGM_FI_DEV_GPU_TEMP{gpu=\"1\"" not in metrics and "DCGM_FI_DEV_POWER_USAGE" in metrics, "DCGM's names")

# Selection, with reasons.
run(bench, "make", "churn", path("churn.csv"), "4000")
dataset = upload(ada, "churn", open(path("churn.csv"), "rb").read(), "churn.csv")
dense = lambda units, activation: {"type": "Dense", "layer": {"units": units, "activation": activation}}
small = {"size": [None], "dynamic": True, "optimizer": "adam", "loss": None, "layers": [dense(16, "relu"), dense(None, "sigmoid")]}
model = ada.call("POST", "/api/v1/models", {"name": "small", "description": small})[1]["id"]
status, chosen = ada.call("POST", "/api/v1/devices/select", {"model": model, "dataset": dataset})
by = {d["name"]: d for d in chosen["devices"]}
check(status == 200 and chosen["device"] == "cuda:0" and chosen["uuid"] == emulated, f"the card with the most free memory: {chosen}")
check(not by["cuda:1"]["fits"] and "free" in by["cuda:1"]["reason"] and by["cuda:0"]["reason"] is None and by["cuda:0"]["needed"] > 600 << 20, f"reasons: {by}")
check(ada.call("POST", "/api/v1/devices/select", {"model": model, "dataset": dataset, "device": "cpu"})[1]["device"] == "cpu", "a device that was named")
check(ada.call("POST", "/api/v1/devices/select", {"model": 99, "dataset": dataset})[0] == 404 and new_user(admin, "eve").call("POST", "/api/v1/devices/select", {"model": model, "dataset": dataset})[0] == 404, "others' models")

# The need is that of the session's precision and of the card's own plan where the card may be opened: here a
# process of somebody else is on it, so it is estimated, and more.
select = lambda **more: ada.call("POST", "/api/v1/devices/select", {"model": model, "dataset": dataset, **more})[1]
needed = lambda **more: next(d for d in select(**more)["devices"] if d["name"] == "cuda:0")
check(needed()["estimated"] is True and not by["cpu"]["estimated"], "a card that somebody uses is not opened")
estimated = needed()["needed"]
cards(one, two)
time.sleep(1)
exact = {precision: needed(precision=precision, batch_size=512) for precision in ("float32", "mixed_bfloat16")}
said = {}
write("small.json", json.dumps(small))
for precision in exact:
    out = run(os.path.join(os.path.dirname(program), "webml"), "summary", path("small.json"), "--data",
              path("churn.csv"), "--json", "--device", "cuda:0", "--batch-size", "512", "--precision", precision,
              env=dict(os.environ, WEBML_CUDA_MODULE=module, WEBML_CACHE=path("cache")))[1]
    said[precision] = json.loads(out)["memory"][0]["training"]["total"]
check(all(not exact[p]["estimated"] and exact[p]["needed"] == said[p] for p in exact),
      f"the plan's need: {exact} {said}")
check(exact["mixed_bfloat16"]["needed"] < exact["float32"]["needed"] < estimated, f"{exact} {estimated}")

# Cards that have no bfloat16 are not for sessions in it.
check(first["compute_capability"] is None and first["bfloat16"] is None, "what the driver does not say is null")
cards(one, two, "capability 0 7 5", "capability 1 8 6")
time.sleep(1)
turing, ampere = ada.call("GET", "/api/v1/devices")[1]["devices"][1:]
check(turing["compute_capability"] == "7.5" and turing["bfloat16"] is False and ampere["bfloat16"] is True,
      f"compute capabilities: {turing} {ampere}")
named = ada.call("POST", "/api/v1/sessions", {
    "model": model, "dataset": dataset, "device": "cuda:0", "precision": "mixed_bfloat16"})
check(named[0] == 422 and "device cuda:0 does not compute in bfloat16" in named[1]["error"]
      and "use precision float32, or device " in named[1]["error"], f"refused by name: {named}")
chosen = select(precision="mixed_bfloat16")
check(chosen["device"] != "cuda:0" and "bfloat16" in chosen["devices"][1]["reason"]
      and chosen["devices"][1]["needed"] is None, f"not the one without bfloat16: {chosen}")
cards(one, two, "capability 0 7 5", "capability 1 7 0")
time.sleep(1)
status, answer = ada.call("POST", "/api/v1/sessions", {
    "model": model, "dataset": dataset, "device": "cuda", "precision": "mixed_bfloat16"})
check(status == 422 and "the devices cuda:0, cuda:1 do not compute in bfloat16" in answer["error"], f"none: {answer}")

# Closing: no new training gets it.
cards(one, two)
time.sleep(1)
check(ada.call("PATCH", "/api/v1/devices/cuda:0", {"closed": True})[0] == 403 and admin.call("PATCH", "/api/v1/devices/cuda:0", {"closed": True})[0] == 204, "administrators close devices")
time.sleep(1)
chosen = ada.call("POST", "/api/v1/devices/select", {"model": model, "dataset": dataset})[1]
check(chosen["device"] is None and chosen["waiting_helps"] and "closed" in chosen["devices"][1]["reason"], f"closed: {chosen}")

# A session waits, says what for, and starts when the card is opened; it runs there.
start = lambda c=None, **more: (c or ada).call("POST", "/api/v1/sessions", {"model": model, "dataset": dataset, "epochs": 1, "batch_size": 64, **more})
session = start(device="cuda:0")
check(session[0] == 422 and "closed" in session[1]["error"], f"named and closed: {session}")
session = start()[1]["id"]
time.sleep(0.5)
s = ada.call("GET", f"/api/v1/sessions/{session}")[1]
check(s["state"] == "waiting" and "cuda:0: an administrator has closed it" in s["waits_for"] and "cuda:1" in s["waits_for"] and s["need_gpu"] > s["need_cpu"] > 0, f"waits: {s}")
admin.call("PATCH", "/api/v1/devices/cuda:0", {"closed": False})
s = settled(ada, session)
check(s["state"] == "finished" and s["placed"] == emulated and s["waits_for"] is None, f"and then runs on the card: {s}")

# What no device will ever hold is refused at once, with both numbers.
huge = {"size": [200000], "optimizer": "adam", "loss": "mse", "layers": [dense(5000, "relu"), dense(1, "linear")]}
admin.call("PATCH", "/api/v1/system/settings", {"parameters": 2_000_000_000, "weights_bytes": 100_000_000_000})
model = ada.call("POST", "/api/v1/models", {"name": "huge", "description": huge})[1]["id"]
status, answer = ada.call("POST", "/api/v1/devices/select", {"model": model, "batch_size": 1024})
check(status == 200 and "in all" in answer["devices"][2]["reason"], f"too large: {answer}")

# The card's memory is counted before the driver sees it: two trainings that start together.
cards(one, two)
time.sleep(1)
admin.call("PATCH", "/api/v1/system/settings", {"sessions_per_device": 8})
model = ada.call("POST", "/api/v1/models", {"name": "small again", "description": small})[1]["id"]
ids = [start(device="cuda:0", epochs=15, batch_size=4)[1]["id"] for _ in range(2)]
for _ in range(100):
    running = [i for i in ids if ada.call("GET", f"/api/v1/sessions/{i}")[1]["state"] == "running"]
    if len(running) == 2:
        break
    time.sleep(0.05)
chosen = ada.call("POST", "/api/v1/devices/select", {"model": model, "dataset": dataset})[1]
card = next(d for d in ada.call("GET", "/api/v1/devices")[1]["devices"] if d["name"] == "cuda:0")
check(len(running) == 2 and chosen["devices"][1]["free"] <= (7000 << 20) - 2 * (600 << 20), f"what was promised is not free: {chosen['devices'][1]}")
for i in ids:
    ada.call("POST", f"/api/v1/sessions/{i}/cancel")
    settled(ada, i)

# One at a time on a device: the next one waits and says so, one for another device passes it, one for the same
# device does not.
admin.call("PATCH", "/api/v1/system/settings", {"sessions_per_device": 1})
bob = new_user(admin, "bob")
admin.call("PATCH", f"/api/v1/datasets/{dataset}", {"public": True})
bobs = bob.call("POST", "/api/v1/models", {"name": "small", "description": small})[1]["id"]
running = start(device="cuda:0", epochs=15, batch_size=2)[1]["id"]
settled(ada, running, ("running",))
blocked = start(device="cuda:0")[1]["id"]
passing = start(bob, model=bobs, device="cpu")[1]["id"]
behind = start(bob, model=bobs, device="cuda:0")[1]["id"]
time.sleep(0.4)
reason = lambda c, i: c.call("GET", f"/api/v1/sessions/{i}")[1]["waits_for"] or ""
check("1 training runs on it" in reason(ada, blocked) and reason(bob, behind), f"what they wait for: {reason(ada, blocked)} | {reason(bob, behind)}")
check(settled(bob, passing)["state"] == "finished" and ada.call("GET", f"/api/v1/sessions/{blocked}")[1]["state"] == "waiting", "another device's passes")
ada.call("POST", f"/api/v1/sessions/{running}/cancel")
first, last = settled(ada, blocked), settled(bob, behind)
check(first["state"] == last["state"] == "finished" and first["started"] <= last["started"], f"in their order: {first['started']} {last['started']}")

# Two at a time: one that would fit now must not take the memory that a larger one before it waits for.
admin.call("PATCH", "/api/v1/system/settings", {"sessions_per_device": 2, "epochs": 100000})
cards(one.replace(" 8000 1000 ", " 2300 0 "))
time.sleep(1)
wide = {"size": [None], "dynamic": True, "optimizer": "adam", "loss": None, "layers": [dense(9000, "relu"), dense(9000, "relu"), dense(None, "sigmoid")]}
large = ada.call("POST", "/api/v1/models", {"name": "wide", "description": wide})[1]["id"]
running = start(device="cuda:0", epochs=50000, batch_size=2)[1]["id"]
settled(ada, running, ("running",))
blocked = start(model=large, device="cuda:0")
need = ada.call("GET", f"/api/v1/sessions/{blocked[1]['id']}")[1]["need_gpu"]
check(1700 << 20 < need < 2300 << 20, f"the large one needs {need}")
behind = start(device="cuda:0")[1]["id"]
time.sleep(1)
check("are free" in reason(ada, blocked[1]["id"]) and reason(ada, behind) == f"session {blocked[1]['id']} is before it and waits, too", f"the small one waits: {reason(ada, blocked[1]['id'])} | {reason(ada, behind)}")
ada.call("POST", f"/api/v1/sessions/{blocked[1]['id']}/cancel")
check(settled(ada, behind)["state"] == "finished", "and goes when the large one has given up")
ada.call("POST", f"/api/v1/sessions/{running}/cancel")
settled(ada, running)

# The driver fails while it runs: the CPU is left, with the reason; it comes back.
cards("broken")
time.sleep(1.5)
answer = ada.call("GET", "/api/v1/devices")[1]
check([d["name"] for d in answer["devices"]] == ["cpu"] and "Unknown Error" in answer["unavailable"][0]["reason"], f"a driver that fails: {answer}")
cards(one)
time.sleep(1.5)
check(len(ada.call("GET", "/api/v1/devices")[1]["devices"]) == 2, "and works again")
sleeper.kill()
sleeper.wait()
check(server.stop() == 0, "ends")
report()
