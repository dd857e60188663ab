"""The cases through pydantic-ai; runs from the repository, in an environment that has it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from pydantic_ai import Agent  # pyright: ignore[reportMissingImports] - in its own environment
from pydantic_ai.models.openai import OpenAIChatModel  # pyright: ignore[reportMissingImports] - in its own environment
from pydantic_ai.providers.openai import OpenAIProvider  # pyright: ignore[reportMissingImports] - in its own environment

from soak.readers import tools


async def run(url: str, cases: int) -> str:
    """Runs every case; a line for each."""
    model = OpenAIChatModel("gemma", provider=OpenAIProvider(base_url=url, api_key="none"))
    lines: str = await tools.record(Agent(model, tools=tools.ALL).run, cases)
    return lines


if __name__ == "__main__":
    lines = asyncio.run(run(sys.argv[1], int(sys.argv[2])))
    Path(sys.argv[3]).write_text(lines, encoding="utf-8")
