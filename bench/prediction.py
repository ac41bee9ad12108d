#!/usr/bin/env python3
"""What `minke inspect --fit` says a model's speed will be, beside what `minke bench` measures.

    python3 bench/prediction.py MODEL... [-d 0,4k] [--fills random,prefill] [--rounds 5] [--cache-type int8] [--json FILE]

Prediction and measurements take turns, so that a slow minute of the machine hits all; medians of the rounds. With
--fills random,prefill the cache is filled both ways, and their difference is shown too: a benchmark on a cache that
nobody computed has to be as fast as one on a cache that was. Exit code 1 if a prediction is off by more than 20 %, or
the fills by more than 5 %.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PREDICTED_WITHIN, FILLS_WITHIN = 0.20, 0.05


def rates(args, *command):
    """{(phase, depth): tokens/s}"""
    threads = ["-t", str(args.threads)] if args.threads else []
    command = [args.program, *command, "-d", args.depths, *threads, "--cache-type", args.cache_type, "--json", "-q"]
    run = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    report = json.loads(run.stdout)
    return {(row["phase"], row["depth"]): row["tokens_per_s"] for row in report.get("speed", report)["rows"]}


def measure(args, model):
    """{(phase, depth): {column: [tokens/s of each round]}}"""
    table = {}
    for number in range(args.rounds):
        columns = {"predicted": rates(args, "inspect", model, "--fit", "1")}
        for fill in args.fills:
            columns[fill] = rates(args, "bench", model, "--batch", "1", "-r", str(args.repetitions), "--fill", fill)
        for column, found in columns.items():
            for key, value in found.items():
                table.setdefault(key, {}).setdefault(column, []).append(value)
        print(f"{model}: round {number + 1} of {args.rounds}, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--program", default=ROOT / "build/release/minke")
    parser.add_argument("-d", "--depths", default="0,4k,16k,64k")
    parser.add_argument("-t", "--threads", type=int, default=0)
    parser.add_argument("--cache-type", default="f32", help="of both (default f32)")
    parser.add_argument("--fills", default="random", type=lambda text: text.split(","), help="of minke bench (default random)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("-r", "--repetitions", type=int, default=3, help="of minke bench, in each round")
    parser.add_argument("--json", type=pathlib.Path, help="every round's numbers into this file")
    args = parser.parse_args()

    line = "{:<16} {:<8} {:>6} {:>11} {:>11} {:>8} {:>11} {:>8}"
    print(line.format("model", "phase", "depth", "predicted", f"{args.fills[0]} fill", "error",
                      *([f"{args.fills[1]} fill", "apart"] if len(args.fills) > 1 else ["", ""])))
    kept, rows = True, []
    for model in args.models:
        for (phase, depth), columns in measure(args, model).items():
            median = {column: statistics.median(values) for column, values in columns.items()}
            if not {"predicted", *args.fills} <= median.keys():
                continue
            error = median["predicted"] / median[args.fills[0]] - 1
            apart = median[args.fills[-1]] / median[args.fills[0]] - 1
            kept = kept and abs(error) <= PREDICTED_WITHIN and abs(apart) <= FILLS_WITHIN
            rows.append({"model": model, "phase": phase, "depth": depth, "error": error, "rounds": columns})
            print(line.format(pathlib.Path(model).name, phase, f"{depth // 1024}K" if depth else "0", f"{median['predicted']:.1f}",
                              f"{median[args.fills[0]]:.1f}", f"{100 * error:+.1f} %",
                              *([f"{median[args.fills[1]]:.1f}", f"{100 * apart:+.1f} %"] if len(args.fills) > 1 else ["", ""])))
    if args.json:
        args.json.write_text(json.dumps({"version": 1, "rows": rows}, indent=1))
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
