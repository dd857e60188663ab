from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Any, NoReturn

import anyio
import pytest

from agentkit import (
    Agent,
    Cancellation,
    Event,
    Limits,
    ModelSettings,
    Policy,
    RunFinished,
    RunResult,
    RunStarted,
    StepFinished,
    StepRestarted,
    ToolContext,
    ToolError,
    ToolFinished,
    ToolProgress,
    ToolStarted,
    tool,
)
from agentkit.events import ModelCalled, ModelEvent, ModelFinished, dump_event, load_event
from agentkit.messages import (
    AssistantMessage,
    Message,
    ModelRequest,
    ToolChoice,
    ToolDefinition,
    ToolMessage,
    text_of,
)
from agentkit.policy import Approve, history_problems
from agentkit.testing import Reply, ScriptedModel, call, calls, cut, say
from agentkit.toolset import ValidatedCall
from tests.pausing import pause_of

pytestmark = pytest.mark.anyio


class Watcher:
    """Keeps a run's events."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, _run_id: str, event: Event) -> None:
        self.events.append(event)

    @property
    def finished(self) -> RunResult[Any]:
        (last,) = [event for event in self.events if isinstance(event, RunFinished)]
        assert self.events[-1] is last
        return last.result


def is_valid(messages: tuple[Message, ...]) -> bool:
    """Whether each call has its result, in call order, right behind it."""
    rest: Iterator[Message] = iter(messages)
    for message in rest:
        if isinstance(message, AssistantMessage):
            for made in message.tool_calls:
                answer = next(rest, None)
                if not isinstance(answer, ToolMessage) or answer.call_id != made.id:
                    return False
    return True


@tool(effect="pure")
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


# --- calls at the same time --------------------------------------------------------------------


async def test_async_tools_of_one_reply_run_at_the_same_time() -> None:
    first, second = anyio.Event(), anyio.Event()

    @tool(effect="pure")
    async def left() -> str:
        """Left."""
        first.set()
        await second.wait()  # never returns unless the other one runs meanwhile
        return "left"

    @tool(effect="pure")
    async def right() -> str:
        """Right."""
        second.set()
        await first.wait()
        return "right"

    model = ScriptedModel([calls(("left", {}), ("right", {})), say("Done.")])
    result = await Agent(model, tools=[left, right], observers=()).run("go")
    assert [text_of(m.content) for m in result.messages[2:4]] == ["left", "right"]


async def test_sync_tools_of_one_reply_run_at_the_same_time_in_threads() -> None:
    barrier = threading.Barrier(3, timeout=10)  # never passed unless all three are at work

    @tool(effect="pure")
    def meet(n: int) -> int:
        """Meet."""
        barrier.wait()
        return n

    model = ScriptedModel([calls(*(("meet", {"n": n}) for n in range(3))), say("Done.")])
    result = await Agent(model, tools=[meet], observers=()).run("go")
    assert [text_of(m.content) for m in result.messages[2:5]] == ["0", "1", "2"]


async def test_results_stand_in_call_order_whichever_ends_first() -> None:
    done = [anyio.Event() for _ in range(4)]

    @tool(effect="pure")
    async def backwards(n: int) -> int:
        """Ends after all later ones."""
        if n < 3:
            await done[n + 1].wait()
        done[n].set()
        return n

    watcher = Watcher()
    model = ScriptedModel([calls(*(("backwards", {"n": n}) for n in range(4))), say("Done.")])
    result = await Agent(model, tools=[backwards], observers=[watcher]).run("go")
    ended = [e.call.arguments["n"] for e in watcher.events if isinstance(e, ToolFinished)]
    assert ended == [3, 2, 1, 0]
    assert [text_of(m.content) for m in result.messages[2:6]] == ["0", "1", "2", "3"]
    assert is_valid(result.messages)


async def test_a_tool_that_fails_does_not_disturb_the_others_of_its_reply() -> None:
    @tool(effect="pure")
    async def fail() -> str:
        """Fail."""
        raise ToolError("no such order")

    @tool(effect="pure")
    def crash() -> str:
        """Crash."""
        raise ZeroDivisionError("by nought")

    model = ScriptedModel(
        [calls(("fail", {}), ("add", {"a": 1, "b": 2}), ("crash", {})), say("ok")]
    )
    result = await Agent(model, tools=[fail, add, crash], observers=()).run("go")
    failed, added, crashed = result.messages[2:5]
    assert (text_of(failed.content), text_of(added.content)) == ("Error: no such order", "3")
    assert "ZeroDivisionError: by nought" in text_of(crashed.content)
    assert result.stop_reason == "answer"


async def test_what_the_model_gets_wrong_is_told_to_it_and_the_run_goes_on() -> None:
    replies = [
        call("launch_rocket"),
        call("add", a="many", b=2),
        say("I could not."),
    ]
    result = await Agent(ScriptedModel(replies), tools=[add], observers=()).run("go")
    unknown, invalid = (m for m in result.messages if isinstance(m, ToolMessage))
    assert unknown.is_error
    assert "launch_rocket" in text_of(unknown.content)
    assert invalid.is_error
    assert "a" in text_of(invalid.content)
    assert result.stop_reason == "answer"
    assert is_valid(result.messages)


# --- ends --------------------------------------------------------------------------------------


async def test_the_step_limit_is_a_result_with_all_that_was_done() -> None:
    model = ScriptedModel([call("add", a=n, b=n) for n in range(3)])
    agent = Agent(model, tools=[add], limits=Limits(steps=3), observers=())
    result = await agent.run("go")
    assert (result.stop_reason, result.steps) == ("steps", 3)
    assert "3 steps" in result.explanation
    assert is_valid(result.messages)
    assert len(result.messages) == 7


async def test_the_token_limit_ends_before_the_next_step() -> None:
    model = ScriptedModel([call("add", a=n, b=n) for n in range(3)])  # 5 output tokens each
    agent = Agent(model, tools=[add], limits=Limits(output_tokens=10), observers=())
    result = await agent.run("go")
    assert (result.stop_reason, result.steps, result.usage.output_tokens) == ("tokens", 2, 10)


async def test_a_call_of_a_cut_reply_never_runs() -> None:
    ran: list[int] = []

    @tool(effect="once")
    def pay(amount: int) -> str:
        """Pay."""
        ran.append(amount)
        return "paid"

    half = cut(call("pay", amount=1))
    result = await Agent(ScriptedModel([half] * 4), tools=[pay], observers=()).run("Pay 100")
    assert ran == []
    assert result.stop_reason == "truncated"
    assert is_valid(result.messages)


async def test_a_cut_answer_is_asked_for_again_and_then_kept_as_partial_text() -> None:
    watcher = Watcher()
    model = ScriptedModel([cut(say("Half an")), cut(say("Half an answer"))])
    result = await Agent(model, observers=[watcher]).run("go")
    assert (result.stop_reason, result.output) == ("truncated", "Half an answer")
    assert any(isinstance(event, StepRestarted) for event in watcher.events)


async def test_an_empty_reply_gets_a_second_try() -> None:
    good = await Agent(ScriptedModel([say(" "), say("Hi.")]), observers=()).run("hi")
    assert (good.stop_reason, good.output, good.steps) == ("answer", "Hi.", 1)
    bad = await Agent(ScriptedModel([say(""), say("")]), observers=()).run("hi")
    assert (bad.stop_reason, bad.output) == ("empty", "")


# --- cancellation ------------------------------------------------------------------------------


@pytest.mark.parametrize("threaded", [False, True])
async def test_cancelling_in_a_tool_leaves_a_valid_history_and_a_finished_run(
    *, threaded: bool
) -> None:
    scope = anyio.CancelScope()
    release = threading.Event()

    @tool(effect="pure")
    async def wait() -> str:
        """Wait."""
        scope.cancel()
        await anyio.sleep_forever()
        return ""

    @tool(effect="pure")
    def wait_in_thread(context: ToolContext[Any]) -> str:
        """Wait."""
        anyio.from_thread.run_sync(scope.cancel)
        assert context.handles.cancelled.wait(10)  # it can see that nobody waits any more
        release.set()
        return ""

    waiter = wait_in_thread if threaded else wait
    watcher = Watcher()
    model = ScriptedModel([calls(("add", {"a": 1, "b": 2}), (waiter.name, {}))])
    with scope:
        await Agent(model, tools=[add, waiter], observers=[watcher]).run("go")
    assert scope.cancelled_caught
    result = watcher.finished
    assert result.stop_reason == "cancelled"
    assert is_valid(result.messages)
    assert "the run ended before" in text_of(result.messages[-1].content)
    if threaded:
        assert await anyio.to_thread.run_sync(release.wait, 10)


async def test_a_cancelled_run_can_be_continued_from_its_history() -> None:
    scope = anyio.CancelScope()

    @tool(effect="pure")
    async def wait() -> str:
        """Wait."""
        scope.cancel()
        await anyio.sleep_forever()
        return ""

    watcher = Watcher()
    agent = Agent(
        ScriptedModel([call("wait"), say("Where were we?")]), tools=[wait], observers=[watcher]
    )
    with scope:
        await agent.run("go")
    result = await Agent(ScriptedModel([say("On we go.")]), observers=()).run(
        "on", history=watcher.finished.messages
    )
    assert result.output == "On we go."
    assert is_valid(result.messages)


# --- bugs are not hidden -----------------------------------------------------------------------


async def test_a_bug_in_the_model_raises_by_its_own_type_and_the_run_is_finished() -> None:
    watcher = Watcher()

    def broken(_request: object) -> Reply:
        raise LookupError("a bug")

    with pytest.raises(LookupError, match="a bug"):
        await Agent(ScriptedModel([broken]), observers=[watcher]).run("go")
    assert watcher.finished.stop_reason == "error"
    assert watcher.finished.explanation == "LookupError: a bug"


async def test_a_bug_while_calls_run_raises_by_its_own_type_and_history_stays_valid() -> None:
    class Broken:
        async def execute(self, call: ValidatedCall, context: ToolContext[Any]) -> NoReturn:
            raise LookupError(f"a bug {call.tool.name} {context.index}")

    watcher = Watcher()
    model = ScriptedModel([calls(("add", {"a": 1, "b": 2}), ("add", {"a": 2, "b": 2}))])
    with pytest.raises(LookupError, match="a bug"):
        await Agent(model, tools=[add], executor=Broken(), observers=[watcher]).run("go")
    assert watcher.finished.stop_reason == "error"
    assert is_valid(watcher.finished.messages)


# --- what can be watched -----------------------------------------------------------------------


async def test_every_step_and_call_is_said_with_its_number() -> None:
    watcher = Watcher()
    model = ScriptedModel([calls(("add", {"a": 1, "b": 2}), ("add", {"a": 3, "b": 4})), say("ok")])
    await Agent(model, tools=[add], observers=[watcher]).run("go")
    assert [type(event).__name__ for event in watcher.events] == [
        "RunStarted",
        "StepStarted",
        "ToolCallDelta",
        "ToolCallDelta",
        "ModelCalled",
        "StepFinished",
        "ToolStarted",
        "ToolStarted",
        "ToolFinished",
        "ToolFinished",
        "StepStarted",
        "TextDelta",
        "ModelCalled",
        "StepFinished",
        "RunFinished",
    ]
    steps = [event.step for event in watcher.events]
    assert steps == [0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 0]


async def test_a_refused_call_is_finished_without_having_started() -> None:
    watcher = Watcher()
    await Agent(ScriptedModel([call("nope"), say("ok")]), observers=[watcher]).run("go")
    assert not any(isinstance(event, ToolStarted) for event in watcher.events)
    (finished,) = [event for event in watcher.events if isinstance(event, ToolFinished)]
    assert finished.result.kind == "unknown_tool"


async def test_progress_can_be_reported_from_tasks_and_threads() -> None:
    @tool(effect="pure")
    async def in_loop(context: ToolContext[Any]) -> str:
        """Report."""
        context.report("from the loop")
        return ""

    @tool(effect="pure")
    def in_thread(context: ToolContext[Any]) -> str:
        """Report."""
        context.report("from a thread")
        return ""

    watcher = Watcher()
    model = ScriptedModel([calls(("in_loop", {}), ("in_thread", {})), say("ok")])
    await Agent(model, tools=[in_loop, in_thread], observers=[watcher]).run("go")
    said = {e.text: e.call_id for e in watcher.events if isinstance(e, ToolProgress)}
    assert said == {"from the loop": "call_0", "from a thread": "call_1"}


async def test_usage_is_the_sum_of_what_each_step_says() -> None:
    watcher = Watcher()
    model = ScriptedModel([call("add", a=1, b=2), say("3")])
    result = await Agent(model, tools=[add], observers=[watcher]).run("go")
    steps = [event.usage for event in watcher.events if isinstance(event, StepFinished)]
    assert steps[0] + steps[1] == result.usage


async def test_a_resumed_run_can_be_cancelled_as_well() -> None:
    @tool(labels={"writes"})
    async def hang() -> str:
        """Waits for ever."""
        cancellation.cancel()
        await anyio.sleep_forever()
        return ""

    cancellation = Cancellation()
    agent = Agent(
        ScriptedModel([call("hang")]), tools=[hang], policy=Policy.ask("writes"), observers=()
    )
    paused = pause_of(await agent.run("x"))
    decisions = {approval.id: Approve() for approval in paused.waiting}
    result = await agent.resume(paused, decisions, cancellation=cancellation)
    assert result.stop_reason == "cancelled"
    assert "the run ended before this call did" in str(result.messages[-1].content)


def requests_of(events: Sequence[Event]) -> list[ModelRequest]:
    """The requests as the events tell them, after a way through JSON."""
    messages: list[Message] = []
    tools: tuple[ToolDefinition, ...] = ()
    found: list[ModelRequest] = []
    for event in (load_event(dump_event(event)) for event in events):
        if isinstance(event, RunStarted):
            messages, tools = list(event.messages), ()
        if isinstance(event, ModelCalled):
            messages[event.same :] = event.messages
            tools = tools if event.tools is None else event.tools
            request = ModelRequest(tuple(messages), tools, event.settings, event.tool_choice)
            found.append(request)
    return found


async def watched(agent: Agent[Any, Any], **options: Any) -> list[Event]:
    return [event async for event in agent.stream("go", **options)]


def called(events: Sequence[Event]) -> list[ModelCalled]:
    return [event for event in events if isinstance(event, ModelCalled)]


async def test_every_request_can_be_put_together_again_from_the_events() -> None:
    script = [calls(("add", {"a": n, "b": 1}), ("add", {"a": n, "b": 2})) for n in range(5)]
    model = ScriptedModel([*script, say("Done.")])
    agent = Agent(model, tools=[add], instructions="Add.", observers=())
    events = await watched(agent, settings=ModelSettings(seed=1))
    assert requests_of(events) == model.requests
    assert all(not history_problems(request.messages) for request in model.requests)


async def test_only_what_is_new_in_a_request_is_told() -> None:
    model = ScriptedModel([call("add", a=1, b=1), call("add", a=2, b=2), say("Done.")])
    events = called(await watched(Agent(model, tools=[add], observers=())))
    assert [(event.same, len(event.messages)) for event in events] == [(1, 0), (1, 2), (3, 2)]
    assert [event.tools is None for event in events] == [False, True, True]


async def test_a_second_try_and_a_forced_answer_are_told_too() -> None:
    model = ScriptedModel([cut(say("Cut")), say("Five."), call("final_answer", answer=5)])
    agent = Agent(model, output_type=int, observers=())
    events = await watched(agent)
    assert [event.step for event in called(events)] == [1, 1, 1]
    assert called(events)[2].tool_choice == ToolChoice("required", "final_answer", 1)
    assert requests_of(events) == model.requests


async def test_times_are_those_of_the_reply() -> None:
    class Whole(ScriptedModel):
        async def generate(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
            async for event in super().generate(request):
                if isinstance(event, ModelFinished):
                    yield event

    (event,) = called(await watched(Agent(Whole([say("Whole")]), observers=())))
    assert event.first_token is None
    (event,) = called(await watched(Agent(ScriptedModel([say("In pieces")]), observers=())))
    assert event.first_token is not None
    assert 0 <= event.first_token <= event.seconds


async def test_what_a_run_was_given_of_its_own_is_told() -> None:
    agent = Agent(ScriptedModel([say("Hi.")] * 2), settings=ModelSettings(top_k=1), observers=())
    first, *_ = await watched(agent, settings=ModelSettings(seed=3), limits=Limits(steps=4))
    assert isinstance(first, RunStarted)
    assert first.settings == ModelSettings(seed=3)
    assert first.limits is not None
    assert first.limits["steps"] == 4
    first, *_ = await watched(agent)
    assert isinstance(first, RunStarted)
    assert (first.settings, first.limits) == (None, None)
