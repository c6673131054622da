#!/usr/bin/env bash
# Packs what scripts/gpu-check.sh needs on a machine with a GPU into build/webml-gpu.tar.xz: programs, the
# CUDA module, their libraries (all but the C library, the driver's, cuDNN and cuBLASLt), the tests'
# files and Fashion-MNIST. There: tar xf webml-gpu.tar.xz && webml-gpu/gpu-check.sh [RESULTS_FOLDER]
. "$(dirname "$0")/lib.sh"

need $packages_build dataset-fashion-mnist patchelf xz-utils
build release webml webml-bench ops_test webml-cuda
bundle=build/webml-gpu
rm -rf "$bundle"
mkdir -p "$bundle/bin" "$bundle/lib" "$bundle/data" "$bundle/peers"
cp build/bin/webml build/bin/webml-bench build/bin/ops_test "$bundle/bin/"
cp build/lib/libwebml-cuda.so "$bundle/lib/"
# Every library that a program names, by the file it is found in now.
ldd "$bundle"/bin/* | awk '$2 == "=>" && $3 ~ /^\// {print $1, $3}' | sort -u |
  grep -vE '^(libc|libm|libpthread|libdl|librt|ld-linux[^ ]*)\.so' |
  while read -r name file; do cp -L "$file" "$bundle/lib/$name"; done
strip --strip-unneeded "$bundle"/bin/* "$bundle"/lib/*
for program in "$bundle"/bin/*; do patchelf --set-rpath '$ORIGIN/../lib' "$program"; done
for library in "$bundle"/lib/*; do patchelf --set-rpath '$ORIGIN' "$library"; done
cp /usr/share/datasets/fashion-mnist/*ubyte.gz examples/fashion-mnist/classes.txt "$bundle/data/"
cp examples/fashion-mnist/model.json "$bundle/data.json"
cp bench/peers/pytorch_gpu.py bench/peers/jax_gpu.py "$bundle/peers/"
cp scripts/gpu-check.sh bench/gpu_check.py "$bundle/"
git rev-parse --short HEAD > "$bundle/commit"
tar -C build -cJf build/webml-gpu.tar.xz webml-gpu
size=$(stat -c %s build/webml-gpu.tar.xz)
echo "build/webml-gpu.tar.xz: $((size / 1000000)) MB"
[ "$size" -lt 60000000 ] || { echo "the bundle is larger than 60 MB" >&2; exit 1; }
