#!/usr/bin/env bash
# Fuzzes every parser for so many seconds each: scripts/fuzz.sh [SECONDS] [SEED]
# A seed makes the run repeatable (what CI wants); without one each run looks elsewhere.
. "$(dirname "$0")/lib.sh"
seconds=${1:-30}
seed=${2:-0}

need $packages_build clang-14 libclang-rt-14-dev llvm-14 libomp-14-dev python3 python3-numpy python3-pil
[ -f build-fuzz/CMakeCache.txt ] || cmake --preset fuzz -G Ninja -DWEBML_TESTS=ON >/dev/null
targets="json model csv image idx zip cache safetensors weights multipart"
cmake --build build-fuzz --target $(printf "fuzz-%s " $targets) make-cache-seeds | { grep -vE '^\[[0-9]+/|ninja: no work' || true; }
seeds=build-fuzz/seeds
/usr/bin/python3 tests/fuzz/make_seeds.py "$seeds"
build-fuzz/bin/make-cache-seeds "$seeds/cache"
for target in $targets; do
  mkdir -p "build-fuzz/corpus/$target" "$seeds/$target"
  echo "== fuzz $target, $seconds s"
  ASAN_OPTIONS=detect_leaks=1 "build-fuzz/bin/fuzz-$target" -max_total_time="$seconds" -seed="$seed" -timeout=10 -rss_limit_mb=2000 -max_len=65536 \
    -print_final_stats=0 -verbosity=0 "build-fuzz/corpus/$target" "$seeds/$target"
done
echo "$(echo $targets | wc -w) passed, 0 failed"
