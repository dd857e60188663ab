"""What a request becomes on one server: the language of its tools, and the tokens of its prompt.

Which chat template the server has decides how a prompt is counted. Where it is one that we render
byte for byte, only new pieces are counted, by the tokenizer at hand or by `/tokenize`; any other
template is asked for the tokens of the whole prompt. Nothing here sends a request for a reply.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, Final

from agentkit.context import Counting, PromptForm, TokenCounts
from agentkit.errors import ModelError
from agentkit.gemma4.dialect import Dialect
from agentkit.gemma4.escape import Escape
from agentkit.gemma4.profiles import Profile, TemplateGeneration
from agentkit.gemma4.render import Generation, TemplateVariant
from agentkit.gemma4.tokens import CONTROL_LITERALS, EOS, IDS
from agentkit.logs import get_logger
from agentkit.messages import ModelSettings, ToolDefinition
from agentkit.models.server import Server
from agentkit.models.transport import Transport
from agentkit.wire import MessageEncoder, encode_tokenize, read_tokens

_log = get_logger()

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
    """The language of each set of tools, made once.

    Args:
        server: Its tokenizer decides what must be escaped.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._made: Callable[[_Same], Language] | None = None

    async def of(self, tools: Sequence[ToolDefinition]) -> Language:
        """The language of a set of tools.

        What must be escaped is the control literals that we know, and also those of the served
        tokenizer, where a copy is at hand or the server can be asked for them
        (`--enable-tokenizer-info-endpoint`).
        """
        if self._made is None:
            literals = {*CONTROL_LITERALS, *await self._server.special.get()}
            make = partial(Language, Escape(literals))
            self._made = lru_cache(maxsize=_KEPT)(make)
        return self._made(_Same(tools))


# --- counting ------------------------------------------------------------------------------------

_SHAPING: Final = frozenset(
    {"add_generation_prompt", "chat_template", "continue_final_message", "documents"}
    | {"messages", "mm_processor_kwargs", "reasoning_effort", "tools", "truncate_prompt_tokens"}
)
"""Fields of a request, beside the ones that we write, that change its prompt."""

_RENDERED: Final = ("canonical", "canonical-small")
"""The templates that we render byte for byte."""


class PromptCounter:
    """Counts the tokens of prompts for one server.

    Args:
        transport: Sends to the server.
        server: What is known of it.
    """

    def __init__(self, transport: Transport, server: Server) -> None:
        self._transport = transport
        self._server = server
        self._known = TokenCounts()

    async def form(
        self, language: Language, profile: Profile, settings: ModelSettings
    ) -> PromptForm:
        """What the served model makes of a request with these settings.

        Raises:
            ModelError: The server is away.
        """
        template = await self._server.template.get()
        variant: TemplateVariant = profile.template
        if template in _RENDERED:
            variant = "large" if template == "canonical" else "small"
        kwargs: Mapping[str, Any] = settings.extra_body.get("chat_template_kwargs") or {}
        thinking = kwargs.get("enable_thinking", settings.thinking)
        counting = await self._counting(template, settings, kwargs)
        local = await self._server.tokenizer.get() is not None
        return PromptForm(
            declarations=language.dialect.declarations,
            outgoing=language.dialect.outgoing,
            # The reasoning of finished turns is not sent, so none can be preserved.
            generation=Generation(thinking=bool(thinking), variant=variant),
            profile=profile,
            reply_tokens=settings.max_tokens or 0,
            counting=counting,
            asks=counting == "whole" or (counting == "pieces" and not local),
            known=self._known,
        )

    async def _counting(
        self,
        template: TemplateGeneration | None,
        settings: ModelSettings,
        kwargs: Mapping[str, Any],
    ) -> Counting:
        if template is None:
            return "pieces" if await self._server.tokenizer.get() else "estimate"
        plain = _SHAPING.isdisjoint(settings.extra_body) and set(kwargs) <= {"enable_thinking"}
        return "pieces" if template in _RENDERED and plain else "whole"

    async def texts(self, model: str, texts: Sequence[str]) -> list[int] | None:
        """The tokens of each text; None if nobody can tell."""
        if (tokenizer := await self._server.tokenizer.get()) is not None:
            return await tokenizer.counts(texts)
        if self._server.template.known is None:
            return None
        try:
            counts = _between(await self._ask(encode_tokenize(model, EOS.join(texts))))
            if len(counts) != len(texts):  # a tokenizer with another end token
                counts = [len(await self._ask(encode_tokenize(model, each))) for each in texts]
        except ModelError as error:
            _log.info("tokens not counted", error=str(error))
            return None
        return counts

    async def whole(self, body: bytes) -> int | None:
        """The tokens of a whole prompt; None if nobody can tell.

        Args:
            body: The chat-completions request; `/tokenize` reads the same fields.
        """
        if self._server.template.known is None:
            return None
        try:
            return len(await self._ask(body))
        except ModelError as error:
            _log.info("tokens not counted", error=str(error))
            return None

    async def _ask(self, body: bytes) -> list[int]:
        within = self._transport.timeouts.first_event
        return read_tokens(await self._transport.post("/tokenize", body, within=within))


def _between(ids: Sequence[int]) -> list[int]:
    """How many ids stand before, between and behind the end tokens; no prompt of ours holds one."""
    counts = [0]
    for token in ids:
        if token == IDS[EOS]:
            counts.append(0)
        else:
            counts[-1] += 1
    return counts
