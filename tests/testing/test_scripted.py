from __future__ import annotations

import pytest

from agentkit import Agent
from agentkit.testing import ScriptedModel, call


def test_a_script_that_is_too_short_says_what_it_was_to_answer() -> None:
    def out(n: int) -> int:
        """Gives the answer."""
        return n

    agent = Agent(ScriptedModel([call("final_answer", n=1)]), output_type=out, observers=())
    with pytest.raises(AssertionError) as caught:
        agent.run_sync("Count.")
    assert str(caught.value) == (
        "the script has no reply for step 2, behind this message (tool): "
        'Error: there is no tool "final_answer". Tools: out.'
    )
