"""Three ready policies by name, for command lines and configuration."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from agentkit.policy.approval import Policy
from agentkit.toolset import Label

__all__ = ["Preset", "preset"]

Preset: TypeAlias = Literal["read-only", "ask", "full"]
"""`read-only` runs nothing that writes, executes or sends; `ask` lets a person decide on each such
call; `full` runs them."""

_CHANGES: Final[tuple[Label, ...]] = ("writes", "exec", "egress")


def preset(name: Preset) -> Policy:
    """The policy of that name.

    Raises:
        ValueError: There is none of that name.
    """
    match name:
        case "read-only":
            return Policy.deny(*_CHANGES)
        case "ask":
            return Policy.ask(*_CHANGES)
        case "full":
            return Policy()
    raise ValueError(f"there is no preset {name!r}; there are read-only, ask and full")
