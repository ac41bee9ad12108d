#!/usr/bin/env python3
"""A GGUF file for llama.cpp (architecture deepseek32) from a safetensors folder with a deepseek_v32 configuration.

    pip install llama-cpp-python gguf
    to_gguf.py MODEL model.gguf                            matrices as they are: BF16, F16 or F32
    to_gguf.py MODEL model-q8_0.gguf --type q8_0           or q4_k_m: quantised by llama.cpp itself, with its own mix of
    to_gguf.py model.gguf model-q4_k_m.gguf --type q4_k_m  types; MODEL may be a GGUF file of the first kind

Made for comparisons: no tokenizer (the vocabulary is a number of tokens), no MTP layer, no FP8 weights. kv_b_proj
becomes attn_k_b, transposed for each head, and attn_v_b; the experts of a layer become one tensor; vectors and the
router are F32.
"""

import argparse
import json
import pathlib
import sys

FTYPE = {"q8_0": 7, "q4_k_m": 15}  # llama_ftype of llama.h


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--type", choices=["exact", *FTYPE], default="exact")
    parser.add_argument("--threads", type=int, default=0, help="for quantising; 0: all")
    return parser.parse_args()


if __name__ == "__main__":
    ARGS = parse_arguments()  # before these imports: --help needs no package

import numpy as np  # noqa: E402
from gguf import ExpertGatingFuncType, GGMLQuantizationType, GGUFWriter, RopeScalingType  # noqa: E402

ARCH = "deepseek32"
WIDE = {"BF16": (np.uint16, GGMLQuantizationType.BF16), "F16": (np.float16, GGMLQuantizationType.F16),
        "F32": (np.float32, GGMLQuantizationType.F32)}
MATRICES = {  # of every layer
    "self_attn.q_a_proj": "attn_q_a",
    "self_attn.q_b_proj": "attn_q_b",
    "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa",
    "self_attn.o_proj": "attn_output",
    "self_attn.indexer.wq_b": "indexer.attn_q_b",
    "self_attn.indexer.wk": "indexer.attn_k",
    "self_attn.indexer.weights_proj": "indexer.proj",
}
VECTORS = {
    "input_layernorm.weight": "attn_norm.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "self_attn.q_a_layernorm.weight": "attn_q_a_norm.weight",
    "self_attn.kv_a_layernorm.weight": "attn_kv_a_norm.weight",
    "self_attn.indexer.k_norm.weight": "indexer.k_norm.weight",
    "self_attn.indexer.k_norm.bias": "indexer.k_norm.bias",
}
FFN = ("gate", "up", "down")


class Tensors:
    """Tensors of a safetensors folder as arrays on the mapped files; BF16 as its bits."""

    def __init__(self, folder):
        self.found = {}
        for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
            data = np.memmap(path, np.uint8, "r")
            length = int(data[:8].view("<u8")[0])
            for name, entry in json.loads(bytes(data[8 : 8 + length])).items():
                if name != "__metadata__":
                    begin, end = (8 + length + offset for offset in entry["data_offsets"])
                    self.found[name] = (data[begin:end], entry["dtype"], entry["shape"])

    def __getitem__(self, name):
        data, dtype, shape = self.found[name]
        if dtype not in WIDE:
            sys.exit(f"{name} is {dtype}: only BF16, F16 and F32 weights can be converted")
        return data.view(WIDE[dtype][0]).reshape(shape), WIDE[dtype][1]

    def f32(self, name):
        array, kind = self[name]
        if kind == GGMLQuantizationType.BF16:
            return (array.astype(np.uint32) << 16).view(np.float32)
        return array.astype(np.float32)


def tensors(source, c):
    """Yields (GGUF name, shape, type, function that makes the array), in the file's order."""

    def matrix(name, out):
        array, kind = source[name + ".weight"]
        yield out + ".weight", array.shape, kind, lambda: array

    def vector(name, out):
        array = source.f32(name)
        yield out, array.shape, GGMLQuantizationType.F32, lambda: array

    yield from matrix("model.embed_tokens", "token_embd")
    for layer in range(c["num_hidden_layers"]):
        p, b = f"model.layers.{layer}.", f"blk.{layer}."
        for name, out in VECTORS.items():
            yield from vector(p + name, b + out)
        for name, out in MATRICES.items():
            yield from matrix(p + name, b + out)
        heads, dn, dv, rank = c["num_attention_heads"], c["qk_nope_head_dim"], c["v_head_dim"], c["kv_lora_rank"]
        array, kind = source[p + "self_attn.kv_b_proj.weight"]
        kv_b = array.reshape(heads, dn + dv, rank)
        yield b + "attn_k_b.weight", (heads, rank, dn), kind, lambda kv_b=kv_b: kv_b[:, :dn].transpose(0, 2, 1)
        yield b + "attn_v_b.weight", (heads, dv, rank), kind, lambda kv_b=kv_b: kv_b[:, dn:]
        if layer < c["first_k_dense_replace"]:
            for part in FFN:
                yield from matrix(f"{p}mlp.{part}_proj", f"{b}ffn_{part}")
            continue
        yield from vector(p + "mlp.gate.weight", b + "ffn_gate_inp.weight")
        yield from vector(p + "mlp.gate.e_score_correction_bias", b + "exp_probs_b.bias")
        for part in FFN:
            names = [f"{p}mlp.experts.{e}.{part}_proj.weight" for e in range(c["n_routed_experts"])]
            array, kind = source[names[0]]
            yield (f"{b}ffn_{part}_exps.weight", (len(names), *array.shape), kind,
                   lambda names=names: np.stack([source[name][0] for name in names]))
            yield from matrix(f"{p}mlp.shared_experts.{part}_proj", f"{b}ffn_{part}_shexp")
    yield from vector("model.norm.weight", "output_norm.weight")
    if not c.get("tie_word_embeddings"):
        yield from matrix("lm_head", "output")


