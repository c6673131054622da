#!/usr/bin/env bash
# The check on a machine with a GPU, from a bundle of scripts/gpu-bundle.sh: correctness against the
# reference, trainings, kills, limits, then the figures and those of PyTorch and JAX where they are
# installed. Under eight minutes; a table at the end, results.json in the folder given (default .).
# cuDNN 9 and cuBLASLt 13 are looked for in $LD_LIBRARY_PATH, in /usr/local/cuda, and among python3's
# packages.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "${1:-.}"
results=$(cd "${1:-.}" && pwd)
for folder in /usr/local/cuda/lib64 $(python3 - <<'END' 2>/dev/null || true
import glob, site, sys
for base in site.getsitepackages() + sys.path:
    for folder in sorted(glob.glob(base + "/nvidia/*/lib")):
        print(folder)
END
); do
  [ -d "$folder" ] && LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder"
done
export LD_LIBRARY_PATH
exec python3 "$here/gpu_check.py" "$here" "$results"
