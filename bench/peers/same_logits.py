#!/usr/bin/env python3
"""Do minke's folder and llama.cpp's GGUF file hold the same model? Logits of the same random prompt, compared.

    same_logits.py MODEL model.gguf [--tokens 100] [--program build/release/minke]

Random weights make routers undecided: a rounding error that changes one expert changes everything after it. So equality
is proved on a model that uses all of its experts, in F32, and shorter than the indexer's top-k:

    tools/make_checkpoint.py all --preset dsa-1.6b --dtype f32 --set num_hidden_layers=4 --set vocab_size=4096 \\
        --set n_routed_experts=8 --set num_experts_per_tok=8 --set n_group=1 --set topk_group=1

and the indexer's selection on one without experts, two layers, and more tokens than it selects:

    tools/make_checkpoint.py two --preset dsa-1.6b --dtype f32 --set num_hidden_layers=2 --set vocab_size=2048 \\
        --set first_k_dense_replace=2 --set index_topk=64                       # same_logits.py --tokens 256
"""

import argparse
import json
import pathlib
import subprocess
import tempfile


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("gguf")
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--program", default="build/release/minke")
    return parser.parse_args()


if __name__ == "__main__":
    ARGS = parse_arguments()  # before these imports: --help needs no package

import numpy as np  # noqa: E402

from llama import Llama  # noqa: E402
from to_gguf import Tensors  # noqa: E402


def minke_logits(program, model, tokens, threads):
    with tempfile.TemporaryDirectory() as folder:
        ids, out = pathlib.Path(folder) / "ids.safetensors", pathlib.Path(folder) / "logits.safetensors"
        entry = {"dtype": "I64", "shape": [len(tokens)], "data_offsets": [0, 8 * len(tokens)]}
        header = json.dumps({"input_ids": entry}).encode()
        header += b" " * (-len(header) % 8)
        ids.write_bytes(len(header).to_bytes(8, "little") + header + tokens.astype(np.int64).tobytes())
        subprocess.run([program, "-q", "-t", str(threads), "score", model, "--ids", ids, "--out", out], check=True)
        found = Tensors(folder).found
        data, dtype, shape = found["logits"]
        assert dtype == "F32", dtype
        return np.array(data.view(np.float32).reshape(shape))


def main(args):
    llama = Llama(args.gguf, 512, args.threads)
    tokens = np.random.default_rng(5).integers(0, llama.vocab_size, args.tokens)
    theirs = np.array(llama.decode(tokens, 0, all_logits=True), np.float64)
    ours = minke_logits(args.program, args.model, tokens, args.threads).astype(np.float64)
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    correlation = np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(ours, theirs)])
    p, q = (x - np.log(np.exp(x - x.max(1, keepdims=True)).sum(1, keepdims=True)) - x.max(1, keepdims=True)
            for x in (ours, theirs))
    print(f"same most likely token: {np.mean(ours.argmax(1) == theirs.argmax(1)):.1%} of {args.tokens} positions")
    print(f"correlation of logits: lowest {correlation.min():.6f}, median {np.median(correlation):.6f}")
    for name, part in (("first", correlation[: args.tokens // 2]), ("second", correlation[args.tokens // 2 :])):
        print(f"  {name} half: {np.mean(part > 0.9999):.1%} of positions above 0.9999, median {np.median(part):.6f}")
    print(f"largest difference {np.abs(ours - theirs).max():.4f}, logits' deviation {ours.std():.3f}")
    print(f"divergence, mean: {(np.exp(p) * (p - q)).sum(1).mean():.6f} nats")


if __name__ == "__main__":
    main(ARGS)
