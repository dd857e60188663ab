"""The scenario table: bad days of a local model and its server, each with its ending.

The endings were written before the code that brings them about. The tests, `agentkit faults run`
and `make soak PART=faults` play the same table.
"""

from agentkit.testing.scenarios.call_table import CALL_SCENARIOS
from agentkit.testing.scenarios.play import Outcome, play, play_all
from agentkit.testing.scenarios.reply_table import REPLY_SCENARIOS
from agentkit.testing.scenarios.scenario import Ending, Scenario, answers, fails, stops
from agentkit.testing.scenarios.server_table import SERVER_SCENARIOS
from agentkit.testing.scenarios.tool_table import TOOL_SCENARIOS
from agentkit.testing.scenarios.world import Errand, World, clerk

__all__ = [
    "SCENARIOS",
    "Ending",
    "Errand",
    "Outcome",
    "Scenario",
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
