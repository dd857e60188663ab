"""What is known of the server behind a model, each fact found out once for all runs.

Facts that could not be had because the server was away are asked for again; what it refuses, it
refuses for good.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Final

from agentkit.errors import (
    AgentKitError,
    ModelConnectionError,
    ModelError,
    ModelProtocolError,
    ModelStatusError,
    ServerNotReadyError,
)
from agentkit.gemma4.fingerprint import PROBE, TemplateGeneration, fingerprint
from agentkit.models.detokenizer import Detokenizer, on_server
from agentkit.models.local_tokenizer import CHECK, LocalTokenizer, places, require_tokenizers
from agentkit.models.once import Once
from agentkit.models.probe import takes_grammar
from agentkit.models.prompts import prompt_ids, spelled
from agentkit.models.transport import Transport
from agentkit.trace import get_logger
from agentkit.wire import (
    ServedModel,
    encode_tokenize,
    read_models,
    read_special_tokens,
    read_tokens,
)

__all__ = ["Server"]

_log = get_logger()

_AWAY: Final = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
"""Answers that say nothing of what the server can do."""


class Server:
    """The facts of one server. Each is shared by all runs, in whatever event loop they are.

    Args:
        transport: To the server.
        model: The served name that is wanted; None for the first that it lists.
        tokenizer: The checkpoint's `tokenizer.json`, or the folder that holds it, where the caller
            knows one.

    Attributes:
        served: The model that it serves.
        is_vllm: Whether it has `/version`; what has none is not asked for more.
        takes_grammar: Whether it obeys a grammar in Gemma's syntax.
        tokenizer: Its tokenizer, where a copy is at hand.
        template: Its chat template; None where it does not tell.
        special: What it takes for control tokens beside those of Gemma.
        detokenizer: The text of its tokens.

    Raises:
        ImportError: A tokenizer is given and the extra `local` is not installed.
        FileNotFoundError: There is no such tokenizer.
    """

    def __init__(self, transport: Transport, model: str | None, tokenizer: Path | None) -> None:
        self._transport = transport
        self._wanted = model
        self._given = None if tokenizer is None else _existing(tokenizer)
        self.served = Once(self._find_served)
        self.is_vllm = Once(self._find_version)
        self.takes_grammar = Once(self._find_grammar)
        self.tokenizer = Once(self._find_tokenizer)
        self.template = Once(self._find_template)
        self.special = Once(self._find_special)
        self.detokenizer = Once(self._make_detokenizer)

    async def _find_served(self) -> ServedModel:
        listed = await self._transport.get("/v1/models")
        return _pick(read_models(listed), self._wanted, self._transport.where)

    async def _find_version(self) -> bool:
        try:
            await self._transport.get("/version")
        except ModelError as error:
            _raise_if_away(error)
            return False
        return True

    async def _find_grammar(self) -> bool:
        found = False
        if await self.is_vllm.get():
            served = await self.served.get()
            try:
                found = await takes_grammar(self._transport, served.name)
            except AgentKitError as error:
                _raise_if_away(error)
        _log.info("server probed", takes_grammar=found)
        return found

    async def _find_special(self) -> frozenset[str]:
        if (tokenizer := await self.tokenizer.get()) is not None:
            special = tokenizer.special
        else:
            try:
                answer = await self._transport.get("/tokenizer_info")
                special = frozenset(read_special_tokens(answer))
            except (ModelStatusError, ModelProtocolError) as error:
                _raise_if_away(error)
                special = frozenset()
        return frozenset(text for text in special if text and not any(map(str.isspace, text)))

    # --- tokens --------------------------------------------------------------------------------

    async def _find_tokenizer(self) -> LocalTokenizer | None:
        """The first file at hand that makes the same tokens as the server."""
        served = await self.served.get()
        files = [self._given] if self._given else list(places([*served.roots, served.name]))
        theirs: Sequence[int] | None = None
        for file in files:
            try:
                tokenizer = await LocalTokenizer.load(file)
            except ImportError:
                _log.info(
                    "a tokenizer is at hand, but not agentkit's extra `local`", file=str(file)
                )
                return None
            except (OSError, ValueError) as error:
                if self._given:
                    raise
                _log.info("a tokenizer at hand cannot be read", error=str(error))
                continue
            theirs = theirs or await self._ids_of_check(served.name)
            if theirs is None and self._given:
                return tokenizer  # nobody knows better
            if theirs is not None and list(theirs) == tokenizer.encode(CHECK):
                _log.info("prompts are counted here", tokenizer=str(file))
                return tokenizer
            _log.warning("the tokenizer at hand is not the server's", tokenizer=str(file))
        return None

    async def _ids_of_check(self, model: str) -> Sequence[int] | None:
        """What the server makes of the text that tells tokenizers apart; None if it won't say."""
        if not await self.is_vllm.get():
            return None
        within = self._transport.timeouts.first_event
        try:
            body = encode_tokenize(model, CHECK)
            return read_tokens(await self._transport.post("/tokenize", body, within=within))
        except ModelError as error:
            _raise_if_away(error)
            return None

    async def _make_detokenizer(self) -> Detokenizer:
        tokenizer = await self.tokenizer.get()
        if tokenizer is not None:
            return Detokenizer(tokenizer.decode)
        return Detokenizer(on_server(self._transport, (await self.served.get()).name))

    async def _find_template(self) -> TemplateGeneration | None:
        """By its fingerprint. What has no `/version` is no vLLM, and not asked."""
        if not await self.is_vllm.get():
            return None
        served, tokenizer = await self.served.get(), await self.tokenizer.get()
        declarations = [tool.declaration for tool in PROBE.tools]
        try:
            ids = await prompt_ids(self._transport, served.name, PROBE, declarations)
            if tokenizer is not None:
                [prompt] = await tokenizer.decode([ids])
            else:
                prompt = await spelled(self._transport, served.name, ids)
        except ModelError as error:
            _raise_if_away(error)
            _log.info("prompts cannot be counted by the server", error=str(error))
            return None
        found = fingerprint(prompt)
        _log.info("server probed", template=found)
        return found


def _existing(path: Path) -> Path:
    require_tokenizers()
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(
            f"there is no tokenizer at {file}: give a checkpoint's tokenizer.json"
        )
    return file


def _raise_if_away(error: AgentKitError) -> None:
    away = isinstance(error, ModelConnectionError) or (
        isinstance(error, ModelStatusError) and error.status_code in _AWAY
    )
    if away:
        raise error


def _pick(models: Sequence[ServedModel], wanted: str | None, where: str) -> ServedModel:
    """The model of that name, or the first."""
    for model in models:
        if wanted in (None, model.name):
            return model
    names = ", ".join(model.name for model in models)
    if not names:
        raise ServerNotReadyError(f"{where}/v1/models lists no model; is this a model server?")
    raise ServerNotReadyError(f"{where} serves no model {wanted!r}; it serves: {names}")
