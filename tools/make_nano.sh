#!/bin/sh
# Makes the built-in models again, from nothing but their configurations: tools/make_nano.sh, in the root, after
# `make build`. About 15 minutes on two quiet cores. The same instruction set gives the same bytes; in the end the
# weights are compared with those of models/.
set -eu
minke=build/release/minke
mkdir -p build/nano
[ -f build/nano/data.jsonl ] || python3 tools/make_nano_data.py "$minke" build/nano/data.jsonl
sha256sum build/nano/data.jsonl
"$minke" train models/recipe/sft.toml
"$minke" convert build/nano/sft/model build/nano/nano-sft --dtype bf16
"$minke" rl models/recipe/standard.toml  # from models/nano-sft
"$minke" convert build/nano/standard/model build/nano/nano-standard --dtype bf16
"$minke" rl models/recipe/speciale.toml
"$minke" convert build/nano/speciale/model build/nano/nano --dtype bf16
for name in nano-sft nano-standard nano; do
  cmp build/nano/$name/model-00001-of-00001.safetensors models/$name/model-00001-of-00001.safetensors && echo "$name: the same bytes"
done
