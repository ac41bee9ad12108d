"""Every golden model case through `minke score`: as a whole, in chunks, step by step, in mixed batches, on every kernel
set; and the promise of equal bytes (docs/model.md): logits do not depend on any of that but the attention form."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

import support

# Absolute, from tests/data/golden/README.md: several times what independent implementations differ by.
TOLERANCE = {"logits": 2e-4, "hidden": 5e-4, "expert_weights": 5e-5}
WAYS = {"whole": [], "chunk1": ["--chunk", 1], "chunk7": ["--chunk", 7], "chunk64": ["--chunk", 64], "step": ["--step"]}
_expected = {}


def expected_of(case):
    if case not in _expected:
        _expected[case] = load_file(support.GOLDEN / case / "expected.safetensors")
    return _expected[case]


def assert_golden(case, expected, actual, suffix="", rows=None):
    """All tensors of `expected` (of the first `rows` rows, for a shorter prompt) at their tolerance."""
    for name, want in expected.items():
        if name in ("input_ids", "greedy_ids"):
            continue
        assert name + suffix in actual, f"{case}: {name + suffix} is missing among {sorted(actual)}"
        got = actual[name + suffix]
        if rows is not None:
            want = want[: rows - 1 if name.startswith("mtp.") else rows]
            if "topk" in name:
                want = want[:, : min(want.shape[1], want.shape[0])]
        assert got.shape == want.shape, (case, name, got.shape, want.shape)
        assert got.dtype == want.dtype, (case, name)
        kind = "logits" if name.endswith("logits") else name.split(".")[0]
        if want.dtype == np.int32:
            wrong = np.flatnonzero((got != want).any(axis=1))
            assert wrong.size == 0, f"{case}: {name} row {wrong[0]}: {got[wrong[0]]}, expected {want[wrong[0]]}"
        else:
            difference = np.abs(got - want)
            assert np.isfinite(got).all(), (case, name)
            assert difference.max() <= TOLERANCE[kind], f"{case}: {name} differs by {difference.max():.2e}"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", support.CASES)
def test_golden(case, way, isa, tmp_path):
    expected = expected_of(case)
    actual = support.score(tmp_path, support.GOLDEN / case, expected["input_ids"], *WAYS[way], "--taps", "--greedy", 16,
                           isa=isa)
    assert_golden(case, expected, actual)
    np.testing.assert_array_equal(actual["greedy_ids"], expected["greedy_ids"])


def mixed_batch(ids):
    """The prompt, pieces from its start (which have known results) and strangers (which must not matter)."""
    return [ids[:1], ids, ids[::-1].copy(), ids[:33], np.roll(ids, 5)[:70], ids[:64], ids[:65]]


@pytest.mark.parametrize("chunk", [None, 7])
@pytest.mark.parametrize("case", support.CASES)
def test_golden_in_a_mixed_batch(case, chunk, isa, tmp_path):
    expected = expected_of(case)
    prompts = mixed_batch(expected["input_ids"])
    flags = ["--chunk", chunk] if chunk else []
    actual = support.score(tmp_path, support.GOLDEN / case, prompts, "--taps", "--greedy", 16, *flags, isa=isa)
    for i in (1, 3, 5, 6):
        assert_golden(f"{case}, prompt {i}", expected, actual, f".{i}", rows=len(prompts[i]))
    np.testing.assert_array_equal(actual["greedy_ids.1"], expected["greedy_ids"])


@pytest.mark.parametrize("case", support.CASES)
def test_expanded_attention_stays_near_the_absorbed_one(case, tmp_path):
    """Two orders of summation of the same sum; the bound is the golden one, on logits of size up to 13."""
    expected = expected_of(case)
    actual = support.score(tmp_path, support.GOLDEN / case, expected["input_ids"], "--mla", "expanded", "--taps")
    assert_golden(f"{case} expanded", expected, actual)


@pytest.mark.parametrize("attention", ["dsa", "dense"])
@pytest.mark.parametrize("case", support.CASES)
def test_same_bytes(case, attention, isa, tmp_path):
    """Chunks, batch, threads: never another bit. The two forms of attention each for itself."""
    ids = expected_of(case)["input_ids"]

    def logits(prompts, *flags, suffix=""):
        flags = ["--attention", attention, *flags]
        return support.score(tmp_path, support.GOLDEN / case, prompts, *flags, isa=isa)["logits" + suffix]

    whole = logits(ids, "--threads", 1)
    assert np.isfinite(whole).all()
    variants = {
        "two threads": logits(ids, "--threads", 2),
        "chunks of 7, two threads": logits(ids, "--threads", 2, "--chunk", 7),
        "chunks of 64": logits(ids, "--threads", 1, "--chunk", 64),
        "step": logits(ids, "--threads", 2, "--step"),
        "mixed batch": logits(mixed_batch(ids), "--threads", 2, suffix=".1"),
        "mixed batch, chunks of 7": logits(mixed_batch(ids), "--threads", 1, "--chunk", 7, suffix=".1"),
        "batch of 16": logits([np.roll(ids, i) for i in range(16)], "--threads", 2, suffix=".0"),
    }
    for way, other in variants.items():
        assert other.tobytes() == whole.tobytes(), f"{case}, {attention}: {way} differs from the whole prompt"


@pytest.mark.parametrize("case", ["v32", "v32_fp8", "v32_mtp", "glm_moe_dsa"])
def test_dense_attention_is_another_result(case, tmp_path):
    """The prompt is longer than index_topk, so that sparsity must show: case.json has the size of the difference."""
    expected = expected_of(case)
    dense = support.score(tmp_path, support.GOLDEN / case, expected["input_ids"], "--attention", "dense")["logits"]
    difference = float(np.abs(dense - expected["logits"]).max())
    about = json.loads((support.GOLDEN / case / "case.json").read_text())["dense_attention_logit_diff"]
    assert difference == pytest.approx(about, rel=1e-3)
