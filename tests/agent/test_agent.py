from __future__ import annotations

import asyncio
import gc
import signal
import subprocess
import sys
import threading
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import anyio
import pytest

from agentkit import (
    Agent,
    AgentKitError,
    Event,
    Limits,
    ModelConnectionError,
    ModelSettings,
    RunContext,
    RunFinished,
    RunResult,
    RunStarted,
    TextDelta,
    ToolContext,
    ToolDefinitionError,
    ToolStarted,
    Usage,
    tool,
)
from agentkit.messages import (
    AssistantMessage,
    ModelRequest,
    SystemMessage,
    ToolCall,
    ToolMessage,
    UserMessage,
    text_of,
)
from agentkit.models import VLLMModel
from agentkit.testing import Reply, ScriptedModel, call, calls, say
from tests.servers import Exchange, asks, says, serving

colour = ContextVar("colour", default="none")


@tool(effect="pure")
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def echo(request: ModelRequest) -> Reply:
    """Says what the user said."""
    message = request.messages[-1]
    assert isinstance(message, UserMessage)
    return say(text_of(message.content))


def quiet(model: Any, **options: Any) -> Agent:
    return Agent(model, observers=(), **options)


# --- run ---------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_run_calls_tools_until_there_is_an_answer() -> None:
    model = ScriptedModel([call("add", a=1, b=2), say("It is 3.")])
    result = await quiet(model, tools=[add]).run("1 + 2?")
    assert result.output == "It is 3."
    assert result.stop_reason == "answer"
    assert result.steps == 2
    assert result.usage == Usage(20, 10)
    assert result.messages == (
        UserMessage("1 + 2?"),
        AssistantMessage(None, (ToolCall("call_0", "add", {"a": 1, "b": 2}),)),
        ToolMessage("call_0", "add", "3"),
        AssistantMessage("It is 3."),
    )


@pytest.mark.anyio
async def test_plain_functions_are_tools_too() -> None:
    def shout(text: str) -> str:
        """Shout."""
        return text.upper()

    model = ScriptedModel([call("shout", text="hi"), say("Done.")])
    result = await quiet(model, tools=[shout]).run("Shout hi")
    assert result.messages[2] == ToolMessage("call_0", "shout", "HI")


def test_two_tools_of_one_name_are_refused_when_the_agent_is_made() -> None:
    def other(a: int) -> int:
        """Another."""
        return a

    with pytest.raises(ToolDefinitionError, match="add"):
        quiet(ScriptedModel([]), tools=[add, tool(name="add")(other)])


@pytest.mark.anyio
async def test_observers_may_come_from_an_iterator() -> None:
    seen: list[Event] = []
    watch = iter([lambda _run_id, event: seen.append(event)])
    await Agent(ScriptedModel([say("Here.")]), observers=watch).run("Where?")
    assert isinstance(seen[-1], RunFinished)


@pytest.mark.anyio
async def test_history_is_continued_and_call_ids_go_on() -> None:
    model = ScriptedModel([call("add", a=1, b=2), say("3"), call("add", a=2, b=2), say("4")])
    agent = quiet(model, tools=[add], instructions="Be exact.")
    first = await agent.run("1 + 2?")
    second = await agent.run("2 + 2?", history=first.messages)
    assert second.messages[: len(first.messages)] == first.messages
    assert second.messages[-3] == AssistantMessage(
        None, (ToolCall("call_1", "add", {"a": 2, "b": 2}),)
    )
    assert [m.role for m in second.messages].count("system") == 1


@pytest.mark.anyio
async def test_a_runs_settings_stand_over_the_agents() -> None:
    model = ScriptedModel([say("Hi.")])
    agent = quiet(model, settings=ModelSettings(temperature=0.0, seed=1))
    await agent.run("hi", settings=ModelSettings(seed=2, max_tokens=9))
    assert model.requests[0].settings == ModelSettings(temperature=0.0, seed=2, max_tokens=9)


@pytest.mark.anyio
async def test_limits_of_a_run_stand_instead_of_the_agents() -> None:
    endless = [call("add", a=n, b=n) for n in range(5)]
    agent = quiet(ScriptedModel(endless), tools=[add], limits=Limits(steps=5))
    result = await agent.run("go", limits=Limits(steps=2))
    assert (result.stop_reason, result.steps) == ("steps", 2)


@pytest.mark.anyio
async def test_a_model_that_cannot_be_had_raises_and_the_error_holds_what_was_done() -> None:
    model = ScriptedModel([call("add", a=1, b=2), ModelConnectionError("gone")])
    with pytest.raises(ModelConnectionError) as caught:
        await quiet(model, tools=[add]).run("1 + 2?")
    result: RunResult[Any] = caught.value.result
    assert result.stop_reason == "error"
    assert result.explanation == "gone"
    assert result.messages[-1] == ToolMessage("call_0", "add", "3")


