"""`EmbeddedModel`: the bundled demonstration checkpoint in this process. No server, no GPU.

It speaks the same native format as a served Gemma 4, through the same rendering and parsing, so
everything around it is real. The model is not: a few million parameters, trained on synthetic
dialogues to call tools and to repeat what they say (see `tiny/MODEL_CARD.md`). No grammar
constrains its output; whether it calls tools correctly depends on its weights.

A `Decoder` reads token ids and gives logits, a `Sampler` picks the next id by them, and `Pieces`
turns the ids of a reply into text that can be shown; these three know nothing of messages or calls.
The graph is `graph.onnx`; its weights are those of `model.safetensors`, the same file that vLLM
serves, widened from bfloat16 to float32 when it is loaded. Keys and values of a prefix are plain
arrays that are never changed, so replies and threads can share them.
"""

from __future__ import annotations

import codecs
import json
import mmap
import os
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from anyio.to_thread import run_sync

from agentkit.context import Count, CountTexts, PromptForm, TokenCounts
from agentkit.errors import ContextWindowError, ServerNotReadyError, install
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
from agentkit.wire import MessageEncoder, Reply, encode_request
from agentkit.wire.replies import overlap

_Number = TypeVar("_Number", int, float)

# From 1.29 on, the official builds of onnxruntime keep an identifier of the machine and send events
# over HTTPS, unless this is set before they are loaded (see its Privacy.md).
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
try:
    import numpy as np
    import onnxruntime as ort
    from numpy.typing import NDArray
    from tokenizers import Tokenizer
except ImportError as error:  # an optional extra
    raise ImportError(
        f"the demonstration model needs the extra `local` ({error.name} is missing): "
        f"{install('local')}"
    ) from error

# --- the checkpoint as a function ----------------------------------------------------------------

BUNDLED: Final = Path(__file__).with_name("tiny")
"""The folder of the bundled checkpoint."""

_CHUNK: Final = 512  # tokens of one forward pass: bounds memory, and how long a cancel waits

