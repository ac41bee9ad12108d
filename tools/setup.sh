#!/bin/sh
# Installs from Debian's packages what is missing: `setup.sh build` for the program, `setup.sh test` for tests, fuzz
# targets and benchmarks as well, `setup.sh format` the formatter. Does nothing, and asks for no rights, when everything is there.
set -eu

build="g++ cmake ninja-build libfmt-dev nlohmann-json3-dev libexpected-dev libcli11-dev libtomlplusplus-dev
       libboost1.81-dev libssl-dev"
test="$build python3 python3-venv git binutils libgtest-dev googletest libbenchmark-dev ccache mold
      clang-19 libclang-rt-19-dev g++-aarch64-linux-gnu qemu-user-static"
case "${1:-}" in
  build) wanted=$build ;;
  test) wanted=$test ;;
  format) wanted=clang-format-19 ;;
  *) echo "usage: tools/setup.sh build|test|format" >&2; exit 2 ;;
esac

missing=""
for package in $wanted; do
  state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$state" = installed ] || missing="$missing $package"
done
# npm often comes with a Node.js that is not Debian's, and then Debian's package cannot be installed.
if [ "$1" = test ] && ! command -v npm >/dev/null; then missing="$missing npm"; fi
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
  as_root=""
elif command -v sudo >/dev/null; then
  as_root="sudo"
else
  echo "minke: these Debian packages are missing and only root can install them:$missing" >&2
  echo "minke: run this as root: apt-get install$missing" >&2
  exit 1
fi
echo "minke: installing from Debian:$missing"
# A lock held by an upgrade in the background is waited for.
apt="$as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300"
log=$(mktemp)
$apt update >/dev/null
$apt install -y --no-install-recommends $missing >$log 2>&1 || {
  tail -20 $log >&2
  exit 1
}
rm -f $log
