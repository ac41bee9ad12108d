"""GGUF files, written by the `gguf` package: minke computes with them what it computes with the same numbers as safetensors."""

import json
import subprocess
import sys

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind

import gguf_files
import support

KINDS = [Kind.F32, Kind.F16, Kind.BF16, Kind.Q8_0, Kind.Q4_0, Kind.Q5_0, Kind.Q5_1, Kind.Q4_K, Kind.Q5_K, Kind.Q6_K]
IDS = np.arange(1, 60)


def wide_model(**changes):
    """A deepseek_v32 whose rows hold whole blocks of 256."""
    config, _ = gguf_files.read(support.GOLDEN / "v32")
    config |= dict(hidden_size=256, intermediate_size=256, moe_intermediate_size=256, q_lora_rank=256, kv_lora_rank=256,
                   num_attention_heads=4, qk_nope_head_dim=32, v_head_dim=64, num_hidden_layers=2, n_routed_experts=4,
                   n_group=2, topk_group=1, vocab_size=192) | changes
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


def test_parts_are_one_model(wide, tmp_path):
    config, tensors = wide
    gguf_files.write(tmp_path / "whole.gguf", config, tensors)
    gguf_files.write(tmp_path / "m.gguf", config, tensors, parts=9)
    parts = sorted(tmp_path.glob("m-*.gguf"))
    assert len(parts) > 2
    whole = logits(tmp_path, tmp_path / "whole.gguf")
    for part in (parts[0], parts[-1]):
        assert np.array_equal(logits(tmp_path, part), whole)
    parts[1].unlink()
    result = support.minke("inspect", parts[0], check=False)
    assert result.returncode == 3 and parts[1].name in result.stderr


def test_the_mtp_layer_of_glm_is_used(tmp_path):
    """glm-dsa files have it as their last block. The weights are random: what is asked is that drafting changes no byte."""
    config, tensors = gguf_files.read(support.GOLDEN / "v32_mtp")
    layers = config["num_hidden_layers"]
    config |= dict(model_type="glm_moe_dsa", n_group=1, topk_group=1, indexer_types=["full"] * layers)
    shared = (f"model.layers.{layers}.embed_tokens.weight", f"model.layers.{layers}.shared_head.head.weight")
    gguf_files.write(tmp_path / "model.gguf", config, {name: array for name, array in tensors.items() if name not in shared})
    report = json.loads(support.minke("inspect", tmp_path / "model.gguf", "--json").stdout)
    assert report["architecture"]["model_type"] == "glm_moe_dsa" and report["architecture"]["mtp_layers"] == 1
    assert not report["unused"] and not report["problems"]


# ---- the tokenizer ----


@pytest.fixture(scope="module")
def nano_gguf(tmp_path_factory):
    """nano by `minke convert`, in F32."""
    path = tmp_path_factory.mktemp("nano") / "nano.gguf"
    result = support.minke("convert", "nano", path, "--to", "gguf", "--dtype", "f32")
    assert "MTP layer is left out" in result.stderr
    return path


def test_the_tokenizer_and_template_are_those_of_the_folder(nano_gguf):
    texts = [{"text": text} for text in ("How do I make 33 from 9 8 3?", "<｜User｜>hi<think>\n\n 12345 \u4e2d\u6587", "")]
    assert support.pipe_json("tokenize", nano_gguf, objects=texts) == support.pipe_json("tokenize", "nano", objects=texts)
    question = support.json_lines(support.NANO / "eval.jsonl")[0]["prompt"]
    common = ["--temp", "0", "-n", "48", "-q", question]
    assert support.minke("run", "-m", nano_gguf, *common).stdout == support.minke("run", "-m", "nano", *common).stdout
    raw = ["--raw", "--temp", "0", "-n", "8", "-q", "9 8 3"]
    assert support.minke("run", "-m", nano_gguf, *raw).stdout == support.minke("run", "-m", "nano", *raw).stdout
    report, plain = (json.loads(support.minke("inspect", model, "--json").stdout) for model in (nano_gguf, "nano"))
    assert report["tokenizer"]["tokens"] == plain["tokenizer"]["tokens"]
    assert report["prompt_format"] == plain["prompt_format"]
    assert report["architecture"] | {"mtp_layers": 1, "parameters_mtp": 0, "parameters_by_config": 0} == plain["architecture"] | {"parameters_mtp": 0, "parameters_by_config": 0}


