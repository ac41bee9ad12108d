#!/usr/bin/env python3
"""Makes a checkpoint with random weights, of any dimensions, for tests and benchmarks. Needs numpy only.

  make_checkpoint.py OUT --preset v32-layer                  one decoder layer, V3.2's real attention, BF16
  make_checkpoint.py OUT --preset v32-layer --dtype fp8 --moe
  make_checkpoint.py OUT --preset v32-moe                    one MoE layer of V3.2 with nothing reduced, FP8, 11.5 GB
  make_checkpoint.py OUT --preset dsa-1.6b                   1.59 billion parameters, for benchmarks
  make_checkpoint.py OUT --preset dsa-15m                    14.8 million parameters, F32, to time training with
  make_checkpoint.py OUT --preset big16                      17 GB in shards, almost all of it file holes
  make_checkpoint.py OUT --preset tiny --set num_hidden_layers=4 --set index_topk=32 --dtype f32

Tensors are written one piece at a time, so memory stays small. With --sparse, matrices are holes in the file (they
read as zeros and take no disk); norms, scales and biases are always real. Values repeat a table of 65536 normal
numbers in random order, scaled by 1/sqrt(inputs), which is fast and good enough for speed, memory and NaN checks.
"""
import argparse
import json
import math
import os
import shutil

import numpy as np

BLOCK = 128
V32 = dict(model_type="deepseek_v32", vocab_size=129280, hidden_size=7168, intermediate_size=18432,
           moe_intermediate_size=2048, num_hidden_layers=61, num_attention_heads=128, num_key_value_heads=128,
           n_routed_experts=256, n_shared_experts=1, num_experts_per_tok=8, n_group=8, topk_group=4,
           first_k_dense_replace=3, moe_layer_freq=1, topk_method="noaux_tc", scoring_func="sigmoid",
           norm_topk_prob=True, routed_scaling_factor=2.5, q_lora_rank=1536, kv_lora_rank=512, qk_nope_head_dim=128,
           qk_rope_head_dim=64, v_head_dim=128, index_n_heads=64, index_head_dim=128, index_topk=2048,
           rms_norm_eps=1e-6, max_position_embeddings=163840, rope_theta=10000, hidden_act="silu",
           tie_word_embeddings=False, attention_bias=False, bos_token_id=0, eos_token_id=1,
           num_nextn_predict_layers=0,
           rope_scaling=dict(type="yarn", factor=40, original_max_position_embeddings=4096, beta_fast=32, beta_slow=1,
                             mscale=1.0, mscale_all_dim=1.0))
PRESETS = {
    # Attention dominates: the FFN and the vocabulary are small.
    "v32-layer": (dict(V32, num_hidden_layers=1, vocab_size=512, intermediate_size=512, moe_intermediate_size=256,
                       n_routed_experts=16, first_k_dense_replace=1), "bf16", False),
    # One MoE layer of V3.2 with nothing reduced: 11.5 GB. The vocabulary is small, so that a step is the layer.
    "v32-moe": (dict(V32, num_hidden_layers=1, vocab_size=128, first_k_dense_replace=0), "fp8", False),
    # 3 dense layers and one full MoE layer of V3.2, with the real embedding and head.
    "big16": (dict(V32, num_hidden_layers=4), "fp8", True),
    # 1.59 billion parameters, 0.46 of them used for a token: V3.2's attention at a size that a small machine holds.
    "dsa-1.6b": (dict(V32, num_hidden_layers=12, hidden_size=1024, intermediate_size=2816, moe_intermediate_size=512,
                      num_attention_heads=32, n_routed_experts=64, num_experts_per_tok=6, n_group=8, topk_group=4,
                      first_k_dense_replace=1, q_lora_rank=768, index_n_heads=16), "bf16", False),
    # 14.8 million parameters: what bench/train_speed.py trains.
    "dsa-15m": (dict(V32, num_hidden_layers=6, vocab_size=3072, hidden_size=256, intermediate_size=1024,
                     moe_intermediate_size=320, num_attention_heads=8, num_key_value_heads=8, n_routed_experts=8,
                     num_experts_per_tok=2, n_group=1, topk_group=1, first_k_dense_replace=1, q_lora_rank=128,
                     kv_lora_rank=64, qk_nope_head_dim=32, qk_rope_head_dim=16, v_head_dim=32, index_n_heads=4,
                     index_head_dim=32, index_topk=64, max_position_embeddings=512, rope_scaling=None), "f32", False),
    "tiny": (dict(V32, num_hidden_layers=2, vocab_size=192, hidden_size=64, intermediate_size=112,
                  moe_intermediate_size=32, num_attention_heads=4, num_key_value_heads=4, n_routed_experts=8,
                  num_experts_per_tok=2, n_group=4, topk_group=2, first_k_dense_replace=1, q_lora_rank=48,
                  kv_lora_rank=32, qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=16, index_n_heads=8,
                  index_head_dim=16, index_topk=16, max_position_embeddings=1280), "f32", False),
}
EVEN_EMBEDDING = 64.0
BYTES = {"F32": 4, "BF16": 2, "F16": 2, "F8_E4M3": 1}


