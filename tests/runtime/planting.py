"""Random runs, replayed; and changes planted into their records, each to be found at its step.

Shared by the unit test and `make soak PART=replay`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from agentkit import Agent, Event, Limits, ModelError, ModelSettings, RunFinished, ToolStarted
from agentkit.events import ModelCalled, RunStarted, StepFinished, dump_event, load_event
from agentkit.messages import AssistantMessage, SystemMessage, ToolCall
from agentkit.policy import Approval, Approve, Decision, Deny, Edit, Policy
from agentkit.runtime import replay
from agentkit.testing import ScriptedModel
from tests.agent.histories import TOOLS, random_reply

MakeAgent: TypeAlias = Callable[[], Agent[Any, Any]]


@dataclass(frozen=True)
class Planted:
    """A record with one change in it, and where that must be found."""

    what: str
    events: list[Event]
    step: int


# --- random runs -------------------------------------------------------------------------------


async def recorded_run(seed: int) -> tuple[MakeAgent, list[Event]]:
    """An agent, and one of its runs as its run file would give it back."""
    rng = random.Random(seed)
    options: dict[str, Any] = {
        "instructions": rng.choice([None, "Be good.\nBe brief.", lambda _context: "Made."]),
        "tools": [each for each in TOOLS if each.name != "hang"],
        "policy": Policy.ask("writes") if rng.random() < 0.5 else None,
        "settings": ModelSettings(temperature=rng.choice([None, 0.0])),
        "output_type": rng.choice([str, str, int]),
    }
    script = [random_reply(rng) for _ in range(40)]
    events: list[Event] = []
    agent: Agent[Any, Any] = Agent(
        ScriptedModel(script),
        approve=lambda _approval: _decision(rng),
        observers=[lambda _run_id, event: events.append(load_event(dump_event(event)))],
        **options,
    )
    with suppress(ModelError):
        limits = Limits(steps=rng.choice([2, 8]))
        await agent.run("Go on.", limits=limits, settings=ModelSettings(seed=seed))
    return lambda: Agent(ScriptedModel([]), approve=_nobody, observers=(), **options), events


def _decision(rng: random.Random) -> Decision | None:
    return rng.choice([Approve(), Approve(), Deny("no"), Edit({"text": "other"}), Edit({}), None])


def _nobody(_approval: Approval) -> Decision:
    raise AssertionError("a replay asks nobody")


async def replays(agent: Agent[Any, Any], events: Sequence[Event]) -> str:
    """Empty if the record replays identically, else what differs."""
    report = await replay(agent, events)
    return "" if report.identical else str(report)


async def step_found(agent: Agent[Any, Any], planted: Planted) -> int | None:
    """The step at which a change was found."""
    report = await replay(agent, planted.events)
    return report.divergence.step if report.divergence is not None else None


# --- changes -----------------------------------------------------------------------------------


def plants_of(events: Sequence[Event]) -> list[Planted]:
    """Every change that can be made to one event of a record so that a replay must differ."""
    found: list[Planted] = []
    for number, event in enumerate(events):
        for what, changed, step in _changes(event, events):
            found.append(Planted(what, [*events[:number], changed, *events[number + 1 :]], step))
    return found


def _changes(event: Event, events: Sequence[Event]) -> list[tuple[str, Event, int]]:
    match event:
        case RunStarted():
            return _of_start(event, events)
        case ModelCalled():
            return [*_of_request(event), *_of_reply(event, events)]
        case ToolStarted(call=call):
            return [("an argument that ran", replace(event, call=_other(call)), event.step)]
        case RunFinished(result=result) if result.stop_reason in ("answer", "steps", "loop"):
            last = max(each.step for each in events)
            ended = replace(result, stop_reason="empty")
            return [("the end", replace(event, result=ended), last)]
        case _:
            return []


def _of_start(event: RunStarted, events: Sequence[Event]) -> list[tuple[str, Event, int]]:
    """The prompt, where the agent's own instructions made it and a model was asked."""
    asked = any(isinstance(each, ModelCalled) for each in events)
    if not (asked and event.instructed):
        return []
    first, *rest = event.messages
    assert isinstance(first, SystemMessage)
    changed = (SystemMessage(f"{first.content} Please."), *rest)
    return [("the prompt", replace(event, messages=changed), 1)]


def _of_request(event: ModelCalled) -> list[tuple[str, Event, int]]:
    hotter = replace(event.settings, temperature=1.7)
    found: list[tuple[str, Event, int]] = [
        ("a setting", replace(event, settings=hotter), event.step)
    ]
    for number, message in enumerate(event.messages):
        if message.role == "tool":
            said = replace(message, content=f"{message.content} Really.")
            messages = (*event.messages[:number], said, *event.messages[number + 1 :])
            found.append(("a result in the request", replace(event, messages=messages), event.step))
    if event.tools:
        first, *rest = event.tools
        schema = replace(first, parameters={**first.parameters, "title": "Other"})
        found.append(("a schema", replace(event, tools=(schema, *rest)), event.step))
        turned = tuple(reversed(event.tools))
        if len(event.tools) > 1:
            found.append(("the order of tools", replace(event, tools=turned), event.step))
    return found


def _of_reply(event: ModelCalled, events: Sequence[Event]) -> list[tuple[str, Event, int]]:
    """The reply, where it was the one that the step went on with."""
    response = event.response
    follows = events[next(n for n, each in enumerate(events) if each is event) + 1]
    if not isinstance(follows, StepFinished):
        return []
    thought = replace(response.message, reasoning="Another thought.")
    changes = [("the model's thought", thought)]
    if response.message.tool_calls:
        first, *rest = response.message.tool_calls
        calls = replace(response.message, tool_calls=(_other(first), *rest))
        changes.append(("an argument of the model", calls))
    elif response.message.content:
        answer = AssistantMessage("Another answer.", reasoning=response.message.reasoning)
        changes.append(("the model's answer", answer))
    return [
        (what, replace(event, response=replace(response, message=message)), event.step)
        for what, message in changes
    ]


def _other(call: ToolCall) -> ToolCall:
    return replace(call, arguments={**call.arguments, "planted": 1})
