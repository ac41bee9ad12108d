#!/usr/bin/env python3
"""Makes tests/data/golden/gradients and tests/data/golden/loss_curve from PyTorch; their READMEs say what is in them.

    build/venv/bin/python tools/make_training_goldens.py gradients
    build/venv/bin/python tools/make_training_goldens.py loss_curve

Needs tests/requirements-interop.txt.
"""
import argparse
import json
import pathlib
import subprocess
import sys

import numpy as np
import torch
import transformers
from safetensors.numpy import load_file, save_file

import torch_reference

ROOT = pathlib.Path(__file__).resolve().parent.parent
GRADIENTS = ROOT / "tests/data/golden/gradients"
LOSS_CURVE = ROOT / "tests/data/golden/loss_curve"
CASES = [(loss, attention) for loss in torch_reference.LOSSES for attention in ("dsa", "dense")]

# One dense and two MoE layers and an MTP layer that shares embedding and head.
SHAPE = dict(num_hidden_layers=3, vocab_size=64, hidden_size=32, intermediate_size=48, moe_intermediate_size=8,
             num_attention_heads=2, num_key_value_heads=2, n_routed_experts=8, num_experts_per_tok=2, n_group=4,
             topk_group=2, first_k_dense_replace=1, q_lora_rank=24, kv_lora_rank=16, qk_nope_head_dim=8,
             qk_rope_head_dim=8, v_head_dim=8, index_n_heads=4, index_head_dim=16, index_topk=12,
             max_position_embeddings=256, rope_scaling=None, num_nextn_predict_layers=1)
PROMPTS = (40, 23)

LEAST_MARGIN = 1e-4  # rounding is near 1e-6
SAMPLES = 32
STEPS, BATCH, LENGTH = 200, 4, 64
OPTIMIZER = dict(lr=1e-3, betas=(0.9, 0.95), eps=1e-8)
WEIGHT_DECAY, CLIP = 0.1, 1.0
# The same weights twice. With every key and every expert in use training is smooth, and two programs agree. With choices
# to make, rounding decides one now and then, and from there on they are two trainings (measured: the README there).
CURVES = {"all": dict(index_topk=LENGTH, num_experts_per_tok=8, n_group=1, topk_group=1), "chosen": {}}


def sample_positions(size):
    """Which elements of a tensor of that size the golden file keeps: all of a small one, else scattered ones."""
    return np.arange(size) if size <= SAMPLES else np.arange(SAMPLES, dtype=np.int64) * 2654435761 % 2**32 % size


