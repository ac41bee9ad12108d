"""GGUF files for the tests, written with the `gguf` package: its names of tensors, its writer, its quantisers."""

import json
import pathlib

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Kind
from safetensors import safe_open
from safetensors.numpy import save_file

ARCHES = {"deepseek_v2": "deepseek2", "deepseek_v3": "deepseek2", "deepseek_v32": "deepseek32", "glm_moe_dsa": "glm-dsa"}
WITHOUT_QUANTISER = {  # bytes of a block, and where its F16 scales are
    Kind.Q4_K: (144, (0, 2)),
    Kind.Q5_K: (176, (0, 2)),
    Kind.Q6_K: (210, (208,)),
}


def read(folder):
    """(config, {name: F32 array}) of a safetensors folder."""
    folder = pathlib.Path(folder)
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        if path.name == "expected.safetensors":
            continue
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header, data = json.loads(file.read(length)), file.read()
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            raw = data[slice(*entry["data_offsets"])]
            if entry["dtype"] == "BF16":
                array = (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(np.float32)
            else:
                array = np.frombuffer(raw, {"F32": np.float32, "F16": np.float16}[entry["dtype"]]).astype(np.float32)
            tensors[name] = array.reshape(entry["shape"])
    return json.loads((folder / "config.json").read_text()), tensors


def quantise(array, kind, random):
    """(bytes as the file has them, the values that they stand for)."""
    if kind in WITHOUT_QUANTISER:  # the package only decodes these: any codes will do, under scales of a weight's size
        size, scales = WITHOUT_QUANTISER[kind]
        blocks = random.integers(0, 256, (array.size // 256, size), np.uint8)
        for at in scales:
            blocks[:, at : at + 2] = random.uniform(1e-5, 4e-5, len(blocks)).astype(np.float16).view(np.uint8).reshape(-1, 2)
        data = blocks.reshape(*array.shape[:-1], -1)
    elif kind == Kind.BF16:
        data = gguf.quantize(array, kind)
    else:
        data = gguf.quantize(array, kind)
    return data, gguf.dequantize(data, kind).reshape(array.shape)


def to_gguf_tensors(config, tensors, split_kv_b=True):
    """The checkpoint's tensors under the names of the `gguf` package, experts in one, kv_b_proj in two."""
    layers = config["num_hidden_layers"] + config.get("num_nextn_predict_layers", 0)
    table = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GLM_DSA, layers)  # has all names of the three architectures

    def gguf_name(name):
        return table.get_name(name, try_suffixes=(".weight", ".bias")) or table.get_name(name)

    heads, dn, dv = config["num_attention_heads"], config["qk_nope_head_dim"], config["v_head_dim"]
    out, experts = {}, {}
    for name, array in tensors.items():
        if ".mlp.experts." in name:
            before, number = name.split(".mlp.experts.")
            number, rest = number.split(".", 1)
            experts.setdefault(f"{before}.mlp.experts.{rest}", {})[int(number)] = array
        elif name.endswith("kv_b_proj.weight") and split_kv_b:
            kv_b = array.reshape(heads, dn + dv, -1)
            out[gguf_name(name.replace("kv_b", "k_b"))] = np.ascontiguousarray(kv_b[:, :dn].transpose(0, 2, 1))
            out[gguf_name(name.replace("kv_b", "v_b"))] = np.ascontiguousarray(kv_b[:, dn:])
        else:
            place = gguf_name(name.replace("e_score_correction_bias", "e_score_correction.bias"))
            assert place, name
            out[place] = array
    for name, arrays in experts.items():
        out[gguf_name(name)] = np.stack([arrays[i] for i in range(len(arrays))])
    assert None not in out
    return out


def add_config(out, c, split_kv_b=True, arch=None):
    """As llama.cpp's converters write it."""
    scaling = c.get("rope_parameters") or c.get("rope_scaling") or {}
    layers = c["num_hidden_layers"] + (c.get("num_nextn_predict_layers") or 0)
    out.add_vocab_size(c["vocab_size"])
    out.add_block_count(layers)
    out.add_context_length(c["max_position_embeddings"])
    out.add_embedding_length(c["hidden_size"])
    out.add_feed_forward_length(c["intermediate_size"])
    out.add_head_count(c["num_attention_heads"])
    out.add_head_count_kv(1 if split_kv_b else c["num_attention_heads"])
    out.add_layer_norm_rms_eps(c["rms_norm_eps"])
    if c.get("q_lora_rank"):
        out.add_q_lora_rank(c["q_lora_rank"])
    out.add_kv_lora_rank(c["kv_lora_rank"])
    keys, values = c["qk_nope_head_dim"] + c["qk_rope_head_dim"], c["v_head_dim"]
    if split_kv_b:
        out.add_key_length(c["kv_lora_rank"] + c["qk_rope_head_dim"])
        out.add_value_length(c["kv_lora_rank"])
        out.add_key_length_mla(keys)
        out.add_value_length_mla(values)
    else:
        out.add_key_length(keys)
        out.add_value_length(values)
    prefix = arch or out.arch
    if "index_topk" in c:
        out.add_uint32(f"{prefix}.attention.indexer.head_count", c["index_n_heads"])
        out.add_uint32(f"{prefix}.attention.indexer.key_length", c["index_head_dim"])
        out.add_uint32(f"{prefix}.attention.indexer.top_k", c["index_topk"])
    if "indexer_types" in c:
        out.add_array(f"{prefix}.attention.indexer.types", [kind == "full" for kind in c["indexer_types"]])
    out.add_leading_dense_block_count(c["first_k_dense_replace"])
    out.add_expert_feed_forward_length(c["moe_intermediate_size"])
    out.add_expert_count(c["n_routed_experts"])
    out.add_expert_used_count(c["num_experts_per_tok"])
    out.add_expert_shared_count(c["n_shared_experts"])
    if c.get("n_group", 1) > 1:
        out.add_expert_group_count(c["n_group"])
        out.add_expert_group_used_count(c["topk_group"])
    if c["model_type"] != "deepseek_v2":
        out.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
    out.add_expert_weights_scale(c["routed_scaling_factor"])
    out.add_expert_weights_norm(c["norm_topk_prob"])
    out.add_rope_dimension_count(c["qk_rope_head_dim"])
    out.add_rope_freq_base(c.get("rope_theta") or scaling["rope_theta"])
    if c.get("num_nextn_predict_layers"):
        out.add_uint32(f"{prefix}.nextn_predict_layers", c["num_nextn_predict_layers"])
    if scaling.get("type", scaling.get("rope_type")) == "yarn":
        out.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        out.add_rope_scaling_factor(scaling["factor"])
        out.add_rope_scaling_orig_ctx_len(scaling["original_max_position_embeddings"])
        out.add_rope_scaling_yarn_beta_fast(scaling["beta_fast"])
        out.add_rope_scaling_yarn_beta_slow(scaling["beta_slow"])
        out.add_rope_scaling_yarn_log_mul(0.1 * scaling["mscale_all_dim"])


def kind_of(name, array, kind):
    """What a quantiser would choose: vectors and the router in F32, rows that do not fit in F32 too."""
    if array.ndim == 1 or name.endswith("ffn_gate_inp.weight") or kind == Kind.F32:
        return Kind.F32
    block, _ = gguf.GGML_QUANT_SIZES[kind]
    if array.shape[-1] % block == 0:
        return kind
    return Kind.Q8_0 if array.shape[-1] % 32 == 0 else Kind.F32


def write(path, config, tensors, kind=Kind.F32, split_kv_b=True, parts=0, change=None, tokenizer=None):
    """Writes the GGUF file, in `parts` tensors each if that is not 0. Returns the values by their GGUF names."""
    random = np.random.default_rng(5)
    arch = ARCHES[config["model_type"]]
    out = gguf.GGUFWriter(path, arch, split_max_tensors=parts)
    add_config(out, config, split_kv_b)
    if tokenizer:
        tokenizer(out)
    else:
        out.add_tokenizer_model("none")
    if change:
        change(out)
    values = {}
    for name, array in to_gguf_tensors(config, tensors, split_kv_b).items():
        own = kind_of(name, array, kind)
        data, values[name] = quantise(array.astype(np.float32), own, random)
        out.add_tensor(name, data, raw_dtype=own)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return values


def write_safetensors(folder, config, tensors, values, split_kv_b=True):
    """The same model as safetensors in F32: every tensor with the values that its GGUF form stands for."""
    heads, dn = config["num_attention_heads"], config["qk_nope_head_dim"]
    shaped = {}
    for name, array in tensors.items():
        own = to_gguf_tensors(config, {name: array}, split_kv_b) if ".mlp.experts." not in name else None
        if own is None:
            before, rest = name.split(".mlp.experts.")
            number, rest = rest.split(".", 1)
            (place,) = to_gguf_tensors(config, {f"{before}.mlp.experts.0.{rest}": array})
            shaped[name] = values[place][int(number)]
        elif len(own) == 2:
            k_b, v_b = (values[place] for place in own)
            shaped[name] = np.concatenate([k_b.transpose(0, 2, 1), v_b], 1).reshape(array.shape)
        else:
            (place,) = own
            shaped[name] = values[place]
    folder.mkdir()
    save_file({name: np.ascontiguousarray(array) for name, array in shaped.items()}, folder / "model.safetensors")
    plain = {key: value for key, value in config.items() if key != "quantization_config"}
    (folder / "config.json").write_text(json.dumps(plain))
