"""The `Model` protocol: the one seam between the loop and whatever produces tokens."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol, runtime_checkable

from agentkit.context import Count, PromptForm
from agentkit.events import ModelEvent
from agentkit.messages import ModelRequest


class Model(Protocol):
    """Produces one reply at a time; keeps no conversation."""

    @property
    def name(self) -> str:
        """What to call it in traces and to people."""
        ...

    @property
    def constrains(self) -> bool:
        """Whether a `ToolChoice` is enforced while the reply is decoded, not only wished for."""
        ...

    def generate(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Asks for one reply.

        Pure over the request: no history is kept and nothing is appended to it. The last event of
        a reply that ended well is `ModelFinished`; one that did not end well raises.

        Raises:
            ModelError: The reply could not be had.
            ServerNotReadyError: The server lacks something that the request needs.
        """
        ...

    async def aclose(self) -> None:
        """Gives back what this event loop's requests hold, such as connections."""
        ...


@runtime_checkable
class CountsPrompts(Protocol):
    """What a model offers as well if it knows its window and can count: see `agentkit.context`.

    Of any other model the prompts are estimated.
    """

    async def prompt_form(self, request: ModelRequest) -> PromptForm | None:
        """What it makes of such a request; None where it is to get the request as it is."""
        ...

    async def count(self, wanted: Count) -> Sequence[int] | None:
        """The tokens of each text, or of the one prompt; None if nobody can tell."""
        ...
