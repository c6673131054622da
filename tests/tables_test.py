"""Tables as people have them: odd CSV files, missing values, scaling, splits, several outputs, gzip, folds; read with
Python's csv, pandas and scikit-learn as oracles."""
import csv
import gzip
import io
import json
import os
import resource
import re
import struct
import sys
import time

import numpy as np
import pandas as pd
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from harness import check, folder, path, report, run, sanitized, write

webml = sys.argv[1]
os.environ["WEBML_CACHE"] = path("cache")
rng = np.random.default_rng(4)


def inspect(file, *options):
    code, out, err = run(webml, "inspect", file, "--json", *options)
    check(code == 0, f"inspect {file}: {err}")
    p = json.loads(out)
    return p, {f["feature"]: f for f in p["features"]}


def refuses(text, *parts, options=(), name="bad.csv"):
    code, out, err = run(webml, "inspect", write(name, text), *options)
    check(code == 1 and all(p in err for p in parts) and err.count("\n") == 1, f"{text[:60]!r}: exit {code}, expected {parts}: {err}")


def metadata(weights, key):
    data = open(weights, "rb").read()
    n = struct.unpack("<Q", data[:8])[0]
    return json.loads(json.loads(data[8:8 + n])["__metadata__"][key])


write("net.json", json.dumps({"size": [None], "dynamic": True, "optimizer": "sgd", "loss": None, "layers": [{"type": "Dense", "layer": {"units": None}}]}))


def train(data, *options, epochs=1, net="net.json"):
    code, out, err = run(webml, "train", path(net), "--data", data, "--epochs", epochs, "--out", path("w"), *options)
    return code, out, err


def pipeline(data, *options):
    code, out, err = train(data, *options)
    check(code == 0, f"train {options}: {err}")
    p = metadata(path("w"), "pipeline")
    return {e["column"]: e for e in p["inputs"]}, {e["column"]: e for e in p["outputs"]}


# ---- forms of CSV ----

rows = [["1", "x, y", "2.5"], ["+2", 'say "hi"', "1e-3"], ["-3", "two\nlines", "7"], ["4", "äöü", "-0.5"]]
for name, options in [("plain", {}), ("semicolon", {"delimiter": ";"}), ("tab", {"delimiter": "\t"}), ("all quoted", {"quoting": csv.QUOTE_ALL}), ("unix", {"lineterminator": "\n"}),
                      ("old", {"lineterminator": "\r", "quoting": csv.QUOTE_ALL})]:
    buffer = io.StringIO()
    csv.writer(buffer, **options).writerows([["n", "text", "x"], *rows])
    for bom in (False, True):
        for packed in (False, True):
            content = (b"\xef\xbb\xbf" if bom else b"") + buffer.getvalue().encode()
            p, f = inspect(write("form.csv", gzip.compress(content) if packed else content))
            case = f"{name}, BOM {bom}, gzip {packed}"
            check(p["rows"] == 4 and [c["dataType"] for c in p["features"]] == ["Int", "Label", "Float"], f"{case}: {p}")
            check(p["examples"] == [[int(a), b, float(c)] for a, b, c in rows], f"{case}: {p['examples']}")
            check((f["n"]["min"], f["n"]["max"], f["x"]["min"], f["x"]["max"]) == (-3, 4, -0.5, 7), f"{case}: ranges")
