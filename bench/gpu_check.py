"""What scripts/gpu-check.sh runs on a machine with a GPU. usage: gpu_check.py BUNDLE RESULTS_FOLDER

Every step prints a line when it ends; a failure is counted and the next step runs. results.json has
everything, for bench/results/.
"""
import datetime
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

bundle, results_folder = sys.argv[1:3]
webml, bench, ops = (os.path.join(bundle, "bin", name) for name in ("webml", "webml-bench", "ops_test"))
work = tempfile.mkdtemp(prefix="webml-gpu-")
environment = dict(os.environ, WEBML_CUDA_MODULE=os.path.join(bundle, "lib", "libwebml-cuda.so"), WEBML_CACHE=os.path.join(work, "cache"))
started, deadline = time.time(), float(os.environ.get("WEBML_CHECK_SECONDS", 470))
results = {"date": datetime.date.today().isoformat(), "steps": [], "figures": []}


def left():
    return deadline - (time.time() - started)


def call(*args, seconds=120, **extra):
    """(exit code, output, errors, seconds); a step never takes what the whole has not left."""
    begin = time.time()
    try:
        p = subprocess.run([str(a) for a in args], capture_output=True, text=True, timeout=max(5, min(seconds, left())), env=dict(environment, **extra), cwd=work)
        return p.returncode, p.stdout, p.stderr, time.time() - begin
    except FileNotFoundError as e:
        return 127, "", str(e), 0.0
    except subprocess.TimeoutExpired as e:
        return 124, (e.stdout or b"").decode() if isinstance(e.stdout, bytes) else e.stdout or "", "timed out", time.time() - begin


def step(name, ok, detail="", seconds=0.0):
    results["steps"].append({"name": name, "ok": ok, "detail": detail[-3000:], "seconds": round(seconds, 2)})
    print(f"{'ok  ' if ok else 'FAIL' if ok is not None else 'SKIP'} {name} ({seconds:.1f} s) {detail.strip().splitlines()[-1][:160] if detail.strip() else ''}", flush=True)
    with open(os.path.join(results_folder, "results.json"), "w") as f:
        json.dump(results, f, indent=1)


def train(out, *options, device="cuda:0", epochs=3, **extra):
    code, text, error, seconds = call(webml, "train", os.path.join(bundle, "data.json"), "--data", os.path.join(bundle, "data"), "--out", os.path.join(work, out), "--device", device,
                                      "--epochs", epochs, "--batch-size", 64, "--learning-rate", 0.003, "--schedule", "cosine", "--seed", 1, "--progress", "json", *options, **extra)
    events = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return code, [e for e in events if e.get("event") == "epoch"], error, seconds


def body(name):
    """A weights file's tensors; None where it was not written."""
    if not os.path.exists(os.path.join(work, name)):
        return None
    with open(os.path.join(work, name), "rb") as f:
        data = f.read()
    return data[8 + int.from_bytes(data[:8], "little"):]


# The machine.
code, out, err, _ = call("nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.max.sm", "--format=csv,noheader")
results["card"] = out.strip()
with open(os.path.join(bundle, "commit")) as f:
    results["commit"] = f.read().strip()
code, out, err, seconds = call(webml, "devices", "--json")
devices = json.loads(out)["devices"] if code == 0 else []
step("devices", any(d["name"] == "cuda:0" for d in devices), out + err, seconds)

# Correctness.
code, out, err, seconds = call(ops, "gpu", seconds=150)
step("table of operations against ref", code == 0 and "SKIP" not in out, err[-2500:] + out[-400:], seconds)
curves = {}
for precision in ("float32", "float32_strict", "mixed_bfloat16"):
    code, curve, err, seconds = train(precision + ".safetensors", "--precision", precision)
    curves[precision] = curve
    step(f"Fashion-MNIST, 3 epochs, {precision}", code == 0, err + (json.dumps(curve[-1]) if curve else ""), seconds)
code, curve, err, seconds = train("cpu.safetensors", device="cpu", seconds=150)
for precision, tolerance in (("float32_strict", 0.02), ("float32", 0.03), ("mixed_bfloat16", 0.08)):
    pairs = list(zip(curve, curves[precision]))
    worst = max((abs(a["loss"] - b["loss"]) / a["loss"] for a, b in pairs), default=9)
    step(f"its curve against the CPU's, {precision}", len(pairs) == 3 and worst < tolerance, f"losses differ by {worst:.4f} at most, {tolerance} allowed {err}", seconds)
    seconds = 0.0
for precision in ("float32", "mixed_bfloat16"):
    for name in ("a", "b"):
        code, curve, err, seconds = train(name + ".safetensors", "--precision", precision, "--deterministic", "--rotation-range", 10, epochs=1)
    step(f"the same bits twice, {precision}", code == 0 and body("a.safetensors") is not None and body("a.safetensors") == body("b.safetensors"), err, seconds)

# Killed twice, resumed, and the same weights as in one go.
options = ["--precision", "mixed_bfloat16", "--deterministic"]
code, curve, err, seconds = train("whole.safetensors", *options, epochs=3)
command = [webml, "train", os.path.join(bundle, "data.json"), "--data", os.path.join(bundle, "data"), "--out", os.path.join(work, "killed.safetensors"), "--device", "cuda:0", "--epochs", "3",
           "--batch-size", "64", "--learning-rate", "0.003", "--schedule", "cosine", "--seed", "1", "--progress", "json", *options, "--resume"]
