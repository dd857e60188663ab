from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from pydantic import BaseModel

from agentkit import (
    Agent,
    Event,
    Limits,
    ModelConnectionError,
    ModelSettings,
    RunContext,
    RunFiles,
    ToolContext,
    ToolError,
    Toolset,
    Usage,
    tool,
)
from agentkit.agent import Cancellation
from agentkit.context import Context
from agentkit.events import ContextCompacted, ModelCalled
from agentkit.journal import SQLiteJournal
from agentkit.messages import SystemMessage, UserMessage
from agentkit.policy import Approve, Deny, Edit, Policy
from agentkit.runtime import ReplayReport, assert_replays, replay
from agentkit.testing import ScriptedModel, call, calls, cut, say
from agentkit.trace import TraceError, keep_secret, read_events
from tests.mortal import Killed, Mortal
from tests.pausing import pause_of

pytestmark = pytest.mark.anyio
RAN: list[str] = []


@tool(effect="pure", labels=set())
def price(item: str) -> float:
    """Price of an item.

    Args:
        item: Its name.
    """
    RAN.append("price")
    if item == "air":
        raise ToolError("air is free")
    return 2.5


@tool(labels={"writes"})
async def order(item: str, count: int = 1) -> str:
    """Order an item.

    Args:
        item: Its name.
        count: How many.
    """
    RAN.append("order")
    return f"ordered {count} {item}"


INSTRUCTIONS = "You buy.\nBe thrifty.\nAnswer in one sentence."
SCRIPT = [
    calls(("price", {"item": "tea"}), ("price", {"item": "air"}), reasoning="Look."),
    call("Order", item="tea", count="2"),
    call("price", item="tea"),
    call("order", item=3),
    say("Two teas are ordered."),
]
SHOP: dict[str, Any] = {
    "instructions": INSTRUCTIONS,
    "tools": [price, order],
    "settings": ModelSettings(temperature=0.0),
}


def agent_of(script: Sequence[Any] = (), **options: Any) -> Agent[Any, Any]:
    chosen: dict[str, Any] = {"observers": (), **options}
    return Agent(ScriptedModel(script), **chosen)


def recorded(files: Path, run_id: str = "r") -> list[Event]:
    return [timed.event for timed in read_events(RunFiles(files).path(run_id))]


async def record(
    files: Path, script: Sequence[Any], options: dict[str, Any], **given: Any
) -> list[Event]:
    """A run's events as its file gives them back; what ends a run with an exception is one too."""
    agent = agent_of(script, **{"observers": [RunFiles(files)], **options})
    with suppress(ModelConnectionError):
        await agent.run("Buy tea.", run_id="r", **given)
    return recorded(files)


async def replayed(events: Sequence[Event], options: dict[str, Any], **given: Any) -> ReplayReport:
    """A replay; nothing of it may run."""
    RAN.clear()
    report = await replay(agent_of(**options), events, **given)
    assert RAN == []
    return report


# --- the same again ----------------------------------------------------------------------------


async def test_parallel_calls_errors_repairs_and_repeats_replay_identically(tmp_path: Path) -> None:
    events = await record(tmp_path, SCRIPT, SHOP)
    report = await replayed(events, SHOP)
    assert report.identical, report
    assert (report.model_calls, report.tool_calls) == (5, 4)
    assert report.notes == ()
    assert str(report) == "r: 5 model calls and 4 tool calls from the record, identical"


class Receipt(BaseModel):
    """What was bought."""

    item: str
    cents: int


async def test_typed_answers_replay_the_forced_one_and_the_sent_back_one_too(
    tmp_path: Path,
) -> None:
    def answer(receipt: Receipt) -> int:
        """Answer.

        Args:
            receipt: What was bought.
        """
        if receipt.cents < 0:
            raise ToolError("negative")
        return receipt.cents

    options = {**SHOP, "output_type": answer}
    script = [
        say("It costs 250."),
        call("answer", receipt={"item": "tea", "cents": -1}),
        call("answer", receipt={"item": "tea"}),
        call("answer", receipt={"item": "tea", "cents": 250}),
    ]
    report = await replayed(await record(tmp_path, script, options), options)
    assert report.identical, report
    assert report.model_calls == 4


async def test_a_cut_reply_and_its_second_try_replay(tmp_path: Path) -> None:
    events = await record(tmp_path, [cut(say("Two t")), say("Two teas.")], SHOP)
    report = await replayed(events, SHOP)
    assert (report.identical, report.model_calls) == (True, 2)


