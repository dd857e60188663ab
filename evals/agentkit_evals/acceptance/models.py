"""Wrappers around the model under test, to measure more than its replies."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from agentkit.context import PromptForm
from agentkit.events import ModelEvent, ModelFinished
from agentkit.messages import AssistantMessage, ModelRequest
from agentkit_evals.around import Around


class CountedFirst(Around):
    """Has each prompt counted before it is sent, also while the window has room.

    A model behind a server saves that request as long as the window has room.
    """

    async def prompt_form(self, request: ModelRequest) -> PromptForm | None:
        """The prompt form of the inner model, which is then always counted."""
        form = await super().prompt_form(request)
        return form and replace(form, asks=False)


class OneToken(CountedFirst):
    """Lets the inner model read each prompt and reply with one token, and gives a short answer
    instead, since neither its text nor its time matters.
    """

    async def generate(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Asks the inner model for one token; see `Model.generate`."""
        short = replace(request, settings=replace(request.settings, max_tokens=1))
        async with aclosing(self.inner.generate(short)) as events:
            async for event in events:
                if isinstance(event, ModelFinished):
                    answer = AssistantMessage("Go on.")
                    said = replace(event.response, message=answer, finish_reason="stop")
                    yield ModelFinished(said)
