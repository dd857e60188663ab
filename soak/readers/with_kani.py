"""The cases through kani; runs from the repository, in an environment that has it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from kani import AIFunction, Kani  # pyright: ignore[reportMissingImports] - in its own environment
from kani.engines.openai import OpenAIEngine  # pyright: ignore[reportMissingImports] - in its own environment

from soak.readers import tools


class Characters:
    """Counts a token for each character: the window is large, and no vocabulary is at hand."""

    def encode(self, text: str) -> list[str]:
        """One token for each character."""
        return list(text)


async def run(url: str, cases: int) -> str:
    """Runs every case; a line for each."""
    engine = OpenAIEngine(
        "none",
        model="gemma",
        max_context_size=131_072,
        api_type="chat_completions",
        api_base=url,
        tokenizer=Characters(),
    )
    functions = [AIFunction(function) for function in tools.ALL]

    async def ask(question: str) -> None:
        async for _ in Kani(engine, functions=functions).full_round(question):
            pass

    lines: str = await tools.record(ask, cases)
    return lines


if __name__ == "__main__":
    lines = asyncio.run(run(sys.argv[1], int(sys.argv[2])))
    Path(sys.argv[3]).write_text(lines, encoding="utf-8")
