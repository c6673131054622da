#!/usr/bin/env bash
# Installs into a folder and builds consumers outside the tree: pkg-config, CMake package, static.
set -euo pipefail
build=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cmake --install "$build" --prefix "$work/usr" >/dev/null
libdir=$(dirname "$(find "$work/usr" -name webml.pc)")
export PKG_CONFIG_PATH=$libdir
passed=0

# Only the public functions are visible.
hidden=$(nm -D --defined-only "$libdir/../libwebml.so" | awk '$2 ~ /[TDBR]/ {print $3}' | grep -v '^webml_' || true)
[ -z "$hidden" ] || { echo "visible symbols that are not the API: $hidden"; exit 1; }
soname=$(objdump -p "$libdir/../libwebml.so" | awk '/SONAME/ {print $2}')
[[ $soname =~ ^libwebml\.so\.[0-9]+\.[0-9]+$ ]] || { echo "soname $soname"; exit 1; }
passed=$((passed + 1))

# The CUDA module, where it was built: one symbol, and the installed program finds it.
module=$libdir/../libwebml-cuda.so
if [ -f "$build/lib/libwebml-cuda.so" ]; then
  [ "$(nm -D --defined-only "$module" | awk '{print $3}' | tr '\n' ' ')" = "wml_backend_module " ] || { nm -D --defined-only "$module"; exit 1; }
  reason=$("$work/usr/bin/webml" devices)
  [[ $reason == *cuda* && $reason != *"not installed"* ]] || { echo "installed module: $reason"; exit 1; }
  passed=$((passed + 1))
fi

cp examples/train_csv.c examples/predict.c "$work"
for program in train_csv predict; do
  # shellcheck disable=SC2046
  cc -std=c17 -Wall -Wextra -Werror "$work/$program.c" -o "$work/$program" $(pkg-config --cflags --libs webml) -Wl,-rpath,"$libdir/.."
done
printf 'a,b,kind\n' > "$work/t.csv"
for i in $(seq 50); do echo "$((i % 7)),$((i % 3)),$([ $((i % 2)) = 0 ] && echo x || echo y)"; done >> "$work/t.csv"
"$work/train_csv" "$work/t.csv" "$work/w.safetensors" >/dev/null
"$work/predict" "$work/w.safetensors" '{"a":1,"b":2}' | grep -q '"kind"'
passed=$((passed + 1))

mkdir "$work/consumer"
cat > "$work/consumer/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.20)
project(consumer LANGUAGES C CXX)
find_package(webml REQUIRED)
add_executable(consumer main.c)
target_link_libraries(consumer PRIVATE webml::webml)
add_executable(consumer_cpp main.cpp)
target_link_libraries(consumer_cpp PRIVATE webml::webml)
END
printf '#include <webml.h>\n#include <stdio.h>\nint main(void) { puts(webml_version()); return webml_model_parse("{", 1, 0) == WEBML_OK; }\n' | tee "$work/consumer/main.c" > "$work/consumer/main.cpp"
sed -i 's/main(void)/main()/' "$work/consumer/main.cpp"
cmake -G Ninja -S "$work/consumer" -B "$work/consumer/build" -DCMAKE_PREFIX_PATH="$work/usr" >/dev/null
cmake --build "$work/consumer/build" >/dev/null
"$work/consumer/build/consumer" >/dev/null && "$work/consumer/build/consumer_cpp" >/dev/null
passed=$((passed + 1))

# Static: no libwebml needed where it runs.
# shellcheck disable=SC2046
cc -std=c17 "$work/predict.c" -I"$work/usr/include" "$libdir/../libwebml.a" -ldnnl -lcsv -lzip -lpng -ljpeg -lz -fopenmp -lpthread -lm -o "$work/static"
"$work/static" "$work/w.safetensors" '{"a":1,"b":2}' | grep -q '"kind"'
passed=$((passed + 1))
echo "$passed passed, 0 failed"
