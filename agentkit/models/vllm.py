"""`VLLMModel`: Gemma 4 behind a vLLM server, streamed or whole, through one code path.

In: a `ModelRequest`. Out: its events as they arrive, and one `ModelFinished` when the reply is
whole. It keeps no conversation. A failed attempt is made again within a wall-time budget, and
`StepRestarted` takes back what was shown of it. A request that is refused for a field or for its
constraint is made again at once without that. Facts about the server are found out once.
"""

from __future__ import annotations

import os
import random
import ssl
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from itertools import count
from operator import is_
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import httpx2

from agentkit.context import Count, CountTexts, PromptForm
from agentkit.errors import (
    AgentKitError,
    ContextWindowError,
    ModelConnectionError,
    ModelError,
    ModelProtocolError,
    ModelResponseTooLargeError,
    ModelStatusError,
    ModelUnreadableError,
    ServerNotReadyError,
    check_counts,
    check_kinds,
    explains,
)
from agentkit.events import ModelEvent, ModelFinished, StepRestarted, TextDelta
from agentkit.gemma4.dialect import Dialect
from agentkit.gemma4.profiles import GENERIC
from agentkit.messages import (
    Control,
    JsonObject,
    ModelRequest,
    ModelResponse,
    ModelSettings,
    next_call_number,
)
from agentkit.models.base import CountsPrompts, Model, TellsLoad, tell_sent
from agentkit.models.calls import (
    LOST,
    Evidence,
    asked_on,
    believed,
    held_on,
    may_hold_calls,
    read_json_call,
    rung_below,
)
from agentkit.models.server import Language, Languages, PromptCounter, Server
from agentkit.models.tokens import profile_of
from agentkit.models.transport import Connection, Timeouts, Transport
from agentkit.policy.guard import RepeatWatch
from agentkit.redaction import get_logger
from agentkit.stream import MAX_RESPONSE_BYTES
from agentkit.wire import (
    Reply,
    ReplyDecoder,
    ServedModel,
    constrains_itself,
    encode_request,
    read_waiting,
    session_header,
)

DEFAULT_MAX_TOKENS = 8192
"""Tokens of one reply where nobody says otherwise: room for long reasoning and an answer, and an
end to a model that repeats itself."""

_LONGEST_RETRY_AFTER = 60.0
"""Most seconds of a `Retry-After` that we wait; a server that wants more is asked sooner."""

_FIRST_BACKOFF, _LONGEST_BACKOFF = 0.5, 20.0
"""Most seconds before the second attempt, and before any later one."""

_READ_AGAIN_AFTER = (0.05, 0.25)
"""Seconds before each of the further attempts after an answer that is no reply at all."""

_FIRST_CONTACT = 2.0
"""For how many seconds a server that has never answered is tried."""


