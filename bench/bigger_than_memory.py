#!/usr/bin/env python3
"""A model three times larger than --memory: tokens/s beside what the disk and the measured misses allow; same bytes.

  bench/bigger_than_memory.py FOLDER [--times 3] [--program build/release/minke]

FOLDER is made when it does not exist: 17 GB of random weights with 64 experts in 29 layers, tokens spread over all of
them (tools/make_checkpoint.py --even-experts), which is the hardest case: nothing but size decides what is in memory.
First the logits and a greedy continuation with --memory and with mapped weights are compared byte for byte. Then
`minke bench` decodes; the disk is measured between its repetitions. Ends with 1 when bytes differ or below 60 %.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--times", type=float, default=3, help="size of the weights over --memory")
    parser.add_argument("-n", "--decode-tokens", type=int, default=32)
    parser.add_argument("-r", "--repetitions", type=int, default=3)
    parser.add_argument("--program", default=ROOT / "build" / "release" / "minke")
    return parser.parse_args()


if __name__ == "__main__":
    ARGS = parse_arguments()  # before these imports: --help needs no package

import numpy as np  # noqa: E402
from safetensors.numpy import load_file, save_file  # noqa: E402

import disk  # noqa: E402

LEAST = 0.6
SHAPE = ["hidden_size=2048", "num_hidden_layers=30", "moe_intermediate_size=1408", "intermediate_size=5632",
         "vocab_size=32768", "n_routed_experts=64"]


def main(args):
    if not args.folder.exists():
        sets = [word for item in SHAPE for word in ("--set", item)]
        subprocess.run([sys.executable, ROOT / "tools" / "make_checkpoint.py", args.folder, "--preset", "dsa-1.6b", "--dtype",
                        "fp8", "--even-experts", *sets], check=True)
    files = sorted(args.folder.glob("*.safetensors"))
    size = sum(path.stat().st_size for path in files)
    memory = ["--memory", f"{size / args.times:.0f}"]

    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        save_file({"input_ids": np.arange(0, 48, 3)}, scratch / "ids.safetensors")
        results = []
        for flags in (memory, []):
            out = scratch / f"out{len(results)}.safetensors"
            subprocess.run([args.program, "-q", "score", args.folder, "--ids", scratch / "ids.safetensors", "--context", "256",
                            "--greedy", "8", "--out", out, *flags], check=True, stdout=subprocess.DEVNULL)
            results.append(load_file(out))
        same = all(results[0][name].tobytes() == results[1][name].tobytes() for name in ("logits", "greedy_ids"))
    print(f"logits and greedy ids: {'the same bytes' if same else 'DIFFERENT'} with {' '.join(memory)} and mapped")

    disk.drop(files)
    report = json.loads(subprocess.run(
        [args.program, "-q", "bench", args.folder, *memory, "-d", "0", "--batch", "1", "-p", "0", "-n", str(args.decode_tokens),
         "-r", str(args.repetitions), "--json"], check=True, capture_output=True, text=True).stdout)
    row = report["rows"][0]
    experts = row["experts"]
    print(f"{size / 1e9:.1f} GB of weights, {args.times:g} times --memory: {row['tokens_per_s']:.2f} tokens/s "
          f"(spread {100 * row['spread']:.0f} %), {100 * experts['hit_rate']:.1f} % of experts in memory, "
          f"{experts['read_bytes'] / experts['seconds'] / 1e9:.2f} GB/s read, "
          f"{100 * (1 - experts['missed_bytes'] / experts['read_bytes']):.1f} % of it in vain")
    print(f"disk {experts['disk_bytes_per_s'] / 1e9:.2f} GB/s: {100 * experts['share_of_disk']:.0f} % of what it and the misses "
          f"allow (at least {100 * LEAST:.0f} %)")
    return 0 if same and experts["share_of_disk"] >= LEAST else 1


if __name__ == "__main__":
    sys.exit(main(ARGS))
