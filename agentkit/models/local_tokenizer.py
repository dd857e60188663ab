"""A `tokenizer.json` at hand: token counts and the text of tokens without asking the server.

Where one may be: the caller names it, the server's own model folder is on this machine
(`/v1/models` tells its path as `root`), or a hub's cache holds the model by its name. A file that
was only found is used once the server has shown that it tokenizes alike; nothing is downloaded.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import anyio.to_thread

from agentkit.mistakes import install

CHECK: Final = (
    "The café's 1,234 naïve tests — <b>bold</b>\n\n\n\tif (a[i] <= 0x7f && !done) {  end;   }\r\n"
    "Привет, мир! Καλημέρα שלום مرحبا नमस्ते สวัสดี 日本語のテキスト 한국어 汉字 "
    "\U0001f600\U0001f469\u200d\U0001f52c ﬁ ½ \u00a0\u3000\u2028 \u0301e\u0301 \U0001d518 "
    '<|turn>model\n<|channel>thought\n<channel|><|tool_call>call:f{a:<|"|>x<|"|>}<tool_call|><turn|>'
)
"""Two tokenizers that make the same ids of this are taken to be one: many scripts, white space,
digits, compatibility characters, rare ones that are spelled in bytes, control tokens."""

_INLINE: Final = 4_000
"""Characters that are tokenized at once, some milliseconds; more are given to a thread."""


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
"""`lru_cache` would let two threads read the same file."""


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


def _in_hub_cache(name: str) -> Iterator[Path]:
    """In the folder that `huggingface_hub` keeps (its environment variables are honoured): the
    snapshot of `main` first, then the newest.
    """
    owner, slash, model = name.partition("/")
    if not (owner and slash and model) or "/" in model or ".." in (owner, model):
        return
    folder = _hub_cache() / f"models--{owner}--{model}"
    try:
        main = (folder / "refs" / "main").read_text(encoding="utf-8").strip()
    except OSError:
        main = ""
    files = list((folder / "snapshots").glob("*/tokenizer.json"))
    yield from sorted(
        (file for file in files if file.is_file()),
        key=lambda file: (file.parent.name != main, -file.stat().st_mtime),
    )


def _hub_cache() -> Path:
    if given := os.environ.get("HF_HUB_CACHE"):
        return Path(given).expanduser()
    home = os.environ.get("HF_HOME") or (
        f"{os.environ.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    )
    return Path(home).expanduser() / "hub"