def test_other_tokenizers_are_refused_by_name(wide, tmp_path):
    def tokenizer(model, pre):
        def add(out):
            out.add_tokenizer_model(model)
            out.add_tokenizer_pre(pre)
            out.add_token_list(["a", "b"])
            out.add_token_types([1, 1])
            out.add_token_merges([])
        return add

    for name, model, pre, words in (("llama", "llama", "default", '"llama"'), ("glm", "gpt2", "glm4", '"glm4"')):
        gguf_files.write(tmp_path / f"{name}.gguf", *wide, tokenizer=tokenizer(model, pre))
        result = support.minke("tokenize", tmp_path / f"{name}.gguf", stdin="{\"text\": \"a\"}\n", check=False)
        assert result.returncode == 5 and words in result.stderr, result.stderr
        assert np.isfinite(logits(tmp_path, tmp_path / f"{name}.gguf")).all()  # score needs no text
    gguf_files.write(tmp_path / "none.gguf", *wide)
    result = support.minke("tokenize", tmp_path / "none.gguf", stdin="{\"text\": \"a\"}\n", check=False)
    assert result.returncode == 3 and "has no tokenizer" in result.stderr


# ---- minke convert ----


@pytest.mark.parametrize("case", ["v2_lite", "v2_group", "v3_bf16_sharded", "v32", "v32_fp8", "glm_moe_dsa"])
def test_there_and_back(case, tmp_path):
    """safetensors -> GGUF -> safetensors in F32: the same logits, bit for bit, and the gguf package reads the file."""
    source = support.GOLDEN / case
    support.minke("convert", source, tmp_path / "model.gguf", "--to", "gguf", "--dtype", "f32")
    expected = logits(tmp_path, source)
    got = logits(tmp_path, tmp_path / "model.gguf")
    if case == "v32_fp8":  # a scale multiplies x there, and the weight here
        assert np.allclose(got, expected, atol=1e-3)
    else:
        assert np.array_equal(got, expected)
    reader = gguf.GGUFReader(tmp_path / "model.gguf")
    assert {tensor.tensor_type for tensor in reader.tensors} == {Kind.F32}
    config, tensors = gguf_files.read(source) if case != "v32_fp8" else (None, None)
    if tensors:
        layers = config["num_hidden_layers"]
        kept = {name: array for name, array in tensors.items() if not name.startswith(f"model.layers.{layers}.")}
        theirs = gguf_files.to_gguf_tensors(config, kept)
        assert {tensor.name for tensor in reader.tensors} == set(theirs)
        for tensor in reader.tensors:
            assert np.array_equal(tensor.data.reshape(theirs[tensor.name].shape), theirs[tensor.name]), tensor.name
        keys = [key for key in theirs_keys(tmp_path, config, kept) if key not in reader.fields]
        assert not keys
    support.minke("convert", tmp_path / "model.gguf", tmp_path / "back")
    assert np.array_equal(logits(tmp_path, tmp_path / "back"), got)


def theirs_keys(tmp_path, config, tensors):
    """The keys of our copy of llama.cpp's converter."""
    gguf_files.write(tmp_path / "theirs.gguf", config | {"num_nextn_predict_layers": 0}, tensors)
    return [key for key in gguf.GGUFReader(tmp_path / "theirs.gguf").fields if "." in key and not key.startswith("GGUF.")]


def test_q8_0_has_the_bytes_of_the_package(wide, tmp_path):
    config, tensors = wide
    values = gguf_files.write(tmp_path / "theirs.gguf", config, tensors, Kind.Q8_0)
    gguf_files.write_safetensors(tmp_path / "plain", config, tensors, {n: a.reshape(values[n].shape) for n, a in gguf_files.to_gguf_tensors(config, tensors).items()})
    support.minke("convert", tmp_path / "plain", tmp_path / "ours.gguf", "--to", "gguf", "--dtype", "q8_0")
    theirs = {tensor.name: tensor for tensor in gguf.GGUFReader(tmp_path / "theirs.gguf").tensors}
    ours = gguf.GGUFReader(tmp_path / "ours.gguf").tensors
    assert {tensor.name for tensor in ours} == set(theirs)
    for tensor in ours:
        assert tensor.tensor_type == theirs[tensor.name].tensor_type, tensor.name
        assert np.array_equal(tensor.data, theirs[tensor.name].data), tensor.name
    assert np.array_equal(logits(tmp_path, tmp_path / "ours.gguf"), logits(tmp_path, tmp_path / "theirs.gguf"))


