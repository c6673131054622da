"""Pictures as people have them: every kind of PNG and JPEG, folders, zips and IDX files, broken and hostile files, caches,
augmentation, reports. Made by Pillow, zipfile and ImageMagick; Pillow and SciPy are the oracles."""
import gzip
import io
import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import time
import warnings
import zipfile
import zlib

import numpy as np
from PIL import Image
from scipy.ndimage import affine_transform

from harness import check, folder, path, report, run, sanitized, skip, write

webml, dump = sys.argv[1:3]
os.environ["WEBML_CACHE"] = path("cache")
warnings.simplefilter("ignore")
rng = np.random.default_rng(6)
limited = "" if sanitized(webml) else "ulimit -v 1500000; "
NEAREST, BILINEAR, AREA = 0, 1, 2
FILTERS = {NEAREST: Image.NEAREST, BILINEAR: Image.BILINEAR, AREA: Image.BOX}


def fitted(file, h, w, c, resize=NEAREST, exif=0):
    code, out, err = run(dump, file, h, w, c, resize, exif, text=False)
    check(code == 0, f"{file}: {err}")
    return np.frombuffer(out, np.uint8).reshape(h, w, c).astype(int) if code == 0 else np.full((h, w, c), -999)


def pillow(image, h, w, c, resize=NEAREST):
    return np.asarray(image.convert("L" if c == 1 else "RGB").resize((w, h), FILTERS[resize])).reshape(h, w, c).astype(int)


def inspect(where, *options):
    code, out, err = run(webml, "inspect", where, "--json", *options)
    check(code == 0, f"inspect {where}: {err}")
    return json.loads(out) if code == 0 else {}


def refuses(what, *parts, options=()):
    start = time.time()
    code, out, err = run("bash", "-c", limited + 'exec "$@"', "-", webml, "inspect", what, *options)
    check(code == 1 and all(p in err for p in parts) and err.count("\n") == 1, f"{what}: exit {code}, expected {parts}: {err}")
    check(time.time() - start < 10, f"{what} took {time.time() - start:.1f} s")


def png_bytes(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "png", **options)
    return buffer.getvalue()


def jpeg_bytes(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "jpeg", **options)
    return buffer.getvalue()


# ---- PNG: every colour type and depth, interlaced or not, with tRNS ----

base = Image.fromarray(rng.integers(0, 256, (29, 41, 3), dtype=np.uint8))


def raw_png(kind, depth, interlace, transparent):
    """A PNG file by the book, so that every combination exists."""
    w, h = 23, 17
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind]
    values = rng.integers(0, 2 ** depth, (h, w, channels))

    def rows(pixels):
        out = b""
        for line in pixels:
            if depth == 16:
                data = line.astype(">u2").tobytes()
            elif depth == 8:
                data = line.astype(np.uint8).tobytes()
            else:
                bits = "".join(format(int(v), f"0{depth}b") for v in line.ravel())
                data = int(bits.ljust((len(bits) + 7) // 8 * 8, "0"), 2).to_bytes((len(bits) + 7) // 8, "big")
            out += b"\0" + data
        return out

    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)] if interlace else [(0, 0, 1, 1)]
    data = b"".join(rows(values[y::dy, x::dx]) for y, x, dy, dx in passes if values[y::dy, x::dx].size)
    chunk = lambda name, body: struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    file = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, kind, 0, 0, int(interlace)))
    if kind == 3:
        file += chunk(b"PLTE", rng.integers(0, 256, 3 * 2 ** depth, dtype=np.uint8).tobytes())
    if transparent and kind in (0, 2, 3):
        file += chunk(b"tRNS", bytes([0, 128]) if kind == 3 else struct.pack(">H", 0) * channels)
    return file + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


