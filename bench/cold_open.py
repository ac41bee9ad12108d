#!/usr/bin/env python3
"""Opening a model whose files are not in memory and reading all of its weights, beside the disk's sequential speed.

  bench/cold_open.py MODEL [--layers N] [-r 3] [--program build/release/minke]

By turns: the disk alone, --load direct, --load read and --load mmap, each on files that were dropped from the page
cache. What counts is the whole run of `minke score` on one token, from the start of the program to its end, over the
bytes of the weights; mmap reads only what one token needs, so its speed is that of its own bytes, taken from
ru_inblock of the child. --layers N leaves out the layers behind (by a config.json beside links to the same files),
for a machine whose memory does not hold the whole model. Ends with 1 below 70 %.
"""

import argparse
import json
import mmap
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--layers", type=int)
    parser.add_argument("-r", "--repetitions", type=int, default=3)
    parser.add_argument("--program", default=ROOT / "build" / "release" / "minke")
    return parser.parse_args()


if __name__ == "__main__":
    ARGS = parse_arguments()  # before these imports: --help needs no package

import numpy as np  # noqa: E402
from safetensors.numpy import save_file  # noqa: E402

import disk  # noqa: E402

LEAST = 0.7


def wanted_bytes(files, layers):
    """Bytes of the tensors of the first `layers` layers and of what stands outside them."""
    total = 0
    for path in files:
        with open(path, "rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        for name, tensor in header.items():
            parts = name.split(".")
            if name == "__metadata__" or (parts[:2] == ["model", "layers"] and int(parts[2]) >= layers):
                continue
            total += tensor["data_offsets"][1] - tensor["data_offsets"][0]
    return total


def touch(size):
    """Takes that much memory once and gives it back. A virtual machine's host may have taken free memory away, and brings
    it back at less than a disk's speed (0.6 GB/s were seen): that would be measured instead."""
    with mmap.mmap(-1, size) as memory:
        memory.madvise(mmap.MADV_HUGEPAGE)
        view = np.frombuffer(memory, np.uint8)
        view[:: mmap.PAGESIZE] = 1
        del view


def main(args):
    model = pathlib.Path(args.model).resolve()
    files = sorted(model.glob("*.safetensors"))
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        config = json.loads((model / "config.json").read_text())
        if args.layers:
            config["num_hidden_layers"] = args.layers
        part = scratch / "model"
        part.mkdir()
        (part / "config.json").write_text(json.dumps(config))
        for path in [*files, *model.glob("*.index.json")]:
            (part / path.name).symlink_to(path)
        size = wanted_bytes(files, config["num_hidden_layers"])
        save_file({"input_ids": np.ones(1, np.int64)}, scratch / "ids.safetensors")

        def run(load):
            disk.drop(files)
            touch(size)
            before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_inblock
            begin = time.perf_counter()
            subprocess.run([args.program, "-q", "score", part, "--ids", scratch / "ids.safetensors", "--context", "64",
                            "--load", load], check=True, stdout=subprocess.DEVNULL)
            seconds = time.perf_counter() - begin
            read = (resource.getrusage(resource.RUSAGE_CHILDREN).ru_inblock - before) * 512
            return (read if load == "mmap" else size) / seconds

        speeds = {"disk": [], "direct": [], "read": [], "mmap": []}
        for _ in range(args.repetitions):
            disk.drop(files)
            touch(size)  # as before the others: disks that lend speed for a while have had the same rest
            speeds["disk"].append(disk.sequential_speed(files, size))
            for load in ("direct", "read", "mmap"):
                speeds[load].append(run(load))
                print(f"{load:7} {speeds[load][-1] / 1e9:5.2f} GB/s, disk {speeds['disk'][-1] / 1e9:5.2f}", file=sys.stderr)
    median = {name: statistics.median(values) for name, values in speeds.items()}
    print(f"{size / 1e9:.2f} GB of weights, cold, median of {args.repetitions} (least to most)")
    for name, values in speeds.items():
        share = "" if name == "disk" else f", {100 * median[name] / median['disk']:.0f} % of the disk"
        print(f"{name:7} {median[name] / 1e9:5.2f} GB/s ({min(values) / 1e9:.2f} to {max(values) / 1e9:.2f}){share}")
    return 0 if median["direct"] >= LEAST * median["disk"] else 1


if __name__ == "__main__":
    sys.exit(main(ARGS))