@pytest.mark.parametrize("decision", [Approve(), Deny("too dear"), Edit({"item": "tea"})])
async def test_what_a_person_decided_is_decided_again(tmp_path: Path, decision: Any) -> None:
    def nobody(_approval: object) -> None:
        raise AssertionError("a replay asks nobody")

    script = [call("order", item="tea", count=2), say("Done.")]
    guarded = {**SHOP, "policy": Policy.ask("writes")}
    events = await record(tmp_path, script, {**guarded, "approve": lambda _approval: decision})
    report = await replayed(events, {**guarded, "approve": nobody})
    assert report.identical, report


@pytest.mark.parametrize("decision", [Approve(), Deny("no"), Edit({"item": "tea"})])
async def test_a_paused_run_replays_with_what_came_after_the_pause(
    tmp_path: Path, decision: Any
) -> None:
    guarded = {**SHOP, "policy": Policy.ask("writes"), "observers": [RunFiles(tmp_path)]}
    script = [calls(("order", {"item": "tea"}), ("price", {"item": "tea"}))]
    result = await agent_of(script, **guarded).run("Buy tea.", run_id="r")
    (waiting,) = pause_of(result).waiting
    resumed = agent_of([say("Done.")], **guarded)
    await resumed.resume(pause_of(result), {waiting.id: decision}, settings=ModelSettings(seed=1))
    report = await replayed(recorded(tmp_path), {**SHOP, "policy": Policy.ask("writes")})
    assert report.identical, report
    assert report.model_calls == 2


async def test_a_question_that_a_tool_asked_is_not_asked_again(tmp_path: Path) -> None:
    @tool
    async def greet(context: ToolContext[Any]) -> str:
        """Greet."""
        return f"Hi {await context.ask('Your name?')}"

    async def ada(_question: str) -> str:
        return "Ada"

    async def nobody(_question: str) -> str:
        raise AssertionError("a replay asks nobody")

    script = [call("greet"), say("Greeted.")]
    events = await record(tmp_path, script, {"tools": [greet], "ask": ada})
    report = await replayed(events, {"tools": [greet], "ask": nobody})
    assert (report.identical, report.tool_calls) == (True, 1)


async def test_what_a_run_was_given_of_its_own_holds_in_its_replay(tmp_path: Path) -> None:
    def instructions(context: RunContext[str]) -> str:
        return f"You serve {context.deps}."

    options = {**SHOP, "instructions": instructions}
    history = [SystemMessage("old"), UserMessage("Hello.")]
    given: dict[str, Any] = {
        "settings": ModelSettings(seed=3),
        "limits": Limits(steps=1),
        "history": history,
        "deps": "Ada",
    }
    events = await record(tmp_path, [call("price", item="tea"), say("never")], options, **given)
    report = await replayed(events, options, deps="Ada")
    assert report.identical, report
    report = await replayed(events, options, deps="Bob")
    assert report.divergence is not None
    assert "-You serve Ada.\n+You serve Bob." in report.divergence.diff


async def test_a_system_message_of_the_history_is_not_taken_for_the_agents(tmp_path: Path) -> None:
    history = [SystemMessage("Be brief.")]
    events = await record(tmp_path, [say("Yes.")], {}, history=history)
    assert (await replayed(events, {})).identical
    events = await record(tmp_path / "other", [say("Yes.")], {"instructions": "Be brief."})
    report = await replayed(events, {})
    assert report.divergence is not None
    assert report.divergence.step == 1


async def test_a_run_that_failed_fails_again_and_says_what_no_record_can_tell(
    tmp_path: Path,
) -> None:
    script = [call("price", item="tea"), ModelConnectionError("the server is gone")]
    report = await replayed(await record(tmp_path, script, SHOP), SHOP)
    assert report.identical, report
    (note,) = report.notes
    assert note.startswith("the model call of step 2 failed")


async def test_a_sub_agents_work_is_served_and_its_cost_counts(tmp_path: Path) -> None:
    def with_helper(script: Sequence[Any]) -> dict[str, Any]:
        helper = agent_of(script, tools=[price]).as_tool("helper", "Looks prices up.")
        return {**SHOP, "tools": [helper]}

    script = [call("helper", task="Price of tea?"), call("helper", task="And of air?"), say("no")]
    inner = [call("price", item="tea"), say("2.5"), say("free")]
    given = {"limits": Limits(steps=5)}
    events = await record(tmp_path, script, with_helper(inner), **given)
    report = await replayed(events, with_helper([]))
    assert report.identical, report
    (note,) = report.notes
    assert "sub-agents (helper) did not run again" in note


