"""What is known of the server behind a model, each fact found out once for all runs.

A `Server` holds the facts: its model, its window, whether that is a Gemma 4, what calls can be held
to, its tokenizer and template. Each is a `Once`, asked of the server when somebody first wants it.
Facts that could not be had because the server was away are asked for again; what it refuses, it
refuses for good. What a run can do without is None or empty if the server does not tell it.

What follows from them stands below: `Languages`, how a set of tools and the messages of a run are
spelled for this server, and `PromptCounter`, how many tokens a prompt takes there. Which chat
template the server has decides that. Where it is one that we render byte for byte, only new pieces
are counted, by the tokenizer at hand or by `/tokenize`; any other template is asked for the tokens
of the whole prompt.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import lru_cache, partial
from http import HTTPStatus
from itertools import pairwise
from operator import is_
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio

from agentkit.context import Counting, PromptForm, TokenCounts
from agentkit.errors import (
    AgentKitError,
    ModelProtocolError,
    ModelStatusError,
    ModelUnreadableError,
    ServerNotReadyError,
)
from agentkit.gemma4.dialect import Dialect
from agentkit.gemma4.escape import Escape
from agentkit.gemma4.profiles import PROBE, Profile, TemplateGeneration, fingerprint, is_gemma4
from agentkit.gemma4.render import Generation, TemplateVariant
from agentkit.gemma4.tokens import CALL_OPEN, CONTROL_LITERALS, EOS, IDS
from agentkit.messages import (
    Control,
    JsonObject,
    ModelRequest,
    ModelResponse,
    ModelSettings,
    ToolDefinition,
    UserMessage,
)
from agentkit.models.calls import LOST, find_control, is_away
from agentkit.models.once import Once
from agentkit.models.tokens import (
    CHECK,
    Detokenizer,
    LocalTokenizer,
    encode_prompt,
    on_server,
    places,
    require_tokenizers,
    spelled,
)
from agentkit.models.transport import Transport
from agentkit.redaction import get_logger
from agentkit.wire import (
    OPTIONAL,
    WINDOWS,
    MessageEncoder,
    ReplyDecoder,
    ServedModel,
    encode_request,
    encode_tokenize,
    read_models,
    read_special_tokens,
    read_tokens,
    unknown_fields,
)
from agentkit.wording import printable

T = TypeVar("T")


_LOCKED: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})

_CHAT: Final = "/v1/chat/completions"


class Server:
    """The facts of one server. Each is shared by all runs, in whatever event loop they are.

    Args:
        transport: Sends to the server.
        model: The served name that is wanted; None for the first that it lists.
        tokenizer: The checkpoint's `tokenizer.json`, or the folder that holds it, where the caller
            knows one.

    Attributes:
        served: The model that it serves.
        is_gemma: Whether that is a Gemma 4; None where nobody says.
        control: What it can hold calls to.
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
        self._without: frozenset[str] = frozenset()
        self.served = Once(self._find_served)
        self.is_gemma = Once(self._find_family)
        self.control = Once(self._find_control)
        self.tokenizer = Once(self._find_tokenizer)
        self.template = Once(self._find_template)
        self.special = Once(self._find_special)
        self.detokenizer = Once(self._make_detokenizer)

    @property
    def without(self) -> frozenset[str]:
        """The fields of a request that are left out, because the server has refused them."""
        return self._without

    def refuses_fields(self, error: AgentKitError) -> bool:
        """Whether an error refuses fields that a request can do without. They are left out from now
        on, so that the request can be made again.
        """
        if not isinstance(error, (ModelStatusError, ModelUnreadableError)) or is_away(error):
            return False
        new = unknown_fields(str(error), OPTIONAL.keys() - self._without)
        self._without |= new
        for name in sorted(new):
            get_logger().warning(
                "a field is left out, which the server refuses", field=name, lost=OPTIONAL[name]
            )
        return bool(new)

    @property
    def gemma(self) -> bool:
        """Whether the model is known to be a Gemma, so that ids of Gemma's tokens may be sent."""
        return self.is_gemma.known is True or self.control.known == "grammar"

    async def _find_served(self) -> ServedModel:
        """The wanted model. Some servers list only what is loaded and load what is asked for, have
        a list of patterns, or go by another name: so a named one that is not listed is asked.
        """
        try:
            listed = read_models(await self._get("/v1/models"))
        except (ModelStatusError, ModelProtocolError) as error:
            _raise_if_away(error)
            if self._wanted is None or getattr(error, "status_code", 0) in _LOCKED:
                raise
            listed = []
        model = _pick(listed, self._wanted)
        if model is None:
            if self._wanted is None or (listed and not await self._answers(self._wanted)):
                raise _not_served(listed, self._wanted, self._transport.where)
            model = ServedModel(self._wanted, None)
        if model.max_model_len is None:
            model = replace(model, max_model_len=await self._find_window(model.name))
        return model

    async def _answers(self, model: str) -> bool:
        """Whether a request to a model that is not listed is answered."""
        hello = ModelRequest([UserMessage("Hello.")], settings=ModelSettings(max_tokens=1))
        try:
            await self.ask(model, hello, Dialect([], Escape()), {}, gemma=False)
        except AgentKitError as error:
            _raise_if_away(error)
            return False
        get_logger().warning("the model is not listed by the server, and answers", model=model)
        return True

    async def _get(self, path: str) -> JsonObject:
        return await _settled(lambda: self._transport.get(path))

    async def _find_window(self, model: str) -> int | None:
        """The window by another path than `/v1/models`; None if no path gives it."""
        for path, read in WINDOWS:
            try:
                window = read(await self._transport.get(path), model)
            except AgentKitError:
                continue
            if window is not None:
                return window
        get_logger().info("the server does not say how long its window is")
        return None

    async def _find_family(self) -> bool | None:
        """Whether it is a Gemma 4, by its names or by its tokens of `<|tool_call>`."""
        served = await self.served.get()
        if (named := is_gemma4([served.name, *served.roots])) is not None:
            return named
        try:
            ids = await self.tokens(encode_tokenize(served.name, CALL_OPEN))
        except AgentKitError as error:
            _raise_if_away(error)
            return None
        return ids == [IDS[CALL_OPEN]]

    async def _find_control(self) -> Control:
        served, family = await self.served.get(), await self.is_gemma.get()

        async def ask(
            request: ModelRequest, dialect: Dialect, fields: Mapping[str, object]
        ) -> ModelResponse:
            return await self.ask(served.name, request, dialect, fields, gemma=family is True)

        found = await find_control(ask, may_be_gemma=family is not False)
        if lost := LOST[found]:
            get_logger().warning("server probed", control=found, lost=lost)
        else:
            get_logger().info("server probed", control=found)
        return found

    async def ask(
        self,
        model: str,
        request: ModelRequest,
        dialect: Dialect,
        fields: Mapping[str, object],
        *,
        gemma: bool,
    ) -> ModelResponse:
        """The server's own reading of one whole reply; fields that it refuses are left out.

        Raises:
            AgentKitError: It cannot be had.
        """

        async def asked() -> ModelResponse:
            body = encode_request(
                request,
                model=model,
                messages=MessageEncoder(dialect.outgoing).encode(request.messages, self._without),
                declarations=dialect.declarations,
                stream=False,
                held=fields,
                gemma=gemma,
                strict="tool_choice" in fields,
                without=self._without,
            )
            most, refusals = request.settings.max_tokens, self._transport.refusals
            decoder = ReplyDecoder(most, refusals=refusals)
            within = self._transport.timeouts.first_event
            async with aclosing(self._transport.reply(_CHAT, body, within=within)) as payloads:
                async for payload in payloads:
                    decoder.feed(payload)
            return decoder.finish(0)

        while True:
            try:
                return await _settled(asked)
            except AgentKitError as error:
                if not self.refuses_fields(error):
                    raise

    async def _find_special(self) -> frozenset[str]:
        if (tokenizer := await self.tokenizer.get()) is not None:
            special = tokenizer.special
        else:
            try:
                answer = await self._get("/tokenizer_info")
                special = frozenset(read_special_tokens(answer))
            except AgentKitError as error:  # also where a gateway sends on to a page of its own
                _raise_if_away(error)
                special = frozenset()
        return frozenset(text for text in special if text and not any(map(str.isspace, text)))

    # --- tokens ----------------------------------------------------------------------------------

    async def tokens(self, body: bytes) -> list[int]:
        """The ids that `/tokenize` answers to such a body.

        Raises:
            AgentKitError: It gives none.
        """
        within, post = self._transport.timeouts.first_event, self._transport.post
        return read_tokens(await _settled(lambda: post("/tokenize", body, within=within)))

    async def _find_tokenizer(self) -> LocalTokenizer | None:
        """The first file at hand that makes the same tokens as the server."""
        served = await self.served.get()
        files = [self._given] if self._given else list(places([*served.roots, served.name]))
        theirs: Sequence[int] | None = None
        for file in files:
            try:
                tokenizer = await LocalTokenizer.load(file)
            except ImportError:
                get_logger().info(
                    "a tokenizer is at hand, but not agentkit's extra `local`", file=str(file)
                )
                return None
            except (OSError, ValueError) as error:
                if self._given:
                    raise
                get_logger().info("a tokenizer at hand cannot be read", error=str(error))
                continue
            theirs = theirs or await self._ids_of_check(served.name)
            if theirs is None:  # it cannot be compared
                return tokenizer if self._given else None
            if list(theirs) == tokenizer.encode(CHECK):
                get_logger().info("prompts are counted here", tokenizer=str(file))
                return tokenizer
            get_logger().warning("the tokenizer at hand is not the server's", tokenizer=str(file))
        return None

    async def _ids_of_check(self, model: str) -> Sequence[int] | None:
        """The server's tokens of the text by which tokenizers differ; None if it gives none."""
        try:
            return await self.tokens(encode_tokenize(model, CHECK))
        except AgentKitError as error:
            _raise_if_away(error)
            return None

    async def _make_detokenizer(self) -> Detokenizer:
        tokenizer = await self.tokenizer.get()
        if tokenizer is not None:
            return Detokenizer(tokenizer.decode)
        return Detokenizer(on_server(self._transport, (await self.served.get()).name))

    async def _find_template(self) -> TemplateGeneration | None:
        """The template, by its fingerprint; None for a model that is not a Gemma."""
        if await self.is_gemma.get() is False:
            return None
        served, tokenizer = await self.served.get(), await self.tokenizer.get()
        declarations = [tool.declaration for tool in PROBE.tools]
        try:
            ids = await self.tokens(encode_prompt(served.name, PROBE, declarations))
            if tokenizer is not None:
                [prompt] = await tokenizer.decode([ids])
            else:
                prompt = await _settled(lambda: spelled(self._transport, served.name, ids))
        except AgentKitError as error:
            _raise_if_away(error)
            get_logger().info("prompts cannot be counted by the server", error=str(error))
            return None
        found = fingerprint(prompt)
        get_logger().info("server probed", template=found)
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
    if is_away(error):
        raise error


