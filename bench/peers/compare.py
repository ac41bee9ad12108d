#!/usr/bin/env python3
"""Speed of minke and llama.cpp on the same weights in one run: alternating, medians, spread, ratios.

    compare.py --minke MODEL-q8 --gguf model-q8_0.gguf [--threads 1,2] [--depths 0,4k,16k,64k] [--json out.json]

A row is a phase, a depth and a number of threads. In each round both programs measure it, one right after the other,
the first one by turns: prefill is --prompt tokens in batches of 512, decode is --decode tokens one by one, random ids,
one sequence. A depth is made by filling both caches with normal numbers. Spread is (fastest - slowest) / median, and
the ratio is that of the medians. A row that has taken --row-seconds starts no further round; the table says how many
there were. minke is copied first, so that a build meanwhile changes nothing.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minke", required=True, metavar="MODEL", help="folder made by minke quantize")
    parser.add_argument("--gguf", required=True, help="file made by to_gguf.py from the same weights")
    parser.add_argument("--program", default="build/release/minke")
    parser.add_argument("--cache-type", default="int8", help="of minke; llama.cpp keeps F16")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--depths", default="0,4k,16k,64k")
    parser.add_argument("--prefill-depths", help="if fewer than --depths: reading at 64k takes llama.cpp many minutes")
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--decode", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--row-seconds", type=float, default=600)
    parser.add_argument("--json", help="write rows, and every round of them, to this file")
    return parser.parse_args()


if __name__ == "__main__":
    ARGS = parse_arguments()  # before these imports: --help needs no package

import llama_cpp  # noqa: E402
import numpy as np  # noqa: E402

from llama import Llama  # noqa: E402


def number(text):
    return int(text[:-1]) * 1024 if text.lower().endswith("k") else int(text)


def minke_speed(program, model, phase, depth, threads, prompt, decode, cache_type):
    command = [program, "-q", "bench", model, "-d", str(depth), "-t", str(threads), "--batch", "1", "-r", "1", "--json",
               "--cache-type", cache_type,
               "-p", str(prompt if phase == "prefill" else 0), "-n", str(decode if phase == "decode" else 0)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{' '.join(command)} failed: {result.stderr}")
    rows = json.loads(result.stdout)["rows"]
    return next(row["tokens_per_s"] for row in rows if row["phase"] == phase)


def summary(speeds):
    median = statistics.median(speeds)
    spread = (max(speeds) - min(speeds)) / median if len(speeds) > 1 else None
    return {"tokens_per_s": median, "spread": spread, "rounds": speeds}


def processor():
    with open("/proc/cpuinfo") as lines:
        return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")


def print_row(row):
    def show(found):
        spread = "-" if found["spread"] is None else f"{found['spread']:.0%}"
        return f"{found['tokens_per_s']:9.2f} {spread:>7}"

    print(f"{row['phase']:8} {row['depth']:6} {row['threads']:7} {show(row['minke'])} {show(row['llama.cpp'])} "
          f"{row['ratio']:6.2f} {len(row['minke']['rounds']):6} {row['load']:6.1f}", flush=True)


def main(args):
    depths = [number(depth) for depth in args.depths.split(",")]
    prefill_depths = depths if args.prefill_depths is None else [number(d) for d in args.prefill_depths.split(",") if d]

    with tempfile.TemporaryDirectory() as folder:
        args.program = shutil.copy2(args.program, folder)
        compare(args, depths, prefill_depths)


def compare(args, depths, prefill_depths):
    rng = np.random.default_rng(3)
    llama = Llama(args.gguf, max(depths) + max(args.prompt, args.decode) + 256, 1)
    llama.read(128, rng)  # warm up: touches nearly all experts
    version = subprocess.run([args.program, "--version"], capture_output=True, text=True, check=True).stdout
    report = {"processor": processor(), "minke": version.splitlines(), "llama_cpp_python": llama_cpp.__version__,
              "model": args.minke, "gguf": args.gguf, "prompt": args.prompt, "decode": args.decode, "rows": []}
    print(f"{'phase':8} {'depth':>6} {'threads':>7} {'minke':>9} {'spread':>7} {'llama.cpp':>9} {'spread':>7} "
          f"{'ratio':>6} {'rounds':>6} {'load':>6}")
    for depth in depths:
        llama.fill(depth, rng)
        for threads in map(int, args.threads.split(",")):
            llama.set_threads(threads)
            for phase in ("prefill", "decode"):
                if phase == "prefill" and depth not in prefill_depths:
                    continue
                row = measure(args, llama, phase, depth, threads, rng)
                report["rows"].append(row)
                print_row(row)
                if args.json:
                    with open(args.json, "w") as out:
                        json.dump(report, out, indent=1)
    llama.close()


def measure(args, llama, phase, depth, threads, rng):
    def minke():
        return minke_speed(args.program, args.minke, phase, depth, threads, args.prompt, args.decode,
                           args.cache_type)

    def peer():
        if phase == "prefill":
            return llama.prefill_speed(rng.integers(0, llama.vocab_size, args.prompt), depth)
        return llama.decode_speed(rng.integers(0, llama.vocab_size, args.decode + 1), depth)

    speeds = {"minke": [], "llama.cpp": []}
    begin = time.monotonic()
    for turn in range(args.rounds):
        pair = [("minke", minke), ("llama.cpp", peer)]
        for name, speed in pair if turn % 2 == 0 else pair[::-1]:
            speeds[name].append(speed())
        if time.monotonic() - begin > args.row_seconds:
            break
    row = {"phase": phase, "depth": depth, "threads": threads, "load": os.getloadavg()[0]}
    row.update((name, summary(found)) for name, found in speeds.items())
    row["ratio"] = row["minke"]["tokens_per_s"] / row["llama.cpp"]["tokens_per_s"]
    return row


if __name__ == "__main__":
    main(ARGS)
