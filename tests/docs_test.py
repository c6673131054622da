"""The journeys of docs/api.md: their commands run as they stand, and the answers have what the document shows."""
import os
import re
import socket
import subprocess
import sys

from harness import check, folder, path, report, root

build = os.path.abspath(sys.argv[1])
text = open(os.path.join(root, "docs", "api.md")).read()
check(max(map(len, text.splitlines())) <= 120, "lines of at most 120 columns")
os.symlink(build, path("build"))

# A port of its own: another server may listen on the one that the document names.
with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{s.getsockname()[1]}"
journeys = text[text.index("## Journey 1"):text.index("# Reference")].replace("127.0.0.1:8080", address)
blocks = re.findall(r"```(\w*)\n(.*?)```", journeys, re.S)
commands = [body for kind, body in blocks if kind == "sh"]
check(len(commands) > 20, "five journeys of commands")

# One shell for all, with a line between the outputs of the blocks. Jobs of a script that fails end with it.
script = "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n"
script += "".join(f"echo; echo '==== {i}'\n{body}" for i, body in enumerate(commands))
with open(path("journeys.sh"), "w") as f:
    f.write(script)
ended = subprocess.run(["timeout", "300", "bash", "-euo", "pipefail", path("journeys.sh")], cwd=folder, text=True,
                       errors="replace", capture_output=True, env={**os.environ, "WEBML_LISTEN": address})
outputs = re.split(r"\n==== \d+\n", ended.stdout)[1:]
check(ended.returncode == 0, f"block {len(outputs) - 1} of {len(commands)}: {ended.stderr[-500:]} {outputs[-1][-500:]}")

# Every member of a shown answer is in the real one.
at = -1
for kind, body in blocks:
    if kind == "sh":
        at += 1
    elif kind == "json" and at < len(outputs):
        missing = [m for m in set(re.findall(r'"(\w+)":', body)) if f'"{m}":' not in outputs[at]]
        check(not missing, f"block {at} answers without {missing}: {outputs[at][:300]}")
check('"kind":"wide"' in ended.stdout, "a wide box is predicted as one")
report()
