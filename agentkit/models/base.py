"""The `Model` protocol: the one seam between the loop and whatever produces tokens."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from agentkit.events import ModelEvent
from agentkit.messages import ModelRequest

__all__ = ["Model"]


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
