#!/usr/bin/env python3
"""What each format of the cache costs: perplexity and divergence from the F32 cache, latents and index keys apart and together.

    python3 bench/cache_quality.py [MODEL] [-f TEXT] [--program build/release/minke]
"""

import argparse
import json
import pathlib
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
NANO = ROOT / "tests" / "data" / "nano-hf"
FORMATS = [("f32", "exact"), *((kind, "exact") for kind in ("bf16", "fp8", "int8")),
           *(("f32", kind) for kind in ("bf16", "fp8", "int8")), *((kind, kind) for kind in ("bf16", "fp8", "int8"))]


def perplexity(args, *more):
    command = [args.program, "perplexity", args.model, "-f", args.text, *more, "--json", "--quiet"]
    (row,) = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)["rows"]
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default=NANO)
    parser.add_argument("-f", "--text", default=NANO / "sample.txt")
    parser.add_argument("--program", default=ROOT / "build" / "release" / "minke", type=pathlib.Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        base = pathlib.Path(work) / "base.safetensors"
        exact = perplexity(args, "--save-logits", base)["perplexity"]
        print(f"{'latents':8} {'index keys':10} {'perplexity':>10} {'change':>9} {'KL, nats':>9} {'+-':>8} {'same top':>9}")
        for latents, keys in FORMATS:
            row = perplexity(args, "--cache-type", latents, "--index-precision", keys, "--kl-base", base)
            kl = row["kl"]
            print(f"{latents:8} {keys:10} {row['perplexity']:10.4f} {100 * (row['perplexity'] / exact - 1):8.3f}% "
                  f"{kl['mean']:9.6f} {kl['error']:8.6f} {100 * kl['same_top']:8.2f}%", flush=True)


if __name__ == "__main__":
    main()