class VLLMModel:
    """A model behind vLLM's OpenAI-compatible server.

    Immutable once built, and shareable between threads and event loops.

    Args:
        base_url: The server's address, with or without `/v1`; default: `AGENTKIT_BASE_URL`.
        model: The served name or a LoRA adapter's; default: the first that the server lists.
        api_key: Sent as a bearer token; default: `AGENTKIT_API_KEY`. Never logged.
        headers: Sent with each request.
        verify: False to accept any TLS certificate, or a context to check with.
        proxy: For this server; by default the environment's proxies, but never for loopback.
        http_client: Used instead of clients of our own, and never closed here.
        timeouts: The clocks of a call.
        settings: Defaults for each request.
        stream: False asks for whole replies; everything else stays the same.
        max_response_bytes: Most bytes, decoded, of one answer of the server: of a body, of one
            event of a stream, and of what a reply says.
        tokenizer: The checkpoint's `tokenizer.json`, or the folder that holds it; default: the one
            in the server's own model folder or in a hub's cache, where that is on this machine.
            With a tokenizer at hand (extra `local`) a step is one request: prompts are counted
            and replies are read here. Otherwise the server is asked.

    Raises:
        ServerNotReadyError: Neither an address nor `AGENTKIT_BASE_URL` is given.
        ImportError: A tokenizer is given and the extra `local` is not installed.
        FileNotFoundError: There is no such tokenizer.
    """

    @explains(
        "VLLMModel",
        {
            **dict.fromkeys(("api_base", "url", "endpoint", "host"), "write base_url="),
            **dict.fromkeys(
                ("model_name", "model_id", "name", "served_model_name"), "write model="
            ),
            **dict.fromkeys(("token", "key"), "write api_key="),
            **dict.fromkeys(("timeout", "request_timeout"), "write timeouts=Timeouts(…)"),
            **{
                name: f"write settings=ModelSettings({name}=…)"
                for name in ("temperature", "top_p", "top_k", "seed", "max_tokens", "stop")
            },
        },
    )
    def __init__(
        self,
        base_url: str | None = None,
        model: str | None = None,
        *,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        verify: bool | ssl.SSLContext = True,
        proxy: str | None = None,
        http_client: httpx2.AsyncClient | None = None,
        timeouts: Timeouts | None = None,
        settings: ModelSettings | None = None,
        stream: bool = True,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
        tokenizer: str | os.PathLike[str] | None = None,
    ) -> None:
        check_kinds(locals(), _KINDS)
        secret: dict[str, object] = {"api_key": api_key, **(headers or {})}
        for name, value in secret.items():  # whose values no error tells
            if value is not None and not isinstance(value, str):
                raise TypeError(f"{name} is of type {type(value).__name__}; give a text")
        check_counts(max_response_bytes=max_response_bytes)
        connection = Connection(
            base_url=_address(base_url),
            api_key=api_key or os.environ.get("AGENTKIT_API_KEY"),
            headers=headers,
            verify=verify,
            proxy=proxy,
            http_client=http_client,
        )
        self._transport = Transport(connection, timeouts or Timeouts(), max_response_bytes)
        self._model = model
        self._settings = settings or ModelSettings()
        self._stream = stream
        self._server = Server(self._transport, model, Path(tokenizer) if tokenizer else None)
        self._languages = Languages(self._server)
        self._counter = PromptCounter(self._server)
        self._spells_tokens = True
        self._newest_settings: tuple[tuple[object, ...], ModelSettings] = (None,), self._settings

    @property
    def name(self) -> str:
        """The served name; until it is known, the name that was given, or the server's address."""
        served = self._server.served.known
        return served.name if served else self._model or self._transport.where

    @property
    def constrains(self) -> bool:
        """Whether the server has shown that it can be made to call; see `Server.control`."""
        return self._server.control.known in ("grammar", "tool_choice")

    async def generate(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Asks for one reply; see `Model.generate`."""
        timeouts = self._transport.timeouts
        started = anyio.current_time()
        deadline = started + timeouts.total
        holding = _Holding()
        for number in count(1):
            shown = False
            try:
                async with aclosing(self._attempt(request, deadline, holding)) as events:
                    async for event in events:
                        shown = True
                        yield event
                return
            except AgentKitError as error:
                failure = str(error)
                is_answered = self._server.refuses_fields(error) or holding.gives_way(error)
                pause = 0.0 if is_answered else self._pause(error, number, started)
                if pause is None:
                    raise
            if not is_answered:
                get_logger().info("model call failed, trying again", attempt=number, error=failure)
                await anyio.sleep(pause)
            if shown or not is_answered:  # some servers refuse in the middle of a reply
                yield StepRestarted(failure, number + 1)

    def _pause(self, error: AgentKitError, attempt: int, started: float) -> float | None:
        """Seconds until the next attempt; None if there is none. A server that has answered before
        may be restarting; one that never has may not exist, or be something else.
        """
        if not _may_pass(error):
            return None
        if isinstance(error, ModelUnreadableError):
            # The same question mostly brings the same answer, but a proxy may show a page of its
            # own for a moment.
            return _READ_AGAIN_AFTER[attempt - 1] if attempt <= len(_READ_AGAIN_AFTER) else None
        timeouts = self._transport.timeouts
        unmet = self._server.served.known is None and isinstance(
            error, (ModelConnectionError, ModelProtocolError)
        )
        budget = min(timeouts.retry, timeouts.total)
        pause = _wait(error, attempt)
        next_attempt = anyio.current_time() - started + pause
        return None if next_attempt >= (min(budget, _FIRST_CONTACT) if unmet else budget) else pause

    async def _attempt(
        self, request: ModelRequest, deadline: float, holding: _Holding
    ) -> AsyncGenerator[ModelEvent, None]:
        """One request, and the events of its reply."""
        # What the server is; all of it is asked for once.
        served = await self.served()
        await self._server.is_gemma.get()  # `Server.gemma` is known from here on
        profile = profile_of(served)
        if profile is not GENERIC and (refusal := profile.refused(request.messages)):
            raise ServerNotReadyError(f"{served.name} {refusal}")
        request = replace(request, settings=self._settings_of(request, served))
        # The request as this server holds calls, in the language of the tools that it is sent.
        control = holding.of(await self._languages.of(request.tools), await self._control(request))
        sent = asked_on(control, request)
        language = await self._languages.of(sent.tools)
        held = held_on(control, request, language.dialect)
        messages = language.encoder.encode(sent.messages, self._server.without)
        body = encode_request(
            sent,
            model=served.name,
            messages=messages,
            declarations=language.dialect.declarations,
            stream=self._stream,
            held=held,
            gemma=self._server.gemma,
            strict=control == "tool_choice",
            without=self._server.without,
        )
        # The reply as it arrives.
        decoder = ReplyDecoder(
            request.settings.max_tokens, self._transport.max_bytes, self._transport.refusals
        )
        watch = RepeatWatch()
        tell_sent(body, messages, decoder.reply)
        session = session_header(language.encoder.opening(sent.messages))
        payloads = self._payloads(body, session, deadline)
        async with aclosing(payloads):
            async for payload in payloads:
                events = decoder.feed(payload)
                for event in events:
                    yield event
                loops = watch.sees_loop(decoder.reply, events) and not decoder.ended
                if loops or decoder.endless:
                    decoder.give_up()
                    break
        # What is believed of it.
        first = next_call_number(request.messages)
        server = decoder.finish(first)
        if "response_format" in held:
            server = read_json_call(server, request, first)
        response = await self._read(request, server, decoder.reply, language.dialect, held, first)
        if rest := decoder.withheld(response.message):
            yield TextDelta(rest)
        message = language.dialect.incoming(response.message)
        yield ModelFinished(replace(response, message=message, control=control))

    async def _control(self, request: ModelRequest) -> Control | None:
        """What the request's calls can be held to, which is found out once; None without tools."""
        settings = request.settings
        if not request.tools or settings.grammar is False or constrains_itself(settings):
            return None
        try:
            return await self._server.control.get()
        except ModelError:
            return None  # the server is away; asked again with the next request

    async def _read(
        self,
        request: ModelRequest,
        server: ModelResponse,
        reply: Reply,
        dialect: Dialect,
        held: JsonObject,
        first_call: int,
    ) -> ModelResponse:
        """The reply as far as it is believed."""
        grammar = "structured_outputs" in held
        native = self._server.gemma and (grammar or not held)
        told = reply.token_ids or reply.prompt_token_ids
        if told and not (native and reply.has_all_ids):
            # The ids are of another vocabulary, the server held the reply to a syntax of its own,
            # or some were lost on the way: they say nothing.
            reply = replace(reply, token_ids=[], prompt_token_ids=[])
        evidence = Evidence(
            reply,
            forced=grammar and request.tool_choice.mode == "required",
            constrained=grammar or constrains_itself(request.settings),
            native=native,
            first_call=first_call,
        )
        return believed(server, await self._with_pieces(evidence, server), dialect)

    async def prompt_form(self, request: ModelRequest) -> PromptForm | None:
        """What the served model makes of such a request; None while the server cannot be asked."""
        try:
            served = await self.served()
            language = await self._languages.of(request.tools)
            profile = profile_of(served).served(served.max_model_len)
            return await self._counter.form(language, profile, self._settings_of(request, served))
        except ModelError:
            return None  # `generate` tries longer, and says what is wrong

    async def count(self, wanted: Count) -> Sequence[int] | None:
        """Tokens, by a tokenizer at hand or by the server; see `CountsPrompts.count`."""
        if isinstance(wanted, CountTexts):
            return await self._counter.texts(self.name, wanted.texts)
        language = await self._languages.of(wanted.request.tools)
        settings = self._settings_of(wanted.request, await self.served())
        tokens = await self._counter.whole(
            encode_request(
                replace(wanted.request, settings=settings),
                model=self.name,
                messages=language.encoder.encode(wanted.request.messages, self._server.without),
                declarations=language.dialect.declarations,
                stream=False,
                gemma=self._server.gemma,
            )
        )
        return None if tokens is None else [tokens]

    async def _with_pieces(self, evidence: Evidence, server: ModelResponse) -> Evidence:
        """The evidence with the text of each token, where that is needed and can be had."""
        reply = evidence.reply
        if not reply.token_ids or not may_hold_calls(reply, server, forced=evidence.forced):
            return evidence
        pieces = None
        if self._spells_tokens:
            try:
                detokenizer = await self._server.detokenizer.get()
                pieces = await detokenizer.pieces(reply.token_ids)
            except AgentKitError as error:
                # The reply is whole without this. It is asked again unless it has no such path.
                status = error.status_code if isinstance(error, ModelStatusError) else None
                self._spells_tokens = isinstance(error, ModelError) and status not in _NO_PATH
                get_logger().info("the reply's tokens cannot be read", error=str(error))
        return replace(evidence, pieces=pieces)

    def _payloads(
        self, body: bytes, headers: Mapping[str, str], deadline: float
    ) -> AsyncGenerator[bytes, None]:
        """A reply's JSON texts: many when streaming, one when not."""
        if self._stream:
            return self._transport.stream(_CHAT, body, deadline=deadline, headers=headers)
        left = max(deadline - anyio.current_time(), 0)
        return self._transport.reply(_CHAT, body, within=left, headers=headers)

    async def served(self) -> ServedModel:
        """What the server says of the model; asked once.

        Raises:
            ModelError: The server cannot be reached.
            ServerNotReadyError: It serves no model of that name.
        """
        return await self._server.served.get()

    async def waiting(self) -> int | None:
        """How many requests wait for a place, by the server's own `/metrics`; see `TellsLoad`."""
        try:
            return read_waiting(await self._transport.get_raw("/metrics", within=_GLANCE))
        except AgentKitError:
            return None  # away, or behind a router that does not tell

    def _settings_of(self, request: ModelRequest, served: ServedModel) -> ModelSettings:
        """The request's settings, and for those it lacks the model's or what its profile says."""
        asked = (request.settings, bool(request.tools), served)  # nearly always as just before
        known, settings = self._newest_settings
        if all(map(is_, asked, known)):
            return settings
        settings = request.settings.over(self._settings)
        thinking, max_tokens = settings.thinking, settings.max_tokens
        if thinking is None and request.tools:
            profile = profile_of(served)
            if profile is not GENERIC:  # what says nothing settles nothing
                thinking = profile.thinking_with_tools
        if max_tokens is None:
            window = served.max_model_len or 2 * DEFAULT_MAX_TOKENS
            max_tokens = min(DEFAULT_MAX_TOKENS, window // 2)
        settings = replace(settings, thinking=thinking, max_tokens=max_tokens)
        self._newest_settings = asked, settings
        return settings

    async def aclose(self) -> None:
        """Closes this event loop's connections."""
        await self._transport.aclose()

    async def __aenter__(self) -> VLLMModel:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"VLLMModel({self._transport.where!r}, model={self._model!r})"


_CHAT = "/v1/chat/completions"
_GLANCE = 1.0
"""Seconds for an answer that is not needed."""
_NO_PATH = frozenset({404, 405, 501})
"""Statuses of a path that the server does not have."""


_KINDS: Final[Mapping[str, tuple[tuple[type, ...], str]]] = {
    "base_url": ((str,), "give an address, such as http://localhost:8000/v1"),
    "model": ((str,), "give the served name"),
    "headers": ((Mapping,), "give texts by name: {name: value}"),
    "verify": ((bool, ssl.SSLContext), "give False, or ssl.create_default_context(cafile=…)"),
    "proxy": ((str,), "give an address"),
    "stream": ((bool,), "give True or False"),
    "timeouts": ((Timeouts,), "give Timeouts(total=…)"),
    "settings": ((ModelSettings,), "give ModelSettings(temperature=…)"),
    "max_response_bytes": ((int,), "give a whole number"),
    "tokenizer": ((str, os.PathLike), "give the path of a tokenizer.json"),
}


def _address(given: str | None) -> str:
    url = (given or os.environ.get("AGENTKIT_BASE_URL") or "").strip()
    url = url.removesuffix(_CHAT.removeprefix("/v1"))  # as other clients' settings have it
    if not url:
        raise ServerNotReadyError(
            "no model server is given: pass its address, such as http://localhost:8000/v1, "
            "or set AGENTKIT_BASE_URL"
        )
    return url


# --- constraints that are refused ----------------------------------------------------------------


class _Holding:
    """What the calls of one request are held to, attempt after attempt.

    A server that holds calls to most schemas may refuse one: it is too deep, or lacks what a strict
    server wants. The request is then made on the next rung, and further ones with the same tools.
    """

    def __init__(self) -> None:
        self._language: Language | None = None
        self._control: Control | None = None
        self._first: Control | None = None

    def of(self, language: Language, control: Control | None) -> Control | None:
        """The rung for the next attempt."""
        if self._language is None:
            self._first = language.rung
        self._language = language
        self._control = None if control is None else language.rung or control
        return self._control

    def gives_way(self, error: AgentKitError) -> bool:
        """Whether an attempt on a lower rung is due after a refusal. Where it is refused on the
        lowest one too, the constraint was not the reason.
        """
        refused = isinstance(error, ModelStatusError) and error.status_code in _REFUSED
        if not refused or self._language is None or self._control is None:
            return False
        if self._control == "free":
            self._language.rung = self._first
            return False
        self._language.rung = rung_below(self._control)
        get_logger().warning(
            "a constraint is refused", error=str(error), lost=LOST[self._language.rung]
        )
        return True


_REFUSED = frozenset({400, 422})
"""Statuses by which a server refuses a request for what it holds."""


# --- retries -------------------------------------------------------------------------------------


def _may_pass(error: BaseException) -> bool:
    """Whether another attempt may succeed; a model call has no side effects that forbid one."""
    if isinstance(error, ModelStatusError):
        return error.status_code in (408, 429) or error.status_code >= 500
    lasting = (ContextWindowError, ModelResponseTooLargeError)
    return isinstance(error, ModelError) and not isinstance(error, lasting)


def _wait(error: AgentKitError, attempt: int) -> float:
    """Seconds until the next attempt: what the server asked for, or full-jitter backoff.

    A `Retry-After` of 0 asks for no wait, and would have a server that is down asked without end.
    """
    if isinstance(error, ModelStatusError) and error.retry_after:
        return min(error.retry_after, _LONGEST_RETRY_AFTER)
    longest = min(_LONGEST_BACKOFF, _FIRST_BACKOFF * 2 ** min(attempt - 1, 16))
    return random.uniform(0.0, longest)  # noqa: S311 - jitter, not a secret


if TYPE_CHECKING:
    _: Model = VLLMModel("http://localhost:8000/v1")
    _counts: CountsPrompts = VLLMModel("http://localhost:8000/v1")
    _load: TellsLoad = VLLMModel("http://localhost:8000/v1")
