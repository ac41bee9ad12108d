#!/usr/bin/env python3
"""One MoE layer of DeepSeek-V3.2 with its real dimensions, measured at growing context, and what 61 of them would make.

    build/venv/bin/python bench/v32_layer.py --folder build/v32-moe [--json FILE]

The checkpoint has rows of 7168, 128 heads, 64 index heads and 256 experts in FP8: 11.5 GB, made in --folder unless it
is there, and wanted in memory whole. Needs build/release with -DMINKE_BENCH=ON. On a cache of random rows, with sparse
(DSA) and dense attention:
  minke_attention_depth   attention's own time in decode: steps at a depth and at position 0 take turns, so that what
                          one takes longer is attention (index queries and scores, selection, attention itself)
  minke bench             whole steps of decode and prefill on random tokens, in rounds through all depths; medians
                          (least..most)
Exit code 1 unless dense attention takes 10 times as long as DSA at 128K. What is projected, and every assumption behind
it, is printed with the numbers.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
DEPTHS = [0, 2048, 16384, 65536, 131072]
LAYERS = 61
HEAD_BYTES = 2 * 129280 * 7168  # lm_head, BF16
FEW_ROWS = 32
SERVER_TRANSFER_BYTES = 8       # of one channel


def word(depth):
    return f"{depth // 1024}K" if depth else "0"


def bench(args, depths, attentions, prompt=0, decode=0):
    command = [args.build / "minke", "bench", args.folder, "--json", "-q", "--batch", "1", "-r", "1", "-t", str(args.threads),
               "-d", ",".join(map(str, depths)), "-p", str(prompt), "-n", str(decode), "--attention", attentions]
    report = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    report["load"] = os.getloadavg()[0]
    print(f"depths {' '.join(map(word, depths))}, {attentions}, {prompt} of prompt, {decode} decoded: load {report['load']:.1f}",
          file=sys.stderr)
    return report


def measure_steps(args):
    """Reports of decode and prefill, and of dense prefill far into a context: that is minutes of arithmetic, so of few
    rows, for attention's own time only."""
    near, far = [d for d in DEPTHS if d <= 16384], [d for d in DEPTHS if d > 16384]
    reports = [bench(args, DEPTHS, "dsa,dense", decode=args.decode_tokens) for _ in range(args.rounds)]
    few = []
    for _ in range(args.rounds if args.prompt_tokens else 0):
        reports += [bench(args, near, "dsa,dense", prompt=args.prompt_tokens), bench(args, far, "dsa", prompt=args.prompt_tokens)]
        few.append(bench(args, [0, *far], "dense", prompt=FEW_ROWS))
    return reports, few


def measure_attention(args):
    """{depth: row} of minke_attention_depth; its exit code says whether the bounds were kept."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "attention.json"
        run = subprocess.run([args.build / "bench/minke_attention_depth", args.folder, str(args.threads), out])
        if not out.exists():
            sys.exit(run.returncode)
        return {row["depth"]: row for row in json.loads(out.read_text())}, run.returncode


def medians(reports):
    """{(phase, attention, depth): row} over all rounds."""
    rows = {}
    for report in reports:
        for row in report["rows"]:
            rows.setdefault((row["phase"], row["attention"], row["depth"]), []).append(row)
    table = {}
    for key, measured in rows.items():
        ms = sorted(1000 / row["tokens_per_s"] for row in measured)
        table[key] = {"ms_per_token": statistics.median(ms), "least_ms": ms[0], "most_ms": ms[-1], "rounds": len(ms),
                      "roofline": statistics.median(row["roofline"] for row in measured),
                      **{name: measured[0][name] for name in ("bound_by", "bytes_per_token", "flop_per_token")}}
    return table


def summarise(reports, few, attention):
    table, few_rows = medians(reports), medians(few)
    for (phase, form, depth), row in table.items():
        if phase == "decode" and depth:
            turns = attention[depth]
            row["attention_ms"] = turns[f"{form}_ms"]
            least = turns[f"least_{form}_step_ms"] - turns["least_step_at_0_ms"]  # sound where both had a quiet turn
            row["least_attention_ms"] = least_attention(least, row["attention_ms"])
        else:
            row["attention_ms"] = row["ms_per_token"] - table[phase, form, 0]["ms_per_token"]
            row["least_attention_ms"] = least_attention(row["least_ms"] - table[phase, form, 0]["least_ms"], row["attention_ms"])
    for form in ("dsa", "dense"):
        table["decode", form, 0]["least_ms"] = min([table["decode", form, 0]["least_ms"],
                                                    *(turns["least_step_at_0_ms"] for turns in attention.values())])
    for (phase, form, depth), row in few_rows.items():
        if (phase, form, depth) in table:
            continue
        rest, few_rest = table[phase, form, 0], few_rows[phase, form, 0]
        own, least_own = row["ms_per_token"] - few_rest["ms_per_token"], row["least_ms"] - few_rest["least_ms"]
        table[phase, form, depth] = row | {
            "attention_ms": own, "ms_per_token": rest["ms_per_token"] + own, "roofline": None,
            "least_attention_ms": least_attention(least_own, own), "least_ms": rest["least_ms"] + least_own, "most_ms": rest["most_ms"] + own,
            "bytes_per_token": row["bytes_per_token"] | {"weights": rest["bytes_per_token"]["weights"]}}
    return table


def least_attention(least, median):
    """The least time where it can be one: a difference of two least times, each from a round of its own, may be none."""
    return min(least, median) if least > 0 else median


def peaks_of(reports):
    """The best that any round saw: what holds a peak down is another program."""
    every = [report["peaks"]["by_threads"][0] for report in reports]
    return {"kernels": reports[0]["peaks"]["kernels"], "threads": every[0]["threads"]} | {
        name: max(peaks[name] for peaks in every) for name in ("memory_bytes_per_s", "f32_flop_per_s", "i8_op_per_s")}


def attention_work(row):
    """(bytes, F32 operations) of attention's own part of a token."""
    return (row["bytes_per_token"]["index_keys"] + row["bytes_per_token"]["latents"],
            row["flop_per_token"]["index_scores"] + row["flop_per_token"]["attention"])


