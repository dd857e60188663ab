"""`EmbeddedModel`: the bundled demonstration checkpoint in this process. No server, no GPU.

It speaks the same native format as a served Gemma 4, through the same rendering and parsing, so
everything around it is real. The model is not: a few million parameters, trained on synthetic
dialogues to call tools and to repeat what they say (see `tiny/MODEL_CARD.md`). Its output is not
held to a grammar; that it calls tools rightly is up to its weights.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final, TypeVar

from anyio.to_thread import run_sync

from agentkit.context import Count, CountTexts, PromptForm, TokenCounts
from agentkit.errors import ContextWindowError, ServerNotReadyError
from agentkit.events import ModelEvent, ModelFinished
from agentkit.gemma4.dialect import Dialect
from agentkit.gemma4.escape import Escape
from agentkit.gemma4.profiles import PROFILES
from agentkit.gemma4.render import Generation, render
from agentkit.gemma4.tokens import CALL_CLOSE, CALL_OPEN, CHANNEL_CLOSE, IDS
from agentkit.messages import (
    AssistantMessage,
    ModelRequest,
    ModelResponse,
    ModelSettings,
    ToolDefinition,
    Usage,
    next_call_number,
)
from agentkit.models.base import CountsPrompts, Model, tell_sent
from agentkit.models.calls import Evidence, in_reasoning, of_parsed
from agentkit.models.embedded.decoder import (
    BUNDLED,
    Decoder,
    Logits,
    Pieces,
    Prefix,
    Sampler,
    Sampling,
    control_literals,
    token_bytes,
)
from agentkit.wire import MessageEncoder, Reply, encode_request

_Number = TypeVar("_Number", int, float)

_NAME: Final = "tiny-gemma4-demo"
_MOST_TOKENS: Final = 1024  # of one reply where nobody says otherwise: it has little to say
_KEPT_PREFIXES: Final = 4  # conversations whose keys and values stay in memory, 6 kB a token


class EmbeddedModel:
    """A demonstration model, for first runs, tests and examples; never for work.

    Nothing of a conversation is kept but the keys and values of recent prompts, which only save
    time. It can be shared between threads and event loops; forward passes run in worker threads,
    and a cancelled reply stops before the next one.

    Args:
        folder: Another checkpoint of the same kind; default: the bundled one.
        settings: Defaults for each request. Sampling defaults to the checkpoint's
            `generation_config.json`, as a server's does.

    Raises:
        FileNotFoundError: The folder lacks a file of the checkpoint.
    """

    def __init__(self, folder: Path = BUNDLED, *, settings: ModelSettings | None = None) -> None:
        self._decoder = Decoder(folder)
        self._settings = settings or ModelSettings()
        self._table = token_bytes(self._decoder)
        # This tokenizer's own: it knows some that Gemma's list of control literals does not.
        self._escape = Escape(control_literals(self._decoder))
        self._prefixes: deque[Prefix] = deque(maxlen=_KEPT_PREFIXES)
        self._lock = Lock()
        self._counted = TokenCounts()
        self._said: tuple[Sequence[ToolDefinition], Dialect] | None = None

    @property
    def name(self) -> str:
        """`tiny-gemma4-demo`: it says what it is wherever a model is named."""
        return _NAME

    @property
    def constrains(self) -> bool:
        """False: a forced call begins as one, but no grammar holds its arguments."""
        return False

    async def generate(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Writes one reply; see `Model.generate`.

        Raises:
            ContextWindowError: The prompt leaves no room for a reply.
            ServerNotReadyError: A message holds an image, audio or video.
        """
        if refusal := PROFILES["tiny"].refused(request.messages):
            raise ServerNotReadyError(f"{_NAME} {refusal}")
        request = replace(request, settings=request.settings.over(self._settings))
        dialect = self._dialect(request.tools)
        prompt = self._prompt_ids(request, dialect)
        parser = dialect.parser(in_reasoning=in_reasoning(prompt))
        pieces = Pieces(self._table, request.settings.stop or ())
        reply = Reply(prompt_token_ids=prompt)
        self._tell(request, dialect, reply)
        known = self._known(prompt)
        tokens = self._tokens(known, reply, request)
        async with aclosing(tokens):
            async for token in tokens:
                for event in parser.feed_tokens(*pieces.take(token)):
                    yield event
                if pieces.stopped:
                    break
        for event in parser.feed_tokens(*pieces.rest()):
            yield event
        usage = Usage(len(prompt), len(reply.token_ids), len(known.ids))
        whole = pieces.stopped or reply.token_ids[-1] in self._decoder.stop_ids
        response = ModelResponse(AssistantMessage(), "stop" if whole else "length", usage)
        evidence = Evidence(reply, first_call=next_call_number(request.messages))
        response = of_parsed(response, parser.finish(), evidence)
        yield ModelFinished(replace(response, message=dialect.incoming(response.message)))

    async def prompt_form(self, request: ModelRequest) -> PromptForm:
        """What this model makes of such a request; counted here, to the token."""
        dialect = self._dialect(request.tools)
        thinking = bool(request.settings.over(self._settings).thinking)
        return PromptForm(
            declarations=dialect.declarations,
            outgoing=dialect.outgoing,
            generation=Generation(thinking=thinking),
            profile=PROFILES["tiny"].served(self._decoder.window),
            reply_tokens=_MOST_TOKENS,
            counting="pieces",
            known=self._counted,
        )

    async def count(self, wanted: Count) -> Sequence[int] | None:
        """The tokens of each text; see `CountsPrompts.count`."""
        if not isinstance(wanted, CountTexts):
            return None
        return [len(self._decoder.encode(text)) for text in wanted.texts]

    async def aclose(self) -> None:
        """Forgets the prefixes it kept."""
        with self._lock:
            self._prefixes.clear()

    def _dialect(self, tools: Sequence[ToolDefinition]) -> Dialect:
        """The dialect of a set of tools; of the newest one, the same each time."""
        said = self._said
        if said is None or said[0] is not tools:
            self._said = said = (tools, Dialect(tools, self._escape))
        return said[1]

    def _tell(self, request: ModelRequest, dialect: Dialect, reply: Reply) -> None:
        """Says what a server would be sent, for the record of the run."""
        encoder = MessageEncoder(dialect.outgoing)
        messages = encoder.encode(request.messages)
        body = encode_request(
            request,
            model=self.name,
            messages=messages,
            declarations=dialect.declarations,
            stream=True,
        )
        tell_sent(body, messages, reply)

    def _prompt_ids(self, request: ModelRequest, dialect: Dialect) -> list[int]:
        messages = [dialect.outgoing(message) for message in request.messages]
        how = Generation(thinking=bool(request.settings.thinking))
        prompt = self._decoder.encode(render(messages, dialect.declarations, how))
        if len(prompt) >= self._decoder.window:
            raise ContextWindowError(
                f"the prompt has {len(prompt)} tokens and the demonstration model's window "
                f"{self._decoder.window}: shorten the conversation or what the tools return"
            )
        return prompt

    # --- decoding --------------------------------------------------------------------------------

    async def _tokens(
        self, known: Prefix, reply: Reply, request: ModelRequest
    ) -> AsyncGenerator[int, None]:
        """The reply's tokens, also written into `reply`, up to a stop token or the limit."""
        prompt, produced = reply.prompt_token_ids, reply.token_ids
        room = self._decoder.window - len(prompt)
        most = min(request.settings.max_tokens or _MOST_TOKENS, room)
        chooser = _Chooser(self._decoder, request)
        prefix = known
        try:
            while len(produced) < most:
                prefix, logits = await self._read(prefix, [*prompt, *produced])
                produced.append(chooser.next(logits))
                yield produced[-1]
                if produced[-1] in self._decoder.stop_ids:
                    return
        finally:
            self._keep(prefix)

    async def _read(self, prefix: Prefix, ids: Sequence[int]) -> tuple[Prefix, Logits]:
        """Reads the tokens behind a prefix, in pieces between which a cancel is noticed."""
        while True:
            wanted = ids[len(prefix.ids) :]
            prefix, logits = await run_sync(self._decoder.extend, prefix, wanted)
            if len(prefix.ids) == len(ids):
                return prefix, logits

    def _known(self, prompt: Sequence[int]) -> Prefix:
        """The longest kept prefix of a prompt; one token is left to ask about."""
        with self._lock:
            kept = [(prefix.common(prompt), prefix) for prefix in self._prefixes]
        length, prefix = max(kept, key=lambda pair: pair[0], default=(0, self._decoder.nothing))
        return prefix.cut(min(length, len(prompt) - 1))

    def _keep(self, prefix: Prefix) -> None:
        with self._lock:
            for other in list(self._prefixes):
                if other.common(prefix.ids) == len(other.ids):  # all of it is in the new one
                    self._prefixes.remove(other)
            self._prefixes.append(prefix)


