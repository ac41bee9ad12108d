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
    result = support.minke("convert", support.NANO, path, "--to", "gguf", "--dtype", "f32")
    assert "MTP layer is left out" in result.stderr
    return path


def test_the_tokenizer_and_template_are_those_of_the_folder(nano_gguf):
    texts = [{"text": text} for text in ("How do I make 33 from 9 8 3?", "<｜User｜>hi<think>\n\n 12345 \u4e2d\u6587", "")]
    assert support.pipe_json("tokenize", nano_gguf, objects=texts) == support.pipe_json("tokenize", support.NANO, objects=texts)
    question = support.json_lines(support.NANO / "eval.jsonl")[0]["prompt"]
    common = ["--temp", "0", "-n", "48", "-q", question]
    assert support.minke("run", "-m", nano_gguf, *common).stdout == support.minke("run", "-m", support.NANO, *common).stdout
    raw = ["--raw", "--temp", "0", "-n", "8", "-q", "9 8 3"]
    assert support.minke("run", "-m", nano_gguf, *raw).stdout == support.minke("run", "-m", support.NANO, *raw).stdout
    report, plain = (json.loads(support.minke("inspect", model, "--json").stdout) for model in (nano_gguf, support.NANO))
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
    support.minke("convert", support.NANO, tmp_path / "split", "--shard-mb", "1")
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
    assert support.pipe_json("tokenize", tmp_path / "folder", objects=text) == support.pipe_json("tokenize", support.NANO, objects=text)
    from tokenizers import Tokenizer
    other = Tokenizer.from_file(str(tmp_path / "folder" / "tokenizer.json"))
    assert other.encode(text[0]["text"]).ids == support.pipe_json("tokenize", support.NANO, objects=text)[0]["ids"]
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
    support.minke("convert", support.NANO, tmp_path / "ours.gguf", "--to", "gguf")
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
    rows = [json.loads(support.minke("perplexity", model, "-f", sample, "--json").stdout)["rows"][0] for model in (nano_gguf, support.NANO)]
    assert rows[0]["perplexity"] == rows[1]["perplexity"] > 1
    answers = [support.minke("chat", model, "--temp", "0", "-q", stdin="Reach 45 with the numbers 9 10 5.\n").stdout for model in (nano_gguf, support.NANO)]
    assert answers[0] == answers[1] != ""
    assert support.minke("inspect", nano_gguf, "--verify", "--fit", "100").returncode == 0


# ---- what no conversion may write ----


def link_nano(tmp_path, name="model", **replaced):
    folder = tmp_path / name
    folder.mkdir()
    for path in support.NANO.iterdir():
        if path.name not in replaced and path.is_file():
            (folder / path.name).symlink_to(path)
    for file, text in replaced.items():
        (folder / file).write_text(text)
    return folder


@pytest.mark.parametrize("file, text", [("tokenizer_config.json", '{"add_bos_token": "yes"}'), ("tokenizer.json", "{")])
def test_a_damaged_tokenizer_ends_the_export(file, text, tmp_path):
    folder = link_nano(tmp_path, **{file: text})
    refused(4, file, "convert", folder, tmp_path / "x.gguf", "--to", "gguf")
    assert not (tmp_path / "x.gguf").exists()


def test_an_export_without_tokenizer_opens(tmp_path):
    folder = link_nano(tmp_path)
    (folder / "tokenizer.json").unlink()
    result = support.minke("convert", folder, tmp_path / "x.gguf", "--to", "gguf")
    assert "gets no tokenizer" in result.stderr
    assert support.minke("inspect", tmp_path / "x.gguf").returncode == 0


def list_tokenizer(tokens, pre="deepseek-v3"):
    def add(out):
        out.add_tokenizer_model("gpt2")
        out.add_tokenizer_pre(pre)
        out.add_token_list(tokens)
        out.add_token_types([1] * len(tokens))
        out.add_token_merges([])
    return add


