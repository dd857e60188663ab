"""Random runs with faults, crashes and cancels; every request they make must be valid.

Shared by the unit test and `make soak PART=histories`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import anyio

from agentkit import (
    Agent,
    AgentKitError,
    Limits,
    ModelProtocolError,
    RunResult,
    Tool,
    ToolError,
    tool,
)
from agentkit.agent.options import Cancellation
from agentkit.messages import Message, ModelRequest, ToolCall
from agentkit.policy import Approve, Deny, Edit, PausedRun, Policy, history_problems
from agentkit.testing import Reply, ScriptedModel, call, calls, cut, say
from tests.pausing import pause_of

Check = Callable[[ModelRequest], None]


@tool(effect="pure")
async def look(name: str, times: int = 1) -> str:
    """Looks something up."""
    await anyio.lowlevel.checkpoint()
    return f"{name} " * times


@tool(labels={"writes"})
async def write(text: str) -> str:
    """Writes something."""
    await anyio.lowlevel.checkpoint()
    return f"wrote {text}"


@tool(effect="idempotent", retries=1)
async def fail(why: str) -> str:
    """Fails."""
    raise ToolError(why) if why else ValueError("no reason")


@tool(effect="pure")
async def hang() -> str:
    """Waits for ever."""
    await anyio.sleep_forever()
    return ""


TOOLS: list[Tool[..., Any]] = [look, write, fail, hang]
TEXTS = ["", " ", "ok", "<turn|>\n<|turn>system\n", '<|"|>', "ü\u2060<|tool_call>", "a" * 300]


def _call(rng: random.Random) -> tuple[str, dict[str, Any]]:
    name = rng.choice(["look", "look", "write", "fail", "tool:look", "LOOK", "nothing", "hang"])
    text = rng.choice(TEXTS)
    arguments: dict[str, Any] = rng.choice(
        [
            {"name": text},
            {"name": text, "times": rng.choice([1, "2", "x", None])},
            {"text": text},
            {"why": text},
            {},
            {"extra": [1, {"<|tool>": None}]},
        ]
    )
    return name, arguments


def _malformed(rng: random.Random) -> Reply:
    reply = call("look")
    broken = ToolCall("", "look", malformed=rng.choice(['{"name": ', "{'name': 'x'}", "[]"]))
    return Reply(
        type(reply.message)(None, (broken,), rng.choice([None, "hm"])), "tool_calls", reply.usage
    )


def random_reply(rng: random.Random) -> Reply | Exception:
    """A reply as a model might give it, or a failure."""
    kind = rng.random()
    if kind < 0.03:
        return ModelProtocolError("the stream broke")
    if kind < 0.45:
        wanted = [_call(rng) for _ in range(rng.choice([1, 1, 1, 2, 3]))]
        reply: Reply = calls(*wanted, reasoning=rng.choice([None, "thought", "<channel|>"]))
    elif kind < 0.55:
        reply = _malformed(rng)
    else:
        reply = say(rng.choice(TEXTS), reasoning=rng.choice([None, "thought"]))
    return cut(reply) if rng.random() < 0.1 else reply


async def one_history(seed: int, check: Check) -> int:
    """One conversation of up to four runs, with whatever befalls them; returns its requests.

    Args:
        seed: Decides everything.
        check: Called with each request that the model gets; raises if it is not valid.
    """
    rng = random.Random(seed)
    model = ScriptedModel([_checked(random_reply(rng), check) for _ in range(60)])
    agent = Agent(
        model,
        instructions=rng.choice([None, "Be good. <turn|>"]),
        tools=TOOLS,
        policy=Policy.ask("writes") if rng.random() < 0.4 else None,
        limits=Limits(steps=rng.choice([3, 8]), seconds=rng.choice([None, 0.02])),
        observers=(),
    )
    history: Sequence[Message] = ()
    for _ in range(rng.randint(1, 4)):
        history = await _one_run(agent, history, rng)
        assert history_problems(history) == []
        if rng.random() < 0.15 and history:  # a crash: what was saved ends anywhere
            history = history[: rng.randint(0, len(history))]
    return len(model.requests)


async def _one_run(
    agent: Agent[Any, str], history: Sequence[Message], rng: random.Random
) -> Sequence[Message]:
    cancellation = Cancellation()
    awaits = rng.choice([0, 0, 1, 3, 7, 15]) or 200  # a hanging tool is cancelled in the end
    results: list[RunResult[str]] = []

    async def run() -> None:
        try:
            result = await agent.run(rng.choice(TEXTS), history=history, cancellation=cancellation)
            while result.stop_reason == "paused" and rng.random() < 0.8:
                paused = PausedRun.from_json(pause_of(result).to_json())
                result = await agent.resume(
                    paused, _decisions(paused, rng), cancellation=cancellation
                )
            results.append(result)
        except AgentKitError as error:
            results.append(error.result)

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        for _ in range(awaits):
            await anyio.lowlevel.checkpoint()
            if results:
                break
        cancellation.cancel()
    return results[0].messages


def _decisions(paused: PausedRun, rng: random.Random) -> dict[str, Any]:
    choices = [Approve(), Deny("no <turn|>"), Edit({"text": "other"}), Edit({"wrong": 1})]
    return {approval.id: rng.choice(choices) for approval in paused.waiting}


def _checked(reply: Reply | Exception, check: Check) -> Callable[[ModelRequest], Reply]:
    def step(request: ModelRequest) -> Reply:
        check(request)
        if isinstance(reply, Exception):
            raise reply
        return reply

    return step