class _Chooser:
    """Picks each token of one reply: drawn, forced at the start of a call, or forbidden.

    A call that is forced begins with a name that may be called, of several the likeliest.
    """

    def __init__(self, decoder: Decoder, request: ModelRequest) -> None:
        settings, choice = request.settings, request.tool_choice
        sampling = Sampling(
            _given(settings.temperature, decoder.temperature),
            _given(settings.top_k, decoder.top_k),
            _given(settings.top_p, decoder.top_p),
        )
        self._sampler = Sampler(sampling, settings.seed)
        names = [tool.name for tool in request.tools if choice.allows(tool.name)]
        opened = f"{CALL_OPEN}call:"
        begins = [f"{opened}{name}{{" for name in names] or [opened]
        self._forced = (
            [decoder.encode(text) for text in begins] if choice.mode == "required" else []
        )
        self._written = 0  # tokens of the opening
        self._waits = bool(settings.thinking)  # a forced call stands behind the reasoning
        self._calls_left = 0 if choice.mode == "none" else choice.max_calls

    def next(self, logits: Logits) -> int:
        """The next token."""
        if self._forced and not self._waits:
            at, self._written = self._written, self._written + 1
            token = max({opening[at] for opening in self._forced}, key=lambda each: logits[each])
            self._forced = [each for each in self._forced if each[at] == token and each[at + 1 :]]
            return self._count(token)
        forbidden = IDS[CALL_OPEN] if self._calls_left == 0 else None
        return self._count(self._sampler.next(logits, forbidden))

    def _count(self, token: int) -> int:
        if token == IDS[CHANNEL_CLOSE]:
            self._waits = False
        if token == IDS[CALL_CLOSE] and self._calls_left:
            self._calls_left -= 1
        return token


def _given(asked: _Number | None, default: _Number) -> _Number:
    return default if asked is None else asked


if TYPE_CHECKING:
    _: Model = EmbeddedModel()
    _counts: CountsPrompts = EmbeddedModel()
