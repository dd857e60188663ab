"""The scenario table: bad days of a local model and its server, each with its expected ending.

The endings were written before the code that brings them about. The tests, `agentkit faults run`
and `make soak PART=faults` play the same table. No agent needs it: agents are tested by it.
"""

from agentkit.testing.scenarios.model_table import CALL_SCENARIOS, REPLY_SCENARIOS
from agentkit.testing.scenarios.play import Outcome, play, play_all
from agentkit.testing.scenarios.scenario import (
    Ending,
    Scenario,
    Task,
    World,
    answers,
    clerk,
    fails,
    stops,
)
from agentkit.testing.scenarios.server_table import SERVER_SCENARIOS, TOOL_SCENARIOS

__all__ = [
    "SCENARIOS",
    "Ending",
    "Outcome",
    "Scenario",
    "Task",
    "World",
    "answers",
    "clerk",
    "fails",
    "play",
    "play_all",
    "stops",
]

SCENARIOS = CALL_SCENARIOS + REPLY_SCENARIOS + TOOL_SCENARIOS + SERVER_SCENARIOS
"""All of them, by topic."""
