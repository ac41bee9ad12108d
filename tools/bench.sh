#!/bin/sh
# All benchmarks, each printing its numbers beside its bound or its peer. Run it on a quiet machine.
set -eu
cd "$(dirname "$0")/.."
cmake --preset release -DMINKE_BENCH=ON >/dev/null
cmake --build build/release
tools/test_all.py --packages

layer=build/testdata/v32-layer
if [ ! -e "$layer/config.json" ]; then
  build/venv/bin/python tools/make_checkpoint.py "$layer" --preset v32-layer
fi
echo "== attention by depth"
build/release/bench/minke_attention_depth "$layer"
echo "== kernels"
build/release/bench/minke_kernels_bench
echo "== tokenizer"
build/venv/bin/python bench/tokenizer_speed.py build/testdata/deepseek_v3
echo "== speculative decoding"
build/release/bench/minke_mtp_speed models/nano
echo "== the built-in model"
build/release/minke score nano --text models/nano/sample.txt