@pytest.mark.parametrize("dtype, kind", [("f16", Kind.F16), ("bf16", Kind.BF16), ("keep", Kind.BF16)])
def test_sixteen_bits_of_fp8(dtype, kind, tmp_path):
    support.minke("convert", support.GOLDEN / "v32_fp8", tmp_path / "model.gguf", "--to", "gguf", "--dtype", dtype)
    kinds = {tensor.name: tensor.tensor_type for tensor in gguf.GGUFReader(tmp_path / "model.gguf").tensors}
    assert kinds["blk.0.attn_output.weight"] == kind and kinds["blk.1.ffn_gate_inp.weight"] == Kind.F32
    expected = logits(tmp_path, support.GOLDEN / "v32_fp8")
    assert np.median(np.abs(logits(tmp_path, tmp_path / "model.gguf") - expected)) < 0.02 * expected.std()


def test_shards_are_split_and_merged(tmp_path):
    expected = logits(tmp_path, support.NANO)
    support.minke("convert", "nano", tmp_path / "split", "--shard-mb", "1")
    support.minke("convert", tmp_path / "split", tmp_path / "one", "--shard-mb", "100")
    assert len(list((tmp_path / "split").glob("*.safetensors"))) > 1 == len(list((tmp_path / "one").glob("*.safetensors")))
    for folder in ("split", "one"):
        assert np.array_equal(logits(tmp_path, tmp_path / folder), expected)
        assert (tmp_path / folder / "tokenizer.json").read_bytes() == (support.NANO / "tokenizer.json").read_bytes()
    source, merged = gguf_files.read(support.NANO)[1], gguf_files.read(tmp_path / "one")[1]
    assert source.keys() == merged.keys() and all(np.array_equal(source[name], merged[name]) for name in source)


def test_gguf_becomes_an_ordinary_folder(nano_gguf, wide, tmp_path):
    support.minke("convert", nano_gguf, tmp_path / "folder", "--dtype", "bf16")
    text = [{"text": "<｜User｜>How do I make 33?"}]
    assert support.pipe_json("tokenize", tmp_path / "folder", objects=text) == support.pipe_json("tokenize", "nano", objects=text)
    from tokenizers import Tokenizer
    other = Tokenizer.from_file(str(tmp_path / "folder" / "tokenizer.json"))
    assert other.encode(text[0]["text"]).ids == support.pipe_json("tokenize", "nano", objects=text)[0]["ids"]
    assert np.array_equal(logits(tmp_path, tmp_path / "folder"), logits(tmp_path, support.NANO))  # nano is BF16
    assert json.loads((tmp_path / "folder" / "config.json").read_text())["torch_dtype"] == "bfloat16"
    gguf_files.write(tmp_path / "q4.gguf", *wide, Kind.Q4_K)
    support.minke("convert", tmp_path / "q4.gguf", tmp_path / "f32", "--dtype", "f32")
    assert np.array_equal(logits(tmp_path, tmp_path / "f32"), logits(tmp_path, tmp_path / "q4.gguf"))


def test_gguf_is_quantised(wide, tmp_path):
    gguf_files.write(tmp_path / "model.gguf", *wide, Kind.Q5_K)
    support.minke("quantize", tmp_path / "model.gguf", tmp_path / "q8")
    got, expected = logits(tmp_path, tmp_path / "q8"), logits(tmp_path, tmp_path / "model.gguf")
    assert 0 < np.median(np.abs(got - expected)) < 0.05 * expected.std()


# ---- what is refused ----


def refused(code, words, *arguments):
    result = support.minke(*arguments, check=False)
    assert result.returncode == code and words in result.stderr, (result.returncode, result.stderr)
    assert len(result.stderr.strip().split("\n")) == 1


