"""A small `deepseek_v32` checkpoint in PyTorch, for comparing minke's training with: transformers' own model (fp32, eager
attention) with two things it lacks, written here: an indexer that has a gradient, and the MTP layer.

Losses (docs/training.md), over prompts of token ids; sums run over all prompts together:
  lm          mean of -log p(x_{i+1} | x_0..x_i), over i = 0..n-2 of each prompt
  mtp         mean of -log p_mtp(x_{i+2} | x_0..x_{i+1}), over i = 0..n-3; position i of the MTP layer reads x_{i+1} and
              the main model's state after model.norm at i
  indexer-kl  sum over layers of the mean over rows t of KL(p_t || softmax(I_t)), both over the keys that t attends to:
              the selected ones (dsa) or all s <= t (dense). p is the main attention, averaged over heads, a constant;
              what the indexer reads is constant too. The MTP layer's indexer is not part of it.
No gradient goes through the selection, the choice of experts, or from an indexer into the model.
"""
import copy
import json
import pathlib
import types

import torch
import transformers
from safetensors.torch import load_file
from transformers.models.deepseek_v32 import modeling_deepseek_v32 as v32

LOSSES = ("lm", "mtp", "indexer-kl")


def read_tensors(folder):
    """All tensors of a checkpoint folder in F32, by name."""
    folder = pathlib.Path(folder)
    index = folder / "model.safetensors.index.json"
    files = sorted(set(json.loads(index.read_text())["weight_map"].values())) if index.exists() else ["model.safetensors"]
    return {name: tensor.float() for file in files for name, tensor in load_file(folder / file).items()}