def add_config(out, c):
    scaling = c.get("rope_parameters") or c.get("rope_scaling") or {}
    out.add_vocab_size(c["vocab_size"])
    out.add_tokenizer_model("none")
    out.add_block_count(c["num_hidden_layers"])
    out.add_context_length(c["max_position_embeddings"])
    out.add_embedding_length(c["hidden_size"])
    out.add_feed_forward_length(c["intermediate_size"])
    out.add_head_count(c["num_attention_heads"])
    out.add_head_count_kv(1)  # absorbed attention: one latent for all heads
    out.add_layer_norm_rms_eps(c["rms_norm_eps"])
    out.add_q_lora_rank(c["q_lora_rank"])
    out.add_kv_lora_rank(c["kv_lora_rank"])
    out.add_key_length(c["kv_lora_rank"] + c["qk_rope_head_dim"])
    out.add_value_length(c["kv_lora_rank"])
    out.add_key_length_mla(c["qk_nope_head_dim"] + c["qk_rope_head_dim"])
    out.add_value_length_mla(c["v_head_dim"])
    out.add_indexer_head_count(c["index_n_heads"])
    out.add_indexer_key_length(c["index_head_dim"])
    out.add_indexer_top_k(c["index_topk"])
    out.add_leading_dense_block_count(c["first_k_dense_replace"])
    out.add_expert_feed_forward_length(c["moe_intermediate_size"])
    out.add_expert_count(c["n_routed_experts"])
    out.add_expert_used_count(c["num_experts_per_tok"])
    out.add_expert_shared_count(c["n_shared_experts"])
    if c["n_group"] > 1:
        out.add_expert_group_count(c["n_group"])
        out.add_expert_group_used_count(c["topk_group"])
    out.add_expert_gating_func(ExpertGatingFuncType.SIGMOID)
    out.add_expert_weights_scale(c["routed_scaling_factor"])
    out.add_expert_weights_norm(c["norm_topk_prob"])
    out.add_rope_dimension_count(c["qk_rope_head_dim"])
    out.add_rope_freq_base(c.get("rope_theta") or scaling["rope_theta"])
    if scaling.get("type", scaling.get("rope_type")) == "yarn":
        out.add_rope_scaling_type(RopeScalingType.YARN)
        out.add_rope_scaling_factor(scaling["factor"])
        out.add_rope_scaling_orig_ctx_len(scaling["original_max_position_embeddings"])
        out.add_rope_scaling_yarn_beta_fast(scaling["beta_fast"])
        out.add_rope_scaling_yarn_beta_slow(scaling["beta_slow"])
        out.add_rope_scaling_yarn_log_mul(0.1 * scaling["mscale_all_dim"])  # llama.cpp's loader takes the 0.1 out again


def convert(folder, path):
    c = json.loads((pathlib.Path(folder) / "config.json").read_text())
    if c["model_type"] != "deepseek_v32":
        sys.exit(f"{folder}: model_type is {c['model_type']}, expected deepseek_v32")
    source = Tensors(folder)
    out = GGUFWriter(path, ARCH)
    add_config(out, c)
    makers = []
    for name, shape, kind, make in tensors(source, c):
        size = int(np.prod(shape)) * (4 if kind == GGMLQuantizationType.F32 else 2)
        out.add_tensor_info(name, list(shape), np.dtype(np.float32), size, raw_dtype=kind)
        makers.append(make)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_ti_data_to_file()
    for make in makers:  # one tensor in memory at a time
        out.write_tensor_data(np.ascontiguousarray(make()))
    out.close()


def quantise(source, path, kind, threads):
    import llama_cpp

    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype, params.nthread = FTYPE[kind], threads
    if llama_cpp.llama_model_quantize(str(source).encode(), str(path).encode(), params):
        sys.exit(f"llama.cpp could not quantise {source}")


def main(args):
    exact = args.model
    if args.model.suffix != ".gguf":
        exact = args.out if args.type == "exact" else args.out.with_suffix(".exact.gguf")
        convert(args.model, exact)
    if args.type != "exact":
        quantise(exact, args.out, args.type, args.threads)
        if exact != args.model:
            exact.unlink()


if __name__ == "__main__":
    main(ARGS)
