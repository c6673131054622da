# Shared by the scripts: installs what is missing, builds.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

packages_libraries="libdnnl-dev libcsv-dev libpng-dev libjpeg62-turbo-dev zlib1g-dev libzip-dev libjansson-dev libcairo2-dev"
packages_build="gcc g++ cmake ninja-build pkg-config $packages_libraries libh2o-evloop-dev libsodium-dev libsqlite3-dev libssl-dev"
packages_quickstart="dataset-fashion-mnist python3 python3-numpy python3-pil"
packages_test="python3 python3-numpy python3-pil python3-scipy python3-sklearn python3-pandas imagemagick dataset-fashion-mnist curl openssl nghttp2-client python3-httpx python3-h2 python3-pytest python3-jsonschema"

# need PACKAGE...: installs those that are not installed yet.
need() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q "install ok installed" || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  local sudo=""
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "missing packages: ${missing[*]}; install them as root: apt-get install ${missing[*]}" >&2; exit 1; }
    sudo=sudo
  fi
  echo "installing: ${missing[*]}"
  $sudo apt-get update -qq
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# build PRESET [TARGET...]: configures once, then builds.
build() {
  local preset=$1 directory=build
  shift
  [ "$preset" = release ] || directory=build-$preset
  [ -f "$directory/CMakeCache.txt" ] || cmake --preset "$preset" -G Ninja >/dev/null
  cmake --build "$directory" ${*:+--target "$@"} | { grep -vE '^\[[0-9]+/|ninja: no work' || true; }
}
