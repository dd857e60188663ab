"""How long a model may think about one reply."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from agentkit.events import ModelEvent, ModelFinished, ReasoningDelta, StepRestarted
from agentkit.messages import AssistantMessage, ModelResponse, Usage

_CHARACTERS_PER_TOKEN = 4
"""Of English text, about; a server does not count a reply that is left before its end."""


def bounded_thoughts(
    events: AsyncGenerator[ModelEvent, None], most: int | None
) -> AsyncGenerator[ModelEvent, None]:
    """A reply's events; one whose thought grows too long is left there, as if it had been cut.

    What it cost is then an estimate of its thought, without the prompt.

    Args:
        events: Of one `Model.generate`.
        most: Tokens of a thought; None for no bound.
    """
    return events if most is None else _bounded(events, most)


async def _bounded(
    events: AsyncGenerator[ModelEvent, None], most: int
) -> AsyncGenerator[ModelEvent, None]:
    thought = 0
    async with aclosing(events):
        async for event in events:
            yield event
            if isinstance(event, StepRestarted):
                thought = 0
            if not isinstance(event, ReasoningDelta):
                continue
            thought += len(event.text)
            if thought > most * _CHARACTERS_PER_TOKEN:
                cost = Usage(output_tokens=thought // _CHARACTERS_PER_TOKEN)
                message = AssistantMessage(reasoning="(a thought that grew too long)")
                yield ModelFinished(ModelResponse(message, "length", cost))
                return
