"""A reply's calls: repaired, approved, run together, answered in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any, Literal

import anyio
import anyio.lowlevel
import pytest
from pydantic import BaseModel

from agentkit import (
    Agent,
    Limits,
    RunResult,
    StepFinished,
    ToolContext,
    ToolError,
    ToolFinished,
    Usage,
    tool,
)
from agentkit.agent import Approver, Cancellation
from agentkit.events import (
    ApprovalDecided,
    ApprovalNeeded,
    CallRepaired,
    Event,
    ModelEvent,
    ModelFinished,
    Spent,
)
from agentkit.messages import (
    AssistantMessage,
    FinishReason,
    ModelRequest,
    ModelResponse,
    ModelSettings,
    ToolCall,
    ToolChoice,
    ToolMessage,
    UserMessage,
    text_of,
)
from agentkit.policy import Approval, Approve, Decision, Deny, Edit, PausedRun, Policy
from agentkit.testing import Reply, ScriptedModel, call, calls, say
from tests.pausing import pause_of

pytestmark = pytest.mark.anyio


@tool(effect="pure", labels=set())
async def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


def results_of(model: ScriptedModel, step: int = 1) -> list[str]:
    return [text_of(m.content) for m in model.requests[step].messages if m.role == "tool"]


async def test_the_name_that_was_certainly_meant_is_called_and_the_repair_is_an_event() -> None:
    model = ScriptedModel([call("tool:Add", a=1, b="2"), say("3")])
    events: list[Event] = []
    agent = Agent(model, tools=[add], observers=[lambda _id, event: events.append(event)])
    await agent.run("1+2?")
    assert results_of(model) == ["3"]
    repaired = next(event for event in events if isinstance(event, CallRepaired))
    assert (repaired.rung, repaired.was, repaired.call.name) == ("name", "tool:Add", "add")
    message = model.requests[1].messages[1]
    assert isinstance(message, AssistantMessage)
    assert message.tool_calls[0].name == "add"


async def test_a_call_that_stands_twice_in_a_reply_runs_once() -> None:
    runs: list[str] = []

    @tool
    async def send(text: str) -> str:
        """Sends."""
        runs.append(text)
        return "sent"

    model = ScriptedModel([calls(("send", {"text": "a"}), ("send", {"text": "a"})), say("ok")])
    await Agent(model, tools=[send], observers=()).run("x")
    assert runs == ["a"]
    first, second = results_of(model)
    assert first == "sent"
    assert "run once" in second


@pytest.mark.parametrize(
    "error", [asyncio.CancelledError(), GeneratorExit(), SystemExit(2), RecursionError()], ids=repr
)
async def test_a_tool_that_raises_whatever_it_likes_costs_no_other_call_its_result(
    error: BaseException,
) -> None:
    if anyio.get_cancelled_exc_class() is not asyncio.CancelledError and isinstance(
        error, asyncio.CancelledError
    ):
        pytest.skip("on trio it is an exception like any other")

    @tool
    async def fail(n: int) -> int:
        await anyio.lowlevel.checkpoint()
        raise error

    model = ScriptedModel(
        [
            calls(("add", {"a": 1, "b": 2}), ("fail", {"n": 1}), ("add", {"a": 3, "b": 4})),
            say("ok"),
        ]
    )
    result = await Agent(model, tools=[add, fail], observers=()).run("x")
    assert result.output == "ok"
    first, failed, last = results_of(model)
    assert (first, last) == ("3", "7")
    assert failed.startswith(f"Error: {type(error).__name__}")


async def test_a_broken_function_beside_a_tool_is_a_failed_call_and_not_the_end_of_the_run() -> (
    None
):
    def broken(_arguments: object) -> Any:
        raise KeyError("gone")

    def work(n: int) -> int:
        return n

    tools = [
        tool(name="locked", lock=broken)(work),
        tool(name="approved", approval=broken)(work),
        tool(name="aimed", approval="always", target=broken)(work),
    ]
    model = ScriptedModel([calls(*((made.name, {"n": 1}) for made in tools)), say("ok")])
    result = await Agent(model, tools=tools, approve=lambda _: Approve(), observers=()).run("x")
    assert result.output == "ok"
    why = "what decides on it raised KeyError: 'gone'"
    assert results_of(model) == [
        "Error: locked failed, because its lock= raised KeyError: 'gone'.",
        f"Error: approved was not run: {why}. Go on without it.",
        f"Error: aimed was not run: {why}. Go on without it.",
    ]


async def test_an_output_function_that_raises_sends_the_answer_back() -> None:
    def total(n: int) -> int:
        return {1: 10}[n]

    model = ScriptedModel([call("total", n=2), call("total", n=1)])
    result = await Agent(model, output_type=total, observers=()).run("x")
    assert result.output == 10
    assert results_of(model) == ["Error: total failed, because its function raised KeyError: 2."]


async def test_calls_that_share_a_lock_do_not_overlap() -> None:
    running = 0
    most = 0

    @tool(lock="path")
    async def edit(path: str, text: str) -> str:
        """Edits."""
        nonlocal running, most
        running += 1
        most = max(most, running)
        await anyio.lowlevel.checkpoint()
        running -= 1
        return text

    wanted = [("edit", {"path": "f", "text": str(n)}) for n in range(4)]
    await Agent(ScriptedModel([calls(*wanted), say("ok")]), tools=[edit], observers=()).run("x")
    assert most == 1


@pytest.mark.parametrize(
    ("decision", "result"),
    [
        (Approve(), "saved a"),
        (Deny("not today"), "Error: save was not run: a person said no: not today"),
        (
            Edit({"text": "b"}),
            '(A person changed the arguments to {"text": "b"}.)\nsaved b',
        ),
    ],
)
async def test_a_person_decides_from_code(decision: Decision, result: str) -> None:
    @tool(labels={"writes"})
    async def save(text: str) -> str:
        """Saves."""
        return f"saved {text}"

    asked: list[Approval] = []

    async def approve(approval: Approval) -> Decision:
        asked.append(approval)
        return decision

    model = ScriptedModel([call("save", text="a"), say("ok")])
    agent = Agent(model, tools=[save], policy=Policy.ask("writes"), approve=approve, observers=())
    await agent.run("x")
    assert [approval.call.name for approval in asked] == ["save"]
    assert results_of(model)[0].startswith(result)


async def test_a_paused_run_resumes_in_another_process_and_an_approval_is_used_once() -> None:
    runs: list[str] = []

    @tool(labels={"writes"})
    async def save(text: str) -> str:
        """Saves."""
        runs.append(text)
        return f"saved {text}"

    script = [calls(("save", {"text": "a"}), ("add", {"a": 1, "b": 1}))]
    policy = Policy.ask("writes")
    events: list[Event] = []
    first = Agent(
        ScriptedModel(script),
        tools=[save, add],
        policy=policy,
        observers=[lambda _id, event: events.append(event)],
    )
    result = await first.run("x")
    assert result.stop_reason == "paused"
    assert runs == []
    assert any(isinstance(event, ApprovalNeeded) for event in events)
    paused = PausedRun.from_json(pause_of(result).to_json())

    model = ScriptedModel([call("save", text="a")])  # the same call again: asked again
    second = Agent(model, tools=[save, add], policy=policy, observers=())
    again = await second.resume(paused, {paused.waiting[0].id: Approve()})
    assert runs == ["a"]
    assert results_of(model, 0) == ["saved a", "2"]
    assert again.stop_reason == "paused"


class Verdict(BaseModel):
    """A decision."""

    decision: Literal["refund", "reject"]
    why: str


async def test_a_typed_answer_arrives_checked_with_tools_present() -> None:
    wrong = call("final_answer", answer={"decision": "maybe", "why": "?"})
    right = call("final_answer", answer={"decision": "refund", "why": "broken"})
    model = ScriptedModel([call("add", a=1, b=1), wrong, right])
    result = await Agent(model, tools=[add], output_type=Verdict, observers=()).run("x")
    assert result.output == Verdict(decision="refund", why="broken")
    assert "decision" in results_of(model, 2)[-1]


async def test_an_output_function_may_send_an_answer_back() -> None:
    def answer(total: int) -> str:
        """Answers.

        Args:
            total: The sum.
        """
        if total != 4:
            raise ToolError("that is not the sum")
        return f"= {total}"

    model = ScriptedModel([call("answer", total=3), call("answer", total=4)])
    result = await Agent(model, output_type=answer, observers=()).run("2+2?")
    assert (result.output, result.steps) == ("= 4", 2)
    assert "not the sum" in results_of(model)[0]


async def test_text_where_a_typed_answer_is_due_is_asked_for_once_more_and_then_named() -> None:
    model = ScriptedModel([say("refund"), call("final_answer", answer=3)])
    result = await Agent(model, output_type=int, observers=()).run("x")
    assert result.output == 3
    assert model.requests[1].tool_choice.name == "final_answer"
    stubborn = ScriptedModel([say("refund"), say("refund!")])
    ended = await Agent(stubborn, output_type=int, observers=()).run("x")
    assert ended.stop_reason == "invalid_output"


class ConstrainedModel(ScriptedModel):
    """A scripted model whose server enforces tool choices."""

    @property
    def constrains(self) -> bool:
        return True


async def test_wrong_arguments_are_asked_for_again_under_the_tools_own_grammar() -> None:
    events: list[Event] = []
    model = ConstrainedModel([call("add", a="x", b=1), call("add", a=1, b=1), say("2")])
    agent = Agent(model, tools=[add], observers=[lambda _id, event: events.append(event)])
    result = await agent.run("1+1?")
    assert (result.output, result.steps) == ("2", 2)
    assert model.requests[1].tool_choice.name == "add"
    assert results_of(model, 2) == ["2"]
    assert [e.rung for e in events if isinstance(e, CallRepaired)] == ["constrained"]


@pytest.mark.parametrize("reason", ["length", "content_filter", "repetition", "malformed_call"])
async def test_nothing_runs_of_a_second_try_that_was_not_whole(reason: FinishReason) -> None:
    again = replace(call("add", a=1, b=1), finish_reason=reason)
    model = ConstrainedModel([call("add", a="x", b=1), again, say("Sorry.")])
    await Agent(model, tools=[add], observers=()).run("1+1?")
    assert "add was not run" in results_of(model, 2)[0]


async def test_malformed_arguments_never_run_and_are_explained() -> None:
    broken = ToolCall("", "add", malformed='{"a": 1, "b":')
    model = ScriptedModel([Reply(AssistantMessage(None, (broken,)), "tool_calls"), say("sorry")])
    await Agent(model, tools=[add], observers=()).run("x")
    assert "no JSON object" in results_of(model)[0]


async def test_a_tool_may_ask_a_person_or_is_told_that_there_is_none() -> None:
    @tool(effect="pure")
    async def which(context: ToolContext[None]) -> str:
        """Asks."""
        return await context.ask("Which one?")

    async def answer(question: str) -> str:
        return f"{question} The red one."

    model = ScriptedModel([call("which"), say("ok")])
    await Agent(model, tools=[which], ask=answer, observers=()).run("x")
    assert results_of(model) == ["Which one? The red one."]
    alone = ScriptedModel([call("which"), say("ok")])
    await Agent(alone, tools=[which], observers=()).run("x")
    assert "nobody can be asked" in results_of(alone)[0]


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (say("Short."), "Short."),
        (replace(say("Half of"), finish_reason="content_filter"), "withheld a part"),
        (replace(say("Half of"), finish_reason="length"), "was cut"),
        (replace(say("so so so"), finish_reason="repetition"), "repeated itself"),
        (say("\u200b"), "held nothing"),
        (call("which"), "said nothing"),
    ],
)
async def test_a_tool_that_asks_the_model_is_given_a_whole_text_or_an_error(
    reply: Reply, told: str
) -> None:
    @tool(effect="pure")
    async def which(context: ToolContext[None]) -> str:
        """Asks the model."""
        return await context.generate([UserMessage("Shorten it.")])

    model = ScriptedModel([call("which"), reply, say("ok")])
    await Agent(model, tools=[which], observers=()).run("x")
    assert told in results_of(model, 2)[0]


async def test_a_cancellation_keeps_nothing_of_runs_that_have_ended() -> None:
    cancellation = Cancellation()
    ended, at_work = anyio.CancelScope(), anyio.CancelScope()
    with cancellation.bind(at_work):
        with cancellation.bind(ended):
            pass
        cancellation.cancel()
    assert (ended.cancel_called, at_work.cancel_called) == (False, True)


async def test_a_run_is_ended_from_outside_with_its_partial_result() -> None:
    started = anyio.Event()
    cancellation = Cancellation()

    @tool
    async def wait() -> str:
        """Waits."""
        started.set()
        await anyio.sleep_forever()
        return ""

    async def end() -> None:
        await started.wait()
        cancellation.cancel()

    model = ScriptedModel([calls(("add", {"a": 1, "b": 1}), ("wait", {}))])
    agent = Agent(model, tools=[add, wait], observers=())
    results: list[RunResult[str]] = []
    async with anyio.create_task_group() as group:
        group.start_soon(end)
        results.append(await agent.run("x", cancellation=cancellation))
    (result,) = results
    assert result.stop_reason == "cancelled"
    contents = [text_of(m.content) for m in result.messages if isinstance(m, ToolMessage)]
    assert contents == ["2", "Error: the run ended before this call did."]


async def test_the_time_limit_ends_a_model_that_hangs() -> None:
    class Hanging(ScriptedModel):
        async def generate(
            self,
            request: ModelRequest,  # noqa: ARG002 - what is asked does not matter
        ) -> AsyncGenerator[ModelEvent, None]:
            await anyio.sleep_forever()
            yield ModelFinished(ModelResponse(AssistantMessage("never"), "stop"))

    result = await Agent(Hanging([]), limits=Limits(seconds=0.01), observers=()).run("x")
    assert result.stop_reason == "seconds"


async def test_what_a_sub_agent_spent_stands_at_the_call_and_steps_count_on_without_it() -> None:
    inner = ScriptedModel([call("add", a=1, b=1), say("two")])
    helper = Agent(inner, tools=[add], observers=()).as_tool("helper", "Does sums.")
    outer = ScriptedModel([calls(("helper", {"task": "1+1"}), ("add", {"a": 1, "b": 2})), say("2")])
    events = [event async for event in Agent(outer, tools=[helper, add], observers=()).stream("x")]
    finished = {e.call.name: e for e in events if isinstance(e, ToolFinished)}
    spent = finished["helper"].spent
    assert spent is not None
    assert replace(spent, runs=()) == Spent(2, 1, Usage(20, 10))
    assert len(spent.runs) == 1
    assert finished["add"].spent is None
    assert {e.step for e in finished.values()} == {1}
    assert [event.step for event in events if isinstance(event, StepFinished)] == [1, 2]


async def test_an_approver_that_decides_nothing_lets_the_run_pause() -> None:
    model = ScriptedModel([call("add", a=1, b=1)])
    agent = Agent(
        model,
        tools=[tool(labels={"writes"})(add.function)],
        policy=Policy.ask("writes"),
        approve=lambda _approval: None,
        observers=(),
    )
    assert (await agent.run("x")).stop_reason == "paused"


@pytest.mark.parametrize("decision", [Approve(), Deny("no"), Edit({"a": 2, "b": 2})])
async def test_a_decision_is_an_event_whether_it_came_in_the_run_or_in_a_pause(
    decision: Decision,
) -> None:
    def agent_of(approve: Approver | None) -> Agent:
        return Agent(
            ScriptedModel([call("add", a=1, b=1), say("done")]),
            tools=[tool(labels={"writes"})(add.function)],
            policy=Policy.ask("writes"),
            approve=approve,
            observers=[lambda _id, event: events.append(event)],
        )

    events: list[Event] = []
    await agent_of(lambda _approval: decision).run("x")
    (asked,) = [event for event in events if isinstance(event, ApprovalDecided)]
    events.clear()
    paused = pause_of(await agent_of(None).run("x"))
    await agent_of(None).resume(paused, {paused.waiting[0].id: decision})
    (given,) = [event for event in events if isinstance(event, ApprovalDecided)]
    assert given == replace(asked, id=paused.waiting[0].id), "each run has its own questions"
    assert asked.decision == decision.type


@pytest.mark.parametrize("first", ["slow", "fast"])
async def test_what_needs_no_running_is_answered_first_and_in_call_order(first: str) -> None:
    @tool(effect="pure")
    async def slow() -> str:
        """Takes a while."""
        await anyio.lowlevel.checkpoint()
        return "done"

    names = ["slow", "nope", "gone"] if first == "slow" else ["nope", "slow", "gone"]
    model = ScriptedModel([calls(*[(name, {}) for name in names]), say("ok")])
    events = [event async for event in Agent(model, tools=[slow], observers=()).stream("x")]
    finished = [event.call.name for event in events if isinstance(event, ToolFinished)]
    assert finished == ["nope", "gone", "slow"]
    assert [text.split()[0] for text in results_of(model)].index("done") == names.index("slow")


# --- calls that were not asked for ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("choice", "wrong", "stop"),
    [
        (ToolChoice("required", "add"), call("double", n=1), "no_call"),
        (ToolChoice("required", among=("add",)), call("double", n=1), "no_call"),
        (ToolChoice("required"), call("triple", n=1), "no_call"),
        (ToolChoice("required"), call("recall", query="sums"), "no_call"),
        (ToolChoice("none"), call("double", n=1), "malformed_call"),
        (ToolChoice("none"), call("add", a=1, b=1), "malformed_call"),
    ],
)
async def test_a_call_that_the_choice_rules_out_does_not_run_and_is_asked_for_again(
    choice: ToolChoice, wrong: Reply, stop: str
) -> None:
    ran: list[int] = []

    @tool(effect="pure", labels=set())
    async def double(n: int) -> int:
        """Doubles."""
        ran.append(n)
        return 2 * n

    settings = ModelSettings(tool_choice=choice, temperature=0.0, thinking=False)
    model = ScriptedModel([wrong, wrong])
    result = await Agent(model, tools=[add, double]).run("Sum.", settings=settings)
    assert (result.stop_reason, ran) == (stop, [])
    assert result.messages[-1].role == "user"
    first, second = (request.settings for request in model.requests)
    assert first != second
    if choice.mode == "required":
        model = ScriptedModel([wrong, call("ADD", a=1, b=2), say("3")])
        result = await Agent(model, tools=[add, double]).run("Sum.", settings=settings)
        assert (result.output, ran) == ("3", [])


async def test_of_more_calls_than_a_reply_may_hold_the_first_ones_run() -> None:
    three = calls(*(("add", {"a": n, "b": 0}) for n in range(3)))
    model = ScriptedModel([three, three, say("Done.")])
    settings = ModelSettings(tool_choice=ToolChoice(max_calls=2))
    await Agent(model, tools=[add]).run("Sum.", settings=settings)
    assert results_of(model, 1) == ["0", "1"]
    assert len(results_of(model, 2)) == 4
    assert [request.tool_choice for request in model.requests] == [ToolChoice(max_calls=2)] * 3
