"""The cases through agentkit."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio

from agentkit import Agent, VLLMModel
from soak.readers import tools


async def run(url: str, cases: int) -> str:
    """Runs every case; a line for each."""
    async with VLLMModel(url, api_key="none") as model:
        return await tools.record(Agent(model, tools=tools.ALL, observers=()).run, cases)


if __name__ == "__main__":
    Path(sys.argv[3]).write_text(anyio.run(run, sys.argv[1], int(sys.argv[2])), encoding="utf-8")