p, f = inspect(write("s.csv", "a|b\n1|2\n"), "--separator", "|")
check(len(p["features"]) == 2, "a separator by choice")
p, f = inspect(write("t.csv", "a,b\n1;2,x\n"), "--separator", ",")
check(len(p["features"]) == 2 and f["a"]["isLabel"], "a separator by choice against the guess")
p, f = inspect(write("e.csv", "a , b\n 1 , x y \n\n 2,z\n\n"))
check(p["rows"] == 2 and p["examples"] == [[1, "x y"], [2, "z"]] and list(f) == ["a", "b"], "blanks and empty lines")
p, f = inspect(write("m.csv", "a,b,c,d\n1,NA,x,0\n?,2,,1\n3,,y,NaN\n"))
check([f[c]["missing"] for c in "abcd"] == [1, 2, 1, 1] and [f[c]["dataType"] for c in "abcd"] == ["Int", "Int", "Label", "Binary"], "missing values")
check(p["examples"][1] == [None, 2, None, 1], "missing values are null in examples")
p, f = inspect(write("late.csv", "a,b\n" + "".join(f"{i},{i}\n" for i in range(5000)) + "x,1.5\n"))
check(f["a"]["dataType"] == "Label" and f["b"]["dataType"] == "Float" and p["rows"] == 5001, "types are of the whole file")
long = "z" * 3_000_000
p, f = inspect(write("long.csv", f"a,b\n{long},1\nshort,2\n"))
check(p["rows"] == 2 and f["a"]["uniqueValues"] == 2, "a very long field")
wide = ",".join(f"c{i}" for i in range(10000)) + "\n" + "".join(",".join(str((i * r) % 97) for i in range(10000)) + "\n" for r in range(1, 30))
start = time.time()
p, f = inspect(write("wide.csv", wide))
check(len(f) == 10000 and p["rows"] == 29 and f["c3"]["max"] == 87 and time.time() - start < 10, "10,000 columns")

refuses("", "is empty")
refuses("a,b\n", "header and no data rows")
refuses("a,a\n1,2\n", 'both named "a"')
refuses("a,,c\n1,2,3\n", "column 2 has no name")
refuses("a,b\n1,2\n3\n", "row 2: 1 field where the header has 2")
refuses("a,b\n1,2,3\n", "row 1: 3 fields where the header has 2")
refuses(b"a,b\n1,x\n2,\xff\n", "row 2: column 2 is not UTF-8")
refuses(b"a,\xe4\n1,2\n", "the header: column 2 is not UTF-8")
member = gzip.compress(b"1,2\n" * 16_000_000, 9)
refuses(gzip.compress(b"a,b\n") + member * 20, "decompresses to more than 400 times its size", name="bomb.csv.gz")
# What is behind a bomb does not hide it, and little of it is unpacked: a twentieth of its 1.3 GB takes a moment.
began = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
refuses(gzip.compress(b"a,b\n") + member * 20 + rng.bytes(8_000_000), "decompresses to more than 400 times its size", name="hidden.csv.gz")
took = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - began
check(took < 3, f"a gzip bomb was unpacked for {took:.1f} s")
refuses(b"\x1f\x8b\x08garbage", "gzip", name="garbage.csv.gz")
big = "a,b\n" + "".join(f"{i},{i}\n" for i in range(800_000))
refuses(big + "1\n", "row 800001: 1 field", name="tall.csv")
refuses(big.replace("777777,777777", "777777", 1), "row 777778: 1 field", name="tall.csv")

# ---- statistics ----

n = 20000
table = pd.DataFrame({"id": np.arange(n), "x": rng.normal(3, 2, n).round(4), "k": rng.integers(-4, 5, n), "label": rng.choice(["a", "b", "c"], n, p=[.7, .2, .1]),
                      "many": [f"m{i}" for i in rng.integers(0, 6000, n)], "flag": rng.integers(0, 2, n), "zero": np.where(rng.random(n) < .5, 0, rng.random(n).round(6))})
table.loc[rng.choice(n, 50, replace=False), "x"] = np.nan
table.to_csv(path("stats.csv"), index=False)
p, f = inspect(path("stats.csv"))
for c in ("x", "k", "zero"):
    check(all(abs(f[c][ours] - theirs) < 1e-9 * (1 + abs(theirs)) for ours, theirs in
              [("mean", table[c].mean()), ("deviation", table[c].std(ddof=0)), ("min", table[c].min()), ("max", table[c].max())]), f"statistics of {c}")
    bars = np.histogram(table[c].dropna(), 16)[0]
    check(sum(f[c]["histogram"]) == sum(bars) and np.abs(np.array(f[c]["histogram"]) - bars).sum() <= 4, f"histogram of {c}")