def index_scores(indexer, x, q_resid, cos, sin):
    """I[t, s], [B, S, S], of a whole prompt: differentiable in the indexer's weights and in nothing else."""
    x, q_resid = x.detach(), q_resid.detach()
    batch, length, _ = x.shape
    rope_dim = indexer.qk_rope_head_dim

    def rotate(head):  # the first rope_dim columns of [B, S, heads, dim], pairs (j, j + rope_dim / 2)
        first, second, rest = head.split([rope_dim // 2, rope_dim // 2, head.shape[-1] - rope_dim], dim=-1)
        c, s = (angle[:, :, None, : rope_dim // 2] for angle in (cos, sin))
        return torch.cat([first * c - second * s, first * s + second * c, rest], dim=-1)

    q = rotate(indexer.wq_b(q_resid).view(batch, length, indexer.n_heads, indexer.head_dim))
    k = rotate(indexer.k_norm(indexer.wk(x))[:, :, None])[:, :, 0]
    w = indexer.weights_proj(x) * (indexer.n_heads * indexer.head_dim) ** -0.5
    return torch.einsum("btj,btjs->bts", w, torch.relu(torch.einsum("btjd,bsd->btjs", q, k)))


class Reference:
    """The model, and what its last pass kept for the indexer's loss. `scores[i]`, `allowed[i]`, `attention[i]` belong to
    layer i, the MTP layer last: I [B, S, S], the attended keys [B, S, S], the main attention's mean over heads."""

    def __init__(self, folder, attention="dsa"):
        self.tensors = read_tensors(folder)
        self.model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager").eval()
        self.config, self.attention_form = self.model.config, attention
        self.layers = list(self.model.model.layers)
        self.mtp = self._make_mtp()
        if self.mtp:
            self.layers.append(self.mtp.layer)
        self.scores, self.allowed, self.attention = ([None] * len(self.layers) for _ in range(3))
        for i, layer in enumerate(self.layers):
            layer.self_attn.indexer.forward = types.MethodType(self._indexer_forward(i), layer.self_attn.indexer)
            layer.self_attn.register_forward_hook(self._keep_attention(i))

    def _make_mtp(self):
        c, prefix = self.config, f"model.layers.{self.config.num_hidden_layers}."
        if prefix + "eh_proj.weight" not in self.tensors:
            return None
        config = copy.deepcopy(c)
        config._attn_implementation, config._experts_implementation = "eager", "eager"
        config.mlp_layer_types = [*config.mlp_layer_types, "sparse"]
        mtp = torch.nn.Module()
        mtp.enorm, mtp.hnorm, mtp.norm = (v32.DeepseekV32RMSNorm(c.hidden_size, c.rms_norm_eps) for _ in range(3))
        mtp.eh_proj = torch.nn.Linear(2 * c.hidden_size, c.hidden_size, bias=False)
        mtp.layer = v32.DeepseekV32DecoderLayer(config, c.num_hidden_layers)
        mtp.embed_tokens, mtp.head = self.model.model.embed_tokens, self.model.lm_head
        if prefix + "embed_tokens.weight" in self.tensors:
            mtp.embed_tokens = torch.nn.Embedding(c.vocab_size, c.hidden_size)
        if prefix + "shared_head.head.weight" in self.tensors:
            mtp.head = torch.nn.Linear(c.hidden_size, c.vocab_size, bias=False)
        self.mtp = mtp
        with torch.no_grad():
            for name, place in self.places().items():
                if name.startswith(prefix):
                    place(lambda tensor: tensor).copy_(self.tensors[name])
        return mtp.eval()

    def _indexer_forward(self, i):
        def forward(indexer, hidden_states, q_resid, position_embeddings, *_, past_key_values=None, **__):
            assert past_key_values is None, "whole prompts only"
            scores = index_scores(indexer, hidden_states, q_resid, *position_embeddings)
            length = scores.shape[-1]
            future = torch.ones(length, length, dtype=torch.bool).triu(1)
            order = scores.detach().masked_fill(future, -torch.inf).sort(dim=-1, descending=True, stable=True).indices
            chosen = order[..., : length if self.attention_form == "dense" else self.config.index_topk]
            self.scores[i] = scores
            self.allowed[i] = torch.zeros_like(scores, dtype=torch.bool).scatter(-1, chosen, True) & ~future
            return chosen
        return forward

    def _keep_attention(self, i):
        def hook(module, arguments, output):
            self.attention[i] = output[1].detach().mean(dim=1)
        return hook

    def hidden(self, ids):
        """The state after model.norm, [B, S, D]."""
        return self.model.model(input_ids=ids, use_cache=False).last_hidden_state

    def mtp_logits(self, ids, hidden):
        """Row i reads hidden state i and token i + 1: [B, S - 1, vocab]."""
        m, c = self.mtp, self.config
        u = m.eh_proj(torch.cat([m.enorm(m.embed_tokens(ids[:, 1:])), m.hnorm(hidden[:, :-1])], dim=-1))
        length = u.shape[1]
        positions = torch.arange(length)[None]
        mask = torch.full((length, length), torch.finfo(u.dtype).min, dtype=u.dtype).triu(1)[None, None]
        z = m.layer(u, attention_mask=mask, position_ids=positions,
                    position_embeddings=self.model.model.rotary_emb(u, position_ids=positions))
        return m.head(m.norm(z))

    def loss_terms(self, ids, loss):
        """(sum over this prompt's terms, number of terms) of a loss; ids [B, S], each row a prompt of its own."""
        hidden = self.hidden(ids)
        if loss == "indexer-kl":
            kl = sum(self._row_kl(i).sum() for i in range(self.config.num_hidden_layers))
            return kl, ids.numel()
        ahead = 1 if loss == "lm" else 2
        logits = self.model.lm_head(hidden) if loss == "lm" else self.mtp_logits(ids, hidden)
        rows = logits[:, : ids.shape[1] - ahead]
        targets = ids[:, ahead:]
        return torch.nn.functional.cross_entropy(rows.flatten(0, 1), targets.flatten(), reduction="sum"), targets.numel()

    def _row_kl(self, i):
        allowed, p = self.allowed[i], self.attention[i]
        log_q = self.scores[i].masked_fill(~allowed, -torch.inf).log_softmax(dim=-1).masked_fill(~allowed, 0)
        return (torch.xlogy(p, p) - p * log_q).sum(dim=-1)

    def places(self):
        """{checkpoint name: place}; place(f) is that tensor's part of f(the parameter or buffer that holds it)."""
        found = {}
        modules = [("", self.model)]
        if self.mtp:
            prefix = f"model.layers.{self.config.num_hidden_layers}."
            modules += [(prefix, self.mtp.layer)]
            found |= {prefix + name: lambda f, p=p: f(p) for name, p in self._mtp_own(prefix)}
        for prefix, module in modules:
            for name, p in [*module.named_parameters(), *module.named_buffers()]:
                stem, _, leaf = (prefix + name).rpartition(".")
                if leaf == "gate_up_proj":
                    for e in range(p.shape[0]):
                        half = p.shape[1] // 2
                        found[f"{stem}.{e}.gate_proj.weight"] = lambda f, p=p, e=e, half=half: f(p)[e, :half]
                        found[f"{stem}.{e}.up_proj.weight"] = lambda f, p=p, e=e, half=half: f(p)[e, half:]
                elif leaf == "down_proj" and stem.endswith("experts"):
                    found |= {f"{stem}.{e}.down_proj.weight": lambda f, p=p, e=e: f(p)[e] for e in range(p.shape[0])}
                else:
                    found[prefix + name] = lambda f, p=p: f(p)
        return {name: place for name, place in found.items() if name in self.tensors}

    def _mtp_own(self, prefix):
        m = self.mtp
        yield from [("enorm.weight", m.enorm.weight), ("hnorm.weight", m.hnorm.weight),
                    ("shared_head.norm.weight", m.norm.weight), ("eh_proj.weight", m.eh_proj.weight)]
        if m.embed_tokens is not self.model.model.embed_tokens:
            yield "embed_tokens.weight", m.embed_tokens.weight
        if m.head is not self.model.lm_head:
            yield "shared_head.head.weight", m.head.weight

    def gradients(self, prompts, loss):
        """(loss, {checkpoint name: F32 gradient}); zeros where the loss does not reach. Prompts are lists of ids."""
        if loss == "mtp" and not self.mtp:
            raise ValueError("this checkpoint has no MTP layer")
        modules = [self.model] + ([self.mtp] if self.mtp else [])
        for module in modules:
            module.zero_grad(set_to_none=True)
        count, total = 0, 0.0
        for prompt in prompts:
            value, terms = self.loss_terms(torch.as_tensor(prompt)[None].long(), loss)
            count, total = count + terms, total + value.item()
            if value.requires_grad:
                value.backward()

        def gradient(p):
            grad = getattr(p, "grad", None)
            return torch.zeros_like(p) if grad is None else grad / count

        places = self.places()
        missing = sorted(set(self.tensors) - set(places))
        if missing:
            raise ValueError(f"no place in the PyTorch model for {missing[0]} and {len(missing) - 1} more")
        return total / count, {name: place(gradient).detach().contiguous().clone() for name, place in places.items()}
