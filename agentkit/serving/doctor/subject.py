"""The server under examination, and the findings about it.

Requests are made by the same encoders and readers as those of agents. The replies are kept raw as
well, since a probe must see what agents are spared. Nothing on the server changes.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Final, Literal, NamedTuple, TypeAlias

import anyio
from pydantic_core import to_json

from agentkit.errors import (
    AgentKitError,
    ModelProtocolError,
    ModelStatusError,
    ModelTimeoutError,
)
from agentkit.gemma4.dialect import Dialect
from agentkit.gemma4.escape import Escape
from agentkit.gemma4.profiles import GENERIC, Profile, profile_for
from agentkit.gemma4.tokens import CALL_CLOSE, CALL_OPEN, IDS, QUOTE
from agentkit.messages import (
    JsonObject,
    Message,
    ModelRequest,
    ModelResponse,
    ModelSettings,
    ToolChoice,
    ToolDefinition,
    UserMessage,
)
from agentkit.models.calls import is_away
from agentkit.models.server import Server
from agentkit.models.transport import Transport
from agentkit.stream import DONE
from agentkit.wire import (
    MessageEncoder,
    Reply,
    ReplyDecoder,
    encode_detokenize,
    encode_request,
    encode_tokenize,
    read_text,
    read_tokens,
)

Verdict: TypeAlias = Literal["pass", "warn", "fail"]
"""`warn` is what agentkit works around, or what could not be found out."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one probe found.

    Attributes:
        verdict: Whether it is as it should be.
        says: What was seen, in a sentence.
        remedy: What to change: the flag of the server, the file, the setting.
        probe: The probe's name.
        figures: Name with the unit → what was measured; not compared, as it differs each time.
    """

    verdict: Verdict
    says: str
    remedy: str = ""
    probe: str = ""
    figures: Mapping[str, float] = field(default_factory=dict, compare=False)


def passed(says: str, figures: Mapping[str, float] | None = None) -> Finding:
    """A finding that all is well."""
    return Finding("pass", says, figures=figures or {})


def warned(says: str, remedy: str = "", figures: Mapping[str, float] | None = None) -> Finding:
    """A finding that agentkit works around something, or that it could not be found out."""
    return Finding("warn", says, remedy, figures=figures or {})


def failed(says: str, remedy: str) -> Finding:
    """A finding from which agents will suffer."""
    return Finding("fail", says, remedy)


# --- requests ------------------------------------------------------------------------------------

_CHAT: Final = "/v1/chat/completions"
_PUT_OFF: Final = 5
"""Times that a server may say "later" before it is not asked again for the same answer."""
_SILENT: Final = 3
"""Requests without an answer, of a minute each, after which no more are made."""
_ATTEMPTS_AT_SIZE: Final = 3
"""Requests of one size. A connection seldom ends so often by chance, and only under large ones."""

TOOL_FLAGS: Final = "--enable-auto-tool-choice --tool-call-parser gemma4"

CITY: Final = "Turin"

REPORT: Final = ToolDefinition(
    "report_weather",
    "Reports the weather of a city.",
    {
        "type": "object",
        "properties": {
            "city": {"type": "string", "enum": [CITY], "description": "Name of the city."}
        },
        "required": ["city"],
    },
)
"""A tool that allows a single call, so that under its grammar every model says the same."""


def bias(*literals: str) -> JsonObject:
    """The request field that makes control tokens come wherever a grammar allows them.

    Random or badly trained weights would spell them in ordinary tokens, which a streaming parser
    does not see.
    """
    return {"logit_bias": {str(IDS[literal]): 100.0 for literal in literals}}


NATIVE_BIAS: Final = bias(CALL_OPEN, CALL_CLOSE, QUOTE)

FORCED: Final = ToolChoice("required", max_calls=1)
"""Exactly one call."""

LONG_TASK: Final = "Count from one to a thousand, in words."
"""A task that any model answers at length, so that the reply is as long as it may be."""

NO_GEMMA: Final = "not asked: the model is no Gemma 4"
PROXY: Final = "let the proxy before the server pass requests and replies as they are"


@dataclass(frozen=True, slots=True)
class Exchange:
    """The reply to one request.

    Attributes:
        reply: The fields of the reply as they came.
        response: The same as agentkit reads it.
        usage: The server's `usage` as it came; empty if it sent none.
        id: The reply's own name; empty if it has none.
        arrivals: Seconds at which the pieces of a stream came, from the request on.
    """

    reply: Reply
    response: ModelResponse
    usage: JsonObject = field(default_factory=dict)
    id: str = ""
    arrivals: tuple[float, ...] = ()

    @property
    def calls(self) -> list[tuple[str, JsonObject]]:
        """Name and arguments of the calls in the reply."""
        return [(call.name, call.arguments) for call in self.response.message.tool_calls]

    @property
    def produced(self) -> int:
        """Tokens of the reply, by the server's count or, if it gives none, by their ids."""
        return self.response.usage.output_tokens or len(self.reply.token_ids)

    @property
    def text(self) -> str:
        """The answer text."""
        return str(self.reply.text)

    @property
    def reasoning(self) -> str:
        """The reasoning."""
        return str(self.reply.reasoning)


