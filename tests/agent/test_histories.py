"""No run leaves, and no step sends, a history that a server would refuse."""

from __future__ import annotations

import anyio
import pytest

from agentkit.gemma4.dialect import Dialect
from agentkit.gemma4.escape import Escape
from agentkit.messages import ModelRequest
from agentkit.policy import history_problems
from tests.agent.histories import one_history
from tests.gemma4.official import FILES, needs_templates, official

pytestmark = pytest.mark.slow

HISTORIES = 150


def plain_check(request: ModelRequest) -> None:
    """The invariant on the messages."""
    assert history_problems(request.messages) == []


def rendered_check(request: ModelRequest) -> None:
    """The invariant on what each official template makes of the messages."""
    plain_check(request)
    dialect = Dialect(request.tools, Escape())
    messages = [dialect.outgoing(message) for message in request.messages]
    answered = sum(message.role == "tool" for message in messages)
    for name in FILES:
        prompt = official(name, messages, dialect.declarations)
        opened, closed = prompt.count("<|turn>"), prompt.count("<turn|>")
        assert opened - closed == 1, prompt
        assert prompt.count("<|tool_response>") == answered, prompt
        assert prompt.count("<tool_response|>") == answered, prompt
        assert "response:unknown" not in prompt


def histories(backend: str, numbers: range, rendered: bool) -> int:
    """Requests that so many histories made, all of them valid."""
    check = rendered_check if rendered else plain_check

    async def main() -> int:
        return sum([await one_history(number, check) for number in numbers])

    return anyio.run(main, backend=backend)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_random_runs_with_faults_crashes_and_cancels_send_only_valid_histories(
    backend: str,
) -> None:
    assert histories(backend, range(HISTORIES), rendered=False) > HISTORIES


@needs_templates
def test_every_official_template_renders_what_such_runs_send() -> None:
    assert histories("asyncio", range(40), rendered=True) > 40