check(f["x"]["missing"] == 50 and f["x"]["uniqueValues"] == table["x"].nunique(), "missing and distinct")
check([(v["value"], v["count"]) for v in f["label"]["mostFrequent"]] == list(table["label"].value_counts().items()), "most frequent labels")
check(f["zero"]["mostFrequent"][0] == {"value": 0, "count": int((table["zero"] == 0).sum())}, "a number that is frequent among many")
check(f["many"]["blocked"] and f["many"]["oneHotEncoding"] == 0 and f["many"]["uniqueValues"] == table["many"].nunique(), "a blocked column")
check(f["flag"]["dataType"] == "Binary" and f["flag"]["oneHotEncoding"] == 2 and not f["flag"]["isFloat"] and f["flag"]["isNumber"], "binary")
p, f = inspect(path("stats.csv"), "--label-limit", "10000")
check(not f["many"]["blocked"] and f["many"]["oneHotEncoding"] == table["many"].nunique(), "a higher limit of labels")
with open(path("distinct.csv"), "w") as out:
    out.write("a,b\n" + "".join(f"{i},v{i % 70000}\n" for i in range(200_000)))
p, f = inspect(path("distinct.csv"))
check(f["a"]["uniqueValuesEstimated"] and abs(f["a"]["uniqueValues"] / 200_000 - 1) < 0.05, f"estimate {f['a']['uniqueValues']}")
check(f["b"]["uniqueValuesEstimated"] and abs(f["b"]["uniqueValues"] / 70_000 - 1) < 0.05 and f["b"]["blocked"], f"estimate {f['b']['uniqueValues']}")
problems = " ".join(q["problem"] for q in p["problems"])
check("looks like the number of the row" in problems and "blocked" in problems, problems)

# ---- missing values ----

n = 301
gaps = pd.DataFrame({"x": rng.normal(10, 3, n), "k": rng.integers(0, 6, n).astype(float), "label": rng.choice(["red", "green", "blue"], n, p=[.5, .3, .2]), "y": rng.normal(0, 1, n)})
for c in ("x", "k", "label"):
    gaps.loc[rng.choice(n, 30, replace=False), c] = np.nan
gaps.to_csv(path("gaps.csv"), index=False, float_format="%.17g")
code, out, err = train(path("gaps.csv"))
check(code == 1 and 'column "x" has 30 missing values, the first in row' in err, err)
for choice, strategy in [("mean", "mean"), ("median", "median"), ("most_frequent", "most_frequent")]:
    inputs, outputs = pipeline(path("gaps.csv"), "--missing", choice, "--validation-split", "0.2")
    part = gaps[:240]
    want = SimpleImputer(strategy=strategy).fit(part[["x", "k"]]).statistics_
    check(abs(inputs["x"]["fill"] - want[0]) < 1e-9 and abs(inputs["k"]["fill"] - want[1]) < 1e-9, f"{choice}: {inputs['x']['fill']}, {inputs['k']['fill']} against {want}")
    check(inputs["label"]["values"][int(inputs["label"]["fill"])] == part["label"].mode()[0], f"{choice} of labels")
    check(abs(inputs["x"]["mean"] - part["x"].mean()) < 1e-9 and abs(inputs["x"]["scale"] - part["x"].std(ddof=0)) < 1e-9, "gaps do not count for the scale")
inputs, outputs = pipeline(path("gaps.csv"), "--missing", "category,x=median")
check(inputs["label"]["missing"] == "category" and inputs["k"]["missing"] == "category" and inputs["x"]["missing"] == "fill", "choices for single columns")
code, out, err = run(webml, "predict", path("w"), "x=9,k=,label=red")
check(code == 0 and "y" in out, f"a row with a gap: {err}")
code, out, err = run(webml, "predict", path("w"), "k=1,label=purple")
check(code == 1 and 'had no value "purple"' in err, err)
code, out, err = train(path("gaps.csv"), "--missing", "drop")
left = len(gaps.dropna())
check(code == 0 and metadata(path("w"), "record")["training_samples"] == left, f"drop leaves {left}")
code, out, err = train(path("gaps.csv"), "--outputs", "x", "--inputs", "y", "--missing", "mean")
check(code == 1 and "choose drop" in err, err)
code, out, err = train(path("gaps.csv"), "--missing", "average")
check(code == 1 and '"average" is none of refuse, mean' in err, err)
code, out, err = train(path("gaps.csv"), "--missing", "z=mean")
check(code == 1 and 'no column "z"' in err, err)

# ---- scaling and encodings: what the network sees, through its first layer ----

