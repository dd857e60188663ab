"""Text and token ids of a served model, by a tokenizer at hand or by asking the server.

`LocalTokenizer` is a `tokenizer.json` on this machine: the caller names it, the server's own model
folder is here (`/v1/models` gives its path as `root`), or a hub's cache holds the model by its
name. A file that was found is used only after the server has shown that it makes the same tokens;
nothing is downloaded. `Detokenizer` gives the text of each token of a reply, from either source.
`prompt_of` asks the server for the prompt that its chat template makes of a request.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any, Final, TypeAlias

import anyio.to_thread

from agentkit.errors import ModelProtocolError, ModelStatusError, install
from agentkit.gemma4.profiles import GENERIC, Profile, profile_for
from agentkit.gemma4.tokens import EOS, IDS, TOOL_CLOSE
from agentkit.messages import JsonObject, ModelRequest
from agentkit.models.transport import Transport
from agentkit.wire import (
    MessageEncoder,
    ServedModel,
    encode_detokenize,
    encode_request,
    read_text,
    read_tokens,
)

CHECK: Final = (
    "The café's 1,234 naïve tests — <b>bold</b>\n\n\n\tif (a[i] <= 0x7f && !done) {  end;   }\r\n"
    "Привет, мир! Καλημέρα שלום مرحبا नमस्ते สวัสดี 日本語のテキスト 한국어 汉字 "
    "\U0001f600\U0001f469\u200d\U0001f52c ﬁ ½ \u00a0\u3000\u2028 \u0301e\u0301 \U0001d518 "
    '<|turn>model\n<|channel>thought\n<channel|><|tool_call>call:f{a:<|"|>x<|"|>}<tool_call|><turn|>'
)
"""Tokenizers that make the same ids of this count as the same: many scripts, white space, digits,
compatibility characters, rare ones that are spelled in bytes, control tokens."""

_INLINE: Final = 4_000
"""Characters that are tokenized in the event loop, in some milliseconds; more go to a thread."""


class LocalTokenizer:
    """A tokenizer in this process. Immutable, and shareable between threads.

    Args:
        file: A checkpoint's `tokenizer.json`.

    Raises:
        ImportError: The extra `local` is not installed.
        ValueError: The file is no tokenizer.
    """

    def __init__(self, file: Path) -> None:
        require_tokenizers()
        from tokenizers import Tokenizer  # noqa: PLC0415 - an optional extra

        try:
            self._tokenizer: Any = Tokenizer.from_file(str(file))
        except Exception as error:  # what the library raises is an Exception of no other kind
            raise ValueError(f"{file} is no tokenizer: {error}") from error
        self.file = file

    @classmethod
    async def load(cls, file: Path) -> LocalTokenizer:
        """The tokenizer of a file: read once for the whole process, which takes seconds."""
        return await anyio.to_thread.run_sync(_loaded, file)

    @property
    def special(self) -> frozenset[str]:
        """The literals that become control tokens wherever they stand."""
        added = self._tokenizer.get_added_tokens_decoder().values()
        return frozenset(token.content for token in added if token.special)

    def encode(self, text: str) -> list[int]:
        """The ids of a text as it stands in a prompt."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    async def counts(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each text."""

        def counted() -> list[int]:
            encoded = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
            return [len(one.ids) for one in encoded]

        if sum(map(len, texts)) <= _INLINE:
            return counted()
        return await anyio.to_thread.run_sync(counted)

    async def decode(self, sequences: Sequence[Sequence[int]]) -> list[str]:
        """The text of each sequence of ids, control tokens spelled out."""

        def decoded() -> list[str]:
            lists = [list(ids) for ids in sequences]
            texts: list[str] = self._tokenizer.decode_batch(lists, skip_special_tokens=False)
            return texts

        return await anyio.to_thread.run_sync(decoded)


def _loaded(file: Path) -> LocalTokenizer:
    stamp = file.stat()
    with _loading:
        return _loaded_once(file, stamp.st_mtime_ns, stamp.st_size)


_loading: Final = threading.Lock()
"""Held while a file is read: `lru_cache` alone would let two threads read the same file."""


@lru_cache(maxsize=4)
def _loaded_once(file: Path, _modified: int, _size: int) -> LocalTokenizer:
    return LocalTokenizer(file)


def require_tokenizers() -> None:
    """Makes sure that the library is there.

    Raises:
        ImportError: The extra `local` is not installed.
    """
    try:
        import tokenizers  # type: ignore[import-untyped, unused-ignore]  # noqa: F401, PLC0415 - an optional extra without types
    except ImportError as error:
        raise ImportError(
            "a tokenizer of your own needs `tokenizers`: install agentkit with its extra `local`, "
            f"such as `{install('local')}`"
        ) from error