async def test_a_run_that_was_cancelled_or_killed_replays_as_far_as_it_came(tmp_path: Path) -> None:
    cancellation = Cancellation()

    @tool
    async def wait() -> str:
        """Wait."""
        cancellation.cancel()
        await anyio.sleep_forever()
        return ""

    options = {**SHOP, "tools": [price, order, wait]}
    script = [call("price", item="tea"), call("wait")]
    events = await record(tmp_path, script, options, cancellation=cancellation)
    report = await replayed(events, options)
    assert report.identical, report
    assert report.notes == (
        "the record ends in step 2 (the run was cancelled), and the replay there",
    )
    for length in range(1, len(events)):
        killed = await replayed(events[:length], options)
        assert killed.identical, killed
        assert "the process died" in killed.notes[0]


@tool(effect="pure")
async def read(page: int) -> str:
    """Read a page."""
    return f"page {page} " * 50


async def reading(tmp_path: Path, context: Context, pages: int = 9) -> list[Event]:
    """A run that reads pages of 200 tokens, as they are estimated, under this context."""
    asked = [
        replace(call("read", page=page), usage=Usage(250 * (page + 1), 5)) for page in range(pages)
    ]
    return await record(tmp_path, [*asked, say("Read.")], {"tools": [read], "context": context})


async def test_what_the_context_left_out_does_not_disturb_a_replay(tmp_path: Path) -> None:
    context = Context(compact_at=1_500)
    events = await reading(tmp_path, context)
    assert any(isinstance(event, ContextCompacted) for event in events)
    report = await replayed(events, {"tools": [read], "context": context})
    assert report.identical, report


@pytest.mark.parametrize("now", [Context(compact_at=900), Context(compact_at=90_000), Context()])
async def test_a_context_that_compacts_elsewhere_is_seen_where_that_begins(
    tmp_path: Path, now: Context
) -> None:
    events = await reading(tmp_path, Context(compact_at=1_500, result_tokens=8_000))
    sizes = {e.step: e.fitted.tokens for e in events if isinstance(e, ModelCalled) and e.fitted}
    least = min(now.compact_at or 90_000, 1_500)
    report = await replayed(events, {"tools": [read], "context": replace(now, result_tokens=8_000)})
    assert report.divergence is not None
    assert report.divergence.step == min(step for step, size in sizes.items() if size > least)
    assert "when the context is compacted" in report.divergence.what
    assert '-  "compact_at": 1500' in report.divergence.diff


async def test_a_context_that_sends_less_or_more_of_a_long_result_is_seen_there(
    tmp_path: Path,
) -> None:
    for then, now in ((500, 150), (150, 500)):
        events = await reading(tmp_path / str(then), Context(result_tokens=then))
        report = await replayed(events, {"tools": [read], "context": Context(result_tokens=now)})
        assert report.divergence is not None
        assert report.divergence.step == 2, "the first result is in the second request"
        assert f'-  "result_tokens": {then}' in report.divergence.diff


async def test_another_context_that_would_have_sent_the_same_is_no_difference(
    tmp_path: Path,
) -> None:
    events = await reading(tmp_path, Context(compact_at=80_000))
    for now in (Context(), Context(compact_at=10_000), Context(result_tokens=600)):
        report = await replayed(events, {"tools": [read], "context": now})
        assert report.identical, report


@pytest.mark.slow
@pytest.mark.parametrize("dies_at", [0, 1, 2, 3])
@pytest.mark.parametrize("forgets", [0, 1])
async def test_a_run_that_was_resumed_after_a_crash_replays_as_one(
    tmp_path: Path, dies_at: int, forgets: int
) -> None:
    work: list[int] = []

    @tool
    async def step(number: int) -> str:
        """Do a step."""
        work.append(number)
        if len(work) == dies_at + 1:
            raise Killed
        return f"did {number}"

    options = {"tools": [step, price], "observers": [RunFiles(tmp_path)]}
    script = [
        calls(("step", {"number": 0}), ("price", {"item": "tea"})),
        call("step", number=1),
        calls(("step", {"number": 2}), ("step", {"number": 3})),
        say("Done."),
    ]
    journal = SQLiteJournal(tmp_path / "runs.db")
    first = agent_of(script, **options, executor=Mortal())
    with suppress(Killed):
        await first.run("Go.", journal=journal, run_id="r")
    file = RunFiles(tmp_path).path("r")
    lines = file.read_bytes().splitlines(keepends=True)
    assert b"RunFinished" in lines[-1]  # a real kill leaves none
    file.write_bytes(b"".join(lines[:-1]))
    asked = sum(b'"ModelCalled"' in line for line in lines)
    await agent_of(script[asked:], **options).resume("r", journal=journal)
    journal.close()
    events = recorded(tmp_path)
    if forgets:  # as if the journal had lost the newest reply, and the same was asked again
        again = next(n for n, event in enumerate(events) if getattr(event, "resumed", False))
        events.insert(again, next(e for e in events[again:] if isinstance(e, ModelCalled)))
    report = await replayed(events, {"tools": [step, price]})
    assert report.identical, report
    assert (report.model_calls, report.notes) == (4, ())


