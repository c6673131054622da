"""The serving bench: V2 requests over h2c against libh2o alone, pictures against the engine in a process of
its own, events against a bare loop of socket writes, and what the server needs to start and to idle. Runs are
interleaved; medians count. The load generator (h2load) shares the machine's cores.

usage: /usr/bin/python3 bench/serving.py [--rounds N] [--seconds S] [--json FILE]
"""
import argparse
import atexit
import datetime
import json
import os
import platform
import re
import resource
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--seconds", type=float, default=2)
parser.add_argument("--only", help="mlp, pictures, events or start")
parser.add_argument("--json")
a = parser.parse_args()
here = os.path.dirname(os.path.abspath(__file__))
programs = os.path.join(here, "..", "build", "bin")
sys.path.insert(0, os.path.join(here, "..", "tests", "server"))
sys.argv = [sys.argv[0]]
from client import Client, Server, settled, upload  # noqa: E402

server_program, bench, bare = (os.path.join(programs, p) for p in ("webml-server", "webml-bench", "bare"))
work = tempfile.mkdtemp(prefix="webml-serving-")
results = {"date": str(datetime.date.today()), "cores": os.cpu_count(), "rounds": a.rounds, "machine": platform.machine(), "processor": re.search(r"model name\s*: (.*)", open("/proc/cpuinfo").read()).group(1)}


def show(name, unit, series, digits=0):
    middle = statistics.median(series)
    print(f"{name:58} {middle:12.{digits}f} {unit}  ({min(series):.{digits}f} to {max(series):.{digits}f})", flush=True)
    results[name] = {"median": middle, "least": min(series), "most": max(series), "unit": unit}
    return middle


def ratio(name, ours, theirs, target, least=True):
    pairs = [x / y for x, y in zip(ours, theirs)]
    middle = statistics.median(pairs)
    results[name] = {"median": middle, "least": min(pairs), "most": max(pairs), "target": target}
    print(f"{name:58} {middle:12.2f}    ({min(pairs):.2f} to {max(pairs):.2f}; target {'>=' if least else '<='} {target})\n", flush=True)


# ---- a server with two models ----

def train(name, description, dataset):
    model = ada.call("POST", "/api/v1/models", {"name": name, "description": description})[1]["id"]
    session = ada.call("POST", "/api/v1/sessions", {"model": model, "dataset": dataset, "epochs": 1})[1]["id"]
    assert settled(ada, session)["state"] == "finished"
    ada.call("PATCH", f"/api/v1/models/{model}", {"public": True})
    return os.path.join(server.data_dir, "jobs", str(session), "weights.safetensors")


def layer(kind, **options):
    return {"type": kind, "layer": options}


def dense(units, activation):
    return layer("Dense", units=units, activation=activation)


def body_of(name, values, datatype):
    """A file with the request, and the length of its JSON."""
    head = json.dumps({"inputs": [{"name": "input", "shape": list(values.shape), "datatype": datatype, "parameters": {"binary_data_size": values.nbytes}}], "outputs": [{"name": "output", "parameters": {"binary_data": True}}]}).encode()
    path = os.path.join(work, name)
    open(path, "wb").write(head + values.tobytes())
    return path, len(head)


def h2load(url, body, requests, clients, streams, *more):
    out = subprocess.run(["h2load", "-n", str(requests), "-c", str(clients), "-m", str(streams), "-t", "1", "-d", body[0], *more, "-H", f"inference-header-content-length: {body[1]}", url], capture_output=True, text=True).stdout
    assert f" {requests} succeeded, 0 failed, 0 errored" in out, out
    return float(re.search(r"finished in [^,]+, ([\d.]+) req/s", out).group(1))


