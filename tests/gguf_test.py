"""GGUF files, written by the `gguf` package: minke computes with them what it computes with the same numbers as safetensors."""

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind

import gguf_files
import support

KINDS = [Kind.F32, Kind.F16, Kind.BF16, Kind.Q8_0, Kind.Q4_0, Kind.Q5_0, Kind.Q5_1, Kind.Q4_K, Kind.Q5_K, Kind.Q6_K]
IDS = np.arange(1, 60)


def wide_model():
    """A deepseek_v32 whose rows hold whole blocks of 256."""
    config, _ = gguf_files.read(support.GOLDEN / "v32")
    config |= dict(hidden_size=256, intermediate_size=256, moe_intermediate_size=256, q_lora_rank=256, kv_lora_rank=256,
                   num_attention_heads=4, qk_nope_head_dim=32, v_head_dim=64, num_hidden_layers=2, n_routed_experts=4,
                   n_group=2, topk_group=1, vocab_size=192)
    c, random = config, np.random.default_rng(1)
    d, heads, e = c["hidden_size"], c["num_attention_heads"], c["n_routed_experts"]
    tensors = {"model.embed_tokens.weight": (c["vocab_size"], d), "lm_head.weight": (c["vocab_size"], d), "model.norm.weight": (d,)}
    for layer in range(c["num_hidden_layers"]):
        own = {
            "input_layernorm.weight": (d,), "post_attention_layernorm.weight": (d,),
            "self_attn.q_a_proj.weight": (c["q_lora_rank"], d), "self_attn.q_a_layernorm.weight": (c["q_lora_rank"],),
            "self_attn.q_b_proj.weight": (heads * (c["qk_nope_head_dim"] + c["qk_rope_head_dim"]), c["q_lora_rank"]),
            "self_attn.kv_a_proj_with_mqa.weight": (c["kv_lora_rank"] + c["qk_rope_head_dim"], d),
            "self_attn.kv_a_layernorm.weight": (c["kv_lora_rank"],),
            "self_attn.kv_b_proj.weight": (heads * (c["qk_nope_head_dim"] + c["v_head_dim"]), c["kv_lora_rank"]),
            "self_attn.o_proj.weight": (d, heads * c["v_head_dim"]),
            "self_attn.indexer.wq_b.weight": (c["index_n_heads"] * c["index_head_dim"], c["q_lora_rank"]),
            "self_attn.indexer.wk.weight": (c["index_head_dim"], d),
            "self_attn.indexer.k_norm.weight": (c["index_head_dim"],), "self_attn.indexer.k_norm.bias": (c["index_head_dim"],),
            "self_attn.indexer.weights_proj.weight": (c["index_n_heads"], d),
        }
        widths = {"mlp": c["intermediate_size"]}
        if layer >= c["first_k_dense_replace"]:
            own |= {"mlp.gate.weight": (e, d), "mlp.gate.e_score_correction_bias": (e,)}
            widths = {f"mlp.experts.{i}": c["moe_intermediate_size"] for i in range(e)}
            widths["mlp.shared_experts"] = c["moe_intermediate_size"] * c["n_shared_experts"]
        for name, width in widths.items():
            own |= {f"{name}.gate_proj.weight": (width, d), f"{name}.up_proj.weight": (width, d), f"{name}.down_proj.weight": (d, width)}
        tensors |= {f"model.layers.{layer}.{name}": shape for name, shape in own.items()}
    make = lambda shape: (1 + 0.1 * random.standard_normal(shape) if len(shape) == 1 else random.standard_normal(shape) / shape[-1] ** 0.5)
    return config, {name: make(shape).astype(np.float32) for name, shape in tensors.items()}


@pytest.fixture(scope="module")
def wide():
    return wide_model()


def logits(tmp_path, model, *flags, isa=None):
    return support.score(tmp_path, model, IDS, *flags, isa=isa)["logits"]


def same_as_safetensors(tmp_path, config, tensors, kind, split_kv_b=True):
    values = gguf_files.write(tmp_path / "model.gguf", config, tensors, kind, split_kv_b)
    gguf_files.write_safetensors(tmp_path / "plain", config, tensors, values, split_kv_b)
    got = logits(tmp_path, tmp_path / "model.gguf")
    assert np.isfinite(got).all() and got.std() > 0.01
    assert np.array_equal(got, logits(tmp_path, tmp_path / "plain"))
    return got


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_type_gives_the_bits_of_its_values_in_f32(wide, kind, tmp_path):
    got = same_as_safetensors(tmp_path, *wide, kind)
    for flags in (["--chunk", 1], ["--mla", "expanded"]):
        assert np.allclose(logits(tmp_path, tmp_path / "model.gguf", *flags), got, atol=2e-3)
    kinds = {tensor.tensor_type for tensor in gguf.GGUFReader(tmp_path / "model.gguf").tensors}
    assert kind in kinds


@pytest.mark.parametrize("kind", [Kind.F32, Kind.Q8_0, Kind.Q5_0], ids=lambda kind: kind.name)
@pytest.mark.parametrize("split", [True, False], ids=["k_b and v_b", "kv_b"])
@pytest.mark.parametrize("case", ["v2_lite", "v2_group", "v3_bf16_sharded", "v32", "glm_moe_dsa"])
def test_every_architecture(case, kind, split, tmp_path):
    config, tensors = gguf_files.read(support.GOLDEN / case)
    config["num_nextn_predict_layers"] = 0  # as the converters leave it out
    layers = config["num_hidden_layers"]
    tensors = {name: array for name, array in tensors.items() if not name.startswith(f"model.layers.{layers}.")}
    same_as_safetensors(tmp_path, config, tensors, kind, split)