n = 120
plain = pd.DataFrame({"a": rng.normal(5, 2, n), "b": rng.uniform(-3, 9, n), "c": rng.integers(0, 4, n), "y": rng.normal(0, 1, n), "z": rng.normal(7, 5, n)})
plain.to_csv(path("plain.csv"), index=False, float_format="%.17g")
inputs, outputs = pipeline(path("plain.csv"), "--scale", "minmax,b=none,c=standard", "--validation-split", "0.25")
part = plain[:90]
m = MinMaxScaler().fit(part[["a"]])
check(abs(inputs["a"]["mean"] - m.data_min_[0]) < 1e-12 and abs(inputs["a"]["scale"] - (m.data_max_ - m.data_min_)[0]) < 1e-12 and inputs["a"]["encoding"] == "min_max", "min-max")
check(inputs["b"]["encoding"] == "as_is" and inputs["c"]["encoding"] == "standard", "none and standard")
# Several outputs at once, decoded back; one column in and out.
inputs, outputs = pipeline(path("plain.csv"), "--inputs", "a,b,c", "--outputs", "y,z,c", "--one-hot", "c")
check(list(outputs) == ["y", "z", "c"] and outputs["c"]["encoding"] == "one_hot" and inputs["c"]["encoding"] == "one_hot", "several outputs, one of them an input")
code, out, err = run(webml, "predict", path("w"), "a=5,b=1,c=2", "--json")
answer = json.loads(out)
check(set(answer["outputs"]) == {"y", "z", "c"} and abs(answer["outputs"]["z"] - 7) < 30, str(answer))
code, out, err = run(webml, "evaluate", path("w"), "--data", path("plain.csv"), "--json")
e = json.loads(out)
check(code == 0 and [o["name"] for o in e["outputs"]] == ["y", "z", "c"], f"{out} {err}")
# A trained one-column network against least squares: encoding, training and decoding agree with scikit-learn.
line = pd.DataFrame({"a": rng.normal(50, 20, 400), "group": rng.choice(["u", "v", "w"], 400)})
line["y"] = 3 * line["a"] + line["group"].map({"u": 0, "v": 40, "w": -60}) + rng.normal(0, 1, 400)
line.to_csv(path("line.csv"), index=False, float_format="%.17g")
write("linear.json", json.dumps({"size": [None], "dynamic": True, "optimizer": {"name": "adam", "learning_rate": 0.05}, "loss": "mse", "layers": [{"type": "Dense", "layer": {"units": None}}]}))
code, out, err = train(path("line.csv"), "--batch-size", "50", epochs=80, net="linear.json")
code, out, err = run(webml, "predict", path("w"), "a=70,group=v", "--json")
check(abs(json.loads(out)["outputs"]["y"] - 250) < 3, f"{out}{err}: expected 250")

# ---- splits ----

n = 1000
kinds = pd.DataFrame({"x": rng.normal(0, 1, n), "kind": rng.choice(["a", "b", "c"], n, p=[.8, .15, .05])})
kinds.to_csv(path("kinds.csv"), index=False)
write("kinds.json", json.dumps({"size": [None], "dynamic": True, "optimizer": "sgd", "loss": None, "layers": [{"type": "Dense", "layer": {"units": None, "activation": "softmax"}}]}))
split = ["--split", "stratified", "--split-seed", "7", "--validation-split", "0.2", "--test-split", "0.1"]
code, out, err = train(path("kinds.csv"), *split, net="kinds.json")
check(code == 0 and "\ntest: samples" in out, f"{out}{err}")
for part, share in [("training", .7), ("validation", .2), ("test", .1)]:
    code, out, err = run(webml, "evaluate", path("w"), "--data", path("kinds.csv"), *split, "--part", part, "--json")
    counts = {c["class"]: c["samples"] for c in json.loads(out)["per_class"]}
    check(all(abs(counts[k] - share * v) <= 1.5 for k, v in kinds["kind"].value_counts().items()), f"{part}: {counts}")
