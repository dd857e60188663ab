"""One run against one hostile server (`tests/mcp_servers/hostile.py`), and what it came to."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agentkit import Agent, RunResult
from agentkit.mcp import McpToolset
from agentkit.messages import ToolMessage, text_of
from agentkit.testing import ScriptedModel, call, say

HOSTILE = Path(__file__).parent / "mcp_servers" / "hostile.py"
NO_TOOLS = ("pages without end", "no list")
"""Servers that do not list the good tool."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of one run.

    Attributes:
        answers: The results of its calls, as the model read them.
        tools: The names that were offered.
        seconds: Of this process's CPU.
        growth: Bytes by which the peak of this process's memory grew.
    """

    result: RunResult[str]
    answers: Sequence[str]
    tools: Sequence[str]
    seconds: float
    growth: int


def server(name: str, *, timeout: float = 2.0) -> McpToolset:
    """The server that misbehaves in that way."""
    command = [sys.executable, str(HOSTILE), name]
    return McpToolset(command, name="hostile", timeout=timeout, connect_timeout=20)


async def run_against(name: str, *, timeout: float = 2.0) -> Seen:
    """An agent calls the server's one good tool, and then answers."""
    started, peak = time.process_time(), _peak()
    model = ScriptedModel([call("echo", text="hello"), say("Done.")])
    agent = Agent(model, toolsets=[server(name, timeout=timeout)], observers=())
    result = await agent.run("Say hello.")
    answers = [text_of(m.content) for m in result.messages if isinstance(m, ToolMessage)]
    return Seen(
        result,
        answers,
        [tool.name for tool in model.requests[0].tools],
        time.process_time() - started,
        _peak() - peak,
    )


def faults_of(name: str, seen: Seen) -> list[str]:
    """What is wrong with a run, beyond what the server did."""
    wrong = []
    if seen.result.stop_reason != "answer":
        wrong.append(f"the run ended as {seen.result.stop_reason}: {seen.result.explanation}")
    if "echo" not in seen.tools and name not in NO_TOOLS:
        wrong.append("the good tool is not offered")
    if len(seen.answers) != 1 or not seen.answers[0]:
        wrong.append(f"the call has {len(seen.answers)} results")
    if seen.growth > 400_000_000:
        wrong.append(f"{seen.growth:,} bytes of memory")
    if seen.seconds > 10:
        wrong.append(f"{seen.seconds:.1f} seconds of CPU")
    return wrong


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
