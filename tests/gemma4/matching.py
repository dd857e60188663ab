"""xgrammar itself, as a process: compiles structural tags, times their masks, walks through them.

It runs in an interpreter that has xgrammar and tokenizers (the vLLM environment has both) and
imports nothing of agentkit, so that one file is all that stands between the project's tests and the
compiler. Started by `tests.gemma4.matcher`:

    python matching.py TOKENIZER_FOLDER

Each line of standard input is a job as JSON, each line of standard output its result.
"""

from __future__ import annotations

import json
import random
import re
import sys
import time
from importlib.metadata import version
from typing import Any

import numpy as np
import torch  # type: ignore[import-not-found,unused-ignore] # pyright: ignore[reportMissingImports] - vLLM's
import xgrammar  # type: ignore[import-not-found,unused-ignore] # pyright: ignore[reportMissingImports] - vLLM's
from tokenizers import Tokenizer

STOPS = [1, 50, 106]
"""What vLLM 0.32 hands the matcher: the ids of Gemma 4 that end a reply."""
QUOTE, CLOSE = 52, 49
MAX_TOKENS = 600
"""Tokens of a walk at most."""


class Matching:
    """A vocabulary, and grammars over it."""

    def __init__(self, folder: str) -> None:
        with open(f"{folder}/tokenizer.json", encoding="utf-8") as file:
            stored = json.load(file)
        by_id = {number: text for text, number in stored["model"]["vocab"].items()}
        by_id |= {added["id"]: added["content"] for added in stored["added_tokens"]}
        self.vocabulary = [by_id[number] for number in range(len(by_id))]
        self.tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
        self.info = xgrammar.TokenizerInfo(
            self.vocabulary, xgrammar.VocabType.BYTE_FALLBACK, stop_token_ids=STOPS[:1]
        )
        self.mask = xgrammar.allocate_token_bitmask(1, len(self.vocabulary))
        self.bits = self.mask.numpy()[0].view(np.uint32)
        self.known: tuple[str, Any] = ("", None)

    def run(self, job: dict[str, Any]) -> dict[str, Any]:
        """One job: `texts` are timed token by token, `walks` are that many random walks."""
        compiled, seconds = self.compiled(job["tag"])
        result: dict[str, Any] = {"compile": seconds}
        if "texts" in job:
            result["texts"] = [self.timed(compiled, text) for text in job["texts"]]
        if "walks" in job:
            rng = random.Random(job["seed"])
            matcher = self.matcher(compiled)
            result["walks"] = [self.walk(matcher, rng) for _ in range(job["walks"])]
        return result

    def compiled(self, tag: str) -> tuple[Any, float]:
        if self.known[0] == tag:
            return self.known[1], 0.0
        compiler = xgrammar.GrammarCompiler(self.info, max_threads=1, cache_enabled=False)
        start = time.process_time()
        compiled = compiler.compile_structural_tag(tag)
        seconds = time.process_time() - start
        self.known = (tag, compiled)
        return compiled, seconds

    def matcher(self, compiled: Any) -> Any:
        return xgrammar.GrammarMatcher(compiled, override_stop_tokens=STOPS)

    def timed(self, compiled: Any, text: str) -> dict[str, Any]:
        """CPU milliseconds of every mask on the way of a text, and where it was refused."""
        matcher = self.matcher(compiled)
        times: list[float] = []
        refused = None
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        for at, number in enumerate([*ids, STOPS[2]]):
            start = time.process_time_ns()
            matcher.fill_next_token_bitmask(self.mask, 0)
            times.append((time.process_time_ns() - start) / 1e6)
            if not self.allows(number) or not matcher.accept_token(number):
                refused = at
                break
        return {"milliseconds": times, "refused": refused}

    def allows(self, number: int) -> bool:
        return bool(int(self.bits[number // 32]) >> (number % 32) & 1)

    def walk(self, matcher: Any, rng: random.Random) -> dict[str, Any]:
        """A reply made of random tokens that the masks allow, what closes something the likelier.

        A walk that takes more than `MAX_TOKENS` is cut, as a reply would be.
        """
        matcher.reset()
        ids: list[int] = []
        slowest = 0.0
        while len(ids) < MAX_TOKENS:
            start = time.process_time_ns()
            matcher.fill_next_token_bitmask(self.mask, 0)
            slowest = max(slowest, (time.process_time_ns() - start) / 1e6)
            number = self.pick(rng)
            if not matcher.accept_token(number):
                raise AssertionError(f"a token in the mask was refused: {number} behind {ids}")
            if number in STOPS:
                break
            ids.append(number)
        text = self.text(ids)
        return {
            "text": text,
            "ended": len(ids) < MAX_TOKENS,
            "tokens": len(ids),
            "slowest": slowest,
        }

    def pick(self, rng: random.Random) -> int:
        closing = [number for number in (*STOPS, QUOTE, CLOSE) if self.allows(number)]
        if closing and rng.random() < 0.3:
            return rng.choice(closing)
        for _ in range(12):  # most masks of a text allow nearly all
            number = rng.randrange(len(self.vocabulary))
            if self.allows(number):
                return number
        words = np.flatnonzero(self.bits)
        while True:
            word = int(words[rng.randrange(len(words))])
            bits = int(self.bits[word])
            number = word * 32 + rng.choice([bit for bit in range(32) if bits >> bit & 1])
            if number < len(self.vocabulary):
                return number

    def text(self, ids: list[int]) -> str:
        """What a server would hand out: bytes of several tokens make one character."""
        parts = [self.bytes_of(self.vocabulary[number]) for number in ids]
        return b"".join(parts).decode("utf-8", errors="replace")

    def bytes_of(self, token: str) -> bytes:
        if found := re.fullmatch(r"<0x([0-9A-F]{2})>", token):
            return bytes([int(found[1], 16)])
        return token.replace("▁", " ").encode()


def main() -> None:
    """Answer jobs until standard input ends."""
    torch.set_num_threads(1)
    matching = Matching(sys.argv[1])
    sys.stdout.write(json.dumps({"xgrammar": version("xgrammar")}) + "\n")
    sys.stdout.flush()
    for line in sys.stdin:
        try:
            answer = matching.run(json.loads(line))
        except Exception as error:  # noqa: BLE001 - whatever it is, the one who asked must know it
            answer = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
