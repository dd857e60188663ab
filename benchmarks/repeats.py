"""How long the exact repeats in real files are, in a real Gemma's tokens.

    python -m benchmarks.repeats [FOLDER ...] [--megabytes 25]

`agentkit.policy.guard` gives a reply up when many tokens repeat; this tells what real text has.
Without folders it reads what is installed beside the interpreter, and the system's documentation.
"""

from __future__ import annotations

import argparse
import random
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer

from agentkit.policy.guard import Repeats
from tests.gemma4.vocabulary import real_size_tokenizer

KINDS = frozenset(
    f".{kind}"
    for kinds in (
        ("c", "conf", "css", "csv", "dat", "h", "html", "js", "json", "map", "md", "pem", "pl"),
        ("pm", "po", "py", "rst", "sh", "sql", "svg", "tex", "toml", "ts", "tsv", "txt", "xml"),
        ("yaml", "yml"),
    )
    for kind in kinds
)
CHARACTERS, TOKENS = 40_000, 8_192
"""Of a file, at most: the second is the bound of a reply."""

STEPS = (64, 128, 256, 384, 512, 1_024)


def longest_repeat(ids: list[int]) -> int:
    """Tokens of the longest repeat; found by asking for ever longer ones."""
    best = 0
    for least in STEPS:
        repeats = Repeats(least)
        if not any(repeats.feed([number]) for number in ids):
            break
        best = least
    return best


def files(folders: list[Path]) -> Iterator[tuple[Path, str]]:
    """Text files of more than 2 kB, in an order that is always the same."""
    found = [
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.suffix in KINDS and path.is_file() and 2_000 < path.stat().st_size < 2_000_000
    ]
    random.Random(1).shuffle(found)
    for path in found:
        try:
            yield path, path.read_text(encoding="utf-8")[:CHARACTERS]
        except (OSError, UnicodeDecodeError):
            continue


def main() -> None:
    """Prints how many files have repeats of each length."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.repeats", description=__doc__)
    paths = sysconfig.get_paths()
    given = [
        Path(paths["stdlib"]),
        Path(paths["purelib"]),
        Path("/usr/share"),
        Path("/usr/include"),
    ]
    parser.add_argument("folders", nargs="*", type=Path, default=given)
    parser.add_argument("--megabytes", type=float, default=25.0)
    options = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(real_size_tokenizer() / "tokenizer.json"))
    seen, read = 0, 0
    found: list[tuple[int, Path]] = []
    for path, text in files(options.folders):
        ids = tokenizer.encode(text, add_special_tokens=False).ids[:TOKENS]
        if repeat := longest_repeat(ids):
            found.append((repeat, path))
        seen, read = seen + 1, read + len(text)
        if read > options.megabytes * 1e6:
            break
    print(f"{seen:,} files, {read / 1e6:.1f} million characters")
    for least in STEPS:
        print(f"a repeat of {least:>5} tokens or more: {sum(r >= least for r, _ in found)} files")
    for repeat, path in sorted(found, reverse=True)[:10]:
        print(f"  {repeat:>5} or more: {path}")


if __name__ == "__main__":
    main()