code, out, err = run(webml, "evaluate", path("w"), "--data", path("kinds.csv"), "--part", "test")
check(code == 1 and "has no test part" in err, err)
code, out, err = train(path("plain.csv"), "--split", "stratified", "--validation-split", "0.2")
check(code == 1 and "use a random split" in err, err)
code, out, err = train(path("kinds.csv"), "--folds", "4", "--split", "stratified", "--progress", "plain", net="kinds.json")
check(code == 0 and "fold 4 of 4" in out and re.search(r"accuracy +mean 0\.\d+ +deviation", out) and os.path.exists(path("w.fold4")), f"{out}{err}")
kinds[700:].to_csv(path("held.csv"), index=False)
kinds[:700].to_csv(path("rest.csv"), index=False)
code, out, err = train(path("rest.csv"), "--validation-data", path("held.csv"), net="kinds.json")
check(code == 0 and metadata(path("w"), "record")["validation_samples"] == 300, f"a second file: {err}")
first = metadata(path("w"), "pipeline")["inputs"][0]
check(abs(first["mean"] - kinds["x"][:700].mean()) < 1e-6, "the second file does not reach the fit")
write("odd.csv", "kind,x\na,1\nd,2\n")
code, out, err = train(path("rest.csv"), "--validation-data", path("odd.csv"), net="kinds.json")
check(code == 1 and 'row 2: column "kind" had no value "d" in training' in err, err)
write("new.csv", "x,g,kind\n" + "1,p,a\n2,q,b\n" * 20 + "3,r,a\n")
code, out, err = train(path("new.csv"), "--validation-split", "0.02", net="kinds.json")
check(code == 0 and "1 cells of the validation part hold values that training never sees" in out, f"{out}{err}")

# ---- reports ----

code, out, err = train(path("kinds.csv"), *split, "--report", path("report"), net="kinds.json")
check(code == 0 and set(os.listdir(path("report"))) == {"confusion.csv", "confusion.png", "curves.csv", "curves.png", "evaluation.json", "test"}, f"{os.listdir(path('report'))}")
confusion = pd.read_csv(path("report/confusion.csv"), index_col=0)
check(list(confusion.columns) == ["a", "b", "c"] and confusion.to_numpy().sum() == 200, "confusion.csv")
curves = pd.read_csv(path("report/curves.csv"))
check(list(curves["epoch"]) == [1] and "val_loss" in curves, "curves.csv")
for name in ("confusion.png", "curves.png"):
    check(open(path("report/" + name), "rb").read(8) == b"\x89PNG\r\n\x1a\n", name)

# ---- large tables in little memory ----

with open(path("large.csv"), "w") as out:
    block = "".join(f"{rng.normal():.6f},{rng.choice(['left', 'right', 'up'])},{rng.integers(0, 100)},{rng.integers(0, 2)}\n" for _ in range(20_000))
    out.write("x,way,k,y\n")
    for _ in range(100):
        out.write(block)
options = ["--validation-split", "0.1", "--batch-size", "1024", "--cache", path("cache")]
code, out, err = run("bash", "-c", f"{'' if sanitized(webml) else 'ulimit -d 400000; '}exec {webml} train {path('net.json')} --data {path('large.csv')} --epochs 1 --out {path('w')} --threads 1 {' '.join(options)}")
check(code == 0, f"2 million rows with 400 MB of data segment: {err}")
caches = [f for f in os.listdir(path("cache")) if f.endswith(".table")]
check(len(caches) == 1 and os.path.getsize(path("cache/" + caches[0])) < os.path.getsize(path("large.csv")), f"{caches}")
before = os.stat(path("cache/" + caches[0])).st_mtime_ns
run(webml, "inspect", path("large.csv"))
check(os.stat(path("cache/" + caches[0])).st_mtime_ns == before, "the cache is used again")
with open(path("large.csv"), "a") as out:
    out.write("0.5,left,1,1\n")
p, f = inspect(path("large.csv"))
check(p["rows"] == 2_000_001, "a changed file is read again")
code, out, err = run(webml, "inspect", path("large.csv"), "--cache", "/proc/nowhere")
check(code == 1 and "cannot keep caches in /proc/nowhere" in err, err)

# ---- hostile ----

start = time.time()
refuses(gzip.compress(b"a,b\n" + b"1,2\n" * 300_000_000, 9) if len(sys.argv) > 2 else b"\x1f\x8b\x08garbage", "gzip" if len(sys.argv) <= 2 else "decompresses to more than 400 times", name="bomb.csv.gz")
refuses("a\0b,c\n1,2\n", "the header", "not UTF-8")
refuses('a,b\n"never closed,' + "x" * (70 << 20), "is a quote never closed?")
refuses(",".join("c" for _ in range(40000)) + "\n1\n", "32768")
check(time.time() - start < 30, f"hostile tables took {time.time() - start:.1f} s")
report()
