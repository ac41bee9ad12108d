#!/usr/bin/env python3
"""minke's weight formats beside GGUF's of the same size, quantised by ggml itself.

    pip install llama-cpp-python gguf torch safetensors
    python3 bench/quantize_quality.py [--program build/release/minke] [--ggml libggml-base.so]

Two comparisons. Relative RMS error on 1024 x 2048 weights: Gaussian; Gaussian with one weight in a hundred ten times
larger; the same with whole columns ten times larger. And tests/data/nano-hf: its matrices in GGUF's formats (written
back as F32) and in minke's, perplexity and divergence from the BF16 weights over tests/data/nano-hf/sample.txt: once with the
weights alone quantised, on both sides, and once as minke computes, where x is in 8 bits as well. A matrix whose rows are
no multiple of GGUF's block is quantised as one long row.
"""

import argparse
import ctypes
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=ROOT / "build" / "release" / "minke", type=pathlib.Path)
    parser.add_argument("--ggml", type=pathlib.Path, help="libggml-base.so (default: llama-cpp-python's)")
    return parser.parse_args()


if __name__ == "__main__":
    ARGS = parse_arguments()  # before these imports: --help needs no package

import numpy as np  # noqa: E402
import torch  # noqa: E402
from gguf import GGMLQuantizationType, quants  # noqa: E402
from safetensors.numpy import load_file, save_file  # noqa: E402
from safetensors.torch import load_file as load_torch  # noqa: E402

NANO = ROOT / "tests" / "data" / "nano-hf"
PAIRS = [("q8", "Q8_0", 8, 32, 34), ("q6", "Q6_K", 14, 256, 210), ("q4", "Q4_K", 12, 256, 144)]  # ggml type, block, bytes


