"""The data bench: CSV to an encoded matrix against pandas and scikit-learn, JPEG folders to packed pixels
against bare libjpeg-turbo, opening again against a bare walk, full augmentation against none. All runs are
interleaved and warm; medians count.

usage: /usr/bin/python3 bench/data.py [--folder WORK] [--rounds N] [--rows N] [--json FILE]
Makes its data in WORK (/tmp/webml-bench-data; some 3 GB) once, by webml-bench make.
"""
import argparse
import datetime
import glob
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import zipfile

parser = argparse.ArgumentParser()
parser.add_argument("--folder", default="/tmp/webml-bench-data")
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--rows", type=int, default=15_000_000)
parser.add_argument("--json")
a = parser.parse_args()
here = os.path.dirname(os.path.abspath(__file__))
bench = os.path.join(here, "..", "build", "bin", "webml-bench")
cache = os.path.join(a.folder, "cache")
os.makedirs(cache, exist_ok=True)
columns = "CreditScore,Geography,Gender,Age,Tenure,Balance,NumOfProducts,HasCrCard,IsActiveMember,EstimatedSalary"
results = {"date": str(datetime.date.today()), "cores": os.cpu_count(), "rounds": a.rounds, "machine": platform.machine()}


def run(*command):
    answer = subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True).stdout
    return json.loads(answer.strip().splitlines()[-1])


def forget():
    for file in glob.glob(cache + "/*"):
        os.unlink(file)


def show(name, unit, series, digits=2):
    middle = statistics.median(series)
    print(f"{name:56} {middle:10.{digits}f} {unit}  ({min(series):.{digits}f} to {max(series):.{digits}f})", flush=True)
    results[name] = {"median": middle, "least": min(series), "most": max(series), "unit": unit}
    return middle


def made(name, *words):
    path = os.path.join(a.folder, name)
    if not os.path.exists(path):
        subprocess.run([bench, "make", words[0], path + ".part", *map(str, words[1:])], check=True)
        os.rename(path + ".part", path)
    return path


def zipped(folder):
    path = folder + ".zip"
    if not os.path.exists(path):
        with zipfile.ZipFile(path + ".part", "w", zipfile.ZIP_STORED) as z:
            for top, _, files in sorted(os.walk(folder)):
                for file in sorted(files):
                    z.write(os.path.join(top, file), os.path.relpath(os.path.join(top, file), folder))
        os.rename(path + ".part", path)
    return path


def tables():
    csv = made(f"churn-{a.rows}.csv", "churn", a.rows)
    size = os.path.getsize(csv) / 1e9
    ours, theirs, memory = [], [], []
    for _ in range(a.rounds):
        forget()
        r = run(bench, "encode", csv, cache, columns, "Exited")
        ours.append(r["seconds"])
        memory.append(r["peak_mb"])
        theirs.append(run("/usr/bin/python3", os.path.join(here, "peers", "table_reference.py"), csv)["seconds"])
    print(f"\n{size:.2f} GB of CSV, {a.rows} rows, to an encoded matrix")
    o, t = show("csv: webml", "s", ours), show("csv: pandas and scikit-learn", "s", theirs)
    show("csv: webml, peak memory", "MB", memory, 0)
    show("csv: times as fast", "x", [y / x for x, y in zip(ours, theirs)])
    again = [run(bench, "encode", csv, cache, columns, "Exited")["seconds"] for _ in range(a.rounds)]
    show("csv: webml, typed cells cached", "s", again)
    forget()


def pictures(name, folder, side, resize=0):
    ours, bare, ratio = [], [], []
    run(bench, "bare", folder)
    run(bench, "pack", folder, cache, side, resize)
    for _ in range(2 * a.rounds + 1):
        bare.append(run(bench, "bare", folder)["seconds"])
        # The last round's file is removed only now: its memory is used again at once. A virtual machine gives memory
        # that stays free back to its host, and taking it anew costs ten times what it does on a machine of one's own.
        forget()
        r = run(bench, "pack", folder, cache, side, resize)
        ours.append(r["seconds"])
        ratio.append(100 * bare[-1] / ours[-1])
    print(f"\n{name}: {r['items']} JPEG files to {side}x{side}x3")
    show(f"{name}: webml, read, decode, resize, write", "s", ours, 3)
    show(f"{name}: libjpeg-turbo, read and decode", "s", bare, 3)
    show(f"{name}: share of the bare rate", "%", ratio, 1)


def openings(folder, archive):
    forget()
    run(bench, "pack", folder, cache, 64)
    run(bench, "pack", archive, cache, 64)
    walk, again, zips = [], [], []
    for _ in range(max(a.rounds, 9)):
        walk.append(1e3 * run(bench, "walk", folder)["seconds"])
        again.append(1e3 * run(bench, "open", folder, cache, 64)["seconds"])
        zips.append(1e3 * run(bench, "open", archive, cache, 64)["seconds"])
    print("\nopening 50,000 packed pictures again")
    show("opening: folder", "ms", again)
    show("opening: bare walk of its metadata", "ms", walk)
    show("opening: folder, times the walk", "x", [x / y for x, y in zip(again, walk)])
    show("opening: zip", "ms", zips)
    forget()


tables()
signs = made("signs", "signs")
pictures("small pictures", signs, 64)
large = made("large", "signs", 430, 1200, 1600)
pictures("large pictures", large, 64)
pictures("large pictures, area filter", large, 64, 2)
many = made("many", "signs", 50_000, 15, 60)
openings(many, zipped(many))
steps = run(bench, "augmentation", 2 * a.rounds + 1)
results["augmentation"] = steps
print(f"\nreference network with full augmentation: {steps['augmented']:.0f} of {steps['plain']:.0f} img/s,"
      f" ratio {steps['ratio']:.3f} ({steps['ratio_10']:.3f} to {steps['ratio_90']:.3f})")
if a.json:
    json.dump(results, open(a.json, "w"), indent=1)
    print(a.json)
shutil.rmtree(cache)
