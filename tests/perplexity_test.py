"""minke perplexity: against minke score --text, by hand from saved logits, and its refusals."""

import json
import math

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import support

TEXT = "How do I make 33 from 9 8 3?\n" * 30


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(TEXT)
    return path


def rows(*arguments):
    return json.loads(support.minke("perplexity", *arguments, "--json").stdout)["rows"]


def token_ids():
    line = json.dumps({"text": TEXT})
    return json.loads(support.minke("tokenize", "nano", stdin=line).stdout)["ids"]


def test_agrees_with_score(text):
    scored = json.loads(support.minke("score", support.NANO, "--text", text, "--window", 100, "--json").stdout)
    (row,) = rows(support.NANO, "-f", text, "-c", 100)
    assert row["perplexity"] == scored["perplexity"] and row["scored_tokens"] == scored["scored_tokens"]


def test_numbers_follow_from_the_logits(text, tmp_path):
    """One window: perplexity, its error, and the divergence from logits that were moved by hand."""
    ids = token_ids()
    saved = tmp_path / "logits.safetensors"
    (row,) = rows(support.NANO, "-f", text, "-c", len(ids), "--save-logits", saved)
    file = load_file(saved)
    assert file["input_ids"].tolist() == ids and file["windows"].tolist() == [len(ids), len(ids)]
    logits = file["logits"].astype(np.float64)
    assert logits.shape[0] == row["scored_tokens"] == len(ids) - 1
    log_p = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    nll = -log_p[np.arange(len(ids) - 1), ids[1:]]
    assert row["perplexity"] == pytest.approx(math.exp(nll.mean()), rel=1e-6)
    assert row["error"] == pytest.approx(row["perplexity"] * nll.std(ddof=1) / math.sqrt(len(nll)), rel=1e-6)

    moved = logits + np.random.default_rng(1).normal(0, 0.5, logits.shape)
    save_file(file | {"logits": moved.astype(np.float32)}, tmp_path / "moved.safetensors")
    log_q = moved - np.logaddexp.reduce(moved, axis=1, keepdims=True)
    kl = (np.exp(log_q) * (log_q - log_p)).sum(axis=1)
    (row,) = rows(support.NANO, "-f", text, "-c", len(ids), "--kl-base", tmp_path / "moved.safetensors")
    assert row["kl"]["mean"] == pytest.approx(kl.mean(), rel=1e-4)
    assert row["kl"]["max"] == pytest.approx(kl.max(), rel=1e-4)
    assert row["kl"]["same_top"] == pytest.approx((moved.argmax(1) == logits.argmax(1)).mean())


def test_of_itself_is_nothing(text, tmp_path):
    saved = tmp_path / "logits.safetensors"
    rows(support.NANO, "-f", text, "-c", 64, "--save-logits", saved)
    (row,) = rows(support.NANO, "-f", text, "-c", 64, "--kl-base", saved)
    assert row["kl"]["mean"] == 0 and row["kl"]["same_top"] == 1


def test_overlapping_windows_score_each_token_once(text):
    ids = token_ids()
    (row,) = rows(support.NANO, "-f", text, "-c", 100, "--stride", 30)
    assert row["scored_tokens"] == len(ids) - 1


def test_attention_side_by_side(text):
    sparse, dense = rows(support.NANO, "-f", text, "--attention", "dsa,dense")
    assert sparse["attention"].startswith("dsa") and dense["attention"].startswith("dense")
    assert sparse["perplexity"] != dense["perplexity"]


def test_refusals(text, tmp_path):
    def refused(code, words, *arguments):
        result = support.minke("perplexity", *arguments, check=False)
        assert result.returncode == code and words in result.stderr, result.stderr

    refused(2, "-f FILE is missing", "nano")
    refused(3, "no_such", "nano", "-f", tmp_path / "no_such.txt")
    refused(2, "give dsa, dense or dsa,dense", "nano", "-f", text, "--attention", "dsa,")
    refused(2, "--stride 200 is more", "nano", "-f", text, "-c", 100, "--stride", 200)
    save_file({"logits": np.zeros((3, 5), np.float32)}, tmp_path / "narrow.safetensors")
    refused(2, "of 512 columns", "nano", "-f", text, "--kl-base", tmp_path / "narrow.safetensors")


def test_a_base_of_another_text_or_cut_is_refused(text, tmp_path):
    """With as many rows in it, too."""
    saved, other, bare, short = (tmp_path / name for name in ("saved", "other.txt", "bare", "short"))
    rows("nano", "-f", text, "-c", 64, "--save-logits", saved)
    file = load_file(saved)
    save_file({"logits": file["logits"]}, bare)  # says nothing of its text
    save_file(file | {"logits": file["logits"][:3]}, short)
    other.write_text(TEXT.replace("33", "34", 1))

    def refused(code, words, *arguments):
        result = support.minke("perplexity", "nano", *arguments, check=False)
        assert result.returncode == code and words in result.stderr and result.stderr.count("\n") == 1, result.stderr

    refused(2, "of another text or cut", "-f", other, "-c", 64, "--kl-base", saved, "-q")
    refused(2, "of another text or cut", "-f", text, "-c", 64, "--stride", 63, "--kl-base", saved, "-q")
    refused(2, "of another text or cut", "-f", text, "-c", 64, "--kl-base", bare, "-q")
    refused(4, "has 3 rows", "-f", text, "-c", 64, "--kl-base", short, "-q")


@pytest.fixture(scope="module")
def exact_perplexity():
    (exact,) = rows(support.NANO, "-f", support.NANO / "sample.txt")
    return exact["perplexity"]


@pytest.mark.parametrize("kind", ["bf16", "fp8", "int8"])
@pytest.mark.parametrize("flag", ["--index-precision", "--cache-type"])
def test_rounded_caches_predict_nearly_as_well(exact_perplexity, flag, kind):
    """That something was rounded is seen, and the text is predicted as well."""
    (rounded,) = rows(support.NANO, "-f", support.NANO / "sample.txt", flag, kind)
    assert rounded["perplexity"] != exact_perplexity
    assert abs(rounded["perplexity"] / exact_perplexity - 1) < 0.002


@pytest.mark.parametrize("kind", ["bf16", "fp8", "int8"])
def test_rounded_index_keys_change_nothing_within_topk(tmp_path, kind):
    """Up to index_topk tokens everything is selected, and no score counts."""
    ids = np.arange(5, 37)
    exact = support.score(tmp_path, support.NANO, ids)["logits"]
    assert np.array_equal(exact, support.score(tmp_path, support.NANO, ids, "--index-precision", kind)["logits"])
    assert not np.array_equal(exact, support.score(tmp_path, support.NANO, ids, "--cache-type", kind)["logits"])
