"""Gemma 4's text architecture, small and plain, for training on a CPU.

The parameters have the names and shapes of `Gemma4ForCausalLM` in transformers 5.19, and the
logits are the same (a test compares them), so a state dict moves between the two as it is. Left
out is what this size has no use for: per-layer inputs, shared keys and values, experts, vision.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Config:
    """The shape of the checkpoint, in transformers' words."""

    vocab_size: int = 1536
    hidden_size: int = 256
    intermediate_size: int = 512
    num_hidden_layers: int = 6
    num_attention_heads: int = 4
    num_key_value_heads: int = 4
    head_dim: int = 64
    sliding_window: int = 512
    rms_norm_eps: float = 1e-6

    @property
    def layer_types(self) -> list[str]:
        """Sliding and full attention in turn; Gemma 4's last layer is always full."""
        count = self.num_hidden_layers
        return [
            "sliding_attention" if (count - at) % 2 == 0 else "full_attention"
            for at in range(count)
        ]

    def to_transformers(self) -> dict[str, Any]:
        """Arguments of `Gemma4TextConfig`."""
        return asdict(self) | {
            "layer_types": self.layer_types,
            "global_head_dim": self.head_dim,
            "hidden_size_per_layer_input": 0,
            "vocab_size_per_layer_input": self.vocab_size,
            "max_position_embeddings": 8192,
            "pad_token_id": 0,
            "bos_token_id": 2,
            "eos_token_id": [1, 106, 50],
            "tie_word_embeddings": True,
        }


class RMSNorm(nn.Module):
    """Root-mean-square normalisation, computed in float32."""

    def __init__(self, size: int, eps: float, start: float = 1.0) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.full((size,), start))

    def forward(self, x: Tensor) -> Tensor:
        """Normalises the last dimension."""
        return (_unit(x.float(), self.eps) * self.weight).type_as(x)


def _unit(x: Tensor, eps: float) -> Tensor:
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)


