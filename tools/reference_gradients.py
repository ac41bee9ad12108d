#!/usr/bin/env python3
"""Loss and gradients of a small deepseek_v32 checkpoint from PyTorch, in the file that `minke grad` writes.

    build/venv/bin/python tools/reference_gradients.py MODEL --ids FILE.safetensors --loss lm --out GRADS.safetensors

--ids has `input_ids` or input_ids.0, .1, ... as for `minke score`. The output has `loss` [1] and one F32 tensor a tensor of
the checkpoint under its name. Needs tests/requirements-interop.txt; tools/torch_reference.py defines the losses.
"""
import argparse

import torch
import transformers
from safetensors.torch import load_file, save_file

import torch_reference


def read_prompts(path):
    """[ids] in order of their numbers."""
    tensors = load_file(path)
    if "input_ids" in tensors:
        return [tensors["input_ids"].tolist()]
    names = sorted((name for name in tensors if name.startswith("input_ids.")), key=lambda name: int(name.split(".")[1]))
    return [tensors[name].tolist() for name in names]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="checkpoint folder")
    parser.add_argument("--ids", required=True)
    parser.add_argument("--loss", choices=torch_reference.LOSSES, default="lm")
    parser.add_argument("--attention", choices=["dsa", "dense"], default="dsa")
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    loss, gradients = torch_reference.Reference(args.model, args.attention).gradients(read_prompts(args.ids), args.loss)
    save_file({"loss": torch.tensor([loss], dtype=torch.float32), **gradients}, args.out)
    print(f"{args.loss}, {args.attention}: {loss:.6f}, {len(gradients)} tensors")


if __name__ == "__main__":
    main()
