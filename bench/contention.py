#!/usr/bin/env python3
"""Decode on all processors, alone and beside one other busy process, by turns: what minke keeps of its quiet speed.

    python3 bench/contention.py MODEL [-t 2] [--rounds 5] [--cache-type int8]

Prints medians and the share, and ends with 1 when it is below --least (0.4). A pool whose threads only spin at a
barrier keeps a few percent: the one that was put aside holds up the others for a whole time slice.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def speed(args):
    command = [args.program, "-q", "bench", args.model, "-d", "0", "-p", "0", "-n", "32", "-r", "1", "--batch", "1", "-t",
               args.threads, "--cache-type", args.cache_type, "--json"]
    result = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(result.stdout)["rows"][0]["tokens_per_s"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cache-type", default="int8")
    parser.add_argument("--least", type=float, default=0.4)
    parser.add_argument("--program", default=ROOT / "build" / "release" / "minke", type=pathlib.Path)
    args = parser.parse_args()
    quiet, busy = [], []
    for _ in range(args.rounds):
        quiet.append(speed(args))
        other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        try:
            busy.append(speed(args))
        finally:
            other.kill()
            other.wait()
    share = statistics.median(busy) / statistics.median(quiet)
    for name, speeds in (("alone", quiet), ("beside one", busy)):
        print(f"{name:10} {statistics.median(speeds):9.2f} tokens/s ({min(speeds):.2f} .. {max(speeds):.2f})")
    print(f"kept {share:.0%} (must be >= {args.least:.0%}): {'ok' if share >= args.least else 'FAIL'}")
    return 0 if share >= args.least else 1


if __name__ == "__main__":
    sys.exit(main())