def rotary(config: Config, kind: str, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine for each position: full layers turn only a quarter of the dimensions."""
    size, device = config.head_dim, positions.device
    exponents = torch.arange(0, size, 2, dtype=torch.float32, device=device) / size
    if kind == "sliding_attention":
        frequencies = 10_000.0**-exponents
    else:
        frequencies = 1_000_000.0**-exponents
        frequencies = torch.where(
            torch.arange(size // 2, device=device) < size // 8, frequencies, 0.0
        )
    angles = positions[..., None].float() * frequencies
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Applies the rotary embedding; `x` is (batch, heads, tokens, head size)."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


class Attention(nn.Module):
    """Grouped-query attention with normalised queries, keys and values, unscaled."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        inner = config.num_attention_heads * config.head_dim
        shared = config.num_key_value_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, inner, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, shared, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, shared, bias=False)
        self.o_proj = nn.Linear(inner, config.hidden_size, bias=False)
        # Unscaled, unit queries and keys of 64 dimensions would start far too sharp.
        self.q_norm = RMSNorm(config.head_dim, config.rms_norm_eps, 0.6)
        self.k_norm = RMSNorm(config.head_dim, config.rms_norm_eps, 0.6)

    def forward(
        self,
        x: Tensor,
        turned: tuple[Tensor, Tensor],
        mask: Tensor | None,
        past: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Attends; returns what it adds and the keys and values so far."""
        batch, tokens, _ = x.shape
        size = self.config.head_dim

        def heads(y: Tensor) -> Tensor:
            return y.view(batch, tokens, -1, size)

        q = turn(self.q_norm(heads(self.q_proj(x))).transpose(1, 2).float(), *turned).type_as(x)
        k = turn(self.k_norm(heads(self.k_proj(x))).transpose(1, 2).float(), *turned).type_as(x)
        v = (
            _unit(heads(self.v_proj(x)).float(), self.config.rms_norm_eps)
            .type_as(x)
            .transpose(1, 2)
        )
        if past is not None:
            k, v = torch.cat((past[0], k), dim=2), torch.cat((past[1], v), dim=2)
        groups = self.config.num_attention_heads // self.config.num_key_value_heads
        out = functional.scaled_dot_product_attention(
            q,
            k.repeat_interleave(groups, dim=1),
            v.repeat_interleave(groups, dim=1),
            attn_mask=mask,
            is_causal=mask is None,
            scale=1.0,
        )
        return self.o_proj(out.transpose(1, 2).reshape(batch, tokens, -1)), (k, v)


class MLP(nn.Module):
    """The gated feed-forward network."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """What it adds."""
        return self.down_proj(
            functional.gelu(self.gate_proj(x), approximate="tanh") * self.up_proj(x)
        )


class Layer(nn.Module):
    """One decoder layer: norms before and after each half."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        size, eps = config.hidden_size, config.rms_norm_eps
        self.self_attn = Attention(config)
        self.mlp = MLP(config)
        self.input_layernorm = RMSNorm(size, eps)
        self.post_attention_layernorm = RMSNorm(size, eps)
        self.pre_feedforward_layernorm = RMSNorm(size, eps)
        self.post_feedforward_layernorm = RMSNorm(size, eps)
        self.register_buffer("layer_scalar", torch.ones(1))

    def forward(
        self,
        x: Tensor,
        turned: tuple[Tensor, Tensor],
        mask: Tensor | None,
        past: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The changed states, and the keys and values so far."""
        attended, kept = self.self_attn(self.input_layernorm(x), turned, mask, past)
        x = x + self.post_attention_layernorm(attended)
        x = x + self.post_feedforward_layernorm(self.mlp(self.pre_feedforward_layernorm(x)))
        return x * self.layer_scalar, kept


class Backbone(nn.Module):
    """Embedding, layers, final norm."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=0)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def embed(self, ids: Tensor) -> Tensor:
        """Embeddings, scaled as Gemma scales them."""
        return self.embed_tokens(ids) * self.config.hidden_size**0.5

    def forward(self, ids: Tensor) -> Tensor:
        """Final states of every position; `ids` is (batch, tokens)."""
        turned, masks = self._alone(ids.shape[1], ids.device)
        x = self.embed(ids)
        for layer, kind in zip(self.layers, self.config.layer_types, strict=True):
            x, _ = layer(x, turned[kind], masks[kind])
        return self.norm(x)

    def continued(
        self, shared: Tensor, ids: Tensor, positions: Tensor, dialogues: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Final states of what dialogues begin with, computed once, and of the rest of each.

        Args:
            shared: What all begin with, (tokens).
            ids: The rest of each, one behind another, (rows, tokens).
            positions: Of each token in the rest of its dialogue.
            dialogues: The number of each token's dialogue in its row.
        """
        start, rows = len(shared), len(ids)
        turned, masks = self._alone(start, ids.device)
        where = positions + start
        turned_rest = {kind: rotary(self.config, kind, where[:, None]) for kind in turned}
        order = torch.arange(ids.shape[1], device=ids.device)
        own = (dialogues[:, :, None] == dialogues[:, None, :]) & (order[:, None] >= order)
        before = torch.arange(start, device=ids.device).expand(rows, -1)
        distance = where[:, :, None] - torch.cat((before, where), dim=1)[:, None, :]
        full = torch.cat((own.new_ones(rows, ids.shape[1], start), own), dim=2)
        seen = {
            "full_attention": full,
            "sliding_attention": full & (distance < self.config.sliding_window),
        }
        masks_rest = {  # as numbers, which is what attention would make of them in every layer
            kind: torch.where(mask, 0.0, -torch.inf)[:, None] for kind, mask in seen.items()
        }
        x, rest = self.embed(shared[None]), self.embed(ids)
        for layer, kind in zip(self.layers, self.config.layer_types, strict=True):
            x, (keys, values) = layer(x, turned[kind], masks[kind])
            past = (keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1))
            rest, _ = layer(rest, turned_rest[kind], masks_rest[kind], past)
        return self.norm(x), self.norm(rest)

    def _alone(
        self, tokens: int, device: torch.device
    ) -> tuple[dict[str, tuple[Tensor, Tensor]], dict[str, Tensor | None]]:
        """What turns sequences of so many tokens, and what each of their tokens sees."""
        positions = torch.arange(tokens, device=device)
        turned = {
            kind: rotary(self.config, kind, positions) for kind in set(self.config.layer_types)
        }
        masks: dict[str, Tensor | None] = dict.fromkeys(turned)
        if tokens > self.config.sliding_window:
            distance = positions[:, None] - positions[None, :]
            masks["sliding_attention"] = (distance >= 0) & (distance < self.config.sliding_window)
        return turned, masks


class TinyGemma4(nn.Module):
    """The language model; the output projection is the embedding."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.model = Backbone(config)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.04)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits of every position; `ids` is (batch, tokens)."""
        return functional.linear(self.model(ids), self.model.embed_tokens.weight)


def read_exported(folder: Path, **changes: Any) -> TinyGemma4:
    """The model of an exported folder, which further training can begin with.

    Args:
        folder: It holds `config.json` and `model.safetensors`.
        changes: Fields of `Config` that differ. With more key-value heads each of those in the
            folder is repeated, so that the model computes the same; no other field that shapes
            the weights can differ.
    """
    stored = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    old = Config(**{field.name: stored[field.name] for field in fields(Config)})
    model = TinyGemma4(replace(old, **changes))
    times = model.config.num_key_value_heads // old.num_key_value_heads
    state = {name: value.float() for name, value in load_file(folder / "model.safetensors").items()}
    for name, value in state.items():
        if name.endswith(("k_proj.weight", "v_proj.weight")):
            heads = value.unflatten(0, (old.num_key_value_heads, old.head_dim))
            state[name] = heads.repeat_interleave(times, 0).flatten(0, 1)
    model.load_state_dict(state)
    return model