def make_checkpoint(folder, seed):
    settings = [word for key, value in SHAPE.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    subprocess.run([sys.executable, ROOT / "tools/make_checkpoint.py", folder, "--preset", "tiny", "--dtype", "f32",
                    "--seed", str(seed), *settings], check=True, stdout=subprocess.DEVNULL)
    tensors = load_file(folder / "model.safetensors")
    for copy in ("embed_tokens.weight", "shared_head.head.weight"):
        del tensors[f"model.layers.{SHAPE['num_hidden_layers']}.{copy}"]
    tensors["model.embed_tokens.weight"] *= SHAPE["hidden_size"] ** 0.5  # tokens differ, so that all experts are used
    for name in tensors:
        if name.endswith("e_score_correction_bias"):
            tensors[name] *= 0.3
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


class Margins:
    """How near the pass came to another selection or another choice of experts: rounding must not decide them."""

    def __init__(self, reference):
        self.reference, self.least_index, self.least_route = reference, float("inf"), float("inf")
        for layer in reference.layers:
            if hasattr(layer.mlp, "gate"):
                layer.mlp.gate.register_forward_hook(self._route)

    def _route(self, gate, arguments, output):
        """The smallest gap at the edge of the kept groups and of the chosen experts."""
        choice = output[0].detach().sigmoid() + gate.e_score_correction_bias
        groups = choice.view(len(choice), gate.num_group, -1).topk(2, dim=-1)[0].sum(-1).sort(-1, descending=True)
        kept = torch.zeros_like(groups.values, dtype=torch.bool).scatter(1, groups.indices[:, : gate.topk_group], True)
        kept = kept.repeat_interleave(gate.num_experts // gate.num_group, dim=1)
        experts = choice.masked_fill(~kept, -torch.inf).sort(-1, descending=True).values
        for values, k in ((groups.values, gate.topk_group), (experts, gate.top_k)):
            self.least_route = min(self.least_route, (values[:, k - 1] - values[:, k]).min().item())

    def index(self):
        """The smallest gap between a selected and a rejected score, over the range of the row's scores."""
        for scores, allowed in zip(self.reference.scores, self.reference.allowed):
            if scores is None:
                continue
            for row in range(self.reference.config.index_topk, scores.shape[1]):
                visible, chosen = scores[0, row, : row + 1].detach(), allowed[0, row, : row + 1]
                if chosen.all():
                    continue
                if visible[chosen].min() == visible[~chosen].max() == 0:
                    continue  # no head has a positive product: a tie that no rounding breaks, and the lower position wins
                gap = (visible[chosen].min() - visible[~chosen].max()) / (visible.max() - visible.min())
                self.least_index = min(self.least_index, gap.item())
        return self.least_index


def make_gradients():
    """Tries seeds until no selection and no choice of experts is near a tie."""
    GRADIENTS.mkdir(parents=True, exist_ok=True)
    for seed in range(200):
        make_checkpoint(GRADIENTS, seed)
        rng = np.random.default_rng(seed)
        prompts = [rng.integers(2, SHAPE["vocab_size"], size).tolist() for size in PROMPTS]
        margins = []
        for attention in ("dsa", "dense"):
            reference = torch_reference.Reference(GRADIENTS, attention)
            margin = Margins(reference)
            for prompt in prompts:
                with torch.no_grad():
                    reference.loss_terms(torch.tensor([prompt]), "mtp")
                margin.index()
            margins.append((margin.least_index, margin.least_route))
            if min(margins[-1]) < LEAST_MARGIN:
                break
        else:
            break
    else:
        sys.exit("every seed has a near tie")
    save_file({f"input_ids.{i}": np.array(prompt, np.int64) for i, prompt in enumerate(prompts)}, GRADIENTS / "ids.safetensors")
    golden = {}
    for loss, attention in CASES:
        value, gradients = torch_reference.Reference(GRADIENTS, attention).gradients(prompts, loss)
        arrays = [gradients[name].numpy().ravel() for name in sorted(gradients)]
        golden |= {f"{loss}.{attention}.loss": np.array([value], np.float32),
                   f"{loss}.{attention}.norms": np.array([np.linalg.norm(a.astype(np.float64)) for a in arrays], np.float32),
                   f"{loss}.{attention}.samples": np.concatenate([a[sample_positions(a.size)] for a in arrays if a.any()])}
        print(f"{loss}, {attention}: loss {value:.6f}, {sum(a.any() for a in arrays)} of {len(arrays)} tensors not zero")
    save_file(golden, GRADIENTS / "expected.safetensors")
    print(f"seed {seed}: (index, route) margins {margins}, "
          f"{sum(file.stat().st_size for file in GRADIENTS.iterdir()) / 1000:.0f} kB")


def make_batches(seed):
    """[STEPS, BATCH, LENGTH] of a chain that is easy to learn: the next token is one of three, given the last."""
    rng = np.random.default_rng(seed)
    vocab = SHAPE["vocab_size"]
    successors = np.stack([rng.permutation(np.arange(2, vocab))[:3] for _ in range(vocab)])
    ids = np.empty((STEPS, BATCH, LENGTH), np.int64)
    ids[:, :, 0] = rng.integers(2, vocab, (STEPS, BATCH))
    for t in range(1, LENGTH):
        choice = rng.choice(3, (STEPS, BATCH), p=[0.7, 0.2, 0.1])
        ids[:, :, t] = successors[ids[:, :, t - 1], choice]
    return ids


def train(folder, batches, disturb=0.0, seed=1, double=False):
    """The loss of each batch before the step on it, and the norm of its gradient before the clip. `disturb` scales a
    relative error of the starting weights."""
    reference = torch_reference.Reference(folder)
    model = reference.model
    if double:
        model.double()
    parameters = []
    for name, p in model.named_parameters():
        p.requires_grad_(".indexer." not in name)
        if p.requires_grad:
            parameters.append(p)
    if disturb:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for p in parameters:
                p *= 1 + disturb * torch.randn(p.shape, generator=generator, dtype=p.dtype)
    optimizer = torch.optim.AdamW([{"params": [p for p in parameters if p.ndim >= 2], "weight_decay": WEIGHT_DECAY},
                                   {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0}], **OPTIMIZER)
    losses, norms = [], []
    for batch in batches:
        total, terms = reference.loss_terms(torch.tensor(batch), "lm")
        loss = total / terms
        optimizer.zero_grad()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(parameters, CLIP).item())
        optimizer.step()
        losses.append(loss.item())
    return losses, norms


def make_loss_curves():
    LOSS_CURVE.mkdir(parents=True, exist_ok=True)
    batches = make_batches(0)
    save_file({f"input_ids.{i}": batch.astype(np.int16) for i, batch in enumerate(batches)}, LOSS_CURVE / "batches.safetensors")
    config = json.loads((GRADIENTS / "config.json").read_text())
    for name, settings in CURVES.items():
        folder = LOSS_CURVE / name
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config | settings, indent=1) + "\n")
        if not (folder / "model.safetensors").is_symlink():
            (folder / "model.safetensors").symlink_to("../../gradients/model.safetensors")
        losses, norms = train(folder, batches)
        sensitivity = {"double_precision": train(folder, batches, double=True)[0],
                       "weights_off_by_1e-6": train(folder, batches, disturb=1e-6)[0]}
        for what, other in sensitivity.items():
            off = np.abs(np.subtract(losses, other))
            sensitivity[what] = {"largest": float(off.max()), "first_step_beyond_1e-3": int((off > 1e-3).argmax()) if off.max() > 1e-3 else None}
        print(f"{name}: loss {losses[0]:.4f} to {losses[-1]:.4f}; {sum(n > CLIP for n in norms)} of {STEPS} steps clipped; "
              f"{sensitivity}", flush=True)
        about = {"loss": "lm", "attention": "dsa", "frozen": ["indexer", "e_score_correction_bias", "mtp"],
                 "optimizer": {"name": "adamw", "beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": WEIGHT_DECAY,
                               "decayed": "matrices", "learning_rate": 1e-3, "clip_norm": CLIP},
                 "losses": [round(value, 7) for value in losses], "gradient_norms": [round(value, 6) for value in norms],
                 "sensitivity": sensitivity}
        lines = ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in about.items())
        (folder / "expected.json").write_text("{\n" + lines + "\n}\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["gradients", "loss_curve"])
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    {"gradients": make_gradients, "loss_curve": make_loss_curves}[args.what]()


if __name__ == "__main__":
    main()