for kind, depths in {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}.items():
    for depth in depths:
        for interlace in (False, True):
            for transparent in (False, True):
                file = write("x.png", raw_png(kind, depth, interlace, transparent))
                image = Image.open(file)
                if image.mode.startswith("I"):  # Pillow clips 16-bit grey when it converts: the high byte is what is shown
                    image = Image.fromarray((np.asarray(image).astype(int) >> 8).astype(np.uint8))
                for c in (1, 3):
                    worst = np.abs(fitted(file, 17, 23, c) - pillow(image, 17, 23, c)).max()
                    check(worst == 0, f"PNG kind {kind}, {depth} bits, interlaced {interlace}, tRNS {transparent}, {c} channels: {worst} from Pillow")

# ---- JPEG ----

smooth = Image.fromarray((np.add.outer(np.arange(150) * 1.1, np.arange(211) * .4)[..., None] + np.array([0, 40, 90])).clip(0, 255).astype(np.uint8))
kinds = {"grey": jpeg_bytes(smooth.convert("L")), "444": jpeg_bytes(smooth, subsampling=0), "422": jpeg_bytes(smooth, subsampling=1), "420": jpeg_bytes(smooth, subsampling=2),
         "progressive": jpeg_bytes(smooth, progressive=True), "cmyk": jpeg_bytes(smooth.convert("CMYK"), quality=95)}
if shutil.which("convert"):
    smooth.save(path("s.png"))
    for name, options in {"restarts": ["-define", "jpeg:restart-interval=4"], "ycck": ["-colorspace", "CMYK"], "arithmetic": []}.items():
        if subprocess.run(["convert", path("s.png"), *options, path(name + ".jpg")], capture_output=True).returncode == 0:
            kinds[name] = open(path(name + ".jpg"), "rb").read()
else:
    skip("JPEG files of ImageMagick", "there is no convert")
for name, content in kinds.items():
    file = write("k.jpg", content)
    for h, w in [(150, 211), (64, 64), (31, 300), (300, 16), (1, 1)]:
        for c in (1, 3):
            worst = np.abs(fitted(file, h, w, c) - pillow(Image.open(file), h, w, c)).max()
            check(worst <= 3, f"JPEG {name} to {h}x{w}x{c}: {worst} from Pillow")
# Rows that are passed over change nothing: the small picture is a part of the whole one.
for name in ("420", "422", "444", "grey", "restarts"):
    if name in kinds:
        file = write("k.jpg", kinds[name])
        whole, some = fitted(file, 150, 211, 3), fitted(file, 60, 211, 3)
        at = [min(int(0.5 * 2.5 + i * 2.5), 149) for i in range(60)]
        check((whole[at] == some).all(), f"JPEG {name}: rows passed over")
