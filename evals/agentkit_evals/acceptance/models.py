"""Wrappers around the model under test, for what is looked at beside its replies."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from agentkit.context import PromptForm
from agentkit.events import ModelEvent, ModelFinished
from agentkit.messages import AssistantMessage, ModelRequest
from agentkit_evals.around import Around


class CountedFirst(Around):
    """Has each prompt counted before it is sent. A model behind a server spares itself the request
    that this takes, as long as there is room in the window.
    """

    async def prompt_form(self, request: ModelRequest) -> PromptForm | None:
        """What the inner model makes of a request, counted whatever there is room for."""
        form = await super().prompt_form(request)
        return form and replace(form, asks=False)


class OneToken(CountedFirst):
    """Has the inner model read each prompt and answer with one token, and gives a short answer in
    its place: what it says, and how long it takes, does not matter.
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