def load(url, body, seconds, clients=4, streams=16):
    """Requests a second, and the 99th percentile in milliseconds."""
    log = os.path.join(work, "h2load")
    if os.path.exists(log):
        os.unlink(log)
    requests = int(h2load(url, body, 2000, clients, streams) * seconds)
    rate = h2load(url, body, requests, clients, streams, "--log-file", log)
    times = np.array([line.split()[2] for line in open(log)], "i8")
    return rate, float(np.percentile(times, 99)) / 1e3


def alone(*words):
    process = subprocess.Popen([bare, *map(str, words)], stdout=subprocess.PIPE, text=True)
    atexit.register(process.kill)  # where the bench breaks off
    return process, int(process.stdout.readline())


rng = np.random.default_rng(1)
if a.only in (None, "start"):
    memory, start = [], []
    for _ in range(a.rounds):
        began = time.monotonic()
        server = Server(server_program)
        start.append((time.monotonic() - began) * 1e3)
        Client(server).call("GET", "/healthz")
        time.sleep(1)
        memory.append(server.memory())
        server.stop()
    show("start to the first answer's readiness (target < 100)", "ms", start, 1)
    show("resident when idle (target < 30)", "MB", memory, 1)
    print()

server = Server(server_program)
ada = Client(server)
ada.register(server.key, "ada", "0123456789")

if a.only in (None, "mlp"):
    table = ",".join(f"c{i}" for i in range(13)) + ",label\n" + "".join(",".join(f"{v:.2f}" for v in rng.normal(size=13)) + f",{'yes' if rng.random() < 0.5 else 'no'}\n" for _ in range(200))
    train("mlp", {"size": [13], "optimizer": "adam", "loss": "categorical_crossentropy", "layers": [dense(64, "relu"), dense(64, "relu"), dense(2, "softmax")]}, upload(ada, "noise", table.encode(), "noise.csv"))
    body = body_of("mlp", rng.normal(size=(1, 13)).astype("<f4"), "FP32")
    url = server.url + "/v2/models/mlp/infer"
    ada.call("POST", "/v2/models/mlp/infer", open(body[0], "rb").read(), headers={"Inference-Header-Content-Length": str(body[1])})
    peer, port = alone("answer", os.cpu_count(), len(ada.last.content))
    ours, theirs, slow = [], [], []
    for _ in range(a.rounds):
        theirs.append(load(f"http://127.0.0.1:{port}/", body, a.seconds)[0])
        rate, p99 = load(url, body, a.seconds)
        ours.append(rate)
        slow.append(p99)
    peer.kill()
    show("libh2o alone, bodies and answers of the MLP's size", "req/s", theirs)
    show("13-64-64-2 MLP, V2 binary over h2c, 64 streams", "req/s", ours)
    show("its 99th percentile (target < 2)", "ms", slow, 2)
    ratio("MLP to libh2o alone", ours, theirs, 0.55)