for name, content in [("cut", kinds["420"][:len(kinds["420"]) // 2]), ("head only", kinds["420"][:200]), ("cut progressive", kinds["progressive"][:-300]), ("empty", b""), ("text", b"hello")]:
    code, out, err = run(dump, write("b.jpg", content), 8, 8, 3, text=False)
    check(code == 1 and err, f"a broken JPEG, {name}, must be refused")
check((fitted(write("really.png", kinds["444"]), 20, 20, 3) == fitted(write("k.jpg", kinds["444"]), 20, 20, 3)).all(), "a JPEG that is named .png")
check((fitted(write("really.jpg", png_bytes(base)), 29, 41, 3) == np.asarray(base).astype(int)).all(), "a PNG that is named .jpg")

# ---- EXIF ----

upright = np.asarray(smooth).astype(int)
for o in range(1, 9):
    exif = Image.Exif()
    exif[0x0112] = o
    file = write("turned.jpg", jpeg_bytes(smooth, exif=exif, subsampling=0, quality=100))
    from PIL import ImageOps
    image = Image.open(file)
    check(np.abs(fitted(file, 40, 50, 3) - pillow(image, 40, 50, 3)).max() <= 3, f"orientation {o} is not looked at by itself")
    check(np.abs(fitted(file, 40, 50, 3, exif=1) - pillow(ImageOps.exif_transpose(image), 40, 50, 3)).max() <= 3, f"orientation {o}")

# ---- resizing ----

pictures = [base, base.convert("L"), Image.fromarray(rng.integers(0, 256, (7, 300, 3), dtype=np.uint8)), smooth]
for resize in (NEAREST, BILINEAR, AREA):
    for image in pictures:
        file = write("r.png", png_bytes(image))
        for h, w in [(29, 41), (16, 16), (3, 5), (64, 97), (1, 1), (100, 7)]:
            for c in (1, 3):
                worst = np.abs(fitted(file, h, w, c, resize) - pillow(image, h, w, c, resize)).max()
                check(worst == 0, f"{image.size} to {h}x{w}x{c} by filter {resize}: {worst} from Pillow")
for n in range(1, 70):  # the accumulated rule, at every ratio
    row = Image.fromarray(np.arange(n, dtype=np.uint8)[None].repeat(2, 0) * 3)
    file = write("row.png", png_bytes(row))
    for m in (1, 7, 13, 49, 64, 127):
        check((fitted(file, 2, m, 1) == pillow(row, 2, m, 1)).all(), f"nearest from {n} to {m}")
# Large JPEG files are decoded at a smaller size where a filter follows, within the tolerance that webml.h states; these
# blocks of random colours are about the worst there is.
photo = Image.fromarray(np.kron(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8), np.ones((50, 50, 1), np.uint8))).resize((1600, 1200), Image.BICUBIC)
file = write("large.jpg", jpeg_bytes(photo, quality=92))
for resize in (BILINEAR, AREA):
    difference = np.abs(fitted(file, 64, 64, 3, resize) - pillow(Image.open(file), 64, 64, 3, resize))
    check(difference.max() <= 8 and difference.mean() <= 1, f"scaled decoding, filter {resize}: at most {difference.max()}, on average {difference.mean():.2f}")

# ---- folders, zips, IDX ----

colours = {"blue": (20, 40, 200), "green": (30, 180, 40), "red": (220, 30, 20)}


def picture(colour, i, kind="png"):
    noise = np.random.default_rng(i).integers(-15, 16, (20, 20, 3))
    image = Image.fromarray((np.array(colours[colour]) + noise).clip(0, 255).astype(np.uint8))
    return png_bytes(image) if kind == "png" else jpeg_bytes(image, quality=95)


members = {f"training_data/{c}/{c}{i}.{'png' if i % 2 else 'jpg'}": picture(c, i, "png" if i % 2 else "jpg") for c in colours for i in range(12)}
members |= {f"validation_data/{c}/v{i}.png": picture(c, 100 + i) for c in colours for i in range(4)}
for name, content in members.items():
    write("set/" + name, content)
write("set/training_data/Thumbs.db", b"x")
write("set/training_data/red/.DS_Store", b"x")
write("set/properties.json", "{}")
p = inspect(path("set"))
check((p["training"], p["validation"], p["classes"]) == (36, 12, ["blue", "green", "red"]) and p["training_per_class"] == [12, 12, 12], str(p))
check(p["modes"] == {"RGB": 48} and p["sizes"]["median"] == [20, 20] and p["broken"] == 0 and p["problems"] == [], str(p))


def make_zip(name, contents, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path(name), "w", compression) as z:
        for member, content in contents.items():
            if isinstance(member, zipfile.ZipInfo):
                z.writestr(member, content)
            else:
                z.writestr(member, content)
    return path(name)


litter = {"__MACOSX/._x.png": b"x", "training_data/red/Thumbs.db": b"x", ".DS_Store": b"x"}
forms = {"plain.zip": members | litter, "wrapped.zip": {"My Data/" + k: v for k, v in members.items()} | {"__MACOSX/My Data/._x": b""},
         "backslashes.zip": {k.replace("/", "\\"): v for k, v in members.items()}, "dots.zip": {"./" + k: v for k, v in members.items()}}
for name, contents in forms.items():
    q = inspect(make_zip(name, contents))
    check([q.get(k) for k in ("training", "validation", "classes", "training_per_class")] == [p[k] for k in ("training", "validation", "classes", "training_per_class")], f"{name}: {q}")

write("cnn.json", json.dumps({"size": [20, 20, 3], "dynamic": True, "optimizer": {"name": "adam", "learning_rate": 0.01}, "loss": None, "layers": [
    {"type": "Conv2D", "layer": {"filters": 8, "kernel_size": 3, "activation": "relu"}}, {"type": "MaxPooling2D"}, {"type": "Flatten"},
    {"type": "Dense", "layer": {"units": None, "activation": "softmax"}}]}))


def train(where, *options, epochs=3):
    return run(webml, "train", path("cnn.json"), "--data", where, "--epochs", epochs, "--batch-size", "8", "--out", path("w"), *options)


weights = []
for where in ("set", *forms):
    code, out, err = train(path(where), epochs=6)
    check(code == 0, f"{where}: {err}")
    weights.append(open(path("w"), "rb").read())
check(all(w[-4000:] == weights[0][-4000:] for w in weights), "folders and zips of the same pictures give the same bits")
code, out, err = run(webml, "evaluate", path("w"), "--data", path("plain.zip"), "--report", path("report"))
check(code == 0 and " accuracy 1.0000" in out and os.path.exists(path("report/confusion.png")), f"{out}{err}")
code, out, err = train(path("set"), "--threads", "1", "--rotation-range", "20", "--vertical-flip", "--width-shift", "0.1", "--random-crop", "0.2", "--brightness", "0.2", "--report", path("report2"))
check(code == 0, err)
code, out, err = train(path("set"), "--classes", "red,blue")
check(code == 0, err)
code, out, err = run(webml, "predict", path("w"), path("set/validation_data/red/v0.png"))
check(code == 0 and "red" in out and "green" not in out, f"{out}{err}")
for part, expected in [([], 36), (["--validation-split", "0.25"], 27), (["--validation-split", "0.25", "--split", "stratified", "--test-split", "0.25"], 18)]:
    q = inspect(path("set/training_data"), *part)
    check(q["training"] == expected, f"{part}: {q}")
code, out, err = train(path("set/training_data"), "--folds", "3", "--split", "stratified")
check(code == 0 and "3 folds" in out, f"{out}{err}")
code, out, err = train(path("set"), "--folds", "3")
check(code == 1 and "validation part of its own" in err, err)

idx = lambda a: struct.pack(">HBB" + "I" * a.ndim, 0, 8, a.ndim, *a.shape) + a.astype(np.uint8).tobytes()
for name, pack in [("plain", lambda b: b), ("gzip", gzip.compress)]:
    end = ".gz" if name == "gzip" else ""
    for part, n in (("train", 40), ("t10k", 10)):
        write(f"idx-{name}/{part}-images-idx3-ubyte{end}", pack(idx(rng.integers(0, 256, (n, 9, 11)))))
        write(f"idx-{name}/{part}-labels-idx1-ubyte{end}", pack(idx(np.arange(n) % 5)))
    write(f"idx-{name}/classes.txt", "a\nb\nc\nd\ne\n")
    q = inspect(path("idx-" + name))
    check((q["training"], q["validation"], q["classes"], q["sizes"]["least"]) == (40, 10, list("abcde"), [11, 9]), str(q))

write("idx-bomb/train-images-idx3-ubyte.gz", gzip.compress(struct.pack(">HBBIII", 0, 8, 3, 300_000, 28, 28) + bytes(235_200_000), 9))
write("idx-bomb/train-labels-idx1-ubyte.gz", gzip.compress(idx(np.arange(300_000) % 5)))
refuses(path("idx-bomb"), "decompresses to more than 400 times its size")

# ---- very many classes ----

# Names were looked up one by one: 100,000 folders took minutes.
count = 100_000
dot = picture("red", 1)
with zipfile.ZipFile(path("many.zip"), "w") as z:
    for i in range(count):
        z.writestr(f"c{i:06}/a.png", dot)
start = time.time()
q = inspect(path("many.zip"), "--cache", "none")
check(len(q["classes"]) == q["training"] == count and sum(q["training_per_class"]) == count, "classes of a zip file")
check(time.time() - start < 20, f"{count} classes took {time.time() - start:.1f} s")
# A list of classes names each of them, in another order.
few = 3_000
for i in range(few):
    write(f"many/c{i:06}/a.png", dot)
write("many/classes.txt", "".join(f"c{i:06}\n" for i in reversed(range(few))))
start = time.time()
q = inspect(path("many"))
check(q["classes"] == [f"c{i:06}" for i in reversed(range(few))] and q["training_per_class"] == [1] * few, "classes of a folder, by a list")
check(time.time() - start < 20, f"{few} classes by a list took {time.time() - start:.1f} s")
shutil.rmtree(path("many"))

# ---- what is wrong with a set ----

shutil.copytree(path("set"), path("sick"))
write("sick/training_data/red/broken.png", members["training_data/red/red1.png"][:100])
write("sick/training_data/red/empty.jpg", b"")
write("sick/training_data/red/copy.png", members["validation_data/red/v0.png"])
write("sick/training_data/blue/wrong.png", members["training_data/red/red1.png"])
os.makedirs(path("sick/training_data/nobody"))
q = inspect(path("sick"))
problems = " ".join(x["problem"] for x in q["problems"])
check(q["broken"] == 2 and {os.path.basename(b["file"]) for b in q["broken_files"]} == {"broken.png", "empty.jpg"}, str(q))
check(q["copies"] == 2 and q["copies_in_other_parts"] == 1 and q["copies_in_other_classes"] == 1, str(q))
check(all(t in problems for t in ('class "nobody" has no pictures', "2 pictures cannot be read", "1 pictures are in more than one part", "more than one class")), problems)
code, out, err = train(path("sick"))
check(code == 1 and "(and 1 more)" in err and "skip_broken" in err, err)
code, out, err = train(path("sick"), "--skip-broken")
check(code == 0 and "2 broken images were left out" in out and "1 pictures of the validation part are in the training part" in out, f"{out}{err}")
write("strange/training_data/a/1.png", picture("red", 1))
write("strange/training_data/b/1.png", picture("red", 2))
write("strange/validation_data/c/1.png", picture("red", 3))
refuses(path("strange"), 'the class "c" is in validation_data but not in training_data')
code, out, err = run(webml, "inspect", path("sick"))
check("in the way of training" in out and max(len(line) for line in out.splitlines() if path("") not in line and "pictures" not in line) <= 80, f"{code} {out}{err}")

# ---- hostile zips ----

refuses(make_zip("up.zip", {"a/1.png": b"x", "../../etc/evil.png": b"x"}), 'leaves its folder with ".."')
refuses(make_zip("back.zip", {"a/1.png": b"x", "a\\..\\..\\evil.png": b"x"}), 'leaves its folder with ".."')
refuses(make_zip("absolute.zip", {"/etc/a/evil.png": b"x"}), "has an absolute path")
refuses(make_zip("drive.zip", {"C:\\a\\evil.png": b"x"}), "has an absolute path")
link = zipfile.ZipInfo("a/link.png")
link.create_system, link.external_attr = 3, 0o120777 << 16
refuses(make_zip("link.zip", {"a/1.png": picture("red", 1), link: b"/etc/passwd"}), "is a link")
refuses(make_zip("bomb.zip", {"a/1.png": bytes(300_000_000)}), "100 times as large")
refuses(make_zip("bombs.zip", {f"a/{i}.png": bytes(1_000_000) for i in range(200)}), "100 times as large")
refuses(write("cut.zip", open(path("plain.zip"), "rb").read()[:-30]), "zip file")
refuses(write("fake.zip", b"PK\3\4" + bytes(200)), "zip file")
refuses(make_zip("nothing.zip", {"readme.txt": b"x"}), "holds no class folders")
refuses(make_zip("none.zip", {}), "holds no class folders")
damaged = bytearray(open(make_zip("stored.zip", members, zipfile.ZIP_STORED), "rb").read())
at = damaged.index(members["training_data/red/red1.png"]) + 60
damaged[at:at + 10] = bytes(10)
write("damaged.zip", bytes(damaged))
q = inspect(path("damaged.zip"))
check(q["broken"] == 1, f"a damaged member: {q}")
code, out, err = train(path("damaged.zip"))
check(code == 1 and "red1.png" in err and "damaged" in err, err)

# ---- hostile pictures ----

header = lambda w, h: b"\x89PNG\r\n\x1a\n" + (lambda b: struct.pack(">I", 13) + b + struct.pack(">I", zlib.crc32(b)))(b"IHDR" + struct.pack(">IIBBBBB", w, h, 8, 6, 0, 0, 0))
chunk = lambda name, body: struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
jpeg = bytearray(kinds["420"])
sof = jpeg.index(b"\xff\xc0")
huge = bytes(jpeg[:sof + 5]) + struct.pack(">HH", 65500, 65500) + bytes(jpeg[sof + 9:])
scans = kinds["progressive"]
first = scans.index(b"\xff\xda")
hostile = {"huge.png": header(2 ** 31 - 1, 2 ** 31 - 1), "wide.png": header(32768, 32768) + chunk(b"IDAT", zlib.compress(bytes(10_000_000))), "zeros.png": header(11000, 11000) + chunk(b"IDAT", zlib.compress(bytes(1000))),
           "text.png": header(4, 4) + chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(50_000_000))) + chunk(b"IDAT", zlib.compress(bytes(68))) + chunk(b"IEND", b""), "huge.jpg": huge,
           "flat.png": header(11000, 11000) + chunk(b"IDAT", zlib.compress(bytes(11000 * 44001))) + chunk(b"IEND", b""), "scans.jpg": scans[:first] + scans[first:-2] * 3000, "noise.png": header(64, 64) + rng.bytes(5000), "nothing.jpg": b"\xff\xd8\xff"}