def tensors(c, dtype):
    """Yields (name, kind, dtype, shape); kind is matrix, norm, bias or scale."""
    wide = {"f32": "F32", "bf16": "BF16", "f16": "F16", "fp8": "BF16"}[dtype]
    d, heads, rq, rc = c["hidden_size"], c["num_attention_heads"], c["q_lora_rank"], c["kv_lora_rank"]
    dn, dr, dv = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"]
    layers, mtp = c["num_hidden_layers"], min(1, c.get("num_nextn_predict_layers", 0))

    def plain(name, rows, cols):
        yield name, "matrix", wide, [rows, cols]

    def linear(name, rows, cols):
        if dtype != "fp8":
            yield from plain(name, rows, cols)
            return
        yield name, "matrix", "F8_E4M3", [rows, cols]
        yield name + "_scale_inv", "scale", "F32", [-(-rows // BLOCK), -(-cols // BLOCK)]

    def mlp(prefix, width):
        yield from linear(prefix + ".gate_proj.weight", width, d)
        yield from linear(prefix + ".up_proj.weight", width, d)
        yield from linear(prefix + ".down_proj.weight", d, width)

    def layer(i):
        p = f"model.layers.{i}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield p + norm + ".weight", "norm", wide, [d]
        a = p + "self_attn."
        if rq:
            yield from linear(a + "q_a_proj.weight", rq, d)
            yield a + "q_a_layernorm.weight", "norm", wide, [rq]
            yield from linear(a + "q_b_proj.weight", heads * (dn + dr), rq)
        else:
            yield from linear(a + "q_proj.weight", heads * (dn + dr), d)
        yield from linear(a + "kv_a_proj_with_mqa.weight", rc + dr, d)
        yield a + "kv_a_layernorm.weight", "norm", wide, [rc]
        yield from linear(a + "kv_b_proj.weight", heads * (dn + dv), rc)
        yield from linear(a + "o_proj.weight", d, heads * dv)
        if c["model_type"] in ("deepseek_v32", "glm_moe_dsa"):
            yield from linear(a + "indexer.wq_b.weight", c["index_n_heads"] * c["index_head_dim"], rq)
            yield from linear(a + "indexer.wk.weight", c["index_head_dim"], d)
            yield a + "indexer.k_norm.weight", "norm", "F32", [c["index_head_dim"]]
            yield a + "indexer.k_norm.bias", "bias", "F32", [c["index_head_dim"]]
            yield from plain(a + "indexer.weights_proj.weight", c["index_n_heads"], d)
        if i < layers and (i < c["first_k_dense_replace"] or i % c["moe_layer_freq"]):
            yield from mlp(p + "mlp", c["intermediate_size"])
            return
        yield from plain(p + "mlp.gate.weight", c["n_routed_experts"], d)
        if c["topk_method"] == "noaux_tc":
            yield p + "mlp.gate.e_score_correction_bias", "bias", "F32", [c["n_routed_experts"]]
        for e in range(c["n_routed_experts"]):
            yield from mlp(f"{p}mlp.experts.{e}", c["moe_intermediate_size"])
        if c["n_shared_experts"]:
            yield from mlp(p + "mlp.shared_experts", c["moe_intermediate_size"] * c["n_shared_experts"])

    yield from plain("model.embed_tokens.weight", c["vocab_size"], d)
    for i in range(layers + mtp):
        yield from layer(i)
    if mtp:
        p = f"model.layers.{layers}."
        for norm in ("enorm", "hnorm", "shared_head.norm"):
            yield p + norm + ".weight", "norm", wide, [d]
        yield from plain(p + "eh_proj.weight", d, 2 * d)
        yield from plain(p + "embed_tokens.weight", c["vocab_size"], d)
        yield from plain(p + "shared_head.head.weight", c["vocab_size"], d)
    yield "model.norm.weight", "norm", wide, [d]
    if not c["tie_word_embeddings"]:
        yield from plain("lm_head.weight", c["vocab_size"], d)


def to_bf16(x):
    bits = np.asarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def to_e4m3(x):
    """Nearest finite e4m3 code; good for the few values of a table."""
    codes = np.array([k for k in range(256) if k & 0x7F != 0x7F], np.uint8)
    magnitude, exponent = (codes & 7).astype(float), ((codes >> 3) & 15).astype(int)
    values = np.where(exponent == 0, magnitude * 2.0**-9, (8 + magnitude) * 2.0 ** (exponent - 10))
    values = np.where(codes & 0x80, -values, values)
    order = np.argsort(values, kind="stable")
    values, codes = values[order], codes[order]
    right = np.clip(np.searchsorted(values, x), 1, len(values) - 1)
    left = right - 1
    return np.where(x - values[left] <= values[right] - x, codes[left], codes[right])


def encode(x, dtype):
    return {"F32": lambda: np.asarray(x, np.float32), "F16": lambda: np.asarray(x, np.float16),
            "BF16": lambda: to_bf16(x), "F8_E4M3": lambda: to_e4m3(x)}[dtype]()


def write_tensor(out, kind, dtype, shape, rng, normal, sparse, even=False, scale=1.0):
    count = math.prod(shape)
    if kind == "norm":
        out.write(encode(1 + 0.1 * rng.standard_normal(count), dtype).tobytes())
    elif kind == "bias" and even:
        out.write(bytes(count * BYTES[dtype]))
    elif kind == "bias":
        out.write(encode(0.1 * rng.standard_normal(count), dtype).tobytes())
    elif kind == "scale":  # powers of two; the codes below have a spread of 64
        out.write(encode(np.exp2(rng.integers(-7, -5, count)) / 64 * 0.5, dtype).tobytes())
    elif sparse:
        out.seek(count * BYTES[dtype], os.SEEK_CUR)
    else:
        table = encode(normal * (64 if dtype == "F8_E4M3" else scale / math.sqrt(shape[-1])), dtype)
        step = 1 << 24
        for start in range(0, count, step):
            picks = rng.integers(0, 1 << 16, min(step, count - start), dtype=np.uint16)
            out.write(table[picks].tobytes())


def write_shard(path, part, seed, sparse, even):
    rng = np.random.default_rng(seed)
    normal = np.random.default_rng(1).standard_normal(1 << 16)
    # Widest elements first keeps every tensor aligned without holes.
    part = sorted(part, key=lambda t: (-BYTES[t[2]], t[0]))
    header, offset = {}, 0
    for name, _, dtype, shape in part:
        size = math.prod(shape) * BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for name, kind, dtype, shape in part:
            scale = EVEN_EMBEDDING if even and name == "model.embed_tokens.weight" else 1.0
            write_tensor(out, kind, dtype, shape, rng, normal, sparse, even and "e_score" in name, scale)
        out.truncate(8 + len(text) + offset)  # a hole at the end is not written by seeking


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", help="folder to make")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="tiny")
    parser.add_argument("--dtype", choices=["f32", "f16", "bf16", "fp8"], help="of matrices; default by preset")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=JSON", help="a field of config.json")
    parser.add_argument("--moe", action="store_true", help="every layer is MoE")
    parser.add_argument("--sparse", action="store_true", help="matrices are holes in the file")
    parser.add_argument("--even-experts", action="store_true",
                        help="tokens spread over all experts: a larger embedding, and no bias of the routers; random weights "
                        "send nearly all tokens to the same ones otherwise")
    parser.add_argument("--shard-bytes", type=int, default=4_300_000_000)
    parser.add_argument("--tokenizer", help="a tokenizer.json, or a folder that has one, to copy in")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    config, dtype, sparse = PRESETS[args.preset]
    config, dtype, sparse = dict(config), args.dtype or dtype, sparse or args.sparse
    for item in args.set:
        key, value = item.split("=", 1)
        config[key] = json.loads(value)
    if args.moe:
        config["first_k_dense_replace"] = 0
    if dtype == "fp8":
        config["quantization_config"] = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
                                         "scale_fmt": "ue8m0", "weight_block_size": [BLOCK, BLOCK]}
    config["torch_dtype"] = {"f32": "float32", "f16": "float16"}.get(dtype, "bfloat16")

    os.makedirs(args.out, exist_ok=True)
    shards, size = [[]], 0
    for tensor in tensors(config, dtype):
        bytes_here = math.prod(tensor[3]) * BYTES[tensor[2]]
        if shards[-1] and size + bytes_here > args.shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(tensor)
        size += bytes_here
    total = 0
    weight_map = {}
    for number, part in enumerate(shards, 1):
        name = "model.safetensors" if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        write_shard(os.path.join(args.out, name), part, (args.seed, number), sparse, args.even_experts)
        weight_map.update((tensor[0], name) for tensor in part)
        total += sum(math.prod(t[3]) * BYTES[t[2]] for t in part)
    if len(shards) > 1:
        with open(os.path.join(args.out, "model.safetensors.index.json"), "w") as out:
            json.dump({"metadata": {"total_size": total}, "weight_map": weight_map}, out, indent=1)
    with open(os.path.join(args.out, "config.json"), "w") as out:
        json.dump(config, out, indent=1)
    if args.tokenizer:
        folder = args.tokenizer if os.path.isdir(args.tokenizer) else os.path.dirname(args.tokenizer) or "."
        for name in ("tokenizer.json", "tokenizer_config.json"):
            if os.path.exists(os.path.join(folder, name)):
                shutil.copy(os.path.join(folder, name), args.out)
    print(f"{args.out}: {len(weight_map)} tensors, {total / 1e9:.2f} GB in {len(shards)} files, {dtype}"
          + (", matrices are holes" if sparse else ""))


if __name__ == "__main__":
    main()
