"""Wrappers around the model under test, for what is looked at beside its replies."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from agentkit import Model
from agentkit.context import Count, PromptForm
from agentkit.events import ModelEvent, ModelFinished
from agentkit.messages import AssistantMessage, ModelRequest
from agentkit.models import CountsPrompts


class CountedFirst:
    """Has each prompt counted before it is sent. A model behind a server spares itself the request
    that this takes, as long as there is room in the window.

    Args:
        inner: Is asked.
    """

    def __init__(self, inner: Model) -> None:
        self.inner = inner

    @property
    def name(self) -> str:
        """The name of the inner model."""
        return self.inner.name

    @property
    def constrains(self) -> bool:
        """Whether the inner model enforces a `ToolChoice`."""
        return self.inner.constrains

    async def prompt_form(self, request: ModelRequest) -> PromptForm | None:
        """What the inner model makes of a request."""
        if not isinstance(self.inner, CountsPrompts):
            return PromptForm(declarations=[tool.declaration for tool in request.tools])
        form = await self.inner.prompt_form(request)
        return form and replace(form, asks=False)

    async def count(self, wanted: Count) -> Sequence[int] | None:
        """The tokens of each text, or of the one prompt; None if nobody can tell."""
        return await self.inner.count(wanted) if isinstance(self.inner, CountsPrompts) else None

    async def generate(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Asks the inner model for one reply; see `Model.generate`."""
        async with aclosing(self.inner.generate(request)) as events:
            async for event in events:
                yield event

    async def aclose(self) -> None:
        """Closes the inner model."""
        await self.inner.aclose()


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


if TYPE_CHECKING:
    _: type[Model] = CountedFirst
    _counts: type[CountsPrompts] = CountedFirst