for name, content in hostile.items():
    write(f"hostile/{name}/a/1{name[-4:]}", content)
    write(f"hostile/{name}/b/2.png", picture("red", 1))
    start = time.time()
    code, out, err = run("bash", "-c", limited + 'exec "$@"', "-", webml, "inspect", path(f"hostile/{name}"), "--json")
    check(code == 0 and time.time() - start < 10, f"{name}: exit {code} after {time.time() - start:.1f} s: {err}")
    broken = json.loads(out)["broken"] if code == 0 else -1
    check(broken == (0 if name == "text.png" else 1), f"{name}: broken {broken}")

# ---- the packed cache ----

for i in range(1050):
    write(f"many/{'ab'[i % 2]}/{i:04}.png", png_bytes(Image.fromarray(np.full((6, 6, 3), i % 250, np.uint8))))
shutil.rmtree(path("cache"), ignore_errors=True)
write("tiny.json", json.dumps({"size": [6, 6, 3], "dynamic": True, "optimizer": "sgd", "loss": None, "layers": [{"type": "Flatten"}, {"type": "Dense", "layer": {"units": None, "activation": "softmax"}}]}))
tiny = lambda *options: run(webml, "train", path("tiny.json"), "--data", path("many"), "--epochs", "1", "--out", path("w"), *options)
code, out, err = tiny()
packs = [f for f in os.listdir(path("cache")) if f.endswith(".pack")]
check(code == 0 and len(packs) == 1, f"{packs} {err}")
size = os.path.getsize(path("cache/" + packs[0]))
check(size == (128 + 9 * 1050 + 63) // 64 * 64 + 1050 * 108, f"the size is known beforehand: {size}")
first, stamp = open(path("w"), "rb").read(), os.stat(path("cache/" + packs[0])).st_mtime_ns
tiny()
check(open(path("w"), "rb").read()[-400:] == first[-400:] and os.stat(path("cache/" + packs[0])).st_mtime_ns == stamp, "used again, the same bits")
two = [subprocess.Popen([webml, "train", path("tiny.json"), "--data", path("many"), "--epochs", "1", "--cache", path("cache2"), "--out", path(f"w{i}"), "--progress", "none"]) for i in range(3)]
check([t.wait() for t in two] == [0, 0, 0] and len([f for f in os.listdir(path("cache2")) if f.endswith(".pack")]) == 1, "three trainings at once make one file")
check(open(path("w0"), "rb").read()[-400:] == first[-400:], "shared pixels are the same")
write("many/a/0000.png", png_bytes(Image.fromarray(np.full((6, 6, 3), 77, np.uint8))))
tiny()
check(open(path("w"), "rb").read()[-400:] != first[-400:], "an edit in place is noticed")
stamp = os.stat(path("cache/" + packs[0])).st_mtime_ns
with open(path("cache/" + packs[0]), "r+b") as f:
    f.seek(300)
    f.write(b"\xff" * 8)
code, out, err = tiny()
check(code == 0 and os.stat(path("cache/" + packs[0])).st_mtime_ns != stamp, "damaged tables: made anew")
with open(path("cache/" + packs[0]), "r+b") as f:
    f.truncate(5000)
code, out, err = tiny()
check(code == 0 and os.path.getsize(path("cache/" + packs[0])) == size, "cut off: made anew")
write("blocked", b"")
code, out, err = tiny("--cache", path("blocked/x"))
check(code == 1 and "cannot keep caches in" in err, err)
code, out, err = tiny("--cache", "none")
check(code == 0, err)

# ---- augmentation: the sheet, and figures of many draws ----

code, out, err = run(webml, "inspect", path("set"), "--augment", "16", "--rotation-range", "30", "--horizontal-flip", "-o", path("sheet.png"))
check(code == 0 and Image.open(path("sheet.png")).size[0] > 1000, f"{out}{err}")
code, out, err = run(webml, "inspect", path("plain.zip"), "-o", path("classes.png"))
check(code == 0 and "3 pictures" in out, f"{out}{err}")
code, out, err = run(webml, "inspect", path("set"), "--augment", "16")
check(code == 2 and "needs -o" in err, err)
code, out, err = run(webml, "inspect", path("set"), "--augment", "8", "--zoom-range", "2", "-o", path("x.png"))
check(code == 1 and "zoom range 2 is out of range" in err, err)
code, out, err = run(webml, "inspect", path("idx-plain"), "-o", path("idx.png"))
check(code == 0 and "5 pictures" in out, f"{out}{err}")
# One picture by its class.
classes = inspect(path("set"))["classes"]
code, out, err = run(webml, "sample", path("set"), "--class", classes[0], "--size", "40", "-o", path("one.png"))
check(code == 0 and Image.open(path("one.png")).size == (40, 40), f"sample: {err}")
for words, said in ((("--class", "nothing", "-o", path("no.png")), 'no class "nothing"'), (("--class", classes[0], "--index", "99999", "-o", path("no.png")), "there is no number 99999"), (("--class", classes[0], "--index", "-1", "-o", path("no.png")), "there is no number -1"), (("--class", classes[0], "-o", path("no/such/folder.png")), "cannot write")):
    code, out, err = run(webml, "sample", path("set"), *words)
    check(code == 1 and said in err, f"sample {words}: {err}")
check(run(webml, "sample", path("set"))[0] == 2 and run(webml, "sample", path("set"), "--class", "x", "--size", "0", "-o", "x")[0] == 2, "sample wants a class and a file")
report()
