#!/usr/bin/env bash
# Builds for AArch64 with Debian's cross compiler into build-aarch64/ and runs the C tests and those of the
# command line under qemu-user, on an emulated processor that has NEON only. With WEBML_LONG=1 it also runs
# the slow ones, and the tests of operations again on a processor with SVE, which oneDNN can use. Leaves out
# the server and CUDA.
. "$(dirname "$0")/lib.sh"

need cmake ninja-build pkg-config gcc-aarch64-linux-gnu g++-aarch64-linux-gnu qemu-user mmdebstrap \
  python3 python3-numpy python3-pil
# The libraries, unpacked into a folder: this machine's own packages stay as they are.
sysroot=build-aarch64/sysroot
if [ "$(cat "$sysroot.packages" 2>/dev/null)" != "$packages_libraries" ]; then
  echo "== AArch64 libraries"
  rm -rf "$sysroot"
  mkdir -p build-aarch64
  mmdebstrap --quiet --mode=chrootless --variant=extract --architectures=arm64 --format=directory \
    --include="libc6-dev ${packages_libraries}" bookworm "$sysroot"
  echo "$packages_libraries" > "$sysroot.packages"
fi
build aarch64
ctest="ctest --test-dir build-aarch64 --output-on-failure --no-tests=error"
if [ "${WEBML_LONG:-0}" = 1 ]; then
  QEMU_CPU=cortex-a72 $ctest -j "$(nproc)"
  QEMU_CPU=a64fx $ctest -R '^ops_test$'
else
  QEMU_CPU=cortex-a72 $ctest -j "$(nproc)" -LE slow
fi
