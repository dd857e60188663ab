"""Replies that survive a crash, as a wrapper around any model."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from agentkit.events import ModelEvent, ModelFinished
from agentkit.journal import JournaledRun
from agentkit.messages import ModelRequest
from agentkit.models.base import Model


class JournaledModel:
    """Gives the replies that are recorded, and asks for the others.

    A recorded reply is a fact: it is given also where the request would be another today, because
    the code around it has changed.

    Args:
        inner: Is asked.
        run: The run's record.
    """

    def __init__(self, inner: Model, run: JournaledRun) -> None:
        self._inner = inner
        self._run = run

    @property
    def name(self) -> str:
        """The inner model's."""
        return self._inner.name

    @property
    def constrains(self) -> bool:
        """Whether the inner model does."""
        return self._inner.constrains

    async def generate(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Gives the next reply; see `Model.generate`. A recorded one comes without its deltas.

        Raises:
            ModelError: The reply could not be had.
            JournalError: What went before could not be recorded.
        """
        if (recorded := self._run.recorded_reply(request.tool_choice)) is not None:
            yield ModelFinished(recorded)
            return
        await self._run.keep()
        events = self._inner.generate(request)
        async with aclosing(events):
            async for event in events:
                yield event

    async def aclose(self) -> None:
        """Closes the inner model."""
        await self._inner.aclose()


if TYPE_CHECKING:
    _: type[Model] = JournaledModel
