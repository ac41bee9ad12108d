#!/bin/sh
# All benchmarks, each printing its numbers beside its bound or its peer. Run it on a quiet machine.
set -eu
cd "$(dirname "$0")/.."
cmake --preset release -DMINKE_BENCH=ON >/dev/null
cmake --build build/release
tools/test_all.py --packages

layer=build/testdata/v32-layer-fp8
if [ ! -e "$layer/config.json" ]; then
  build/venv/bin/python tools/make_checkpoint.py "$layer" --preset v32-layer --dtype fp8
fi
# One that misses its bound does not keep the others from running; its exit code is the script's.
worst=0
bench() {
  echo "== $1"
  shift
  "$@" || worst=$?
}
bench "attention by depth" build/release/bench/minke_attention_depth "$layer"
bench "kernels" build/release/bench/minke_kernels_bench
bench "tokenizer" build/venv/bin/python bench/tokenizer_speed.py build/testdata/deepseek_v3
bench "speculative decoding" build/release/bench/minke_mtp_speed tests/data/nano-hf
bench "perplexity" build/release/minke score tests/data/nano-hf --text tests/data/nano-hf/sample.txt
exit $worst
