"""The pause of a run that must have one."""

from __future__ import annotations

from typing import Any

from agentkit import RunResult
from agentkit.policy import PausedRun


def pause_of(result: RunResult[Any]) -> PausedRun:
    """What a run goes on from.

    Raises:
        AssertionError: It did not pause.
    """
    assert result.paused is not None, result.stop_reason
    return result.paused
