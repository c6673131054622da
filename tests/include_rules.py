"""Who may include whom. Exits 1 with one line per include that its folder may not have."""
import os
import re
import sys

root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
VENDOR = {"dnnl.h": {"kernels/cpu"}, "omp.h": {"kernels/cpu"}, "png.h": {"libwebml/src/data"}, "jpeglib.h": {"libwebml/src/data"},
          "csv.h": {"libwebml/src/data"}, "zip.h": {"libwebml/src/data", "server/backup"}, "zlib.h": {"libwebml/src/data", "server/http"}, "jansson.h": {"cli", "server"},
          "h2o.h": {"server/http"}, "sodium.h": {"server/security", "server/api", "server/store"}, "sqlite3.h": {"server/store"},
          "cudnn.h": {"kernels/cuda"}, "cublasLt.h": {"kernels/cuda"}, "cuda_runtime_api.h": {"kernels/cuda"}}
# Folders of the library, lowest first; a folder may include those named for it.
LIBRARY = {"base": [], "model": ["base"], "devices": ["base"], "data": ["model", "base"], "plan": ["model", "devices", "base"],
           "formats": ["data", "model", "base"], "layers": ["plan", "formats", "data", "model", "base"], "zoo": ["base"], "train": ["zoo", "plan", "data", "formats", "model", "devices", "base"],
           "predict": ["plan", "data", "formats", "model", "devices", "base"]}
# Rooms of the server, lowest first.
SERVER = {"journal": [], "store": [], "security": ["store"], "context": ["journal", "store"], "http": [], "sandbox": [],
          "devices": ["context", "store"], "jobs": ["devices", "sandbox", "context", "store"], "predict": ["context", "store"],
          "backup": ["context", "store"]}
SERVER["api"] = list(SERVER)


def problems(path, text):
    """Yields (included, reason) for every include of the file that is not allowed."""
    folder = os.path.dirname(path)
    for quoted, system in re.findall(r'^\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)', text, re.M):
        name = quoted or system
        allowed = VENDOR.get("h2o.h" if name.startswith("h2o/") else name)
        if allowed is not None and not any(folder.startswith(a) for a in allowed) and not path.startswith(("bench/", "tests/")):
            yield name, "belongs to " + ", ".join(sorted(allowed))
        if not quoted:
            continue
        if folder.startswith(("cli", "server", "bindings", "examples")):
            top = folder.split("/")[0]
            local = any(os.path.exists(os.path.join(root, where, name)) for where in (folder, top))
            if name != "webml.h" and not local:
                yield name, "only webml.h may be included here"
            room = path.split("/")[1] if top == "server" else ""
            if room in SERVER and "/" in name and name.split("/")[0] not in SERVER[room]:
                yield name, f"{room} may include {', '.join(SERVER[room]) or 'nothing'}"
        elif folder.startswith("kernels"):
            target = os.path.normpath(os.path.join(folder, name))
            own = target.startswith("/".join(folder.split("/")[:2]) + "/")
            if not own and target != "kernels/backend.h" and not target.startswith("kernels/common/"):
                yield name, "a back end includes backend.h, common and its own files"
        elif folder.startswith("libwebml/src"):
            part = folder.split("/")[2]
            if name == "webml.h" or name == "kernels/backend.h" or name.startswith("kernels/common/"):
                continue
            target = name.split("/")[0]
            if target != part and target not in LIBRARY.get(part, []):
                yield name, f"{part} may include {', '.join(LIBRARY.get(part, [])) or 'nothing'}"


def sql(path, text):
    """Statements of SQL belong to the store, one file per resource."""
    if path.startswith("server/") and not path.startswith("server/store/"):
        yield from re.findall(r'"\s*((?:SELECT|INSERT INTO|UPDATE \w+ SET|DELETE FROM) [^"]{0,30})', text)


def main():
    # The tester, tested.
    assert list(problems("cli/x.c", '#include "base/json.h"\n')), "a forbidden include must be found"
    assert list(problems("libwebml/src/model/x.c", '#include <dnnl.h>\n')), "a vendor header in the model must be found"
    assert list(problems("server/jobs/x.c", '#include "api/api.h"\n')), "an arrow that runs up in the server must be found"
    assert list(sql("server/api/x.c", '"SELECT 1"')) and not list(sql("server/store/x.c", '"SELECT 1"')), "SQL must be found"
    bad = 0
    for top in ("libwebml", "kernels", "cli", "server", "bindings", "examples", "bench", "tests"):
        for folder, _, files in os.walk(os.path.join(root, top)):
            for file in files:
                if not file.endswith((".c", ".h", ".cu", ".cuh", ".cc")):
                    continue
                full = os.path.join(folder, file)
                path = os.path.relpath(full, root)
                text = open(full).read()
                for name, reason in problems(path, text):
                    print(f"{path}: includes {name}: {reason}")
                    bad += 1
                for statement in sql(path, text):
                    print(f"{path}: has SQL, which belongs to server/store: {statement}")
                    bad += 1
    sys.exit(1 if bad else 0)


main()