class Projection:
    """Seconds a token of 61 layers: on this machine, had it the memory, and on a server. From the least times, as the
    peaks are: a neighbour on this machine is none on another."""

    def __init__(self, args, table, peaks):
        self.args, self.table, self.peaks = args, table, peaks
        rest = table["decode", "dsa", 0]
        self.layer_bytes, self.layer_flop = rest["bytes_per_token"]["weights"], rest["flop_per_token"]["weights"]
        self.read_rate = self.layer_bytes / (rest["least_ms"] / 1000)
        self.reach = min(1.0, self.read_rate / peaks["memory_bytes_per_s"])
        self.server_raw = args.channels * args.mega_transfers * 1e6 * SERVER_TRANSFER_BYTES
        self.server_rate = self.server_raw * args.read_share * self.reach
        self.core_flop = peaks["f32_flop_per_s"] / peaks["threads"]

    def here(self, phase, form, depth):
        row, rest = self.table[phase, form, depth], self.table[phase, "dsa", 0]
        if phase == "prefill":  # the head runs once a prompt
            return LAYERS * row["least_ms"] / 1000
        return LAYERS * (rest["least_ms"] + row["least_attention_ms"]) / 1000 + HEAD_BYTES / self.read_rate

    def server(self, phase, form, depth):
        row = self.table[phase, form, depth]
        if phase == "prefill":
            computed = row["least_ms"] / 1000 * self.peaks["threads"] / self.args.server_cores
            return LAYERS * max(computed, sum(row["bytes_per_token"].values()) / self.server_rate)
        flop_rate = self.args.server_cores * self.core_flop
        weights = max((LAYERS * self.layer_bytes + HEAD_BYTES) / self.server_rate, LAYERS * self.layer_flop / flop_rate)
        if not depth:
            return weights
        read, flop = attention_work(row)
        least_s = row["least_attention_ms"] / 1000
        share = min(1.0, flop / least_s / self.peaks["f32_flop_per_s"]) if least_s > 0 else 1.0
        return weights + LAYERS * max(read / self.server_rate, flop / (flop_rate * share))

    def assumptions(self):
        a, giga = self.args, 1e-9
        return f"""
Attention of prefill: a token's time less that at depth 0; dense beyond 16K from prompts of {FEW_ROWS} tokens, added to the time at
depth 0 ("sum"). Of decode: median over turns of what a step took longer than one at 0. In brackets: of the least times.
Its share of the roofline: the longer of its arithmetic at the F32 peak and its reading of the cache, over the least time.
What follows is made of the least times, as the peaks are the best.
61 layers here: 61 times this layer, had the machine the memory. The 3 dense layers count as MoE layers (396.5 MB of FFN
weights, not 400.1). Decode is the step at 0 and attention's own time, and adds the head's {HEAD_BYTES * giga:.2f} GB, read at the rate of
this layer's weights: {self.read_rate * giga:.1f} GB/s, {100 * self.reach:.0f} % of the memory's.
Server: {a.channels} channels x {a.mega_transfers} MT/s x {SERVER_TRANSFER_BYTES} bytes = {self.server_raw * giga:.0f} GB/s; a read loop gets {100 * a.read_share:.0f} % of it (assumed, not measured), and decode
{100 * self.reach:.0f} % of what the loop gets (measured here): {self.server_rate * giga:.0f} GB/s. {a.server_cores} cores of {self.core_flop * giga:.0f} F32 GFLOP/s (one thread here). Decode: the
longer of reading the weights and their arithmetic, then for attention the longer of reading its cache and its arithmetic,
at the share of the peak that its own time reaches here. Prefill: this machine's time by the number of threads and cores,
or the reading. Left out: forks over many cores, two sockets, other clocks, sampling."""