begin = time.time()
for wait in (1, 1):
    p = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=work)
    for line in p.stdout:
        wait -= '"epoch"' in line
        if wait <= 0:
            break
    p.send_signal(signal.SIGKILL)
    p.wait()
code_resumed, out, err, _ = call(*command)
step("killed and resumed", code == code_resumed == 0 and body("whole.safetensors") == body("killed.safetensors"), err, time.time() - begin)

# Limits.
code, curve, err, seconds = train("large.safetensors", "--batch-size", 1 << 20, epochs=1)
step("what does not fit is refused with both numbers", code == 1 and ("this needs" in err or "has no room" in err), err, seconds)
code, out, err, seconds = call(webml, "train", os.path.join(bundle, "data.json"), "--data", os.path.join(bundle, "data"), "--device", "cuda:99")
step("a GPU that is not there", code == 1 and "cuda:99" in err, err, seconds)
if shutil.which("compute-sanitizer"):
    for tool in ("memcheck", "racecheck"):
        code, out, err, seconds = call("compute-sanitizer", "--tool", tool, "--error-exitcode", "9", ops, "gpu", "conv chain with pooling", seconds=60)
        step(f"compute-sanitizer {tool}", code == 0 if code != 124 else None, (out + err)[-1500:], seconds)

# Figures: ours and the peers', one after another for each setting.
environment["WEBML_CACHE"] = os.path.join(work, "tuned")
for precision in ("mixed_bfloat16", "float32"):
    for batch in (64, 1024):
        for name, command in (("webml", [bench, "gpu", "--precision", precision, "--batch", batch]),
                              ("PyTorch", [sys.executable, os.path.join(bundle, "peers", "pytorch_gpu.py"), precision, batch]),
                              ("JAX", [sys.executable, os.path.join(bundle, "peers", "jax_gpu.py"), precision, batch])):
            if left() < 20:
                step(f"{name}, {precision}, batch {batch}", None, "no time left")
                continue
            code, out, err, seconds = call(*command, seconds=90)
            line = next((json.loads(s) for s in out.splitlines() if s.startswith("{")), None)
            if line:
                results["figures"].append(dict(line, name=name))
            step(f"{name}, {precision}, batch {batch}", code == 0 and line is not None, err[-1500:] if code else json.dumps(line["training_seconds"]), seconds)
for precision, batch in (("mixed_bfloat16", 64), ("mixed_bfloat16", 1024)):
    code, out, err, seconds = call(bench, "gpu", "--precision", precision, "--batch", batch, "--epochs", 1, "--rounds", 1, WEBML_CUDA_PROFILE="1")
    results.setdefault("profiles", {})[f"{precision} {batch}"] = err.splitlines()
    step(f"operations alone, {precision}, batch {batch}", code == 0, err, seconds)
for name, setting in (("no branches", {"WEBML_CUDA_BRANCH_ELEMENTS": "0"}), ("nothing aside", {"WEBML_CUDA_ASIDES": "0"}), ("a graph per step", {"WEBML_CUDA_GRAPH_STEPS": "0"}),
                      ("none of these", {"WEBML_CUDA_BRANCH_ELEMENTS": "0", "WEBML_CUDA_ASIDES": "0", "WEBML_CUDA_GRAPH_STEPS": "0"})):
    code, out, err, seconds = call(bench, "gpu", "--precision", "mixed_bfloat16", "--batch", 64, **setting)
    line = next((json.loads(s) for s in out.splitlines() if s.startswith("{")), None)
    if line:
        results["figures"].append(dict(line, name="webml, " + name))
    step(f"webml with {name}", code == 0, err[-1500:] if code else json.dumps(line["training_seconds"]), seconds)
begin = time.time()
p = subprocess.Popen([webml, "train", os.path.join(bundle, "data.json"), "--data", os.path.join(bundle, "data"), "--device", "cuda:0", "--precision", "mixed_bfloat16", "--epochs", "8", "--batch-size", "256",
                      "--learning-rate", "0.004", "--schedule", "cosine", "--horizontal-flip", "--progress", "json"], stdout=subprocess.PIPE, text=True, env=environment, cwd=work)
first = reached = None
for line in p.stdout if left() > 0 else []:
    first = first or time.time() - begin
    event = json.loads(line) if line.startswith("{") else {}
    if reached is None and event.get("event") == "epoch" and event.get("val_accuracy", 0) >= 0.93:
        reached = time.time() - begin
p.kill() if left() <= 0 else None
p.wait()
results["fashion"] = {"first_event_seconds": first, "seconds_to_93_percent": reached, "whole_seconds": time.time() - begin}
step("Fashion-MNIST to 93 %", reached is not None, json.dumps(results["fashion"]), time.time() - begin)

print(f"\n{'':24}{'precision':18}{'batch':>6}{'10 epochs, s':>14}{'one picture, us':>17}")
for f in results["figures"]:
    print(f"{f['name']:24}{f['precision']:18}{f['batch']:>6}{f['training_seconds']['median']:>14.3f}{f.get('prediction_us', {}).get('median', float('nan')):>17.1f}")
failed = [s["name"] for s in results["steps"] if s["ok"] is False]
results["seconds"] = round(time.time() - started, 1)
step(f"{len(results['steps'])} steps in {results['seconds']} s, failed: {', '.join(failed) or 'none'}", not failed)
shutil.rmtree(work, ignore_errors=True)
sys.exit(1 if failed else 0)