def test_bad_files(wide, tmp_path):
    path = tmp_path / "model.gguf"
    gguf_files.write(path, *wide, Kind.Q8_0)
    good = path.read_bytes()

    def with_bytes(data):
        path.write_bytes(data)
        return path

    for length in (3, 20, 200, 2000, len(good) // 2, len(good) - 1):
        refused(4, "model.gguf", "inspect", with_bytes(good[:length]))
    refused(4, 'does not begin with "GGUF"', "inspect", with_bytes(b"GGML" + good[4:]))
    refused(5, "version 99", "inspect", with_bytes(good[:4] + b"\x63\0\0\0" + good[8:]))
    refused(4, "tensors, more than", "inspect", with_bytes(good[:8] + b"\xff" * 7 + b"\x7f" + good[16:]))
    config, tensors = wide
    path.unlink()
    gguf_files.write(path, config, {name: array for name, array in tensors.items() if "o_proj" not in name})
    refused(4, "tensor model.layers.0.self_attn.o_proj.weight is missing", "score", path, "--text", support.NANO / "sample.txt")
    path.unlink()
    gguf_files.write(path, config, tensors, change=lambda out: out.add_uint32("deepseek32.attention.kv_lora_rank2", 3))
    data = path.read_bytes()
    for before, after, code, words in (
        (b"deepseek32", b"deepseek31", 5, 'general.architecture is "deepseek31"'),
        (b"attention.head_count\x04", b"attention.head_kount\x04", 4, "attention.head_count is missing"),
        (b"attn_v_b", b"attn_w_b", 4, "attn_v_b.weight is missing beside"),
    ):
        assert before in data
        refused(code, words, "inspect", with_bytes(data.replace(before, after)))


def test_what_convert_refuses(nano_gguf, tmp_path):
    refused(2, "is a GGUF file already", "convert", nano_gguf, tmp_path / "x.gguf", "--to", "gguf")
    refused(2, "exists; remove it", "convert", "nano", nano_gguf, "--to", "gguf")
    refused(2, "exists; remove it", "convert", "nano", tmp_path)
    refused(2, "is for --to gguf", "convert", "nano", tmp_path / "x", "--dtype", "q8_0")
    assert not (tmp_path / "x").exists() and not (tmp_path / "x.partial").exists()


def test_the_file_is_that_of_the_converter_that_llama_cpp_reads(tmp_path):
    """bench/peers runs llama.cpp on the files of its own converter: the same tensors and the same configuration."""
    out = tmp_path / "theirs.gguf"
    subprocess.run([sys.executable, support.ROOT / "bench" / "peers" / "to_gguf.py", support.NANO, out], check=True)
    support.minke("convert", "nano", tmp_path / "ours.gguf", "--to", "gguf")
    theirs, ours = gguf.GGUFReader(out), gguf.GGUFReader(tmp_path / "ours.gguf")
    expected = {tensor.name: tensor for tensor in theirs.tensors}
    assert expected.keys() == {tensor.name for tensor in ours.tensors}
    for tensor in ours.tensors:
        same = expected[tensor.name]
        assert tensor.tensor_type == same.tensor_type and np.array_equal(tensor.shape, same.shape), tensor.name
        assert np.array_equal(tensor.data, same.data), tensor.name

    def config(reader):
        return {key: field.contents() for key, field in reader.fields.items() if key.startswith(("deepseek32.", "general.arch"))}
    assert config(ours) == config(theirs)


def test_other_verbs_take_the_file(nano_gguf, tmp_path):
    sample = tmp_path / "sample.txt"
    sample.write_text((support.NANO / "sample.txt").read_text()[:1000])
    rows = [json.loads(support.minke("perplexity", model, "-f", sample, "--json").stdout)["rows"][0] for model in (nano_gguf, "nano")]
    assert rows[0]["perplexity"] == rows[1]["perplexity"] > 1
    answers = [support.minke("chat", model, "--temp", "0", "-q", stdin="Reach 45 with the numbers 9 10 5.\n").stdout for model in (nano_gguf, "nano")]
    assert answers[0] == answers[1] != ""
    assert support.minke("inspect", nano_gguf, "--verify", "--fit", "100").returncode == 0
