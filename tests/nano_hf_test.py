"""A trained model against what tests/data/nano-hf/README.md states: continuations, perplexity, drafts, accuracy."""

import json
import math

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import support

EXPECTED = support.json_lines(support.NANO / "expected.jsonl")
EVAL = support.json_lines(support.NANO / "eval.jsonl")


def greedy_batch(tmp_path, cases, *flags):
    """Continuations of `cases` submitted together. One length for all: the longest; the end token stops none."""
    length = max(len(case["output_ids"]) for case in cases)
    out = support.score(tmp_path, support.NANO, [case["prompt_ids"] for case in cases], "--greedy", length, *flags)
    return [out[f"greedy_ids.{i}"][: len(case["output_ids"])].tolist() for i, case in enumerate(cases)]


def assert_continuations(cases, continuations):
    for case, got in zip(cases, continuations, strict=True):
        assert got == case["output_ids"], f"prompt {case['id']}: {case['prompt']}"


def by_length(cases):
    return sorted(cases, key=lambda case: len(case["output_ids"]))


@pytest.mark.slow
def test_continuations_one_by_one(tmp_path):
    assert len(EXPECTED) == 200
    for case in EXPECTED:
        assert_continuations([case], greedy_batch(tmp_path, [case]))


def test_continuations_in_batches_of_16(tmp_path):
    cases = by_length(EXPECTED)  # like lengths together, only to save time
    for begin in range(0, len(cases), 16):
        batch = cases[begin : begin + 16]
        assert_continuations(batch, greedy_batch(tmp_path, batch))


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [1, 7])
def test_continuations_chunked(chunk, tmp_path):
    cases = by_length(EXPECTED)
    for begin in range(0, len(cases), 50):
        batch = cases[begin : begin + 50]
        assert_continuations(batch, greedy_batch(tmp_path, batch, "--chunk", chunk))


def test_whole_continuations_are_their_own_argmax(tmp_path):
    """Prompt and output in one pass: the argmax of each row is the next output token. Prefill agrees with decode."""
    cases = by_length(EXPECTED)[::8]
    out = support.score(tmp_path, support.NANO, [case["prompt_ids"] + case["output_ids"] for case in cases])
    for i, case in enumerate(cases):
        rows = out[f"logits.{i}"][len(case["prompt_ids"]) - 1 : -1]
        assert rows.argmax(axis=1).tolist() == case["output_ids"]


@pytest.mark.parametrize("window, perplexity", [(384, "1.5158"), (1024, "2.8971")])
def test_perplexity(window, perplexity):
    flags = ["--text", support.NANO / "sample.txt", "--json"]
    if window != 384:
        flags += ["--window", window]
    facts = json.loads(support.minke("score", support.NANO, *flags).stdout)
    assert f"{facts['perplexity']:.4f}" == perplexity
    assert facts["scored_tokens"] == {384: 19966, 1024: 19999}[window]


def test_drafts_agree_as_often_as_stated(tmp_path):
    """Row p of mtp.logits predicts token p + 2: the draft for output token j is row P + j - 2, for j from 1 on."""
    hits = drafts = 0
    for begin in range(0, len(EXPECTED), 20):
        batch = EXPECTED[begin : begin + 20]
        out = support.score(tmp_path, support.NANO, [case["prompt_ids"] + case["output_ids"] for case in batch], "--taps")
        for i, case in enumerate(batch):
            first = len(case["prompt_ids"]) - 1
            guesses = out[f"mtp.logits.{i}"][first : first + len(case["output_ids"]) - 1].argmax(axis=1)
            right = int((guesses == np.array(case["output_ids"][1:])).sum())
            assert case["mtp_drafts"] == len(guesses)
            assert abs(right - case["mtp_hits"]) <= 2, f"prompt {case['id']}: {right}, stated {case['mtp_hits']}"
            hits, drafts = hits + right, drafts + len(guesses)
    assert hits / drafts == pytest.approx(0.935, abs=0.001), (hits, drafts)


def test_the_engine_accepts_drafts_as_often(tmp_path):
    """The same rate through `--mtp on`, which drafts only the token after those that are known; same continuations."""
    cases = by_length(EXPECTED)[-64:]
    source = tmp_path / "ids.safetensors"
    save_file({f"input_ids.{i}": np.asarray(case["prompt_ids"], np.int64) for i, case in enumerate(cases)}, source)
    length = len(cases[0]["output_ids"])  # nobody writes past the end of its answer
    facts = {mode: json.loads(support.minke("score", support.NANO, "--ids", source, "--out", tmp_path / mode, "--greedy", length, "--mtp", mode,
                                            "--json").stdout)["mtp"] for mode in ["on", "off"]}
    on, off = load_file(tmp_path / "on"), load_file(tmp_path / "off")
    for i, case in enumerate(cases):
        assert on[f"greedy_ids.{i}"].tolist() == off[f"greedy_ids.{i}"].tolist() == case["output_ids"][:length]
    assert facts["off"]["drafts"] == 0
    assert facts["on"]["acceptance_rate"] == pytest.approx(0.935, abs=0.03), facts


def test_checker_knows_right_from_wrong():
    assert support.solves([5, 2, 8], 20, "8*5=40,40/2=20")
    assert not support.solves([5, 2, 8], 20, "5*2=10,10+8=18")       # another number
    assert not support.solves([5, 2, 8], 20, "8*5=40,40/2=21")       # wrong arithmetic
    assert not support.solves([5, 2, 8], 20, "10*2=20")              # a number that is not there
    assert not support.solves([5, 2, 8], 40, "8*5=40")               # one number unused
    assert not support.solves([5, 2, 8], 20, "?")
    by_id = {item["id"]: item for item in EVAL}
    for case in EXPECTED:
        item = by_id[case["id"]]
        answer = case["text"].split("</think>")[-1].removesuffix("<｜end▁of▁sentence｜>")
        assert support.solves(item["numbers"], item["target"], answer) == case["right"], case


@pytest.mark.slow
def test_accuracy_at_temperature(tmp_path):
    """84.8 % at temperature 0.6 over the 400 prompts; the standard error of such a count is 1.8 points."""
    assert len(EVAL) == 400
    right = 0
    for item in EVAL:
        out = support.minke("run", support.NANO, item["prompt"], "--think", "--temp", 0.6, "--seed", item["id"], "-n", 400, "--json")
        message = json.loads(out.stdout)
        right += support.solves(item["numbers"], item["target"], message["content"])
    accuracy = right / len(EVAL)
    error = math.sqrt(0.848 * (1 - 0.848) / len(EVAL))
    print(f"accuracy {100 * accuracy:.1f} %, expected 84.8 % within {300 * error:.1f} points")
    assert abs(accuracy - 0.848) <= 3 * error, accuracy
