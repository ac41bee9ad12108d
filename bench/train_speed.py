#!/usr/bin/env python3
"""Training and rollout speed beside PyTorch: one model of 14.8 million parameters, F32, the same work, in turns.

    build/venv/bin/python bench/train_speed.py [--threads 1,2] [--rounds 5] [--what train,rollout] [--json FILE]

Needs build/release/minke and tests/requirements-interop.txt; torch.compile also a C++ compiler. The model is the preset
dsa-15m of tools/make_checkpoint.py, random weights: 256 wide, 6 layers, 8 experts of which 2, context 512.

  train    one step on random tokens: forward, mean next-token cross-entropy, backward, clip at norm 1, AdamW on all but
           the indexer, sparse attention. PyTorch: transformers, eager attention, as it is ("eager") and its model
           compiled ("compile"), each with the fastest way to run experts (--experts) that works there
  rollout  --batch 64 prompts of 16 tokens, 200 new ones each, greedy. PyTorch: transformers' generate with its cache.
           minke: the decode of `minke bench`, from depth 16

A round runs every contender once; medians, spread ((slowest - fastest) / median of the times) and ratios of medians are
printed, and the share of minke's F32 peak ("peak" of `minke bench`) that a training step's products reach.
"""
import argparse
import json
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONTEXT, PROMPT = 512, 16
WAYS_OF_EXPERTS = ("eager", "grouped_mm")  # batched_mm copies a token's experts: 25 times slower


def minke_training(args, threads):
    """Seconds of one training step of args.train_batch x 512 tokens by `minke train`: the median of four, its own clock, the
    first step left out. The text is random numbers in the words of nano's tokenizer, long enough to fill every sequence."""
    folder = pathlib.Path(args.folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(ROOT / "models" / "nano" / name, folder / name)
    rng = random.Random(1)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        text = " ".join(str(rng.randrange(100)) for _ in range(20 * args.train_batch * CONTEXT))
        (scratch / "data.jsonl").write_text(json.dumps({"text": text}) + "\n", encoding="utf-8")
        (scratch / "train.toml").write_text(f"""
out = "{scratch}/run"
model = "{folder}"
threads = {threads}
[[stage]]
kind = "sparse"
data = ["{scratch}/data.jsonl"]
steps = 5
sequence_tokens = {CONTEXT}
batch_tokens = {args.train_batch * CONTEXT}
lr = 1e-5
indexer_lr = 0
""", encoding="utf-8")
        subprocess.run([args.minke, "train", scratch / "train.toml", "-q"], stdout=subprocess.DEVNULL, check=True)
        steps = [json.loads(line) for line in open(scratch / "run" / "metrics.jsonl", encoding="utf-8")]
    assert all(step["tokens"] >= 0.99 * args.train_batch * CONTEXT for step in steps), steps
    return statistics.median(step["seconds"] for step in steps[1:])


def minke_bench(args, threads, *flags):
    command = [args.minke, "bench", args.folder, "--json", "-q", "-r", "1", "-t", str(threads), *map(str, flags)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def minke_rollout(args, threads):
    """Seconds for args.batch x args.new_tokens decoded tokens. Weights lie in large pages, as those of `minke rl` do."""
    report = minke_bench(args, threads, "--load", "read", "--huge-pages", "auto", "--batch", args.batch, "-d", PROMPT, "-p", 0, "-n", args.new_tokens)
    return args.batch * args.new_tokens / report["rows"][0]["tokens_per_s"]


def f32_peak(args, threads):
    """Floating-point operations a second, the best of three measurements."""
    return max(minke_bench(args, threads, "--batch", 1, "-d", 0, "-p", 0, "-n", 1)["peaks"]["by_threads"][0]["f32_flop_per_s"]
               for _ in range(3))


def load_torch_model(folder, experts):
    import torch
    import transformers
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager",
                                                             experts_implementation=experts)


class TorchTraining:
    """A call is one step; it returns its seconds."""

    def __init__(self, args, experts, compiled):
        import torch
        self.torch, self.args = torch, args
        torch.manual_seed(0)
        self.model = load_torch_model(args.folder, experts).train()
        self.parameters = []
        for name, p in self.model.named_parameters():
            p.requires_grad_(".indexer." not in name)
            if p.requires_grad:
                self.parameters.append(p)
        matrices = [p for p in self.parameters if p.ndim >= 2]
        vectors = [p for p in self.parameters if p.ndim < 2]
        self.optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1},
                                            {"params": vectors, "weight_decay": 0.0}], lr=1e-4, betas=(0.9, 0.95))
        self.forward = torch.compile(self.model) if compiled else self.model
        self(), self()  # compiles, allocates the optimizer's state

    def __call__(self):
        vocab = self.model.config.vocab_size
        ids = self.torch.randint(2, vocab, (self.args.train_batch, CONTEXT))
        begin = time.perf_counter()
        logits = self.forward(input_ids=ids, use_cache=False).logits
        loss = self.torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        self.optimizer.zero_grad()
        loss.backward()
        self.torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        return time.perf_counter() - begin


