#!/bin/sh
# Makes the built-in models again, by the configurations of models/recipe: tools/make_nano.sh, in the root, after
# `make build`. It takes about 11 minutes on two cores. Reinforcement learning starts from models/nano-sft
# as it lies there, which is BF16. The same instruction set gives the same bytes: exit 1 if weights differ from those
# of models/.
set -eu
minke=build/release/minke
mkdir -p build/nano
rm -rf build/nano/nano-sft build/nano/nano-standard build/nano/nano
python3 tools/make_nano_data.py "$minke" build/nano
sha256sum build/nano/*.jsonl  # models/README.md has them
"$minke" train models/recipe/sft.toml
"$minke" train models/recipe/turns.toml
"$minke" convert build/nano/turns/model build/nano/nano-sft --dtype bf16
"$minke" rl models/recipe/standard.toml  # from models/nano-sft
"$minke" convert build/nano/standard/model build/nano/nano-standard --dtype bf16
"$minke" rl models/recipe/speciale.toml
"$minke" convert build/nano/speciale/model build/nano/nano --dtype bf16
for name in nano-sft nano-standard nano; do
  if cmp "build/nano/$name/model-00001-of-00001.safetensors" "models/$name/model-00001-of-00001.safetensors"; then
    echo "$name: the same bytes"
  else
    different=1
  fi
done
exit "${different:-0}"