class Prompt(NamedTuple):
    """A prompt as the server's template renders it: its text and its tokens."""

    text: str
    ids: list[int]


@dataclass
class Subject:
    """A server, and what the probes have learned about it so far.

    Attributes:
        transport: Sends requests to it.
        server: What agents find out about it, by requests of the same kind.
        model: The served name.
        window: Tokens of prompt and reply together, if the server says.
        version: vLLM's version; empty for another server.
        template: Which chat template it uses, once known.
        tools: Whether it takes requests with tools; None until asked.
        reads_calls: Whether calls come back as calls.
        grammar: Whether it obeys a grammar; None until asked.
        grammar_refused: Its error message, if it refuses requests with a grammar.
        is_gemma: Whether the model is a Gemma 4; None if that is not known.
        owner: The owner of the model, as the server names it.
        silent: Chat requests that got no answer in time.
        balance: What is added to the logit of one end token to make it as likely as another.
        unsteady: Statuses of replies that only put a request off, in order.
        asked: Chat requests so far.
    """

    transport: Transport
    server: Server
    model: str = ""
    window: int | None = None
    version: str = ""
    template: str = "unknown"
    tools: bool | None = None
    grammar: bool | None = None
    grammar_refused: str = ""
    reads_calls: bool = True
    is_gemma: bool | None = None
    owner: str = ""
    silent: int = 0
    balance: float | None = None
    unsteady: list[int] = field(default_factory=list)
    asked: int = 0

    @property
    def is_vllm(self) -> bool:
        """Whether the server has a version at `/version`, as vLLM does and others do not."""
        return bool(self.version)

    def at_least(self, tokens: int) -> JsonObject:
        """The field that makes a reply so long; only vLLM knows it."""
        return {"min_tokens": tokens} if self.is_vllm else {}

    @property
    def profile(self) -> Profile:
        """The profile of the model."""
        return profile_for(self.model)

    @property
    def known_model(self) -> bool:
        """Whether the name says which Gemma 4 it is."""
        return self.profile is not GENERIC

    async def get(self, path: str) -> JsonObject | None:
        """The JSON at a path; None if the server has no such path."""
        try:
            return await self.transport.get(path)
        except (ModelStatusError, ModelProtocolError):
            return None

    async def post(self, path: str, body: bytes) -> JsonObject | None:
        """The JSON that answers a body; None if the server has no such path."""
        within = self.transport.timeouts.first_event
        try:
            return await self.transport.post(path, body, within=within)
        except (ModelStatusError, ModelProtocolError):
            return None

    async def ask(
        self,
        said: str | Sequence[Message] = f"What is the weather in {CITY}? Call the tool.",
        *,
        tools: Sequence[ToolDefinition] = (),
        choice: ToolChoice | None = None,
        stream: bool = False,
        max_tokens: int = 64,
        thinking: bool = False,
        extra: JsonObject | None = None,
        without: Collection[str] = (),
    ) -> Exchange:
        """Makes one chat request as agents do, without sampling.

        Args:
            said: What the user says, or a whole conversation.
            tools: The tools to offer.
            choice: What may be called; if given, the request has the grammar of the tools.
            stream: Whether to stream the reply.
            max_tokens: Most tokens of the reply.
            thinking: Whether to let the model think first.
            extra: Further fields of the request, which replace its own.
            without: Fields that are not sent.

        Raises:
            AgentKitError: The request fails, or is put off again and again; or so many before it
                got no answer that it is not made.
        """
        if self.silent >= _SILENT:
            raise ModelTimeoutError(f"not asked: {self.silent} requests before got no answer")
        messages = (UserMessage(said),) if isinstance(said, str) else said
        settings = ModelSettings(max_tokens=max_tokens, temperature=0.0, thinking=thinking)
        request = ModelRequest(messages, tools, settings, choice or ToolChoice())
        dialect = Dialect(tools, Escape())
        put_off = 0
        while True:
            self.asked += 1
            left_out = self.server.without | set(without)
            taken = {name: value for name, value in (extra or {}).items() if name not in left_out}
            request = replace(request, settings=replace(settings, extra_body=taken))
            body = encode_request(
                request,
                model=self.model,
                messages=MessageEncoder(dialect.outgoing).encode(request.messages, left_out),
                declarations=dialect.declarations,
                stream=stream,
                held={"structured_outputs": dialect.grammar(choice)} if choice else None,
                gemma=self.is_gemma is not False,
                without=left_out,
            )
            try:
                return await self._exchange(body, max_tokens, stream=stream)
            except AgentKitError as error:
                if self.server.refuses_fields(error):  # never the same field twice
                    continue
                self.silent += isinstance(error, ModelTimeoutError)
                if not isinstance(error, ModelStatusError) or not is_away(error):
                    raise
                if put_off == _PUT_OFF:
                    raise
                put_off += 1
                self.unsteady.append(error.status_code)

    async def likeliest(self, biases: Mapping[int, float]) -> int | None:
        """The first token of a reply at temperature 0; None if the server does not return ids.

        Args:
            biases: Token → what is added to its logit.
        """
        return next(iter(await self._first_tokens(biases, {"temperature": 0.0})), None)

    async def drawn(
        self, biases: Mapping[int, float], count: int, temperature: float | None = None
    ) -> list[int]:
        """The first tokens of several replies; empty without ids.

        Args:
            biases: Token → what is added to its logit.
            count: Replies to one request.
            temperature: Above 0; None for the server's own.
        """
        own = {} if temperature is None else {"temperature": temperature}
        return await self._first_tokens(biases, {"n": count, **own})

    async def _first_tokens(self, biases: Mapping[int, float], fields: JsonObject) -> list[int]:
        self.asked += 1
        body: JsonObject = {
            "model": self.model,
            "messages": [{"role": "user", "content": "Say hello."}],
            "max_tokens": 1,
            "return_token_ids": True,
            "logit_bias": {str(token): value for token, value in biases.items()},
        }
        answer = await self.post(_CHAT, to_json(body | fields)) or {}
        replies = answer.get("choices")
        ids = [one.get("token_ids") or [] for one in replies] if isinstance(replies, list) else []
        return [id_ for first in ids for id_ in first[:1]]

    async def refusal_of_size(self, size: int) -> str | None:
        """Why a request of so many bytes is refused; None if it is taken.

        The bytes are blanks between two members, so that the request asks for no more than a short
        one.
        """
        body = to_json(
            {"model": self.model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
        )
        padded = body[:-1] + b" " * size + b"}"
        refused: str | None = None
        for _ in range(_ATTEMPTS_AT_SIZE):
            if await self._refusal(body) is not None:
                return None  # the size is not the reason
            if (error := await self._refusal(padded)) is None:
                return None
            refused = str(error)
            # A server may close the connection while the request is still being sent.
            if not is_away(error):
                break
        return refused

    async def _refusal(self, body: bytes) -> AgentKitError | None:
        try:
            await self.transport.post_raw(_CHAT, body, within=self.transport.timeouts.first_event)
        except AgentKitError as error:
            return error
        return None

    async def _exchange(self, body: bytes, most: int, *, stream: bool) -> Exchange:
        decoder = ReplyDecoder(most, refusals=self.transport.refusals)
        arrivals: list[float] = []
        usage: JsonObject = {}
        ids: list[str] = []
        started = anyio.current_time()

        def take(payload: bytes) -> None:
            decoder.feed(payload)
            if payload == DONE:
                return
            arrivals.append(anyio.current_time() - started)
            value = json.loads(payload)
            counted = value.get("usage") if isinstance(value, dict) else None
            usage.update(counted if isinstance(counted, dict) else {})
            ids.append(str(value.get("id") or "") if isinstance(value, dict) else "")

        clocks = self.transport.timeouts
        if stream:
            payloads = self.transport.stream(_CHAT, body, deadline=started + clocks.total)
            async with aclosing(payloads):
                async for payload in payloads:
                    take(payload)
        else:
            take(await self.transport.post_raw(_CHAT, body, within=clocks.first_event))
        first = next(iter(ids), "")
        return Exchange(decoder.reply, decoder.finish(0), usage, first, tuple(arrivals))

    async def words(self, exchange: Exchange) -> str | None:
        """The text of the model's own tokens, control tokens included; None if it is not known."""
        return await self.text_of(exchange.reply.token_ids)

    async def own_calls(
        self, exchange: Exchange, tools: Sequence[ToolDefinition]
    ) -> list[tuple[str, JsonObject]]:
        """The calls in the model's own tokens; those in the reply if the tokens are not known."""
        words = await self.words(exchange)
        if words is None:
            return exchange.calls
        parsed = Dialect(tools, Escape()).read(words, in_reasoning=False)
        return [(call.name, call.arguments) for call in parsed.calls if call.malformed is None]

    async def prompt(
        self, messages: Sequence[Message], tools: Sequence[ToolDefinition]
    ) -> Prompt | None:
        """The prompt that the template makes of messages; None if the server does not show it."""
        request = ModelRequest(messages, tools, ModelSettings(thinking=False))
        body = encode_request(
            request,
            model=self.model,
            messages=MessageEncoder(lambda message: message).encode(messages),
            declarations=[t.declaration for t in tools],
            stream=False,
        )
        ids = _ids(await self.post("/tokenize", body))
        text = await self.text_of(ids or [])
        return None if text is None else Prompt(text, ids or [])

    async def tokens(self, text: str) -> list[int] | None:
        """The ids of a text; None if the server does not tokenize."""
        return _ids(await self.post("/tokenize", encode_tokenize(self.model, text)))

    async def text_of(self, ids: Sequence[int]) -> str | None:
        """The text of tokens, control tokens included; None if the server does not detokenize."""
        if not ids:
            return None
        answer = await self.post("/detokenize", encode_detokenize(self.model, ids))
        return read_text(answer) if answer else None


def _ids(answer: JsonObject | None) -> list[int] | None:
    try:
        return None if answer is None else read_tokens(answer)
    except ModelProtocolError:
        return None