async def _settled(ask: Callable[[], Awaitable[T]]) -> T:
    """What a server says of itself, which is kept for good: a question that fails, rather than is
    refused, is asked again. A gateway answers 500 or a page while what is behind it restarts.
    """
    for pause in _AGAIN_AFTER:
        try:
            return await ask()
        except AgentKitError as error:
            if not _has_failed(error):
                raise
        await anyio.sleep(pause)
    return await ask()


_AGAIN_AFTER: Final = (0.05, 0.25)
"""Seconds before each further attempt."""


def _has_failed(error: AgentKitError) -> bool:
    if isinstance(error, ModelStatusError):
        failed = error.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR and not is_away(error)
        return failed and error.status_code != HTTPStatus.NOT_IMPLEMENTED
    return isinstance(error, ModelProtocolError)


def _pick(models: Sequence[ServedModel], wanted: str | None) -> ServedModel | None:
    """The model of that name, or the first where none is wanted."""
    for model in models:
        # Ollama lists `gemma4:latest` and takes `gemma4`.
        if wanted in (None, model.name, model.name.removesuffix(":latest")):
            return model if wanted is None else replace(model, name=wanted)
    return None


def _not_served(
    models: Sequence[ServedModel], wanted: str | None, where: str
) -> ServerNotReadyError:
    names = ", ".join(model.name for model in models)
    if not names:
        return ServerNotReadyError(f"{where}/v1/models lists no model; is this a model server?")
    return ServerNotReadyError(f"{where} serves no model {wanted!r}; it serves: {printable(names)}")


