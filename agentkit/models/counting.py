"""The tokens of prompts on a vLLM server: by its tokenizer at hand, or by asking `/tokenize`.

Which chat template the server has decides how: where it is one that we render byte for byte, only
new pieces are counted; any other template is asked for the tokens of the whole prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from agentkit.context import Counting, PromptForm, TokenCounts
from agentkit.errors import ModelError
from agentkit.gemma4.fingerprint import TemplateGeneration
from agentkit.gemma4.profiles import Profile
from agentkit.gemma4.render import Generation, TemplateVariant
from agentkit.gemma4.tokens import EOS, IDS
from agentkit.messages import ModelSettings
from agentkit.models.language import Language
from agentkit.models.server import Server
from agentkit.models.transport import Transport
from agentkit.trace import get_logger
from agentkit.wire import encode_tokenize, read_tokens

_SHAPING: Final = frozenset(
    {"add_generation_prompt", "chat_template", "continue_final_message", "documents"}
    | {"messages", "mm_processor_kwargs", "reasoning_effort", "tools", "truncate_prompt_tokens"}
)
"""Fields of a request, beside the ones that we write, that change its prompt."""

_RENDERED: Final = ("canonical", "canonical-small")
"""The templates that we render byte for byte."""

_log = get_logger()


class PromptCounter:
    """Counts for one server.

    Args:
        transport: To the server.
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
            # The thoughts of finished turns are not sent, so none can be preserved.
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
            body: Of the chat-completions request; `/tokenize` reads the same fields.
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