class TorchRollout:
    def __init__(self, args, experts):
        import torch
        self.torch, self.args = torch, args
        self.model = load_torch_model(args.folder, experts).eval()
        self(new_tokens=4)

    def __call__(self, new_tokens=None):
        new_tokens = new_tokens or self.args.new_tokens
        ids = self.torch.randint(2, self.model.config.vocab_size, (self.args.batch, PROMPT))
        begin = time.perf_counter()
        with self.torch.inference_mode():
            out = self.model.generate(ids, attention_mask=self.torch.ones_like(ids), do_sample=False, pad_token_id=0,
                                      max_new_tokens=new_tokens, min_new_tokens=new_tokens)
        seconds = time.perf_counter() - begin
        assert out.shape == (self.args.batch, PROMPT + new_tokens), out.shape
        return seconds


def fastest(make, ways, label):
    """The contender whose second call is the quickest, over the ways to run experts that work."""
    tried = []
    for way in ways:
        begin = time.monotonic()
        try:
            contender = make(way)
            tried.append((contender(), way, contender))
        except Exception as error:  # what does not run or compile is out of the race, and said
            print(f"{label}, experts {way}: {type(error).__name__}: {str(error).strip().splitlines()[:1]}", file=sys.stderr)
            continue
        print(f"{label}, experts {way}: {tried[-1][0]:.2f} s (ready after {time.monotonic() - begin:.0f} s)", file=sys.stderr)
    if not tried:
        return None, None
    _, way, contender = min(tried, key=lambda entry: entry[0])
    return way, contender


def training_flop(folder, batch):
    """Operations of the products of a step: 2 forward and 4 backward for each weight that a token meets, the same for
    the attended keys in MLA's expanded form; the indexer has no backward. Selection, norms and softmax are left out."""
    c = json.loads((folder / "config.json").read_text())
    d, heads, layers = c["hidden_size"], c["num_attention_heads"], c["num_hidden_layers"]
    dn, dr, dv, rq, rc = (c[k] for k in ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "q_lora_rank", "kv_lora_rank"))
    attention = d * rq + rq * heads * (dn + dr) + d * (rc + dr) + rc * heads * (dn + dv) + heads * dv * d
    indexer = rq * c["index_n_heads"] * c["index_head_dim"] + d * (c["index_head_dim"] + c["index_n_heads"])
    dense = c["first_k_dense_replace"]
    experts = 3 * d * c["moe_intermediate_size"] * (c["num_experts_per_tok"] + c["n_shared_experts"]) + d * c["n_routed_experts"]
    ffn = dense * 3 * d * c["intermediate_size"] + (layers - dense) * experts
    keys = sum(min(t + 1, c["index_topk"]) for t in range(CONTEXT)) / CONTEXT
    seen = (CONTEXT + 1) / 2
    token = (6 * (layers * attention + ffn + d * c["vocab_size"] + layers * keys * heads * (dn + dr + dv))
             + 2 * layers * (indexer + seen * c["index_n_heads"] * c["index_head_dim"]))
    return token * batch * CONTEXT