# --- the language of its tools -------------------------------------------------------------------

_KEPT = 16  # sets of tools whose declarations and encoded messages are kept


class _Same:
    """A set of tools as a key, equal only to a set of the same objects. A tool has one definition
    for all its runs, and comparing schemas at every step would cost what the cache saves.
    """

    def __init__(self, tools: Sequence[ToolDefinition]) -> None:
        self.tools = tuple(tools)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _Same)
            and len(self.tools) == len(other.tools)
            and all(map(is_, self.tools, other.tools))
        )

    def __hash__(self) -> int:
        return hash(tuple(map(id, self.tools)))


class Language:
    """The dialect of one set of tools, and the messages that were encoded in it.

    Attributes:
        dialect: The dialect.
        encoder: Encodes messages in it.
        rung: What calls of these tools are held to where the server refuses to hold them to more,
            as where a schema is none that it can enforce; None where it never did.
    """

    def __init__(self, escape: Escape, same: _Same) -> None:
        self.rung: Control | None = None
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
        self._newest: tuple[Sequence[ToolDefinition], Language] | None = None

    async def of(self, tools: Sequence[ToolDefinition]) -> Language:
        """The language of a set of tools.

        It escapes the control literals that we know, and those of the served tokenizer, if a copy
        is at hand or the server gives them (`--enable-tokenizer-info-endpoint`).
        """
        newest = self._newest  # once: another thread may replace it
        if newest is not None and newest[0] is tools:
            return newest[1]
        if self._made is None:
            literals = {*CONTROL_LITERALS, *await self._server.special.get()}
            make = partial(Language, Escape(literals))
            self._made = lru_cache(maxsize=_KEPT)(make)
        language = self._made(_Same(tools))
        if isinstance(tools, tuple):  # a list may have other tools next time
            self._newest = tools, language
        return language


