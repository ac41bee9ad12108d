"""Models larger than --memory: the same bytes as in memory, for every way weights are stored and read."""

import json
import re

import numpy as np
import pytest

import gguf_files
import gguf_test
import support

# Weights as shipped in BF16 and FP8, and in minke's own blocks; v32_mtp and nano draft as well.
MODELS = ["nano", "nano-q8", "v32_fp8", "v32_mtp"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    q8 = tmp_path_factory.mktemp("stream") / "nano-q8"
    support.minke("quantize", support.NANO, q8, "--type", "q8")
    return {"nano": support.NANO, "nano-q8": q8, "v32_fp8": support.GOLDEN / "v32_fp8", "v32_mtp": support.GOLDEN / "v32_mtp"}


def with_the_least_memory(*args):
    """(result, what was said) of a run that is given what it says it needs: first for what always stays, then with what a
    step takes, then where continuing needs more than scoring does. A number that is said has to be enough for its step."""
    memory, said = "1K", []
    for _ in range(4):
        result = support.minke(*args, "--memory", memory, check=False)
        if result.returncode == 0:
            return result, said
        assert result.returncode == 6, result.stderr
        said += [line for line in result.stderr.splitlines() if "--memory" in line]
        assert result.stderr.endswith(said[-1] + "\n"), result.stderr
        memory = re.search(r"(?:need|more than) ([0-9.]+) MB", said[-1])[1] + "M"
    raise AssertionError(said)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("model", MODELS)
def test_same_bytes_with_the_least_memory(model, threads, folders, tmp_path):
    folder = folders[model]
    ids = np.arange(70) * 31 % 180
    flags = ["--chunk", 16, "--context", 128, "--threads", threads]
    mtp = ["--mtp", "on"] if model in ("nano", "nano-q8", "v32_mtp") else []
    whole = support.score(tmp_path, folder, ids, *flags, "--greedy", 24)
    source = tmp_path / "ids.safetensors"
    result, said = with_the_least_memory("score", folder, *flags, *mtp, "--ids", source, "--greedy", 24, "--json",
                                         "--out", tmp_path / "small.safetensors")
    assert len(said) == 3 and [line.endswith("a shorter --context") for line in said] == [False, False, True], said
    small = support.load_file(tmp_path / "small.safetensors")
    assert small["logits"].tobytes() == whole["logits"].tobytes()
    assert small["greedy_ids"].tobytes() == whole["greedy_ids"].tobytes()
    experts = json.loads(result.stdout)["experts"]
    assert 0 < experts["hits"] < experts["needed"], experts
    assert experts["read_bytes"] >= experts["missed_bytes"] > 0, experts


@pytest.mark.parametrize("load", ["read", "direct"])
@pytest.mark.parametrize("huge_pages", ["off", "auto"])
def test_weights_that_are_read_give_the_same_bytes(load, huge_pages, tmp_path):
    ids = np.arange(40) * 7 % 500
    mapped = support.score(tmp_path, support.NANO, ids)
    read = support.score(tmp_path, support.NANO, ids, "--load", load, "--huge-pages", huge_pages)
    assert read["logits"].tobytes() == mapped["logits"].tobytes()


def test_reserved_huge_pages_are_used_or_asked_for(tmp_path):
    ids = tmp_path / "ids.safetensors"
    support.save_file({"input_ids": np.arange(40) * 7 % 500}, ids)
    result = support.minke("score", support.NANO, "--ids", ids, "--out", tmp_path / "on.safetensors", "--load", "read",
                           "--huge-pages", "on", check=False)
    if result.returncode == 0:  # this machine has some
        mapped = support.score(tmp_path, support.NANO, np.arange(40) * 7 % 500)
        assert support.load_file(tmp_path / "on.safetensors")["logits"].tobytes() == mapped["logits"].tobytes()
    else:
        assert result.returncode == 6 and "raise vm.nr_hugepages or leave --huge-pages out" in result.stderr, result.stderr


def test_wrong_use_and_what_inspect_says(tmp_path):
    ids = tmp_path / "ids.safetensors"
    support.save_file({"input_ids": np.arange(4)}, ids)
    for flags, code in [(["--memory", "8X"], 2), (["--memory", "1G", "--load", "mmap"], 2), (["--load", "fast"], 2),
                        (["--huge-pages", "auto"], 2), (["--huge-pages", "on", "--load", "mmap"], 2)]:
        result = support.minke("score", support.NANO, "--ids", ids, *flags, check=False)
        assert result.returncode == code, (flags, result.stderr)
        assert result.stderr.count("\n") == 1, result.stderr
    text = support.minke("inspect", support.NANO, "--fit", 64, "--memory", "30M").stdout
    assert "experts     32 of 32 at once" in text and "speed is not predicted" in text and "tokens/s" not in text, text
    assert support.minke("inspect", support.NANO, "--memory", "30M", check=False).returncode == 2
    assert support.minke("inspect", support.NANO, "--fit", 64, "--memory", "1M", check=False).returncode == 6


def test_run_and_bench_say_how_the_experts_came(tmp_path):
    facts = support.minke("run", support.NANO, "Reach 45 with the numbers 9 10 5.", "--temp", 0, "-n", 20, "-c", 256,
                          "--memory", "30M").stderr
    assert re.search(r"experts \d+ of \d+ in memory \([0-9.]+ %\), \d+ read ahead, [0-9.]+ [KM]B read", facts), facts
    report = json.loads(support.minke("bench", support.NANO, "-d", 0, "-p", 8, "-n", 4, "--batch", 1, "-r", 1, "--memory", "30M",
                                      "--json").stdout)
    for row in report["rows"]:
        experts = row["experts"]
        assert experts["disk_bytes_per_s"] > 0 and experts["needed"] > 0, row
        assert experts["share_of_disk"] == pytest.approx(
            experts["missed_bytes"] / experts["disk_bytes_per_s"] / experts["seconds"]), row


def test_a_chunk_shrinks_until_the_stated_memory_is_enough(tmp_path):
    ids = tmp_path / "ids.safetensors"
    support.save_file({"input_ids": np.arange(200) * 31 % 180}, ids)
    _, said = with_the_least_memory("score", support.NANO, "--ids", ids)
    assert len(said) == 2, said


@pytest.mark.parametrize("verb", ["score", "bench"])
def test_a_limit_holds_without_experts_and_counts_what_gguf_has_in_parts(verb, tmp_path):
    config, tensors = gguf_test.wide_model(first_k_dense_replace=2)
    model, ids = tmp_path / "model.gguf", tmp_path / "ids.safetensors"
    gguf_files.write(model, config, tensors)
    support.save_file({"input_ids": np.arange(20)}, ids)
    weights = sum(array.nbytes for array in tensors.values())
    fit = json.loads(support.minke("inspect", model, "--fit", 64, "--json").stdout)["fit"]
    assert fit["weight_bytes"] < weights < fit["weight_bytes"] + fit["owned_bytes"] == fit["needed_bytes"] - fit["cache_bytes"] - fit["scratch_bytes"], fit
    args = {"score": ["--ids", ids, "--context", 64], "bench": ["-d", 0, "-p", 8, "-n", 4, "--batch", 1, "-r", 1]}
    _, said = with_the_least_memory(verb, model, *args[verb])
    assert len(said) == 2, said
    assert float(re.search(r"weights of every token take ([0-9.]+) MB", said[0])[1]) * 1e6 > weights, said


def test_bench_with_two_attentions_refuses_with_what_both_need():
    args = ["bench", support.NANO, "-d", 0, "-p", 8, "-n", 4, "--batch", 1, "-r", 1, "--attention", "dsa,dense"]
    result = support.minke(*args, "--memory", "2.4M", check=False)
    assert result.returncode == 6 and not re.search(r"-\d", result.stderr), result.stderr
    _, said = with_the_least_memory(*args)
    assert len(said) == 2, said