Logits: TypeAlias = "NDArray[np.float32]"
"""One number for each token of the vocabulary."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """Token ids and what the model remembers of them.

    Attributes:
        ids: The tokens.
        memory: Keys and values, (2 x layers, key-value heads, tokens, head size), float32.
    """

    ids: tuple[int, ...]
    memory: NDArray[np.float32]

    def common(self, ids: Sequence[int]) -> int:
        """How many tokens it shares with the start of `ids`."""
        pairs = zip(self.ids, ids, strict=False)
        return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(self.ids), len(ids)))

    def cut(self, length: int) -> Prefix:
        """A prefix of its first tokens."""
        return Prefix(self.ids[:length], self.memory[:, :, :length])


class Decoder:
    """A checkpoint folder, loaded.

    Immutable and safe to use from several threads at once.

    Args:
        folder: Holds `config.json`, `generation_config.json`, `tokenizer.json`,
            `model.safetensors` and `graph.onnx`.
        threads: Threads of one forward pass; a model of this size gains little from more.

    Raises:
        FileNotFoundError: A file is missing.
    """

    def __init__(self, folder: Path = BUNDLED, *, threads: int = 1) -> None:
        config = json.loads((folder / "config.json").read_bytes())
        generation = json.loads((folder / "generation_config.json").read_bytes())
        self.window: int = config["max_position_embeddings"]
        self.stop_ids = frozenset(generation["eos_token_id"])
        self.temperature: float = generation["temperature"]
        self.top_p: float = generation["top_p"]
        self.top_k: int = generation["top_k"]
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._session = _session(folder, threads)
        layers, heads = config["num_hidden_layers"], config["num_key_value_heads"]
        shape = (2 * layers, heads, 0, config["head_dim"])
        self.nothing = Prefix((), np.zeros(shape, np.float32))

    def encode(self, text: str) -> list[int]:
        """Token ids of a prompt; control tokens are found by their spelling."""
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def extend(self, prefix: Prefix, ids: Sequence[int]) -> tuple[Prefix, Logits]:
        """Reads up to 512 more tokens.

        Returns:
            The longer prefix, and the logits of what follows its last token. Where tokens are left
            over, the prefix is shorter than asked for: call again.
        """
        taken = tuple(ids[:_CHUNK])
        feed = {"ids": np.array(taken, np.int64), "past": prefix.memory}
        logits, memory = self._session.run(None, feed)
        return Prefix(prefix.ids + taken, memory), logits


def _session(folder: Path, threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors only
    weights = read_weights(folder / "model.safetensors")
    values = [ort.OrtValue.ortvalue_from_numpy(array) for array in weights.values()]
    options.add_external_initializers(list(weights), values)
    graph = str(folder / "graph.onnx")
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def read_weights(file: Path) -> dict[str, NDArray[np.float32]]:
    """The tensors of a bfloat16 safetensors file as float32.

    The format: eight bytes with the length of a JSON header, the header with each tensor's type,
    shape and place, then the data (huggingface/safetensors). bfloat16 is the upper half of a
    float32, so widening is exact.
    """
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:start])
        header.pop("__metadata__", None)
        return {name: _widened(data, start, tensor) for name, tensor in header.items()}


def _widened(data: mmap.mmap, start: int, tensor: dict[str, Any]) -> NDArray[np.float32]:
    if tensor["dtype"] != "BF16":
        raise ValueError(f"expected bfloat16 weights, found {tensor['dtype']}")
    first, last = tensor["data_offsets"]
    halves = np.frombuffer(data[start + first : start + last], np.uint16)
    return (halves.astype(np.uint32) << 16).view(np.float32).reshape(tensor["shape"])


# --- the next token ------------------------------------------------------------------------------

_GREEDY_BELOW: Final = 1e-5  # as vLLM 0.32 (`_SAMPLING_EPS`)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to draw, in the order vLLM 0.32 applies it: temperature, top-k, top-p.

    Attributes:
        temperature: 0 is greedy.
        top_k: Only the k likeliest tokens; 0 or less is all.
        top_p: Only the likeliest tokens that together have this probability.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0


class Sampler:
    """Draws tokens; the same seed and logits give the same tokens.

    Args:
        sampling: How tokens are drawn.
        seed: None draws from the system's entropy.
    """

    def __init__(self, sampling: Sampling, seed: int | None = None) -> None:
        self._sampling = sampling
        self._random = np.random.default_rng(seed)

    def next(self, logits: Logits, forbidden: int | None = None) -> int:
        """The next token, which is never the forbidden one."""
        if forbidden is not None:
            logits = logits.copy()
            logits[forbidden] = -np.inf
        if self._sampling.temperature < _GREEDY_BELOW:
            return int(logits.argmax())
        return self._draw(logits)

    def _draw(self, logits: Logits) -> int:
        how = self._sampling
        order = np.argsort(-logits, kind="stable")
        if how.top_k > 0:
            order = order[: how.top_k]
        scaled = logits[order].astype(np.float64) / how.temperature
        weights = np.exp(scaled - scaled[0])
        reached = np.cumsum(weights / weights.sum())
        # The token that reaches top_p still belongs to the nucleus.
        kept = min(int(np.searchsorted(reached, how.top_p)) + 1, len(order))
        drawn = self._random.random() * reached[kept - 1]
        return int(order[min(int(np.searchsorted(reached, drawn, side="right")), kept - 1)])


# --- its text ------------------------------------------------------------------------------------

_CONTROL_TOKENS: Final = 120  # the checkpoint's first ids, under Gemma 4's own numbers


def token_bytes(decoder: Decoder) -> tuple[bytes, ...]:
    """The bytes of each token of a byte-level vocabulary; control tokens as they are spelled."""
    # GPT-2's byte alphabet: printable Latin-1 for itself, the other bytes from U+0100 on.
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    alphabet = {chr(byte): byte for byte in printable} | {
        chr(256 + at): byte for at, byte in enumerate(others)
    }
    size = decoder.tokenizer.get_vocab_size()
    spelled = [decoder.tokenizer.id_to_token(number) or "" for number in range(size)]
    return tuple(
        text.encode() if number < _CONTROL_TOKENS else bytes(alphabet[letter] for letter in text)
        for number, text in enumerate(spelled)
    )


def control_literals(decoder: Decoder) -> list[str]:
    """How the checkpoint's control tokens are spelled."""
    spelled = (decoder.tokenizer.id_to_token(number) for number in range(_CONTROL_TOKENS))
    return [text for text in spelled if text]