def print_report(table, peaks, reports, projection):
    loads = [report["load"] for report in reports]
    print(f"\n{reports[0]['machine']['cpu']['name']}, {peaks['threads']} threads, {peaks['kernels']}: memory "
          f"{peaks['memory_bytes_per_s'] / 1e9:.1f} GB/s, F32 {peaks['f32_flop_per_s'] / 1e9:.0f} GFLOP/s; "
          f"load {min(loads):.1f} to {max(loads):.1f}\n")
    line = "{:<8} {:>6} {:>6}  {:>9} {:>20} {:>9}  {:<11} {:>13} {:>9} {:>12} {:>8}"
    print(line.format("phase", "depth", "", "ms/token", "(least..most)", "roofline", "bound by", "attention, ms", "roofline", "61 here, t/s", "server"))
    for phase, form, depth in sorted(table, key=lambda k: (k[0] == "prefill", k[2], k[1] == "dense")):
        row = table[phase, form, depth]
        read, flop = attention_work(row)
        row["attention_roofline"] = None
        if depth and row["least_attention_ms"] > 0:  # a difference of two times: noise may be larger than it
            row["attention_roofline"] = max(read / peaks["memory_bytes_per_s"], flop / peaks["f32_flop_per_s"]) / (
                row["least_attention_ms"] / 1000)
        row["here_tokens_per_s"] = 1 / projection.here(phase, form, depth)
        row["server_tokens_per_s"] = 1 / projection.server(phase, form, depth)
        print(line.format(
            phase, word(depth), form, f"{row['ms_per_token']:.2f}",
            f"({row['least_ms']:.1f}..{row['most_ms']:.1f}, {row['rounds']})",
            f"{100 * row['roofline']:.0f} %" if row["roofline"] else "sum", row["bound_by"],
            f"{row['attention_ms']:.1f} ({row['least_attention_ms']:.1f})" if depth else "",
            f"{100 * row['attention_roofline']:.0f} %" if row["attention_roofline"] else "", f"{row['here_tokens_per_s']:.3f}",
            f"{row['server_tokens_per_s']:.2f}"))
    print(projection.assumptions())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True, help="the checkpoint: made when it is not there")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--threads", type=int, default=0, help="0: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--decode-tokens", type=int, default=16)
    parser.add_argument("--prompt-tokens", type=int, default=512, help="0: no prefill")
    parser.add_argument("--channels", type=int, default=12, help="of the server's memory")
    parser.add_argument("--mega-transfers", type=int, default=6400, help="a second, of one channel")
    parser.add_argument("--read-share", type=float, default=0.8, help="of the channels' bandwidth that a read loop gets")
    parser.add_argument("--server-cores", type=int, default=64)
    parser.add_argument("--json", type=pathlib.Path, help="all rows and reports, peaks and assumptions, into this file")
    args = parser.parse_args()

    if not (pathlib.Path(args.folder) / "config.json").exists():
        subprocess.run([sys.executable, ROOT / "tools/make_checkpoint.py", args.folder, "--preset", "v32-moe"], check=True)
    attention, exit_code = measure_attention(args)
    reports, few = measure_steps(args)
    table, peaks = summarise(reports, few, attention), peaks_of(reports)
    projection = Projection(args, table, peaks)
    print_report(table, peaks, reports, projection)
    if args.json:
        rows = [dict(zip(("phase", "attention", "depth"), key)) | row for key, row in table.items()]
        assumed = {name: getattr(args, name) for name in ("channels", "mega_transfers", "read_share", "server_cores")}
        args.json.write_text(json.dumps({"version": 1, "machine": reports[0]["machine"], "peaks": peaks, "assumed": assumed,
                                         "attention": list(attention.values()), "rows": rows, "reports": reports + few}, indent=1))
    sys.exit(exit_code)


if __name__ == "__main__":
    main()
