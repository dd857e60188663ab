"""Logits → the next token: greedy, or drawn with temperature, top-k and top-p."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from agentkit.models.decoder import Logits

_GREEDY_BELOW: Final = 1e-5  # as vLLM 0.32 (`_SAMPLING_EPS`)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to draw, in the order vLLM 0.32 applies it: temperature, top-k, top-p.

    Attributes:
        temperature: 0 is greedy.
        top_k: Only the k likeliest tokens; 0 or less is all.
        top_p: Only the likeliest tokens that together have this probability.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0


class Sampler:
    """Draws tokens; the same seed and logits give the same tokens.

    Args:
        sampling: How.
        seed: None draws from the system's entropy.
    """

    def __init__(self, sampling: Sampling, seed: int | None = None) -> None:
        self._sampling = sampling
        self._random = np.random.default_rng(seed)

    def next(self, logits: Logits, forbidden: int | None = None) -> int:
        """The next token, which is never the forbidden one."""
        if forbidden is not None:
            logits = logits.copy()
            logits[forbidden] = -np.inf
        if self._sampling.temperature < _GREEDY_BELOW:
            return int(logits.argmax())
        return self._draw(logits)

    def _draw(self, logits: Logits) -> int:
        how = self._sampling
        order = np.argsort(-logits, kind="stable")
        if how.top_k > 0:
            order = order[: how.top_k]
        scaled = logits[order].astype(np.float64) / how.temperature
        weights = np.exp(scaled - scaled[0])
        reached = np.cumsum(weights / weights.sum())
        # The token that reaches top_p still belongs to the nucleus.
        kept = min(int(np.searchsorted(reached, how.top_p)) + 1, len(order))
        drawn = self._random.random() * reached[kept - 1]
        return int(order[min(int(np.searchsorted(reached, drawn, side="right")), kept - 1)])