def measure(contenders, rounds):
    """{name: [seconds]}, in turns; a contender that returns None is left out."""
    times = {}
    for _ in range(rounds):
        for name, run in contenders.items():
            seconds = run()
            if seconds is not None:
                times.setdefault(name, []).append(seconds)
    return times


def report(what, threads, tokens, times, flop=None, peak=None):
    """Prints a table, and returns its rows."""
    ours = statistics.median(times["minke"]) if "minke" in times else None
    rows = []
    for name, seconds in times.items():
        median = statistics.median(seconds)
        row = {"what": what, "threads": threads, "name": name, "tokens_per_s": tokens / median, "seconds": seconds,
               "spread": (max(seconds) - min(seconds)) / median, "minke_over_it": median / ours if ours else None}
        text = f"{what:<8} {threads} thread{'s' * (threads > 1)}  {name:<22} {row['tokens_per_s']:>9.0f} tokens/s  spread {100 * row['spread']:>3.0f} %"
        if ours:
            text += f"  minke is {row['minke_over_it']:.2f} times as fast"
        if flop:
            row["share_of_f32_peak"] = flop / median / peak
            text += f"  {100 * row['share_of_f32_peak']:.0f} % of the F32 peak"
        print(text, flush=True)
        rows.append(row)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=pathlib.Path, help="the checkpoint; made when it is not there (default: a temporary one)")
    parser.add_argument("--minke", type=pathlib.Path, default=ROOT / "build/release/minke")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--what", default="train,rollout")
    parser.add_argument("--train-batch", type=int, default=4, help="sequences of 512 tokens a step")
    parser.add_argument("--batch", type=int, default=64, help="prompts of the rollout")
    parser.add_argument("--new-tokens", type=int, default=200)
    parser.add_argument("--experts", default=",".join(WAYS_OF_EXPERTS), help="transformers' ways to run experts to try")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--json", type=pathlib.Path, help="all rows into this file")
    args = parser.parse_args()
    ways, what = args.experts.split(","), args.what.split(",")
    import torch
    with tempfile.TemporaryDirectory() as temporary:
        args.folder = args.folder or pathlib.Path(temporary) / "dsa-15m"
        if not (args.folder / "config.json").exists():
            subprocess.run([sys.executable, ROOT / "tools/make_checkpoint.py", args.folder, "--preset", "dsa-15m",
                            "--even-experts"], check=True, stdout=subprocess.DEVNULL)
        rows = []
        for threads in map(int, args.threads.split(",")):
            torch.set_num_threads(threads)
            peak = f32_peak(args, threads)
            print(f"{threads} thread{'s' * (threads > 1)}: F32 peak {peak / 1e9:.0f} GFLOP/s, load {os.getloadavg()[0]:.1f}", flush=True)
            if "train" in what:
                contenders = {"minke": lambda: minke_training(args, threads)}
                for name, compiled in (("eager", False), ("compile", True)):
                    if compiled and args.no_compile:
                        continue
                    torch._dynamo.reset()
                    way, contender = fastest(lambda way: TorchTraining(args, way, compiled), ways, f"training, {name}")
                    if contender:
                        contenders[f"PyTorch {name}, {way}"] = contender
                rows += report("train", threads, args.train_batch * CONTEXT, measure(contenders, args.rounds),
                               training_flop(args.folder, args.train_batch), peak)
            if "rollout" in what:
                way, contender = fastest(lambda way: TorchRollout(args, way), ways, "rollout")
                contenders = {"minke": lambda: minke_rollout(args, threads)} | ({f"generate, {way}": contender} if contender else {})
                rows += report("rollout", threads, args.batch * args.new_tokens, measure(contenders, args.rounds))
    if args.json:
        args.json.write_text(json.dumps({"torch": torch.__version__, "load": os.getloadavg(), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
