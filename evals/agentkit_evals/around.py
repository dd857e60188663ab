"""A base for models that wrap another one and change a single thing."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from agentkit import Model
from agentkit.context import Count, PromptForm
from agentkit.events import ModelEvent
from agentkit.messages import ModelRequest
from agentkit.models import CountsPrompts


class Around:
    """Passes everything on to the inner model, which also counts prompts, if it can.

    Args:
        inner: The inner model.
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

    async def generate(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Asks the inner model for one reply; see `Model.generate`."""
        async with aclosing(self.inner.generate(request)) as events:
            async for event in events:
                yield event

    async def prompt_form(self, request: ModelRequest) -> PromptForm | None:
        """What the inner model makes of a request."""
        if isinstance(self.inner, CountsPrompts):
            return await self.inner.prompt_form(request)
        return PromptForm(declarations=[tool.declaration for tool in request.tools])

    async def count(self, wanted: Count) -> Sequence[int] | None:
        """The tokens of each text, or of the one prompt; None if nobody can tell."""
        return await self.inner.count(wanted) if isinstance(self.inner, CountsPrompts) else None

    async def aclose(self) -> None:
        """Closes the inner model."""
        await self.inner.aclose()


if TYPE_CHECKING:
    _: type[Model] = Around
    _counts: type[CountsPrompts] = Around
