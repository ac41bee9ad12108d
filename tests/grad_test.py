"""`minke grad` against PyTorch, tensor by tensor: golden values (tests/data/golden/gradients), and, where torch and
transformers are installed, prompts nobody has seen. Relative: the norm of the difference over the norm."""

import json
import shutil
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import support

FOLDER = support.GOLDEN / "gradients"
RELATIVE = 1e-4
CASES = [(loss, attention) for loss in ("lm", "mtp", "indexer-kl") for attention in ("dsa", "dense")]
SAMPLES = 32  # as in tools/make_training_goldens.py


def grad(tmp_path, model, ids, loss, attention, *flags, isa=None):
    """The tensors that `minke grad` writes, as {name: array}."""
    out = tmp_path / "grads.safetensors"
    out.unlink(missing_ok=True)
    support.minke("grad", model, "--ids", ids, "--loss", loss, "--attention", attention, "--out", out, *flags,
                  env={"MINKE_ISA": isa} if isa else None)
    return load_file(out)


def sample_positions(size):
    return np.arange(size) if size <= SAMPLES else np.arange(SAMPLES, dtype=np.int64) * 2654435761 % 2**32 % size


def assert_gradients_of(model, gradients):
    """F32, one for each tensor of the checkpoint, of its shape, and finite."""
    weights = load_file(model / "model.safetensors")
    assert sorted(gradients) == sorted([*weights, "loss"])
    assert gradients["loss"].shape == (1,)
    for name, gradient in gradients.items():
        assert gradient.dtype == np.float32, name
        assert name == "loss" or gradient.shape == weights[name].shape, name
        assert np.isfinite(gradient).all(), name


@pytest.mark.parametrize("loss, attention", CASES)
def test_golden(loss, attention, isa, tmp_path):
    expected = load_file(FOLDER / "expected.safetensors")
    actual = grad(tmp_path, FOLDER, FOLDER / "ids.safetensors", loss, attention, isa=isa)
    assert_gradients_of(FOLDER, actual)
    loss_name = f"{loss}.{attention}"
    assert actual.pop("loss") == pytest.approx(expected[f"{loss_name}.loss"], rel=RELATIVE)
    norms, samples, at, wrong = expected[f"{loss_name}.norms"], expected[f"{loss_name}.samples"], 0, []
    for name, norm in zip(sorted(actual), norms, strict=True):
        gradient = actual[name].ravel()
        if norm == 0:  # the loss does not reach this tensor
            if gradient.any():
                wrong.append(f"{name}: not zero")
            continue
        positions = sample_positions(gradient.size)
        want = samples[at : at + positions.size]
        at += positions.size
        # Of a large tensor we have a sample and the norm: as many elements of the typical size are the measure.
        measure = max(np.linalg.norm(want), norm * np.sqrt(positions.size / gradient.size))
        error = max(np.linalg.norm(gradient[positions] - want) / measure,
                    abs(np.linalg.norm(gradient.astype(np.float64)) - norm) / norm)
        if not error <= RELATIVE:
            wrong.append(f"{name}: {error:.1e}")
    assert at == samples.size
    assert not wrong, f"{len(wrong)} of {len(norms)} tensors: {wrong[:5]}"


@pytest.mark.parametrize("flags", [["--threads", 2], ["--threads", 1]])
def test_threads_change_no_bit(flags, tmp_path):
    ids = FOLDER / "ids.safetensors"
    first, second = (grad(tmp_path, FOLDER, ids, "lm", "dsa", *more) for more in ([], flags))
    for name in first:
        assert first[name].tobytes() == second[name].tobytes(), name


def test_a_prompt_without_a_target_is_refused(tmp_path):
    ids = tmp_path / "ids.safetensors"
    save_file({"input_ids": np.array([5], np.int64)}, ids)
    result = support.minke("grad", FOLDER, "--ids", ids, "--loss", "lm", "--out", tmp_path / "out.safetensors", check=False)
    assert result.returncode not in (0, -6, -8, -11) and result.stderr.count("\n") == 1, result.stderr
    assert not (tmp_path / "out.safetensors").exists()


def test_the_loss_of_an_mtp_layer_needs_one(tmp_path):
    result = support.minke("grad", support.GOLDEN / "v32", "--ids", FOLDER / "ids.safetensors", "--loss", "mtp", "--out",
                           tmp_path / "out.safetensors", check=False)
    assert result.returncode not in (0, -6, -8, -11) and "MTP" in result.stderr, result.stderr


def test_a_weight_that_is_not_finite_is_named(tmp_path):
    model, name = tmp_path / "model", "model.layers.1.self_attn.kv_b_proj.weight"
    shutil.copytree(FOLDER, model)
    weights = load_file(model / "model.safetensors")
    weights[name].flat[3] = np.nan
    save_file(weights, model / "model.safetensors")
    result = support.minke("grad", model, "--ids", FOLDER / "ids.safetensors", "--out", tmp_path / "out.safetensors", check=False)
    assert result.returncode == 1 and f"the weights of {name} are not finite" in result.stderr, result.stderr
    assert not (tmp_path / "out.safetensors").exists()


# From here on against PyTorch itself.


@pytest.fixture(scope="module")
def reference():
    """tools/torch_reference.py, or a skip where its packages are not installed."""
    reason = "tests/requirements-interop.txt is not installed"
    torch = pytest.importorskip("torch", reason=reason)
    transformers = pytest.importorskip("transformers", reason=reason)
    torch.set_num_threads(1)  # tiny models: a second thread only waits
    transformers.logging.set_verbosity_error()
    sys.path.insert(0, str(support.ROOT / "tools"))
    import torch_reference
    return torch_reference


@pytest.mark.slow
@pytest.mark.parametrize("loss, attention", CASES)
@pytest.mark.parametrize("case", ["v32", "v32_mtp", "gradients"])
def test_fresh_prompts(case, loss, attention, reference, tmp_path):
    """v32_mtp has an embedding and a head of the MTP layer's own, in `gradients` it shares the model's; v32 has none."""
    folder = support.GOLDEN / case
    config = json.loads((folder / "config.json").read_text())
    if loss == "mtp" and not config.get("num_nextn_predict_layers"):
        pytest.skip("the model has no MTP layer")
    rng = np.random.default_rng(20261126)
    model = reference.Reference(folder, attention)
    # Random weights may tie two index scores or two experts within rounding; then both answers are right, and whole
    # tensors differ. Such a prompt is rare, so of three sets of prompts one has to agree on every tensor.
    worst = []
    for _ in range(3):
        prompts = [rng.integers(2, config["vocab_size"], size) for size in (37, 3, 21)]
        ids = tmp_path / "ids.safetensors"
        save_file({f"input_ids.{i}": prompt for i, prompt in enumerate(prompts)}, ids)
        value, expected = model.gradients(prompts, loss)
        actual = grad(tmp_path, folder, ids, loss, attention)
        assert_gradients_of(folder, actual)
        errors = {name: np.linalg.norm(actual[name] - want.numpy()) / max(want.norm().item(), 1e-30)
                  for name, want in expected.items()}
        errors["loss"] = abs(actual["loss"][0] - value) / value
        worst.append(max(errors.items(), key=lambda item: item[1]))
        if worst[-1][1] <= RELATIVE:
            return
    pytest.fail(f"three of three sets of prompts differ, first in {worst}")
