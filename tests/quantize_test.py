"""minke quantize: the folder it writes, what it costs, and what happens when it is interrupted."""

import json
import os
import re
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
from safetensors import safe_open

import support

TILE = {"q8": 544, "q6": 416, "q4": 288}
TYPES = sorted(TILE)
PROMPT = np.array(support.json_lines(support.NANO / "expected.jsonl")[0]["prompt_ids"] * 3)  # past index_topk


@pytest.fixture(scope="module")
def quantized(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quantized")
    for kind in TYPES:
        support.minke("quantize", "nano", folder / kind, "--type", kind)
    return folder


def tensors(folder):
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    found = {}
    for name in sorted(set(index["weight_map"].values())):
        with safe_open(folder / name, "numpy") as shard:
            found |= {key: shard.get_slice(key).get_shape() for key in shard.keys()}
    assert set(found) == set(index["weight_map"])
    return found


def perplexity(model):
    out = support.minke("score", model, "--text", support.NANO / "sample.txt", "--json").stdout
    return json.loads(out)["perplexity"]


@pytest.mark.parametrize("kind", TYPES)
def test_the_folder_is_ordinary_safetensors(quantized, kind):
    shapes = tensors(quantized / kind)
    experts = [shape for name, shape in shapes.items() if re.search(r"experts\.\d+\.up_proj\.weight$", name)]
    assert experts and all(shape == [6, 4, TILE[kind]] for shape in experts)  # 88 x 128
    source = tensors(support.NANO)
    for name in ("model.layers.1.mlp.gate.weight", "model.layers.1.self_attn.indexer.weights_proj.weight", "model.norm.weight"):
        assert shapes[name] == source[name]  # exact
    assert (quantized / kind / "tokenizer.json").read_bytes() == (support.NANO / "tokenizer.json").read_bytes()
    config = json.loads((quantized / kind / "config.json").read_text())
    assert config["quantization_config"] == {"quant_method": "minke"}
    record = json.loads((quantized / kind / "quantize.json").read_text())
    assert all(0 < tensor["relative_rms"] < 0.1 for shard in record["shards"] for tensor in shard["tensors"])


@pytest.mark.parametrize("kind", TYPES)
def test_row_arithmetic_depends_on_the_row_alone(quantized, kind, tmp_path):
    whole = support.score(tmp_path, quantized / kind, PROMPT)["logits"]
    for flags in (["--chunk", 7], ["--step"], ["--threads", 1]):
        assert np.array_equal(support.score(tmp_path, quantized / kind, PROMPT, *flags)["logits"], whole), flags
    batch = support.score(tmp_path, quantized / kind, [PROMPT[:9], PROMPT, PROMPT[:50]])
    assert np.array_equal(batch["logits.1"], whole)
    assert np.array_equal(batch["logits.0"], whole[:9])


@pytest.mark.parametrize("kind", TYPES)
def test_every_kernel_set_agrees(quantized, kind, tmp_path):
    sets = [name for name, supported in support.kernel_sets().items() if supported]
    results = {name: support.score(tmp_path, quantized / kind, PROMPT, isa=name)["logits"] for name in sets}
    # A code of x that differs by one, where a product is rounded, may turn an expert or a selected token; most do not.
    for name, logits in results.items():
        difference = np.median(np.abs(logits - results["reference"]))
        assert difference < 0.02, (name, difference)
    fused = [logits for name, logits in results.items() if name not in ("reference", "sse42")]
    assert all(np.array_equal(logits, fused[0]) for logits in fused)


# Perplexity over that of the BF16 weights, on tests/data/nano-hf/sample.txt.
@pytest.mark.parametrize("kind, bound", [("q8", 1.001), ("q6", 1.01), ("q4", 1.03)])
def test_perplexity_stays(quantized, kind, bound):
    assert 0.99 < perplexity(quantized / kind) / perplexity("nano") < bound


@pytest.mark.parametrize("kind", TYPES)
def test_parameters_are_counted_not_bytes(quantized, kind):
    before, after = (json.loads(support.minke("inspect", model, "--json").stdout)["tensors"]
                     for model in ("nano", quantized / kind))
    assert after["parameters"] == before["parameters"] == sum(int(np.prod(shape)) for shape in tensors(support.NANO).values())


def test_keep_names_exceptions(tmp_path):
    support.minke("quantize", "nano", tmp_path / "out", "--type", "q4", "--keep", r"layers\.0\.=q8", "--keep", "lm_head=keep")
    shapes = tensors(tmp_path / "out")
    assert shapes["model.layers.0.self_attn.o_proj.weight"][2] == TILE["q8"]
    assert shapes["model.layers.1.self_attn.o_proj.weight"][2] == TILE["q4"]
    assert shapes["lm_head.weight"] == [512, 128]


def test_fp8_can_stay(tmp_path):
    source = support.GOLDEN / "v32_fp8"
    support.minke("quantize", source, tmp_path / "out", "--keep", "self_attn=keep")
    shapes = tensors(tmp_path / "out")
    assert "model.layers.0.self_attn.o_proj.weight_scale_inv" in shapes
    assert not any("down_proj.weight_scale_inv" in name for name in shapes)
    ids = np.arange(1, 40)
    before = support.score(tmp_path, source, ids)["logits"]
    after = support.score(tmp_path, tmp_path / "out", ids)["logits"]
    assert 0 < np.median(np.abs(after - before)) < 0.2 * np.median(np.abs(before))


def test_refusals(quantized, tmp_path):
    def refused(code, text, *arguments):
        result = support.minke("quantize", *arguments, check=False)
        assert result.returncode == code and text in result.stderr, result.stderr
        assert len(result.stderr.strip().split("\n")) == 1

    refused(2, "exists; remove it", "nano", quantized / "q8")
    refused(2, "quantised already", quantized / "q8", tmp_path / "again")
    refused(2, "REGEX=TYPE", "nano", tmp_path / "out", "--keep", "lm_head")
    refused(2, "none of q8, q6, q4, keep", "nano", tmp_path / "out", "--keep", "lm_head=q5")
    refused(2, "no regular expression", "nano", tmp_path / "out", "--keep", "(=q8")
    refused(2, '"lm_haed" matches no matrix that can be quantised', "nano", tmp_path / "out", "--keep", "lm_haed=q8")
    refused(2, '"mlp.gate.w" matches no matrix', "nano", tmp_path / "out", "--keep", "lm_head=q8", "--keep", "mlp.gate.w=q8")
    refused(2, '"lm_haed" matches no tensor', "nano", tmp_path / "out", "--keep", "lm_haed=keep")
    (tmp_path / "file").write_text("")
    refused(1, "cannot be made", "nano", tmp_path / "file" / "out")
    assert not (tmp_path / "out").exists()


def test_damaged_tiles_are_refused(quantized, tmp_path):
    shutil.copytree(quantized / "q4", tmp_path / "q4")
    config = json.loads((tmp_path / "q4" / "config.json").read_text())
    config["hidden_size"] = 160
    (tmp_path / "q4" / "config.json").write_text(json.dumps(config))
    result = support.minke("inspect", tmp_path / "q4", check=False)
    assert result.returncode == 4 and "expected [32, 5, 416]" in result.stderr.replace("shape ", ""), result.stderr


def test_interrupted_work_is_resumed(tmp_path):
    """Killed at several moments, then finished: the bytes of an uninterrupted run."""
    support.minke("quantize", "nano", tmp_path / "whole", "--type", "q6", "--shard-mb", 1)
    shards = sorted(path.name for path in (tmp_path / "whole").glob("*.safetensors"))
    assert len(shards) > 1
    arguments = ["quantize", "nano", tmp_path / "out", "--type", "q6", "--shard-mb", "1", "--threads", "1"]
    resumed = 0
    for _ in range(20):
        process = subprocess.Popen([*support.COMMAND, *map(str, arguments)], stdout=subprocess.DEVNULL)
        partial = tmp_path / "out.partial"
        before = len(list(partial.glob("*.safetensors")))
        while process.poll() is None and len(list(partial.glob("*.safetensors"))) == before:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
        resumed += before > 0
        if (tmp_path / "out").exists():
            break
    if not (tmp_path / "out").exists():
        support.minke(*arguments)
    assert resumed > 0
    for name in os.listdir(tmp_path / "whole"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert not (tmp_path / "out.partial").exists()


def test_another_quantization_is_not_continued(tmp_path):
    partial = tmp_path / "out.partial"
    partial.mkdir()
    record = {"version": 1, "type": "q8", "rules": [], "source": {"other.safetensors": 1}, "shards": []}
    (partial / "quantize.json").write_text(json.dumps(record))
    result = support.minke("quantize", "nano", tmp_path / "out", check=False)
    assert result.returncode == 10 and "another quantization" in result.stderr
