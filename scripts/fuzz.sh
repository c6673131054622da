#!/usr/bin/env bash
# Fuzzes every parser for so many seconds each: scripts/fuzz.sh [SECONDS]
. "$(dirname "$0")/lib.sh"
seconds=${1:-30}

need $packages_build clang-14 libclang-rt-14-dev llvm-14 libomp-14-dev python3 python3-numpy python3-pil
[ -f build-fuzz/CMakeCache.txt ] || cmake --preset fuzz -G Ninja -DWEBML_TESTS=ON >/dev/null
cmake --build build-fuzz --target fuzz-json fuzz-model fuzz-csv fuzz-image fuzz-idx fuzz-safetensors fuzz-weights | { grep -vE '^\[[0-9]+/|ninja: no work' || true; }
seeds=build-fuzz/seeds
/usr/bin/python3 tests/fuzz/make_seeds.py "$seeds"
for target in json model csv image idx safetensors weights; do
  mkdir -p "build-fuzz/corpus/$target"
  echo "== fuzz $target, $seconds s"
  ASAN_OPTIONS=detect_leaks=1 "build-fuzz/bin/fuzz-$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2000 -max_len=65536 \
    -print_final_stats=0 -verbosity=0 "build-fuzz/corpus/$target" "$seeds/$target"
done
echo "7 passed, 0 failed"