@pytest.mark.anyio
async def test_a_run_id_can_be_given_and_is_otherwise_new() -> None:
    agent = quiet(ScriptedModel([say("a")] * 3))
    assert (await agent.run("x", run_id="invoice-7")).run_id == "invoice-7"
    assert (await agent.run("x")).run_id != (await agent.run("x")).run_id


# --- instructions, deps, context ---------------------------------------------------------------


@dataclass(frozen=True)
class Deps:
    name: str


def by_name(context: RunContext[Deps]) -> str:
    return f"You serve {context.deps.name}."


async def by_name_later(context: RunContext[Deps]) -> str:
    await anyio.lowlevel.checkpoint()
    return f"You serve {context.deps.name}."


@pytest.mark.anyio
@pytest.mark.parametrize("instructions", ["You serve Ada.", by_name, by_name_later])
async def test_instructions_are_text_or_a_function_of_the_runs_context(instructions: Any) -> None:
    model = ScriptedModel([say("Hi.")])
    await quiet(model, instructions=instructions).run("hi", deps=Deps("Ada"))
    assert model.requests[0].messages == (SystemMessage("You serve Ada."), UserMessage("hi"))


@pytest.mark.anyio
async def test_instructions_are_evaluated_once_a_run() -> None:
    times: list[str] = []

    def instructions(context: RunContext[Any]) -> str:
        times.append(context.run_id)
        return f"Version {len(times)}."

    script = [call("add", a=1, b=1), call("add", a=2, b=2), say("Done."), say("Again.")]
    model = ScriptedModel(script)
    agent = quiet(model, tools=[add], instructions=instructions)
    first = await agent.run("go")
    assert {request.messages[0] for request in model.requests} == {SystemMessage("Version 1.")}
    second = await agent.run("on", history=first.messages)
    assert second.messages[0] == SystemMessage("Version 2.")
    assert times == [first.run_id, second.run_id]


@pytest.mark.anyio
async def test_without_instructions_there_is_no_system_message() -> None:
    result = await quiet(ScriptedModel([say("Hi.")])).run("hi")
    assert [m.role for m in result.messages] == ["user", "assistant"]


@pytest.mark.anyio
async def test_deps_and_the_runs_context_reach_tools() -> None:
    seen: list[ToolContext[Deps]] = []

    @tool(effect="pure")
    async def who(context: ToolContext[Deps]) -> str:
        """Who is served."""
        seen.append(context)
        return context.deps.name

    model = ScriptedModel([call("who"), say("Ada.")])
    result = await quiet(model, tools=[who]).run("who?", deps=Deps("Ada"))
    assert result.messages[2] == ToolMessage("call_0", "who", "Ada")
    assert (seen[0].run_id, seen[0].step, seen[0].call.id) == (result.run_id, 1, "call_0")


@pytest.mark.anyio
async def test_context_variables_reach_tools_also_in_threads() -> None:
    threads: list[int] = []

    @tool(effect="pure")
    def in_thread() -> str:
        """Look."""
        threads.append(threading.get_ident())
        return colour.get()

    @tool(effect="pure")
    async def in_loop() -> str:
        """Look."""
        return colour.get()

    colour.set("blue")
    model = ScriptedModel([calls(("in_thread", {}), ("in_loop", {})), say("Done.")])
    result = await quiet(model, tools=[in_thread, in_loop]).run("look")
    assert [text_of(m.content) for m in result.messages[2:4]] == ["blue", "blue"]
    assert threads != [threading.get_ident()]


# --- stream ------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_stream_is_the_same_run_as_its_events() -> None:
    script = [call("add", a=1, b=2), say("It is 3.")]
    ran = await quiet(ScriptedModel(script), tools=[add]).run("1 + 2?", run_id="r")
    agent = quiet(ScriptedModel(script), tools=[add])
    async with aclosing(agent.stream("1 + 2?", run_id="r")) as stream:
        events: list[Event] = [event async for event in stream]
    assert isinstance(events[0], RunStarted)
    assert isinstance(events[-1], RunFinished)
    assert events[-1].result == ran
    assert "".join(e.text for e in events if isinstance(e, TextDelta)) == "It is 3."
    assert [e.step for e in events if isinstance(e, TextDelta)] == [2, 2, 2]


@pytest.mark.anyio
async def test_a_stream_raises_what_the_run_raises_after_its_last_event() -> None:
    agent = quiet(ScriptedModel([ModelConnectionError("gone")]))
    async with aclosing(agent.stream("hi")) as stream:
        while not isinstance(event := await anext(stream), RunFinished):
            pass
        assert event.result.stop_reason == "error"
        with pytest.raises(ModelConnectionError, match="gone"):
            await anext(stream)


