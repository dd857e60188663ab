"""What was lost of a record, and what that may have cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Damage:
    """A place of a record that does not hold what was written there.

    Attributes:
        where: Such as `entry 7`.
        what: Happened to it, such as `is missing`.
        cost: What it may have been, a sentence without its full stop.
        lost: Whether something recorded is gone; what was recorded of the run can then not be
            relied on to be all, so that the run cannot go on.
    """

    where: str
    what: str
    cost: str
    lost: bool = True

    def __str__(self) -> str:
        return f"{self.where} {self.what}: {self.cost}"


ANYTHING: Final = (
    "it may have held replies of the model, tool calls that have run, their results or decisions"
)

_COSTS: Final[Mapping[str, str]] = {
    "RunOpened": "it held what the run began with",
    "RunStarted": "it held what the run began with",
    "ModelCalled": "it held a reply of the model",
    "StepFinished": "it held a reply of the model",
    "CallIntended": "it held a tool call that was about to run",
    "CallStarted": "it held that a tool call began, which may have taken effect",
    "ToolStarted": "it held a tool call that began, which may have taken effect",
    "CallDone": "it held the result of a tool call that has run",
    "ToolFinished": "it held the result of a tool call",
    "Decided": "it held a decision of a person",
    "ApprovalDecided": "it held a decision of a person",
    "RunFinished": "it held how the run ended",
    "Shown": "it held that something was shown",
}


def cost_of(kind: str) -> str:
    """What an entry of a kind held; of an unknown kind, anything."""
    return _COSTS.get(kind, ANYTHING)
