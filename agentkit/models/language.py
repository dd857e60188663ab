"""The language of each set of tools on one server, made once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial

from agentkit.gemma4.dialect import Dialect
from agentkit.gemma4.escape import Escape
from agentkit.gemma4.tokens import CONTROL_LITERALS
from agentkit.messages import ToolDefinition
from agentkit.models.server import Server
from agentkit.wire import MessageEncoder

_KEPT = 16  # sets of tools whose declarations and encoded messages are kept


class _Same:
    """A set of tools as a key: the same object is the same set. `Toolset.definitions` is one tuple
    for all steps, and comparing schemas on every step would cost what keeping them saves.
    """

    def __init__(self, tools: Sequence[ToolDefinition]) -> None:
        self.tools = tools

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.tools is self.tools

    def __hash__(self) -> int:
        return id(self.tools)


class Language:
    """The dialect of one set of tools, and the messages that were encoded in it."""

    def __init__(self, escape: Escape, same: _Same) -> None:
        self.dialect = Dialect(same.tools, escape)
        self.encoder = MessageEncoder(self.dialect.outgoing)


class Languages:
    """What a server's tokenizer knows decides what must be escaped.

    Args:
        server: Whose.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._made: Callable[[_Same], Language] | None = None

    async def of(self, tools: Sequence[ToolDefinition]) -> Language:
        """The language of a set of tools; what must be escaped is what the served tokenizer knows,
        where a copy is at hand or it can be asked (`--enable-tokenizer-info-endpoint`), and always
        what we know.
        """
        if self._made is None:
            literals = {*CONTROL_LITERALS, *await self._server.special.get()}
            make = partial(Language, Escape(literals))
            self._made = lru_cache(maxsize=_KEPT)(make)
        return self._made(_Same(tools))
