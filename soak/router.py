"""Two replicas of vLLM behind vllm-router: the prefix stays warm, and a replica's end ends no run.

40 conversations of twelve steps, four at a time, on one vLLM, then on two behind the router, which
keeps a conversation on one of them by the header that `VLLMModel` sends; then, to see what that
header is worth, behind a router that takes the replicas in turn. The share of prompt tokens that
came out of a prefix cache is the servers' own count. At last one replica is killed while
conversations run.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import secrets
import signal
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, Final

import anyio

from agentkit import Agent, Limits, RunResult, VLLMModel
from agentkit.events import Event, StepRestarted
from agentkit.executors.supervisor import descendants
from agentkit.messages import AssistantMessage, ToolCall
from soak.proof import commit_here, write_record
from tests.live.other_servers import router_before
from tests.live.server import TINY, LiveServer, live_server
from tests.live.test_context import Actor, read

_CONVERSATIONS: Final = 40
_STEPS: Final = 12
_AT_ONCE: Final = 4
_LEAST_SHARE: Final = 0.95
"""Of what one server finds in its cache."""


@dataclass
class _Seen:
    """What conversations came to.

    Attributes:
        prompt: Tokens of all prompts.
        cached: How many of them came out of a prefix cache.
        restarted: Steps that were asked for again.
        ends: The stop reason of each run.
    """

    prompt: int = 0
    cached: int = 0
    restarted: int = 0
    ends: list[str] = field(default_factory=list)

    @property
    def share(self) -> float:
        return self.cached / self.prompt


async def _conversation(url: str, key: str, salt: str, number: int, seen: _Seen) -> RunResult:
    rng = random.Random(number)
    replies = [
        AssistantMessage(
            None,
            (
                ToolCall(
                    f"call_{step}", "read", {"path": f"{salt}-{number}-{step}.py", "size": 120}
                ),
            ),
            reasoning=f"Step {step} of {rng.random()}." if rng.random() < 0.3 else None,
        )
        for step in range(_STEPS - 1)
    ]
    actor = Actor(
        VLLMModel(url, api_key=key, tokenizer=TINY), [*replies, AssistantMessage("Done.")]
    )

    def watch(_run_id: str, event: Event) -> None:
        seen.restarted += isinstance(event, StepRestarted)

    agent = Agent(
        actor,
        instructions=f"You are assistant {number} of {salt}. " * 10,
        tools=[read],
        limits=Limits(steps=_STEPS),
        observers=[watch],
    )
    result = await agent.run("What is wrong in these files?")
    await agent.aclose()
    return result


async def _conversations(url: str, key: str, salt: str, kill: LiveServer | None = None) -> _Seen:
    """All of them; with `kill`, that replica dies when a third of them have ended."""
    seen = _Seen()
    left = iter(range(_CONVERSATIONS))
    kill_at = _CONVERSATIONS // 3 if kill else -1

    async def worker() -> None:
        for number in left:
            result = await _conversation(url, key, salt, number, seen)
            seen.ends.append(result.stop_reason)
            for prompt in result.context.prompts:
                assert prompt.counted is not None
                seen.prompt += prompt.counted
                seen.cached += prompt.cached or 0
            if len(seen.ends) == kill_at and kill is not None:
                for pid in descendants(kill.process.pid):  # without a word to any of them
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

    async with anyio.create_task_group() as tasks:
        for _ in range(_AT_ONCE):
            tasks.start_soon(worker)
    return seen


@contextlib.contextmanager
def _replicas() -> Generator[tuple[LiveServer, LiveServer]]:
    key = secrets.token_urlsafe(16)
    same = {"VLLM_API_KEY": key}
    with live_server(TINY, environment=same) as one, live_server(TINY, environment=same) as two:
        yield LiveServer(one.url, key, one.process), LiveServer(two.url, key, two.process)


def main() -> int:
    """Plays all of it and writes `docs/proof/router.json`; 1 if a bar is missed."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    began = time.monotonic()
    with _replicas() as (one, two):
        urls, key = [one.url, two.url], one.api_key
        alone = anyio.run(_conversations, one.url, key, "alone")
        _show("one server", alone)
        with router_before(urls, "consistent_hash") as url:
            behind = anyio.run(_conversations, url, key, "behind")
        _show("two behind the router", behind)
        with router_before(urls, "round_robin") as url:
            in_turn = anyio.run(_conversations, url, key, "in turn")
        _show("two in turn", in_turn)
        with router_before(urls, "consistent_hash") as url:
            killed = anyio.run(_conversations, url, key, "killed", two)
        _show("one of two killed", killed)
    record: dict[str, Any] = {
        "part": "router",
        "commit": commit_here(),
        "conversations": _CONVERSATIONS,
        "steps of each": _STEPS,
        "share of prompt tokens from the cache": {
            "one server": round(alone.share, 4),
            "two behind the router, by session": round(behind.share, 4),
            "two behind the router, in turn": round(in_turn.share, 4),
            "by session against one server": round(behind.share / alone.share, 4),
        },
        "one of two replicas killed": {
            "runs with an answer": killed.ends.count("answer"),
            "steps asked for again": killed.restarted,
        },
        "seconds": round(time.monotonic() - began, 1),
    }
    held = behind.share >= _LEAST_SHARE * alone.share and all(
        seen.ends == ["answer"] * _CONVERSATIONS for seen in (alone, behind, in_turn, killed)
    )
    record["result"] = "passed" if held else "failed"
    print(write_record("router", record))
    return 0 if held else 1


def _show(what: str, seen: _Seen) -> None:
    print(
        f"{what}: {seen.ends.count('answer')} of {len(seen.ends)} answered, {seen.share:.1%} of "
        f"{seen.prompt:,} tokens cached, {seen.restarted} steps asked for again",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
