"""Inference beside ONNX Runtime: the same weights, exported by `webml export`, the same number of threads, interleaved
rounds, medians and the ratio of pairs; and int8 beside float32, both webml's.

usage: /usr/bin/python3 bench/inference.py [--rounds N] [--seconds S] [--json FILE] [--only WORDS]
Installs onnxruntime-node from npm into WEBML_BENCH_CACHE (/tmp/webml-bench-cache) once.
"""
import argparse
import datetime
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile

parser = argparse.ArgumentParser()
parser.add_argument("--rounds", type=int, default=9)
parser.add_argument("--seconds", type=float, default=1)
parser.add_argument("--only", default="")
parser.add_argument("--json")
options = parser.parse_args()
here = os.path.dirname(os.path.abspath(__file__))
programs = os.path.join(here, "..", "build", "bin")
webml, bench = (os.path.join(programs, name) for name in ("webml", "webml-bench"))
npm = os.path.join(os.environ.get("WEBML_BENCH_CACHE", "/tmp/webml-bench-cache"), "npm")
threads = len(os.sched_getaffinity(0))


def dense(units, activation):
    return {"type": "Dense", "layer": {"units": units, "activation": activation}}


def conv(filters, size):
    return {"type": "Conv2D", "layer": {"filters": filters, "kernel_size": size, "activation": "relu"}}


def network(size, loss, layers):
    return {"size": size, "dynamic": True, "optimizer": "adam", "loss": loss, "layers": layers}


pool, flatten = {"type": "MaxPooling2D"}, {"type": "Flatten"}
networks = {
    "reference network": network(
        [64, 64, 3], "categorical_crossentropy",
        [conv(64, 3), pool, conv(32, 2), flatten, dense(256, "relu"), dense(None, "softmax")]),
    "13-64-64-1 MLP": network(
        [None], "mse", [dense(64, "relu"), dense(64, "relu"), dense(None, "linear")]),
}
# name, rows at once, least ratio to be reached: to ONNX Runtime, and of int8 to float32
quantized = [("reference network", 64, 2.5), ("reference network", 1, 3.0)]
subjects = [("reference network", 64, 1.3), ("reference network", 1, 1.0), ("13-64-64-1 MLP", 1024, 1.5),
            ("13-64-64-1 MLP", 1, 1.0)]


def install_peer():
    if os.path.isdir(os.path.join(npm, "node_modules", "onnxruntime-node")):
        return
    os.makedirs(npm, exist_ok=True)
    subprocess.run(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--silent", "onnxruntime-node@1"],
                   cwd=npm, check=True)


def write_data(folder):
    signs, table = os.path.join(folder, "signs"), os.path.join(folder, "table.csv")
    subprocess.run([bench, "make", "signs", signs, "430", "20", "80"], check=True, stdout=subprocess.DEVNULL)
    with open(table, "w") as f:
        f.write(",".join(f"c{i}" for i in range(14)) + "\n")
        for row in range(200):
            f.write(",".join(str((row * 31 + i * 17) % 97 / 97) for i in range(14)) + "\n")
    return {"reference network": signs, "13-64-64-1 MLP": table}


def train(name, data, folder):
    stem = os.path.join(folder, name.replace(" ", "-"))
    with open(stem + ".json", "w") as f:
        json.dump(networks[name], f)
    subprocess.run([webml, "train", stem + ".json", "--data", data, "--epochs", "1", "--out", stem + ".safetensors",
                    "--progress", "none"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([webml, "export", stem + ".safetensors", "--format", "onnx", "-o", stem + ".onnx"], check=True,
                   stdout=subprocess.DEVNULL)
    return stem


class Peer:
    def __init__(self, model, rows, name):
        shape = [rows, 64, 64, 3] if networks[name]["size"] != [None] else [rows, 13]
        self.process = subprocess.Popen(
            ["node", os.path.join(here, "peers", "onnxruntime.cjs"), npm, model, str(threads), json.dumps(shape)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def rate(self):
        self.process.stdin.write(f"{options.seconds}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def own_rate(weights, rows, pictures):
    out = subprocess.run([bench, "predict", weights, str(options.seconds / 2), str(rows)], check=True,
                         capture_output=True, text=True).stdout
    return json.loads(out)["bytes" if pictures else "floats"]


def spread(series):
    return {"median": statistics.median(series), "least": min(series), "most": max(series)}


def measure(name, rows, target, stem):
    peer = Peer(stem + ".onnx", rows, name)
    pictures = networks[name]["size"] != [None]
    ours, theirs = [], []
    for _ in range(options.rounds):
        theirs.append(peer.rate())
        ours.append(own_rate(stem + ".safetensors", rows, pictures))
    peer.close()
    ratio = spread([x / y for x, y in zip(ours, theirs)])
    print(f"{name + f', {rows} at once':34} {statistics.median(ours):12.0f} rows/s, ONNX Runtime "
          f"{statistics.median(theirs):10.0f}: {ratio['median']:.2f} ({ratio['least']:.2f} to {ratio['most']:.2f}; "
          f"target {target})", flush=True)
    return {"webml": spread(ours), "onnxruntime": spread(theirs), "ratio": ratio, "target": target}


def measure_int8(name, rows, target, stem, data):
    small = stem + ".int8.safetensors"
    if not os.path.exists(small):
        subprocess.run([webml, "quantize", stem + ".safetensors", "--data", data, "-o", small], check=True,
                       stdout=subprocess.DEVNULL)
    exact, int8 = [], []
    for _ in range(options.rounds):
        exact.append(own_rate(stem + ".safetensors", rows, True))
        int8.append(own_rate(small, rows, True))
    ratio = spread([x / y for x, y in zip(int8, exact)])
    print(f"{name + f' in int8, {rows} at once':34} {statistics.median(int8):12.0f} rows/s, float32 "
          f"{statistics.median(exact):10.0f}: {ratio['median']:.2f} ({ratio['least']:.2f} to {ratio['most']:.2f}; "
          f"target {target})", flush=True)
    return {"int8": spread(int8), "float32": spread(exact), "ratio": ratio, "target": target}


def main():
    install_peer()
    with open(os.path.join(npm, "node_modules", "onnxruntime-node", "package.json")) as f:
        version = json.load(f)["version"]
    processor = re.search(r"model name\s*: (.*)", open("/proc/cpuinfo").read()).group(1)
    results = {"date": str(datetime.date.today()), "processor": processor, "threads": threads,
               "onnxruntime": version, "unit": "rows/s"}
    with tempfile.TemporaryDirectory(prefix="webml-inference-") as folder:
        data = write_data(folder)
        stems = {}
        for name, rows, target in subjects:
            if options.only not in f"{name} {rows}":
                continue
            if name not in stems:
                stems[name] = train(name, data[name], folder)
            results[f"{name}, {rows} at once"] = measure(name, rows, target, stems[name])
        for name, rows, target in quantized:
            if options.only in f"{name} in int8 {rows}" and name in stems:
                key = f"{name} in int8, {rows} at once"
                results[key] = measure_int8(name, rows, target, stems[name], data[name])
    if options.json:
        with open(options.json, "w") as f:
            json.dump(results, f, indent=1)
            f.write("\n")
    return 0


sys.exit(main())