if a.only in (None, "pictures"):
    folder = os.path.join(work, "signs")
    subprocess.run([bench, "make", "signs", folder, "860", "20", "80"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([sys.executable, "-m", "zipfile", "-c", folder + ".zip", folder + "/"], check=True)
    weights = train("reference", {"size": [64, 64, 3], "optimizer": "adam", "loss": "categorical_crossentropy", "layers": [layer("Conv2D", filters=64, kernel_size=3, activation="relu"), layer("MaxPooling2D"), layer("Conv2D", filters=32, kernel_size=2, activation="relu"), layer("Flatten"), dense(256, "relu"), dense(43, "softmax")]}, upload(ada, "signs", open(folder + ".zip", "rb").read(), "signs.zip"))
    pixels = rng.integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    bodies = {"bytes": body_of("bytes", pixels, "UINT8"), "floats": body_of("floats", (pixels / 255).astype("<f4"), "FP32")}
    ada.call("GET", "/v2/models/reference/ready")
    ours, theirs, slow = {"bytes": [], "floats": []}, {"bytes": [], "floats": []}, []
    for _ in range(a.rounds):
        inside = json.loads(subprocess.run([bench, "predict", weights, str(a.seconds)], check=True, capture_output=True, text=True).stdout)
        for kind in bodies:
            rate, p99 = load(server.url + "/v2/models/reference/infer", bodies[kind], a.seconds, 4, 32)
            ours[kind].append(rate)
            theirs[kind].append(inside[kind])
            slow.append(p99)
    for kind, target in (("bytes", 0.9), ("floats", 0.8)):
        name = {"bytes": "UINT8", "floats": "FP32"}[kind]
        show(f"reference network in this process, batches of 64, {name}", "img/s", theirs[kind])
        show(f"over V2 binary, h2c, 128 streams, {name}", "img/s", ours[kind])
        ratio(f"reference network, {name}, to the process", ours[kind], theirs[kind], target)
    stats = ada.call("GET", "/v2/models/reference/stats")[1]["model_stats"][0]
    print(f"rows in a run: {stats['inference_count'] / stats['execution_count']:.1f}\n")

if a.only in (None, "events"):
    count, rate, seconds = 1000, 10, 5
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, limit[1]), limit[1]))
    host, port = server.url.split("//")[1].split(":")

    def drain(sockets, until):
        """Reads from all; bytes by socket, and the events of the first."""
        got, epoll, first = {s.fileno(): 0 for s in sockets}, select.epoll(), b""
        by = {s.fileno(): s for s in sockets}
        for s in sockets:
            s.setblocking(False)
            epoll.register(s, select.EPOLLIN)
        while time.monotonic() < until:
            for number, _ in epoll.poll(0.05):
                piece = by[number].recv(65536)
                got[number] += len(piece)
                if number == sockets[0].fileno():
                    first += piece
        return got, first.count(b"event: ")

    def processor_time(pid):
        fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def listen():
        """Listeners that have had their first bytes."""
        sockets = []
        for _ in range(count):
            s = socket.create_connection((host, int(port)))
            s.sendall(f"GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ada.token}\r\n\r\n".encode())
            sockets.append(s)
        for s in sockets:
            s.recv(65536)
        return sockets

    def make_events(began):
        for k in range(rate * seconds):
            time.sleep(max(0, began + k / rate - time.monotonic()))
            ada.call("POST", "/api/v1/events", {"text": "x" * 100})

    theirs, ours = [], []
    key = ada.call("POST", "/api/v1/users/keys", {})[1]["key"]
    Client(server).register(key, "bob", "0123456789")
    for _ in range(a.rounds):
        began, before = time.monotonic(), processor_time(server.process.pid)
        make_events(began)
        time.sleep(max(0, began + seconds + 1 - time.monotonic()))
        nobody = processor_time(server.process.pid) - before  # the same requests, nobody listens
        sockets = listen()
        began, before = time.monotonic(), processor_time(server.process.pid)
        thread = threading.Thread(target=make_events, args=(began,))
        thread.start()
        got, events = drain(sockets, began + seconds + 1)
        thread.join()
        ours.append(processor_time(server.process.pid) - before - nobody)
        size = min(got.values())
        assert size == max(got.values()) and size > rate * seconds * 50, (size, max(got.values()))
        for s in sockets:
            s.close()
        time.sleep(0.5)
        peer, peer_port = alone("events", count, events / seconds, size // events, seconds)  # changes of devices are events, too
        sockets = [socket.create_connection(("127.0.0.1", peer_port)) for _ in range(count)]
        drain(sockets, time.monotonic() + seconds + 0.5)
        theirs.append(float(peer.stdout.readline()))
        for s in sockets:
            s.close()
        peer.wait()
    show(f"{count} listeners, {rate} events/s and more, {seconds} s: a loop of writes", "s of processor", theirs, 3)
    show("what listeners cost the server, HTTP/1.1", "s of processor", ours, 3)
    ratio("events to a loop of writes", ours, theirs, 1.5, least=False)

server.stop()
subprocess.run(["rm", "-r", work])
if a.json:
    json.dump(results, open(a.json, "w"), indent=1)