async def test_a_run_that_paused_in_a_journal_replays_as_one(tmp_path: Path) -> None:
    guarded = {**SHOP, "policy": Policy.ask("writes")}
    options = {**guarded, "observers": [RunFiles(tmp_path)]}
    journal = SQLiteJournal(tmp_path / "runs.db")
    paused = await agent_of([call("order", item="tea")], **options).run(
        "Buy tea.", journal=journal, run_id="r"
    )
    (waiting,) = pause_of(paused).waiting
    await agent_of([say("Done.")], **options).resume(
        "r", {waiting.id: Edit({"item": "milk"})}, journal=journal
    )
    journal.close()
    report = await replayed(recorded(tmp_path), guarded)
    assert report.identical, report
    assert report.model_calls == 2


async def test_a_secret_in_the_prompt_is_no_difference(tmp_path: Path) -> None:
    keep_secret("very-secret-value")
    options = {**SHOP, "instructions": "The password is very-secret-value."}
    events = await record(tmp_path, SCRIPT, options)
    assert "very-secret-value" not in RunFiles(tmp_path).path("r").read_text()
    assert (await replayed(events, options)).identical


# --- what differs ------------------------------------------------------------------------------


def with_tools(*tools: Any) -> dict[str, Any]:
    return {**SHOP, "tools": list(tools)}


def cheaper() -> Any:
    def price(item: str) -> float:
        """Price of an item, in euros.

        Args:
            item: Its name.
        """
        return len(item)

    return tool(effect="pure")(price)


def stricter() -> Any:
    async def order(item: str, count: int) -> str:
        """Order an item.

        Args:
            item: Its name.
            count: How many.
        """
        return f"{count} {item}"

    return tool(labels={"writes"})(order)


@tool(effect="pure")
def extra() -> str:
    """One more."""
    return ""


CHANGED_AGENTS: dict[str, tuple[dict[str, Any], int, str]] = {
    "a word of the prompt": (
        {**SHOP, "instructions": INSTRUCTIONS.replace("thrifty", "lavish")},
        1,
        "message 1 of the model call (system)",
    ),
    "no prompt": ({**SHOP, "instructions": None}, 1, "message 1 of the model call (system)"),
    "tools in another order": (
        {**SHOP, "tools": (), "toolsets": [Toolset([price, order])]},
        1,
        "order of the tools",
    ),
    "a tool more": (with_tools(price, order, extra), 1, "tools of the model call"),
    "a tool less": (with_tools(price), 1, "tools of the model call"),
    "a tool's description": (with_tools(cheaper(), order), 1, "definition of the tool price"),
    "a tool's schema": (with_tools(price, stricter()), 1, "definition of the tool order"),
    "the temperature": ({**SHOP, "settings": ModelSettings(temperature=1.0)}, 1, "settings"),
    "one setting more": (
        {**SHOP, "settings": ModelSettings(temperature=0.0, max_tokens=50)},
        1,
        "settings of the model call",
    ),
    "a stricter policy": ({**SHOP, "policy": Policy.ask("writes")}, 2, "was asked about"),
    "a policy that denies": ({**SHOP, "policy": Policy.deny("writes")}, 2, "result of the call"),
    "a tighter limit": ({**SHOP, "limits": Limits(steps=4)}, 5, "step 5; it did not happen"),
    "a tighter limit of calls": (
        {**SHOP, "limits": Limits(tool_calls=3)},
        3,
        "did not happen",
    ),
    "another kind of answer": ({**SHOP, "output_type": int}, 1, "tools of the model call"),
}


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGED_AGENTS)
async def test_a_changed_agent_is_found_at_the_step_where_it_shows(
    tmp_path: Path, change: str
) -> None:
    options, step, what = CHANGED_AGENTS[change]
    events = await record(tmp_path, SCRIPT, SHOP)
    report = await replayed(events, options)
    assert report.divergence is not None
    assert report.divergence.step == step
    assert what in report.divergence.what
    assert not report.identical


