#!/bin/sh
# Builds build/release/minke with what tools/setup.sh build installs: no tests, no benchmarks. A build folder that
# already has them keeps them.
set -eu
cd "$(dirname "$0")/.."
if [ ! -e build/release/build.ninja ]; then
  cmake --preset release -DMINKE_TESTS=OFF -DMINKE_BENCH=OFF
fi
cmake --build build/release --target minke
