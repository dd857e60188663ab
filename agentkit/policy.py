"""What a run may do: its limits."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of a run. Reaching one gives a result with all that was done, never an exception.

    Attributes:
        steps: Model calls.
        output_tokens: Tokens produced over all steps; checked before each step.
    """

    steps: int = 50
    output_tokens: int | None = None
