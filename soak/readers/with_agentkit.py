"""The cases through agentkit."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio

from agentkit import Agent, VLLMModel
from soak.readers import tools


async def run(mode: str, url: str, cases: int) -> str:
    """Runs every case, streamed or not; a line for each."""
    async with VLLMModel(url, api_key="none", stream=mode == "stream") as model:
        return await tools.record(Agent(model, tools=tools.ALL, observers=()).run, cases)


if __name__ == "__main__":
    lines = anyio.run(run, sys.argv[1], sys.argv[2], int(sys.argv[3]))
    Path(sys.argv[4]).write_text(lines, encoding="utf-8")
