"""The README's commands, as they stand."""
import os
import re
import sys

from harness import check, folder, path, report, root, run, write

build = sys.argv[1]
text = open(os.path.join(root, "README.md")).read()
os.symlink(build, path("build"))
for name in ("scripts", "examples", "bench"):
    os.symlink(os.path.join(root, name), path(name))
section = text[text.index("## A first model"):text.index("## From C")]
blocks = re.findall(r"```sh\n(.*?)```", section, re.S)
check(len(blocks) == 1, "one block of commands for a first model")
code, out, err = run("bash", "-euo", "pipefail", "-c", blocks[0])
check(code == 0, f"the first model: {err}")
check("Exited: 1" in out and "precision" in out and "val_auc" in out, "training, evaluation and prediction print what they should: " + out[-300:])
# The same weights in int8.
section = text[text.index("## Smaller and faster in int8"):text.index("## Beside other programs")]
code, out, err = run("bash", "-euo", "pipefail", "-c", re.findall(r"```sh\n(.*?)```", section, re.S)[0])
check(code == 0 and "wrote churn.int8.safetensors" in out, f"quantized: {out} {err}")
# From nothing to a prediction over HTTP.
section = text[text.index("## Over HTTP"):text.index("## Faster in bfloat16")]
blocks = re.findall(r"```sh\n(.*?)```", section, re.S)
check(len(blocks) == 1 and len(blocks[0].strip().splitlines()) <= 10, "ten lines of curl")
code, out, err = run("bash", "-euo", "pipefail", "-c", blocks[0])
check(code == 0 and '"kind":"wide"' in out, f"over HTTP: {out[-400:]} {err}")
# The C example compiles and answers (its weights and picture are stand-ins).
example = re.search(r"```c\n(.*?)```", text, re.S).group(1)
head, body = example.split("\n", 1)
write("program.c", "#include <stdio.h>\n" + head + "\nint main(void) {\n" + body + "return 0; }\n")
code, out, err = run("cc", "-std=c17", "-Wall", path("program.c"), "-I", os.path.join(root, "libwebml/include"), "-L", os.path.join(build, "lib"), "-lwebml", "-o", path("program"))
check(code == 0, err)
code, out, err = run(path("program"), env={**os.environ, "LD_LIBRARY_PATH": os.path.join(build, "lib")})
check("fashion.safetensors" in err, "the example says what is missing: " + err)
# Links to files are good.
for name in re.findall(r"`((?:docs|examples|scripts|bench|libwebml|kernels|cli|server)/[\w./-]*)`", text):
    check(os.path.exists(os.path.join(root, name)), f"{name} exists")
report()