class Pieces:
    """The text of one reply, token by token.

    Args:
        table: `token_bytes` of the checkpoint.
        stops: Texts that end the reply and are not part of it.

    Attributes:
        stopped: A stop text was met.
    """

    def __init__(self, table: Sequence[bytes], stops: Sequence[str]) -> None:
        self._table = table
        self._stops = [stop for stop in stops if stop]
        self._characters = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""  # may be the beginning of a stop text
        self.stopped = False

    def take(self, token: int) -> tuple[list[int], list[str]]:
        """What can be shown now, as ids and their texts; a control token stands alone."""
        if token < _CONTROL_TOKENS:
            ids, texts = self.rest()
            return [*ids, token], [*texts, self._table[token].decode()]
        self._held += self._characters.decode(self._table[token])
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            self.stopped = True
            shown, self._held = self._held[: min(found)], ""
        else:
            keep = max((overlap(self._held, stop) for stop in self._stops), default=0)
            end = len(self._held) - keep
            shown, self._held = self._held[:end], self._held[end:]
        return ([token], [shown]) if shown else ([], [])

    def rest(self) -> tuple[list[int], list[str]]:
        """What was held back, once no stop text can follow."""
        held = self._held + self._characters.decode(b"", final=True)
        self._held = ""
        self._characters.reset()
        return ([_CONTROL_TOKENS], [held]) if held else ([], [])


# --- the model -----------------------------------------------------------------------------------

_NAME: Final = "tiny-gemma4-demo"
_MOST_TOKENS: Final = 1024  # of one reply where nobody says otherwise: it has little to say
_KEPT_PREFIXES: Final = 4  # conversations whose keys and values stay in memory, 12 kB a token


class EmbeddedModel:
    """A demonstration model, for first runs, tests and examples; never for work.

    It keeps only the keys and values of recent prompts, to save time. It can be shared between
    threads and event loops; forward passes run in worker threads, and a cancelled reply stops
    before the next pass.

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
        # The tokenizer's own literals: Gemma's list does not have all of them.
        self._escape = Escape(control_literals(self._decoder))
        self._prefixes: deque[Prefix] = deque(maxlen=_KEPT_PREFIXES)
        self._lock = Lock()
        self._counted = TokenCounts()
        self._newest: tuple[Sequence[ToolDefinition], Dialect] | None = None

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
        self._report(request, dialect, reply)
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
        """Forgets the prefixes that it kept."""
        with self._lock:
            self._prefixes.clear()

    def _dialect(self, tools: Sequence[ToolDefinition]) -> Dialect:
        """The dialect of a set of tools; that of the newest set is kept."""
        newest = self._newest
        if newest is None or newest[0] is not tools:
            self._newest = newest = (tools, Dialect(tools, self._escape))
        return newest[1]

    def _report(self, request: ModelRequest, dialect: Dialect, reply: Reply) -> None:
        """Reports what would be sent to a server, for the record of the run."""
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
        """The longest kept prefix of a prompt, without its last token, which must be read."""
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

    A forced call begins with the likeliest of the names that may be called.
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
        self._in_reasoning = bool(settings.thinking)  # which a forced call comes after
        self._calls_left = 0 if choice.mode == "none" else choice.max_calls

    def next(self, logits: Logits) -> int:
        """The next token."""
        if self._forced and not self._in_reasoning:
            at, self._written = self._written, self._written + 1
            token = max({opening[at] for opening in self._forced}, key=lambda each: logits[each])
            self._forced = [each for each in self._forced if each[at] == token and each[at + 1 :]]
            return self._noted(token)
        forbidden = IDS[CALL_OPEN] if self._calls_left == 0 else None
        return self._noted(self._sampler.next(logits, forbidden))

    def _noted(self, token: int) -> int:
        if token == IDS[CHANNEL_CLOSE]:
            self._in_reasoning = False
        if token == IDS[CALL_CLOSE] and self._calls_left:
            self._calls_left -= 1
        return token


def _given(asked: _Number | None, default: _Number) -> _Number:
    return default if asked is None else asked


if TYPE_CHECKING:
    _: Model = EmbeddedModel()
    _counts: CountsPrompts = EmbeddedModel()
