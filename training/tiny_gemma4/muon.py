"""Muon for many matrices at once, in the precision that the processor is fast in.

The update of a matrix is its momentum with all singular values brought near to 1, by five steps of
Newton and Schulz (Jordan and others, 2024, "Muon: an optimizer for hidden layers in neural
networks", whose coefficients these are). `torch.optim.Muon` does the same one matrix after the
other and always in bfloat16, which processors without instructions for it only imitate: there a
step took longer than the gradient that it is for.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_MOMENTUM = 0.95
_LIKE_ADAM = 0.2  # the update's size beside AdamW's: Liu and others, 2025, "Muon is scalable"


def orthogonal(stack: Tensor, precision: torch.dtype) -> Tensor:
    """Each matrix with its singular values brought to between 0.7 and 1.2.

    Args:
        stack: (matrices, rows, columns).
        precision: Of the computation; the result has the stack's own.
    """
    tall = stack.shape[1] > stack.shape[2]
    x = stack.mT if tall else stack
    x = (x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)).to(precision)
    a, b, c = _COEFFICIENTS
    for _ in range(5):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(stack.dtype)


class Muon(torch.optim.Optimizer):
    """Momentum of Nesterov, made orthogonal, with decoupled weight decay."""

    def __init__(
        self, matrices: Iterable[Tensor], lr: float, weight_decay: float, precision: torch.dtype
    ) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay})
        self.precision = precision

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Changes every matrix that has a gradient; those of one shape are changed together.

        Args:
            closure: Not used: the gradients are there already.
        """
        del closure
        for group in self.param_groups:
            wanted = [p for p in group["params"] if p.grad is not None]
            wanted.sort(key=lambda p: tuple(p.shape))
            for shape, alike in groupby(wanted, key=lambda p: tuple(p.shape)):
                matrices = list(alike)
                updates = orthogonal(torch.stack(self._momenta(matrices)), self.precision)
                size = _LIKE_ADAM * max(shape) ** 0.5
                torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(matrices, list(updates), alpha=-group["lr"] * size)

    def _momenta(self, matrices: list[Tensor]) -> list[Tensor]:
        for matrix in matrices:
            if not self.state[matrix]:
                self.state[matrix]["momentum"] = torch.zeros_like(matrix)
        gradients = [matrix.grad for matrix in matrices if matrix.grad is not None]
        kept = [self.state[matrix]["momentum"] for matrix in matrices]
        torch._foreach_lerp_(kept, gradients, 1 - _MOMENTUM)
        return [
            gradient.lerp(old, _MOMENTUM) for gradient, old in zip(gradients, kept, strict=True)
        ]
