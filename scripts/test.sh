#!/usr/bin/env bash
# Installs what is missing, builds, and runs the tests. --long adds hundreds of kills, long fuzzing.
. "$(dirname "$0")/lib.sh"

long=0
[ "${1:-}" = --long ] && long=1
export WEBML_LONG=$long

need $packages_build $packages_test clang-format-14
clang-format-14 --dry-run -Werror $(git ls-files '*.c' '*.h' '*.cu' '*.cuh' '*.cc')
build release
ctest --test-dir build --output-on-failure --no-tests=error

echo "== AddressSanitizer and UndefinedBehaviorSanitizer"
build asan
# Two at a time: most of them keep one core busy, and those that measure run alone (RUN_SERIAL).
ASAN_OPTIONS=detect_leaks=1 LSAN_OPTIONS=suppressions=$PWD/tests/sanitizers/lsan.supp,print_suppressions=0 \
  ctest --test-dir build-asan --output-on-failure -LE slow -j 2

echo "== ThreadSanitizer"
build tsan
TSAN_OPTIONS=suppressions=$PWD/tests/sanitizers/tsan.supp \
  ctest --test-dir build-tsan --output-on-failure -L threads

echo "== AArch64, emulated"
scripts/aarch64.sh

if [ $long = 1 ]; then scripts/fuzz.sh 300; else scripts/fuzz.sh 8 1; fi