@pytest.mark.anyio
async def test_leaving_a_stream_ends_the_run_before_the_next_line() -> None:
    ended: list[str] = []

    @tool(effect="pure")
    async def wait() -> str:
        """Wait."""
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("tool")
        return ""

    finished: list[RunResult[Any]] = []

    def watch(_run_id: str, event: Event) -> None:
        if isinstance(event, RunFinished):
            finished.append(event.result)

    agent = Agent(ScriptedModel([call("wait")]), tools=[wait], observers=[watch])
    async with aclosing(agent.stream("go")) as stream:
        async for event in stream:
            if isinstance(event, ToolStarted):
                break
    assert ended == ["tool"]
    assert finished[0].stop_reason == "cancelled"
    assert [m.role for m in finished[0].messages] == ["user", "assistant", "tool"]


def test_a_stream_that_is_just_dropped_ends_its_run_too() -> None:
    ended = threading.Event()

    @tool(effect="pure")
    async def wait() -> str:
        """Wait."""
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()
        return ""

    async def main() -> None:
        async for event in quiet(ScriptedModel([call("wait")]), tools=[wait]).stream("go"):
            if isinstance(event, ToolStarted):
                break
        gc.collect()
        while not ended.is_set():
            await anyio.lowlevel.checkpoint()

    anyio.run(main)


@pytest.mark.anyio
async def test_a_slow_reader_of_a_stream_misses_nothing() -> None:
    script = [*(call("add", a=n, b=n) for n in range(20)), say("Done.")]
    agent = quiet(ScriptedModel(script), tools=[add])
    kinds: list[str] = []
    async with aclosing(agent.stream("go")) as stream:
        async for event in stream:
            for _ in range(3):
                await anyio.lowlevel.checkpoint()
            kinds.append(type(event).__name__)
    assert kinds.count("ToolFinished") == 20
    assert kinds[-1] == "RunFinished"


# --- run_sync ----------------------------------------------------------------------------------


def test_run_sync_is_run_for_code_that_is_not_async() -> None:
    assert quiet(ScriptedModel([say("Hi.")])).run_sync("hi").output == "Hi."


@pytest.mark.anyio
async def test_run_sync_works_inside_a_running_loop() -> None:
    @tool(effect="pure")
    def look() -> str:
        """Look."""
        return colour.get()

    colour.set("green")
    agent = quiet(ScriptedModel([call("look"), say("Hi.")]), tools=[look])
    result = agent.run_sync("hi")
    assert result.output == "Hi."
    assert result.messages[2] == ToolMessage("call_0", "look", "green")


def test_run_sync_works_where_a_loop_runs_and_no_task_does_as_at_an_asynchronous_prompt() -> None:
    async def prompt() -> str:
        ran: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        agent = quiet(ScriptedModel([say("Hi.")]))
        asyncio.get_running_loop().call_soon(lambda: ran.set_result(agent.run_sync("hi").output))
        return await asyncio.wait_for(ran, 30)

    assert asyncio.run(prompt()) == "Hi."


@pytest.mark.anyio
async def test_run_sync_works_in_a_tool_of_another_agent() -> None:
    inner = quiet(ScriptedModel([say("inner")]))

    @tool(effect="pure")
    def delegate() -> str:
        """Ask the other one."""
        return inner.run_sync("hi").output

    outer = quiet(ScriptedModel([call("delegate"), say("outer")]), tools=[delegate])
    result = await outer.run("go")
    assert result.messages[2] == ToolMessage("call_0", "delegate", "inner")


@pytest.mark.anyio
async def test_run_sync_inside_a_loop_raises_what_the_run_raises() -> None:
    agent = quiet(ScriptedModel([ModelConnectionError("gone")]))
    with pytest.raises(ModelConnectionError, match="gone"):
        agent.run_sync("hi")


def test_two_threads_share_one_agent_over_a_real_server() -> None:
    with serving(says("Hi.")) as server:
        agent = quiet(VLLMModel(server.url), tools=[add])
        together = threading.Barrier(2)
        outputs: list[str] = []

        def work() -> None:
            for _ in range(5):
                together.wait(10)
                outputs.append(agent.run_sync("hi").output)

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert outputs == ["Hi."] * 10


_NOTEBOOK = """
import asyncio, sys, anyio
from agentkit import Agent, tool
from agentkit.testing import ScriptedModel, call

@tool(effect="pure")
async def wait() -> str:
    "Wait."
    try:
        print("waiting", flush=True)
        await anyio.sleep_forever()
    finally:
        print("cancelled", flush=True)
    return ""

async def cell() -> None:
    agent = Agent(ScriptedModel([call("wait")]), tools=[wait], observers=())
    try:
        agent.run_sync("go")
    except KeyboardInterrupt:
        print("interrupted", flush=True)

asyncio.new_event_loop().run_until_complete(cell())
"""


