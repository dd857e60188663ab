"""The tokens of prompts on a vLLM server: by a tokenizer of our own, or by asking `/tokenize`.

Which chat template the server has decides how: where it is one that we render byte for byte, only
new pieces are counted; any other template is asked for the tokens of the whole prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import anyio.to_thread

from agentkit.context import Counting, PromptForm, TokenCounts
from agentkit.errors import ModelError
from agentkit.gemma4.fingerprint import PROBE, TemplateGeneration, fingerprint
from agentkit.gemma4.profiles import Profile
from agentkit.gemma4.render import Generation, TemplateVariant
from agentkit.gemma4.tokens import EOS, IDS
from agentkit.messages import ModelSettings
from agentkit.models.language import Language
from agentkit.models.prompts import prompt_of
from agentkit.models.transport import Transport
from agentkit.trace import get_logger
from agentkit.wire import encode_tokenize, read_tokens

__all__ = ["PromptCounter"]

_SHAPING: Final = frozenset(
    {"add_generation_prompt", "chat_template", "continue_final_message", "documents"}
    | {"messages", "mm_processor_kwargs", "reasoning_effort", "tools", "truncate_prompt_tokens"}
)
"""Fields of a request, beside the ones that we write, that change its prompt."""

_log = get_logger()


class PromptCounter:
    """Counts for one server.

    Args:
        transport: To the server.
        tokenizer: The checkpoint's `tokenizer.json`, where there is a copy at hand.

    Raises:
        ImportError: A tokenizer is given and the extra `local` is not installed.
    """

    def __init__(self, transport: Transport, tokenizer: Path | None) -> None:
        self._transport = transport
        self._tokenizer = None if tokenizer is None else _load(tokenizer)
        self._template: TemplateGeneration | None = None  # not asked yet
        self._answers = True  # whether the server has /tokenize
        self._known = TokenCounts()

    async def form(
        self, model: str, language: Language, profile: Profile, settings: ModelSettings
    ) -> PromptForm:
        """What the served model makes of a request with these settings."""
        if self._template is None:
            self._template = await self._find_template(model)
        variant: TemplateVariant = profile.template
        if self._template in ("canonical", "canonical-small"):
            variant = "large" if self._template == "canonical" else "small"
        kwargs: Mapping[str, Any] = settings.extra_body.get("chat_template_kwargs") or {}
        thinking = kwargs.get("enable_thinking", settings.thinking)
        return PromptForm(
            declarations=language.dialect.declarations,
            outgoing=language.dialect.outgoing,
            # The thoughts of finished turns are not sent, so none can be preserved.
            generation=Generation(thinking=bool(thinking), variant=variant),
            profile=profile,
            reply_tokens=settings.max_tokens or 0,
            counting=self._counting(settings, kwargs),
            known=self._known,
        )

    def _counting(self, settings: ModelSettings, kwargs: Mapping[str, Any]) -> Counting:
        if not self._answers:
            return "estimate" if self._tokenizer is None else "pieces"
        ours = self._template in ("canonical", "canonical-small")
        plain = _SHAPING.isdisjoint(settings.extra_body) and set(kwargs) <= {"enable_thinking"}
        return "pieces" if ours and plain else "whole"

    async def _find_template(self, model: str) -> TemplateGeneration:
        """By its fingerprint. What has no `/version` is no vLLM, and not asked."""
        declarations = [tool.declaration for tool in PROBE.tools]
        try:
            await self._transport.get("/version")
            prompt = await prompt_of(self._transport, model, PROBE, declarations)
        except ModelError as error:
            self._answers = False
            _log.info("prompts cannot be counted by the server", error=str(error))
            return "unknown"
        found = fingerprint(prompt)
        _log.info("server probed", template=found)
        return found

    async def texts(self, model: str, texts: Sequence[str]) -> list[int] | None:
        """The tokens of each text; None if nobody can tell."""
        if self._tokenizer is not None:
            encode = self._tokenizer.encode_batch_fast
            encoded = await anyio.to_thread.run_sync(
                lambda: encode(list(texts), add_special_tokens=False)
            )
            return [len(one.ids) for one in encoded]
        if not self._answers:
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
        if not self._answers:
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


def _load(file: Path) -> Any:
    try:
        from tokenizers import Tokenizer  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise ImportError(
            "a tokenizer of your own needs `tokenizers`: install agentkit with its extra `local`, "
            'such as `pip install ".[local]"`'
        ) from error
    return Tokenizer.from_file(str(file))