class Ggml:
    def __init__(self, path):
        self.lib = ctypes.CDLL(str(path))
        self.lib.ggml_quantize_chunk.restype = ctypes.c_size_t
        self.lib.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + [ctypes.c_int64] * 3 + [
            ctypes.c_void_p]

    def there_and_back(self, x, name, number, block, size):
        flat = np.ascontiguousarray(x, np.float32).reshape(-1)
        padded = np.zeros(-(-flat.size // block) * block, np.float32)
        padded[: flat.size] = flat
        out = np.zeros(padded.size // block * size, np.uint8)
        written = self.lib.ggml_quantize_chunk(number, padded.ctypes.data, out.ctypes.data, 0, 1, padded.size, None)
        assert written == out.size, (name, written, out.size)
        back = quants.dequantize(out.reshape(1, -1), GGMLQuantizationType[name])
        return back.reshape(-1)[: flat.size].reshape(x.shape)


def from_tiles(tiles, row_scales, rows, cols):
    """[rows, cols] of a matrix in tiles (minke/tensor/tile.h)."""
    row_tiles, col_tiles, size = tiles.shape
    scales = tiles[..., size - 32 :]
    bytes_of = lambda k: tiles[..., 64 * k : 64 * k + 64].reshape(row_tiles, col_tiles, 16, 4).astype(np.int32)  # noqa: E731
    if size == 544:
        codes = [bytes_of(g) - 128 for g in range(8)]
        scale = np.ascontiguousarray(scales).view(np.uint16).astype(np.uint32) << 16
        scale, minimum = scale.view(np.float32), np.float32(0)
    else:
        codes = [bytes_of(g % 4) >> 4 * (g // 4) & 15 for g in range(8)]
        if size == 416:
            codes = [code | (bytes_of(4 + g // 4) >> 2 * (g % 4) & 3) << 4 for g, code in enumerate(codes)]
        squares = scales.astype(np.float32) ** 2
        scale = row_scales[:, None, 0] * squares[..., :16]
        minimum = (row_scales[:, None, 1] * squares[..., 16:])[..., None]
    codes = np.concatenate(codes, axis=3)  # [row tiles, column tiles, 16, 32]
    values = codes * scale[..., None] - minimum
    return values.transpose(0, 2, 1, 3).reshape(row_tiles * 16, col_tiles * 32)[:rows, :cols].astype(np.float32)


def relative_rms(x, y):
    return float(np.sqrt(((x - y) ** 2).sum(dtype=np.float64) / (x**2).sum(dtype=np.float64)))


def minke(program, *arguments):
    result = subprocess.run([program, *map(str, arguments), "--quiet"], capture_output=True, text=True, check=True)
    return json.loads(result.stdout)


def data_sets():
    rng = np.random.default_rng(1)
    gaussian = rng.standard_normal((1024, 2048), np.float32)
    rare = gaussian * np.where(rng.random(gaussian.shape) < 0.01, 10, 1).astype(np.float32)
    columns = gaussian * np.where(rng.random(2048) < 0.01, 10, 1).astype(np.float32)
    return {"Gaussian": gaussian, "1 % ten times larger": rare, "1 % of columns ten times larger": columns}


def checkpoint_with(x, folder):
    """A tiny model whose lm_head is `x`."""
    subprocess.run([sys.executable, ROOT / "tools" / "make_checkpoint.py", folder, "--preset", "tiny", "--set",
                    f"hidden_size={x.shape[1]}", "--set", f"vocab_size={x.shape[0]}"], check=True, capture_output=True)
    (path,) = folder.glob("*.safetensors")
    save_file(load_file(path) | {"lm_head.weight": x}, path)


def errors_on_data(program, ggml, work):
    print(f"{'relative RMS error':34}" + "".join(f"{ours:>9}{theirs:>9}" for ours, theirs, *_ in PAIRS))
    for name, x in data_sets().items():
        folder = work / "data"
        shutil.rmtree(folder, ignore_errors=True)
        checkpoint_with(x, folder)
        line = f"{name:34}"
        for ours, theirs, *layout in PAIRS:
            shutil.rmtree(work / "out", ignore_errors=True)
            record = minke(program, "quantize", folder, work / "out", "--keep", f"lm_head={ours}", "--keep", ".=keep", "--json")
            (tensor,) = [t for shard in record["shards"] for t in shard["tensors"]]
            line += f"{tensor['relative_rms']:9.5f}{relative_rms(x, ggml.there_and_back(x, theirs, *layout)):9.5f}"
        print(line)


def tensors_of(folder):
    """All tensors by name, BF16 as F32 (which numpy does not have)."""
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors |= {name: (value.float() if value.dtype == torch.bfloat16 else value).numpy()
                    for name, value in load_torch(path).items()}
    return tensors


def errors_on_nano(program, ggml, work):
    text = NANO / "sample.txt"
    base = work / "base.safetensors"
    (exact,) = minke(program, "perplexity", NANO, "-f", text, "--save-logits", base, "--json")["rows"]
    print(f"\nnano-hf, perplexity {exact['perplexity']:.4f} in BF16\n{'format':14}{'perplexity':>12}{'change':>10}{'KL, nats':>12}"
          f"{'+-':>10}{'same top':>10}")
    tensors = tensors_of(NANO)
    for ours, theirs, *layout in PAIRS:
        out = work / ours
        record = minke(program, "quantize", NANO, out, "--type", ours, "--json")
        kinds = {t["name"]: t["type"].lower() for shard in record["shards"] for t in shard["tensors"]}
        as_gguf = work / theirs
        as_gguf.mkdir()
        by_ours = {pair[0]: pair[1:] for pair in PAIRS}
        stored = tensors_of(out)
        alone = work / f"{ours}-alone"
        alone.mkdir()
        save_file({name: from_tiles(stored[name], stored.get(name + "_row_scales"), *value.shape) if name in kinds else value
                   for name, value in tensors.items()}, alone / "model.safetensors")
        save_file({name: ggml.there_and_back(value, *by_ours[kinds[name]]) if name in kinds else value
                   for name, value in tensors.items()}, as_gguf / "model.safetensors")
        for side in ("config.json", "tokenizer.json", "tokenizer_config.json"):
            shutil.copy(NANO / side, as_gguf / side)
            shutil.copy(NANO / side, alone / side)
        for name, folder in ((f"{theirs} weights", as_gguf), (f"{ours} weights", alone), (f"{ours} and x", out)):
            (row,) = minke(program, "perplexity", folder, "-f", text, "--kl-base", base, "--json")["rows"]
            print(f"{name:14}{row['perplexity']:12.4f}{100 * (row['perplexity'] / exact['perplexity'] - 1):9.2f}%"
                  f"{row['kl']['mean']:12.5f}{row['kl']['error']:10.5f}{100 * row['kl']['same_top']:9.1f}%")


def main(args):
    if args.ggml is None:
        import llama_cpp

        args.ggml = pathlib.Path(llama_cpp.__file__).parent / "lib" / "libggml-base.so"
    ggml = Ggml(args.ggml)
    with tempfile.TemporaryDirectory() as work:
        errors_on_data(args.program, ggml, pathlib.Path(work))
        errors_on_nano(args.program, ggml, pathlib.Path(work))


if __name__ == "__main__":
    main(ARGS)