CHANGED_RECORDS: dict[str, tuple[str, int, tuple[str, ...], Any, int, str]] = {
    # the kind of event, which of them, the path into it, the new value, the step, what differs
    "the model's answer": (
        "ModelCalled",
        4,
        ("response", "message", "content"),
        "Three teas.",
        5,
        "the model's reply",
    ),
    "an argument of the model": (
        "ModelCalled",
        2,
        ("response", "message", "tool_calls", "0", "arguments", "item"),
        "milk",
        3,
        "the model's reply",
    ),
    "the model's thought": (
        "ModelCalled",
        0,
        ("response", "message", "reasoning"),
        "Hm.",
        1,
        "the model's reply",
    ),
    "tokens of the model": (
        "ModelCalled",
        1,
        ("response", "usage", "output_tokens"),
        999,
        2,
        "how the reply ended",
    ),
    "an argument of a call": (
        "ToolStarted",
        2,
        ("call", "arguments", "count"),
        5,
        2,
        "arguments of the call order",
    ),
    "a result": ("ToolFinished", 2, ("result", "content"), "ordered 9 tea", 3, "tool order"),
    "the settings": ("ModelCalled", 2, ("settings", "seed"), 7, 3, "settings of the model call"),
    "a tool's schema": (
        "ModelCalled",
        0,
        ("tools", "0", "parameters", "required"),
        [],
        1,
        "definition of the tool order",
    ),
    "a repair": ("CallRepaired", 0, ("was",), "ORDER", 2, "was repaired"),
    "the output": ("RunFinished", 0, ("output",), "No tea.", 5, "output of the run"),
    "the end": ("RunFinished", 0, ("stop_reason",), "loop", 5, "how the run ended"),
}


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGED_RECORDS)
async def test_a_changed_record_is_found_at_its_step(tmp_path: Path, change: str) -> None:
    kind, which, path, value, step, what = CHANGED_RECORDS[change]
    await record(tmp_path, SCRIPT, SHOP)
    file = RunFiles(tmp_path).path("r")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    target: Any = [line for line in lines if line["event"] == kind][which]
    *inner, last = path
    for key in inner:
        target = target[int(key) if isinstance(target, list) else key]
    assert target[last] != value
    target[last] = value
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = await replayed(recorded(tmp_path), SHOP)
    assert report.divergence is not None
    assert (report.divergence.step, what in report.divergence.what) == (step, True), report


async def test_two_results_in_another_order_are_found(tmp_path: Path) -> None:
    await record(tmp_path, SCRIPT, SHOP)
    file = RunFiles(tmp_path).path("r")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    messages = [line for line in lines if line["event"] == "ModelCalled"][1]["messages"]
    messages[1], messages[2] = messages[2], messages[1]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = await replayed(recorded(tmp_path), SHOP)
    assert report.divergence is not None
    assert report.divergence.step == 2
    assert "message 4 of the model call (tool price)" in report.divergence.what


async def test_the_difference_is_shown_line_by_line(tmp_path: Path) -> None:
    events = await record(tmp_path, SCRIPT, SHOP)
    changed = {**SHOP, "instructions": INSTRUCTIONS.replace("thrifty", "lavish")}
    assert str(await replayed(events, changed)) == (
        "r: 0 model calls and 0 tool calls from the record, not identical\n"
        "step 1: message 1 of the model call (system)\n"
        "--- recorded\n"
        "+++ replayed\n"
        "@@ -1,3 +1,3 @@\n"
        " You buy.\n"
        "-Be thrifty.\n"
        "+Be lavish.\n"
        " Answer in one sentence."
    )


# --- for tests of agents -----------------------------------------------------------------------


async def test_a_run_file_makes_a_regression_test(tmp_path: Path) -> None:
    await record(tmp_path, SCRIPT, SHOP)
    file = RunFiles(tmp_path).path("r")
    assert_replays(agent_of(**SHOP), file)
    with pytest.raises(AssertionError, match=r"step 1: settings of the model call"):
        assert_replays(agent_of((), **SHOP | {"settings": ModelSettings()}), file)
    with pytest.raises(TraceError, match="no run"):
        assert_replays(agent_of(**SHOP), tmp_path / "other.jsonl")


async def test_a_record_without_its_first_part_is_refused(tmp_path: Path) -> None:
    events = await record(tmp_path, SCRIPT, SHOP)
    with pytest.raises(TraceError, match="begin with the start"):
        await replayed(events[1:], SHOP)
    with pytest.raises(TraceError, match="empty"):
        await replayed([], SHOP)