@pytest.mark.slow
def test_an_interrupt_in_a_notebook_cancels_the_run_that_run_sync_waits_for() -> None:
    with subprocess.Popen([sys.executable, "-c", _NOTEBOOK], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"waiting\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == b"cancelled\ninterrupted\n"
    assert process.returncode == 0


# --- run_many ----------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_fifty_runs_at_once_give_their_results_in_the_order_of_the_inputs() -> None:
    inputs = [f"question {n}" for n in range(50)]
    results = await quiet(ScriptedModel([echo] * 50)).run_many(inputs, concurrency=50)
    assert [result.output for result in results] == inputs
    assert len({result.run_id for result in results}) == 50


@pytest.mark.anyio
async def test_no_more_runs_are_at_work_than_asked_for() -> None:
    at_work: set[int] = set()
    most: list[int] = []

    @tool(effect="once")
    async def work(n: int) -> int:
        """Work."""
        at_work.add(n)
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        most.append(len(at_work))
        at_work.remove(n)
        return n

    def reply(request: ModelRequest) -> Reply:
        last = request.messages[-1]
        if isinstance(last, UserMessage):
            return call("work", n=int(text_of(last.content)))
        return say("Done.")

    agent = quiet(ScriptedModel([reply] * 24), tools=[work])
    results = await agent.run_many([str(n) for n in range(12)], concurrency=3)
    assert [result.output for result in results] == ["Done."] * 12
    assert max(most) == 3


@pytest.mark.anyio
async def test_no_concurrency_is_an_error_and_no_endless_wait() -> None:
    with pytest.raises(ValueError, match="concurrency is 0"):
        await quiet(ScriptedModel([])).run_many(["a"], concurrency=0)


@pytest.mark.anyio
async def test_a_run_that_fails_does_not_end_the_others_and_keeps_its_place() -> None:
    def reply(request: ModelRequest) -> Reply:
        if request.messages[-1] == UserMessage("b"):
            raise ModelConnectionError("gone")
        return echo(request)

    results = await quiet(ScriptedModel([reply] * 3)).run_many(["a", "b", "c"], concurrency=1)
    assert [r.stop_reason for r in results] == ["answer", "error", "answer"]
    assert [r.output for r in results] == ["a", "", "c"]
    assert results[1].explanation == "gone"


@pytest.mark.anyio
async def test_a_run_that_fails_before_it_began_keeps_its_place_too() -> None:
    asked: list[str] = []

    def instructions(context: RunContext[Any]) -> str:
        asked.append(context.run_id)
        if len(asked) == 2:
            raise AgentKitError("no instructions today")
        return "Be brief."

    agent = quiet(ScriptedModel([echo] * 3), instructions=instructions)
    results = await agent.run_many(["a", "b", "c"], concurrency=1)
    (failed,) = [r for r in results if r.stop_reason == "error"]  # which one trio draws by lot
    assert failed.explanation == "no instructions today"
    for said, result in zip(["a", "b", "c"], results, strict=True):
        assert result.output == ("" if result is failed else said)


def adds(exchange: Exchange) -> None:
    """By what was said, not by whose turn it is: a request that is made again gets the same."""
    added = any(message["role"] == "tool" for message in exchange.request.body["messages"])
    (says("It is 3.") if added else asks("add", a=1, b=2))(exchange)


@pytest.mark.slow
@pytest.mark.anyio
async def test_fifty_concurrent_runs_over_a_real_server() -> None:
    with serving(adds) as server:
        model = VLLMModel(server.url)
        agent = quiet(model, tools=[add])
        results = await agent.run_many(["1 + 2?"] * 50, concurrency=50)
        await agent.aclose()
    assert [result.steps for result in results] == [2] * 50
    assert {result.output for result in results} == {"It is 3."}


def test_a_run_is_streamed_while_another_thread_imports_trio(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "trio", ModuleType("trio"))  # as it is halfway through

    async def main() -> list[Event]:
        return [event async for event in quiet(ScriptedModel([say("Hi.")])).stream("hi")]

    assert isinstance(asyncio.run(main())[-1], RunFinished)


def test_an_agent_is_used_from_one_event_loop_after_another() -> None:
    with serving(says("Hi.")) as server:
        agent = quiet(VLLMModel(server.url))

        async def main() -> str:
            try:
                return (await agent.run("hi")).output
            finally:
                await agent.aclose()

        assert anyio.run(main, backend="asyncio") == "Hi."
        assert anyio.run(main, backend="trio") == "Hi."
        assert asyncio.run(main()) == "Hi."
        assert agent.run_sync("hi").output == "Hi."