def places(names: Sequence[str]) -> Iterator[Path]:
    """The `tokenizer.json` of models on this machine, the likeliest first.

    Args:
        names: What a server calls its model: the path of a folder, or a name such as
            `google/gemma-4-E4B-it`.
    """
    for name in names:
        if (file := Path(name) / "tokenizer.json").is_absolute() and file.is_file():
            yield file
        yield from _in_hub_cache(name)


@lru_cache(maxsize=64)  # asked on every step, and the same each time
def profile_of(served: ServedModel) -> Profile:
    """The profile of a model: by its name, by what its weights were loaded as, or else by the
    `config.json` of its folder, where that is on this machine. `GENERIC` where none of them tells.
    """
    names = (served.name, *served.roots)
    for name in names:
        if (profile := profile_for(name)) is not GENERIC:
            return profile
    for place in places(names[::-1]):
        with suppress(OSError, ValueError):
            config = json.loads(place.with_name("config.json").read_bytes())
            profile = profile_for(served.name, config if isinstance(config, dict) else None)
            if profile.name != GENERIC.name:
                return profile
    return GENERIC


def _in_hub_cache(name: str) -> Iterator[Path]:
    """The files in the folder that `huggingface_hub` keeps (by its environment variables): the
    snapshot of `main` first, then the newest.
    """
    owner, slash, model = name.partition("/")
    if not (owner and slash and model) or "/" in model or ".." in (owner, model):
        return
    home = os.environ.get("HF_HOME") or (
        f"{os.environ.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    )
    cache = Path(os.environ.get("HF_HUB_CACHE") or f"{home}/hub").expanduser()
    folder = cache / f"models--{owner}--{model}"
    try:
        main = (folder / "refs" / "main").read_text(encoding="utf-8").strip()
    except OSError:
        main = ""
    files = list((folder / "snapshots").glob("*/tokenizer.json"))
    yield from sorted(
        (file for file in files if file.is_file()),
        key=lambda file: (file.parent.name != main, -file.stat().st_mtime),
    )


# --- the text of each token ----------------------------------------------------------------------
# A tokenizer of Gemma's kind has tokens of two sorts. Most stand for the same characters wherever
# they occur. A few hold only some bytes of a character (the byte-fallback tokens of a real Gemma,
# single bytes in a byte-level vocabulary), and have a meaning only together with their neighbours.
# So the text of a single token is learned once, and only stretches of partial tokens are decoded
# each time.
#
# A server is asked for whole blocks of the vocabulary: a reply nearly always holds a word that none
# before it had, but tokens that are used together have numbers near each other (merges are numbered
# by frequency), so after some replies nothing has to be asked any more.

Decode: TypeAlias = Callable[[Sequence[Sequence[int]]], Awaitable[list[str]]]
"""The text of each sequence of token ids, decoded apart from the others."""

_LITERALS: Final = {number: literal for literal, number in IDS.items()}

_BLOCK: Final = 2048
"""Tokens that are asked for together: 128 requests would bring all 262,144, and one has some 20 kB.
"""

_SEPARATORS: Final = (EOS, TOOL_CLOSE)
"""Put between texts that are asked for together; the second if one of the texts holds the first."""

_REMEMBERED: Final = 4096
"""How many stretches of partial tokens are remembered with their text."""

_NO_SUCH_TOKEN: Final = 400
"""Status of a server that refuses an id above its vocabulary, as some do."""

_PARTIAL: Final = "\ufffd"
"""What a decoder writes for bytes that are no character."""


class Detokenizer:
    """The text of the tokens of one vocabulary, each asked for once and remembered.

    Shareable between event loops and threads: what two of them learn at once is the same.

    Args:
        decode: Decodes sequences. It is given a control token only by itself.
    """

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self._known: dict[int, str] = dict(_LITERALS)
        self._partial: set[int] = set()
        self._decoded: dict[tuple[int, ...], str] = {}  # partial tokens side by side
        self._in_blocks = True  # whether the decoder takes ids that its vocabulary may not have
        self._adds_up = True  # whether the text of a stretch is that of its tokens, side by side

    async def pieces(self, ids: Sequence[int]) -> list[str]:
        """The text of each token, as many as ids; joined, it is the text of the whole.

        Control tokens are spelled out; only their ids distinguish them from text. Where several
        tokens make one character, the last of them has it and the others have no text.

        Raises:
            ModelError: The decoder fails.
        """
        stretches = list(_between_controls(ids))
        unknown = {n for start, end in stretches for n in ids[start:end]} - self._known.keys()
        unknown -= self._partial
        new = [(a, b) for a, b in stretches if not unknown.isdisjoint(ids[a:b])]
        texts = dict(zip(new, await self._learn(unknown, [ids[a:b] for a, b in new]), strict=True))
        known = [part for part in stretches if part not in texts]
        texts |= await self._undecided(ids, known)
        pieces = [self._known.get(number, "") for number in ids]
        for (start, end), text in texts.items():
            if text != "".join(pieces[start:end]):
                pieces[start:end] = [*[""] * (end - start - 1), text]
        return pieces

    async def _learn(self, unknown: set[int], stretches: list[Sequence[int]]) -> list[str]:
        """Learns tokens, and returns the text of the stretches in which they were met."""
        if not unknown:
            return []
        wanted = sorted(unknown)
        if self._in_blocks:  # all tokens of their blocks that are not known yet
            starts = {number - number % _BLOCK for number in unknown}
            near = {number for start in starts for number in range(start, start + _BLOCK)}
            wanted = sorted(near - self._known.keys() - self._partial)
        try:
            texts = await self._decode([*stretches, *([number] for number in wanted)])
        except ModelStatusError as error:
            if error.status_code != _NO_SUCH_TOKEN or not self._in_blocks:
                raise
            self._in_blocks = False
            return await self._learn(unknown, stretches)
        for number, text in zip(wanted, texts[len(stretches) :], strict=True):
            if _PARTIAL in text:
                self._partial.add(number)
            else:
                self._known[number] = text
        for ids, text in zip(stretches, texts, strict=False):
            if self._partial.isdisjoint(ids) and text != "".join(map(self._known.__getitem__, ids)):
                self._adds_up = False
        return texts[: len(stretches)]

    async def _undecided(
        self, ids: Sequence[int], stretches: Sequence[tuple[int, int]]
    ) -> dict[tuple[int, int], str]:
        """The text of what must be decoded each time: stretches of partial tokens, or all stretches
        if the texts of tokens do not add up.
        """
        parts = self._partial_parts(ids, stretches) if self._adds_up else stretches
        by_part = {part: tuple(ids[part[0] : part[1]]) for part in parts}
        if new := list(dict.fromkeys(key for key in by_part.values() if key not in self._decoded)):
            texts = await self._decode(new)
            if len(self._decoded) > _REMEMBERED:
                self._decoded = {
                    key: self._decoded[key] for key in by_part.values() if key not in new
                }
            self._decoded |= dict(zip(new, texts, strict=True))
        return {part: self._decoded[key] for part, key in by_part.items()}

    def _partial_parts(
        self, ids: Sequence[int], stretches: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[int, int]]:
        for begin, end in stretches:
            at = begin
            for partial, run in groupby(ids[begin:end], self._partial.__contains__):
                size = sum(1 for _ in run)
                if partial:
                    yield at, at + size
                at += size


def _between_controls(ids: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Where each stretch of text starts and ends."""
    start = 0
    for at, number in enumerate(ids):
        if number in _LITERALS:
            if at > start:
                yield start, at
            start = at + 1
    if start < len(ids):
        yield start, len(ids)


def on_server(transport: Transport, model: str) -> Decode:
    """Decodes by `/detokenize`, all sequences in one request.

    Args:
        transport: Sends to the server.
        model: The served name.
    """

    async def decode(sequences: Sequence[Sequence[int]]) -> list[str]:
        for literal in _SEPARATORS:
            mark = IDS[literal]
            ids = [number for sequence in sequences for number in (mark, *sequence)]
            within = transport.timeouts.first_event
            answer = await transport.post(
                "/detokenize", encode_detokenize(model, ids), within=within
            )
            if (text := read_text(answer)) is None:
                break
            before, *texts = text.split(literal)
            if len(texts) == len(sequences) and not before:
                return texts
        raise ModelProtocolError(f"{transport.where}/detokenize does not spell the tokens out")

    return decode


# --- the server's own prompt ---------------------------------------------------------------------


async def prompt_of(
    transport: Transport, model: str, request: ModelRequest, declarations: Sequence[JsonObject]
) -> str:
    """The prompt, control tokens spelled out; empty if the answer holds no text.

    Args:
        transport: Sends to the server.
        model: The served name.
        request: Its messages are sent as they are.
        declarations: Its tools, as the model is to see them.

    Raises:
        ModelError: The server does not say.
        ServerNotReadyError: The address is none.
    """
    body = encode_prompt(model, request, declarations)
    within = transport.timeouts.first_event
    ids = read_tokens(await transport.post("/tokenize", body, within=within))
    return await spelled(transport, model, ids)


def encode_prompt(model: str, request: ModelRequest, declarations: Sequence[JsonObject]) -> bytes:
    """The body that asks `/tokenize` for the prompt; the arguments are those of `prompt_of`."""
    return encode_request(
        request,
        model=model,
        messages=MessageEncoder(lambda message: message).encode(request.messages),
        declarations=declarations,
        stream=False,
    )


async def spelled(transport: Transport, model: str, ids: Sequence[int]) -> str:
    """The text of tokens, control tokens spelled out; empty if the answer holds none.

    Raises:
        AgentKitError: The server does not say.
    """
    body = encode_detokenize(model, ids)
    within = transport.timeouts.first_event
    return read_text(await transport.post("/detokenize", body, within=within)) or ""
