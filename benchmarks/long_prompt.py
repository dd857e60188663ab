"""What a step costs whose prompt is 250,000 tokens long: `python -m benchmarks.long_prompt`.

CPU milliseconds of this process a step, agentkit and the hand-written floor (`benchmarks/floor.py`)
in turn, on the same server in a process of its own. Both begin with the same history of tool
results, 250,000 tokens by the demonstration model's tokenizer, and make ten steps on it, the first
of which reads all of it. The server has no tokenizer, so agentkit estimates; what counting costs is
in `benchmarks.context`. A ratio is the median of the rounds' own ratios, so what slows the machine
for a while slows both.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Final

import httpx2

from agentkit import Agent, Context, Limits, VLLMModel
from agentkit.messages import AssistantMessage, Message, ToolCall, ToolMessage, UserMessage
from agentkit.models.embedded import Decoder
from benchmarks import floor
from benchmarks.model_server import model_server
from benchmarks.steps import QUESTION, get_weather
from soak.proof import commit_here, write_record

TOKENS: Final = 250_000
BOUND: Final = 1.5
"""Times the floor that a step may cost."""

_STEPS: Final = 10
_RESULT: Final = "def handle(request):\n    return respond(request, 200)\n" * 40


def long_history(tokens: int = TOKENS) -> list[Message]:
    """A finished turn whose results take so many tokens."""
    each = len(Decoder().encode(_RESULT))
    messages: list[Message] = [UserMessage("What has the weather been like?")]
    for number in range(tokens // each + 1):
        call = ToolCall(f"old_{number}", "get_weather", {"city": f"City {number}", "days": 1})
        messages += [
            AssistantMessage(None, (call,)),
            ToolMessage(call.id, call.name, f"{number}: {_RESULT}"),
        ]
    return [*messages, AssistantMessage("Mostly sunny.")]


def _wire(messages: list[Message]) -> list[dict[str, Any]]:
    """The same messages as the floor sends them."""
    sent: list[dict[str, Any]] = []
    for message in messages:
        if isinstance(message, ToolMessage):
            result = {"tool_call_id": message.call_id, "content": message.content}
            sent.append({"role": "tool", **result})
        elif isinstance(message, AssistantMessage) and message.tool_calls:
            calls = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
                }
                for call in message.tool_calls
            ]
            sent.append({"role": "assistant", "content": None, "tool_calls": calls})
        else:
            sent.append({"role": message.role, "content": message.content})
    return sent


async def _cost(run: Callable[[], Awaitable[object]]) -> float:
    """CPU milliseconds a step."""
    started = time.process_time()
    await run()
    return (time.process_time() - started) * 1_000 / _STEPS


async def measure(rounds: int, tokens: int = TOKENS) -> list[tuple[float, float]]:
    """Milliseconds a step of the floor and of agentkit, by round; the first one warms up."""
    history = long_history(tokens)
    results = sum(isinstance(message, ToolMessage) for message in history)
    name = f"steps-{results + _STEPS}"  # the server answers after so many results
    definition = get_weather.definition
    function = {
        "name": definition.name,
        "description": definition.description,
        "parameters": definition.parameters,
    }
    head: dict[str, Any] = {"model": name, "tools": [{"type": "function", "function": function}]}
    async with AsyncExitStack() as stack:
        root = await stack.enter_async_context(model_server(name))
        client = await stack.enter_async_context(httpx2.AsyncClient(timeout=None, trust_env=False))
        model = VLLMModel(root, name, stream=False)
        stack.push_async_callback(model.aclose)
        agent = Agent(
            model,
            tools=[get_weather],
            limits=Limits(steps=_STEPS),
            context=Context(compact_at=10 * tokens),
            observers=(),
        )

        async def bare() -> None:
            messages = [*_wire(history), {"role": "user", "content": QUESTION}]
            body = {**head, "max_tokens": 1_000, "messages": messages}
            await floor.run(client, root, body, get_weather.function)

        async def whole() -> None:
            result = await agent.run(QUESTION, history=history)
            assert result.stop_reason == "answer", result.explanation
            assert result.context.compactions == 0
            assert sum(result.context.parts.values()) > tokens

        await bare()
        await whole()
        return [(await _cost(bare), await _cost(whole)) for _ in range(rounds)]


def main(argv: list[str] | None = None) -> int:
    """Prints the figures and keeps them in docs/proof/long_prompt.json; 1 beyond the bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--no-record", action="store_true", help="leave the record as it is")
    options = parser.parse_args(argv)
    pairs = asyncio.run(measure(options.rounds))
    figures = {
        "floor_cpu_ms_per_step": round(statistics.median(bare for bare, _ in pairs), 2),
        "agentkit_cpu_ms_per_step": round(statistics.median(own for _, own in pairs), 2),
        "times_the_floor": round(statistics.median(own / bare for bare, own in pairs), 3),
    }
    for key, value in figures.items():
        print(f"{key:28}{value:>10}")
    if not options.no_record:
        record = {"part": "long_prompt", "commit": commit_here(), "rounds": options.rounds}
        write_record("long_prompt", {**record, "tokens": TOKENS, "bound": BOUND, **figures})
    return 0 if figures["times_the_floor"] <= BOUND else 1


if __name__ == "__main__":
    raise SystemExit(main())