@pytest.mark.parametrize("verb", ["convert", "quantize"])
def test_a_pretokenizer_that_we_lack_is_left_out_of_the_folder(verb, wide, tmp_path):
    gguf_files.write(tmp_path / "m.gguf", *wide, tokenizer=list_tokenizer(["a", "b"], "glm4"))
    result = support.minke(verb, tmp_path / "m.gguf", tmp_path / "out")
    assert '"glm4"' in result.stderr and not (tmp_path / "out" / "tokenizer.json").exists()
    assert np.isfinite(logits(tmp_path, tmp_path / "out")).all()


@pytest.mark.parametrize("tokens", [["a", "a"], [b"a", b"\xff\xfe"]], ids=["twice", "not UTF-8"])
def test_a_tokenizer_that_does_not_open_is_not_written(tokens, wide, tmp_path):
    gguf_files.write(tmp_path / "m.gguf", *wide, tokenizer=list_tokenizer(tokens))
    refused(4, "m.gguf", "convert", tmp_path / "m.gguf", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_dtype_has_one_name_in_the_config(tmp_path):
    config = json.loads((support.NANO / "config.json").read_text())
    config.pop("torch_dtype", None)
    folder = link_nano(tmp_path, **{"config.json": json.dumps(config | {"dtype": "bfloat16"})})
    support.minke("convert", folder, tmp_path / "f32", "--dtype", "f32")
    written = json.loads((tmp_path / "f32" / "config.json").read_text())
    assert written["dtype"] == "float32" and "torch_dtype" not in written


def test_the_ending_of_out_is_that_of_its_format(tmp_path):
    refused(2, "--to gguf", "convert", "nano", tmp_path / "x.gguf")
    refused(2, ".gguf", "convert", "nano", tmp_path / "x", "--to", "gguf")
    refused(2, "--shard-mb", "convert", "nano", tmp_path / "x.gguf", "--to", "gguf", "--shard-mb", "5")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", ["bf16", "q8_0", "f16"])
def test_a_value_that_the_type_cannot_hold_is_refused(dtype, wide, tmp_path):
    config, tensors = wide
    name = "model.layers.0.self_attn.o_proj.weight"
    large = dict(tensors) | {name: tensors[name].copy()}
    large[name][3, 5] = 3.4e38
    (tmp_path / "m").mkdir()
    gguf_files.save_file(large, tmp_path / "m" / "model.safetensors")
    (tmp_path / "m" / "config.json").write_text(json.dumps(config | {"quantization_config": None}))
    result = support.minke("convert", tmp_path / "m", tmp_path / "x.gguf", "--to", "gguf", "--dtype", dtype, check=False)
    assert result.returncode == 4 and name in result.stderr and not (tmp_path / "x.gguf").exists()


# ---- values that would be misread ----


A = "deepseek32."


@pytest.mark.parametrize("code, key, change", [
    (4, "layer_norm_rms_epsilon", lambda out: out.add_float32(A + "attention.layer_norm_rms_epsilon", float("nan"))),
    (4, "rope.freq_base", lambda out: out.add_float32(A + "rope.freq_base", float("inf"))),
    (4, "expert_weights_norm", lambda out: out.add_string(A + "expert_weights_norm", "yes")),
    (4, "rope.scaling.type", lambda out: out.add_uint32(A + "rope.scaling.type", 2)),
    (5, "expert_gating_func", lambda out: out.add_uint32(A + "expert_gating_func", 1)),
    (5, "expert_gating_func", lambda out: out.add_uint32(A + "expert_gating_func", 3)),
    (5, "attention.temperature_scale", lambda out: out.add_float32(A + "attention.temperature_scale", 0.1)),
    (5, "rope.scaling.attn_factor", lambda out: out.add_float32(A + "rope.scaling.attn_factor", 1.5)),
    (4, "nextn_predict_layers", lambda out: out.add_uint64(A + "nextn_predict_layers", 2**63 - 1)),
    (4, "key_length_mla", lambda out: out.add_int64(A + "attention.key_length_mla", -(2**63))),
], ids=lambda value: value if isinstance(value, str) else "")
def test_a_key_that_cannot_be_meant_is_named(code, key, change, wide, tmp_path):
    def once(out):
        for values in out.kv_data:
            values.pop(A + key, None), values.pop(A + "attention." + key, None)
        change(out)
    gguf_files.write(tmp_path / "m.gguf", *wide, change=once)
    refused(code, key, "inspect", tmp_path / "m.gguf")


def test_a_list_for_layers_has_their_number(tmp_path):
    config, tensors = gguf_files.read(support.GOLDEN / "glm_moe_dsa")
    config |= dict(num_nextn_predict_layers=0, indexer_types=["full"] * 5000)
    kept = {name: array for name, array in tensors.items() if f"layers.{config['num_hidden_layers']}." not in name}
    gguf_files.write(tmp_path / "m.gguf", config, kept)
    refused(4, "attention.indexer.types", "inspect", tmp_path / "m.gguf")


@pytest.mark.parametrize("extra, code, words", [
    ("lm_head.weight", 4, "two names"), ("model.layers.0.self_attn.kv_b_proj.weight", 4, "two names"), ("blk.00.attn_norm.weight", 4, "blk.00"),
    ("blk.1.ffn_gate_up_exps.weight", 5, "ffn_gate_up_exps")])
def test_a_tensor_by_another_name_is_refused(extra, code, words, wide, tmp_path):
    shape = (192, 256) if extra == "lm_head.weight" else (256,)
    change = lambda out: out.add_tensor(extra, np.ones(shape, np.float32))
    gguf_files.write(tmp_path / "m.gguf", *wide, change=change)
    refused(code, words, "inspect", tmp_path / "m.gguf")


def test_end_tokens_beyond_the_third_are_named(tmp_path):
    config = json.loads((support.NANO / "config.json").read_text())
    folder = link_nano(tmp_path, **{"config.json": json.dumps(config | {"eos_token_id": [1, 2, 3, 4, 5]})})
    assert "end tokens 4, 5" in support.minke("convert", folder, tmp_path / "x.gguf", "--to", "gguf").stderr


# ---- going on with interrupted work ----


def interrupted(tmp_path, verb, model, *flags, change=lambda record: None):
    """OUT.partial as it is before its last step: every shard done."""
    support.minke(verb, model, tmp_path / "out", *flags)
    partial = tmp_path / "out.partial"
    (tmp_path / "out").rename(partial)
    path = partial / f"{verb}.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    return partial


@pytest.mark.parametrize("verb", ["convert", "quantize"])
def test_another_model_of_the_same_size_is_not_continued(verb, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    for path in support.NANO.iterdir():
        if path.is_file():
            (one / path.name).write_bytes(path.read_bytes())
    two.mkdir()
    for path in one.iterdir():
        (two / path.name).write_bytes(path.read_bytes())
    interrupted(tmp_path, verb, one, "--shard-mb", 1)
    refused(10, "another", verb, two, tmp_path / "out", "--shard-mb", 1)
    weights = next(one.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes())  # another time
    refused(10, "another", verb, one, tmp_path / "out", "--shard-mb", 1)


def test_other_shards_are_not_continued(tmp_path):
    interrupted(tmp_path, "quantize", "nano", "--shard-mb", 1)
    refused(10, "another", "quantize", "nano", tmp_path / "out", "--shard-mb", 2)


@pytest.mark.parametrize("wrong", [5, None])
def test_a_damaged_record_is_not_believed(wrong, tmp_path):
    interrupted(tmp_path, "convert", "nano", change=lambda record: record["shards"][0].update(file=wrong))
    refused(10, "convert.json", "convert", "nano", tmp_path / "out")


def test_a_damaged_tensor_of_a_record_is_not_believed(tmp_path):
    interrupted(tmp_path, "quantize", "nano", change=lambda record: record["shards"][0]["tensors"][0].update(shape="x"))
    refused(10, "quantize.json", "quantize", "nano", tmp_path / "out")


def test_a_shard_with_other_tensors_is_not_continued(tmp_path):
    partial = interrupted(tmp_path, "convert", "nano", "--shard-mb", 1)
    first, second = sorted(partial.glob("*.safetensors"))[:2]
    first.write_bytes(second.read_bytes())
    refused(10, first.name, "convert", "nano", tmp_path / "out", "--shard-mb", 1)