# --- the tokens of prompts -----------------------------------------------------------------------

_SHAPING: Final = frozenset(
    {"add_generation_prompt", "chat_template", "continue_final_message", "documents"}
    | {"messages", "mm_processor_kwargs", "reasoning_effort", "tools", "truncate_prompt_tokens"}
)
"""Fields of a request that change its prompt, beside those that we write."""

_RENDERED: Final = ("canonical", "canonical-small")
"""The templates that we render byte for byte."""


class PromptCounter:
    """Counts the tokens of prompts for one server.

    Args:
        server: What is known of it.
    """

    def __init__(self, server: Server) -> None:
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
        """The tokens of each text; None if they cannot be counted."""
        if (tokenizer := await self._server.tokenizer.get()) is not None:
            return await tokenizer.counts(texts)
        if self._server.template.known is None:
            return None
        ask = self._server.tokens
        try:
            ids = await ask(encode_tokenize(model, EOS.join(texts)))  # no text of ours holds one
            ends = [at for at, token in enumerate(ids) if token == IDS[EOS]]
            counts = [end - at - 1 for at, end in pairwise([-1, *ends, len(ids)])]
            if len(counts) != len(texts):  # a tokenizer with another end token
                counts = [len(await ask(encode_tokenize(model, each))) for each in texts]
        except AgentKitError as error:
            get_logger().info("tokens not counted", error=str(error))
            return None
        return counts

    async def whole(self, body: bytes) -> int | None:
        """The tokens of a whole prompt; None if they cannot be counted.

        Args:
            body: The chat-completions request; `/tokenize` reads the same fields.
        """
        if self._server.template.known is None:
            return None
        try:
            return len(await self._server.tokens(body))
        except AgentKitError as error:
            get_logger().info("tokens not counted", error=str(error))
            return None
