"""Plays scenarios with a real agent against a real (faulty) server, and compares the endings.

In: scenarios. Out: an `Outcome` for each, with everything that differs from the table, and all that
is wrong with the history or a request, however bad the day was. The latter checks know the rules of
the chat template and of vLLM, not the loop.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import coroutine
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from agentkit.agent import Agent
from agentkit.errors import AgentKitError
from agentkit.events import Event, RunFinished, RunResult, StepRestarted, TextDelta
from agentkit.gemma4.tokens import CONTROL_LITERALS
from agentkit.gemma4.wrong_forms import is_blank, wrong_form
from agentkit.messages import JsonObject, Message, StopReason
from agentkit.models import VLLMModel
from agentkit.policy import Deny
from agentkit.testing.faults import FaultServer
from agentkit.testing.scenarios.scenario import Scenario, World, clerk
from agentkit.wording import pluralize

_GRACE = 5.0
"""Seconds that a busy machine may take to notice that a timeout is over or a client is gone."""

_BIGGEST_REQUEST = 1_000_000
"""Bytes. A window of 256K tokens takes no larger prompt."""

T = TypeVar("T")


@dataclass(slots=True)
class Outcome:
    """The outcome of a scenario.

    Attributes:
        scenario: The scenario.
        stop: The run's stop reason.
        output: The run's output.
        error: Name of the exception that `Agent.run` raised.
        explanation: The run's sentence for people.
        ran: Executions of tools.
        requests: Chat-completions requests that the server got.
        seconds: Wall time.
        problems: What differs from the table, and what else is wrong; empty if all is well.
    """

    scenario: Scenario
    stop: StopReason | None = None
    output: Any = None
    error: str = ""
    explanation: str = ""
    ran: tuple[str, ...] = ()
    requests: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    @property
    def ending(self) -> str:
        """The ending in one word."""
        return self.error or str(self.stop)


async def play_all(
    scenarios: Iterable[Scenario],
    *,
    stream: bool,
    concurrency: int = 8,
    done: Callable[[Outcome], object] = lambda _outcome: None,
) -> list[Outcome]:
    """Plays scenarios concurrently; returns the outcomes in the order of the scenarios.

    Args:
        scenarios: What to play.
        stream: Whether replies are streamed.
        concurrency: Most scenarios at a time.
        done: Called with each outcome as it is known.
    """
    todo = list(scenarios)
    outcomes: dict[str, Outcome] = {}
    limiter = anyio.CapacityLimiter(concurrency)

    async def one(scenario: Scenario) -> None:
        async with limiter:
            outcomes[scenario.name] = await play(scenario, stream=stream)
        done(outcomes[scenario.name])

    async with anyio.create_task_group() as group:
        for scenario in todo:
            group.start_soon(one, scenario)
    return [outcomes[scenario.name] for scenario in todo]


async def play(scenario: Scenario, *, stream: bool, grace: float = _GRACE) -> Outcome:
    """Plays one scenario.

    Args:
        scenario: What to play.
        stream: Whether replies are streamed.
        grace: Seconds over its deadline that a run may take.
    """
    if scenario.cancel != "await":
        return await _Stage(scenario, stream, grace).play()
    outcome = Outcome(scenario)
    for number in range(1, 10_000):
        latest = await _Stage(scenario, stream, grace, cancel_await=number).play()
        if latest.stop == "answer":  # it ended before that await
            break
        outcome = replace(latest, problems=[*outcome.problems, *latest.problems])
    return outcome


class _Stage:
    """One run of a scenario."""

    def __init__(
        self, scenario: Scenario, stream: bool, grace: float, cancel_await: int = 0
    ) -> None:
        self.scenario = scenario
        self.stream = stream
        self.grace = grace
        self.cancel_await = cancel_await
        self.timeouts = scenario.clocks(stream=stream)
        self.world = World()
        self.scope = anyio.CancelScope()
        self.outcome = Outcome(scenario)
        self.result: RunResult[Any] | None = None
        self.shown: list[str] = []

    async def play(self) -> Outcome:
        scenario, outcome = self.scenario, self.outcome
        server = FaultServer(scenario.script, then=scenario.afterwards, first=scenario.first)
        server.takes_grammar = scenario.grammar
        async with (
            server,
            VLLMModel(server.url, stream=self.stream, timeouts=self.timeouts) as model,
        ):
            started = anyio.current_time()
            with self.scope:
                await self._run(model)
            outcome.seconds = anyio.current_time() - started
            outcome.ran = tuple(self.world.ran)
            outcome.requests = len(server.requests)
            if self.result is not None:
                outcome.stop = self.result.stop_reason
                outcome.output = self.result.said
                outcome.explanation = self.result.explanation
            outcome.problems = [*self._surprises(), *await self._damage(server, model)]
        return outcome

    async def _run(self, model: VLLMModel) -> None:
        scenario = self.scenario
        agent = Agent(
            model,
            tools=self.world.tools(scenario.tools),
            limits=scenario.limits,
            approve=(lambda _approval: Deny("not today")) if scenario.denied else None,
            observers=[self._watch],
        )
        running = self._drain(agent) if self.stream else agent.run(scenario.task.question)
        try:
            if self.cancel_await:
                await cancelled_at(running, self.cancel_await, self.scope.cancel)
            else:
                await running
        except AgentKitError as error:
            self.outcome.error = type(error).__name__
            if error.result is None:
                self.outcome.problems.append(f"{self.outcome.error} carries no partial result")

    async def _drain(self, agent: Agent) -> None:
        events = agent.stream(self.scenario.task.question)
        try:
            async for _ in events:
                pass
        finally:
            await events.aclose()

    def _watch(self, _run_id: str, event: Event) -> None:
        if isinstance(event, StepRestarted):
            self.shown.clear()
        elif isinstance(event, TextDelta):
            self.shown.append(event.text)
        elif isinstance(event, RunFinished):
            self.result = event.result
        if type(event).__name__ == self.scenario.cancel:
            self.scope.cancel()

    # --- what is wrong ---------------------------------------------------------------------------

    def _surprises(self) -> list[str]:
        """What differs from the table."""
        scenario, outcome = self.scenario, self.outcome
        expected = scenario.ends(stream=self.stream)
        problems = list(outcome.problems)
        if (outcome.stop, outcome.error) != (expected.stop, expected.error):
            problems.append(f"ended with {outcome.ending}, not {expected}")
        text = scenario.task.answer if expected.text == "" else expected.text
        if text is not None and outcome.output != text:
            problems.append(f"answered {str(outcome.output)[:80]!r}, not {text!r}")
        if scenario.ran is not None and outcome.ran != scenario.ran:
            problems.append(f"ran {_short(outcome.ran)}, not {_short(scenario.ran)}")
        if outcome.requests > scenario.calls:
            problems.append(f"{outcome.requests} model calls, more than {scenario.calls}")
        if outcome.seconds > self.timeouts.total + self.grace:
            problems.append(f"took {outcome.seconds:.1f} s, longer than its deadline")
        return problems

    async def _damage(self, server: FaultServer, model: VLLMModel) -> list[str]:
        """What is wrong, whatever the expected ending."""
        problems = [p for body in server.requests for p in request_problems(body)]
        sizes = (len(str(body)) for body in server.requests)
        problems += [f"a request of {n:,} bytes" for n in sizes if n > _BIGGEST_REQUEST]
        if self.result is None:
            return [*problems, "no RunFinished"]
        problems += history_problems(self.result.messages)
        output = str(self.result.said)
        names = [tool.name for tool in World().tools(self.scenario.tools)]
        if self.result.stop_reason == "answer" and (is_blank(output) or wrong_form(output, names)):
            problems.append("the answer is none: it is blank, or a call in a wrong form")
        if not await anyio.to_thread.run_sync(server.wait_idle, _GRACE):
            problems.append(f"the server still works on {pluralize(server.running, 'request')}")
        if self.result.stop_reason == "cancelled":
            problems += await self._go_on(server, model, self.result.messages)
        return problems

    async def _go_on(
        self, server: FaultServer, model: VLLMModel, history: tuple[Message, ...]
    ) -> list[str]:
        """What is wrong after a cancellation: the conversation can be continued, the tools know."""
        task = self.scenario.task
        server.behave(clerk(task))
        agent = Agent(model, tools=World().tools(self.scenario.tools), observers=())
        result = await agent.run(f"Once more: {task.question}", history=history)
        problems = [] if result.said == task.answer else ["cannot be continued"]
        if self.world.ran.count("waits()") != self.world.told.count("waits"):
            problems.append("a cancelled tool was not told")
        return problems


def _short(ran: tuple[str, ...]) -> str:
    return ", ".join(entry if len(entry) < 60 else f"{entry[:57]}..." for entry in ran) or "nothing"


# --- cancelling at the n-th await ----------------------------------------------------------------


@coroutine
def cancelled_at(
    running: Coroutine[Any, Any, T], number: int, cancel: Callable[[], object]
) -> Generator[Any, Any, T]:
    """Awaits a coroutine, and calls `cancel` at its n-th suspension.

    Every suspension is passed on to the event loop, whichever that is.
    """
    answer: Any = None
    error: BaseException | None = None
    while True:
        try:
            wanted = running.send(answer) if error is None else running.throw(error)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # the coroutine's own type
        number -= 1
        if number == 0:
            cancel()
        answer, error = None, None
        try:
            answer = yield wanted
        except BaseException as thrown:  # noqa: BLE001 - handed into the coroutine
            error = thrown


# --- what must hold however bad the day was ------------------------------------------------------


def history_problems(messages: Sequence[Message]) -> list[str]:
    """What breaks these rules: each call has a result, in order; ids are unique; no text is beside
    calls.
    """
    problems: list[str] = []
    open_ids: list[str] = []
    seen: set[str] = set()
    for position, message in enumerate(messages):
        if message.role == "tool":
            if not open_ids or open_ids.pop(0) != message.call_id:
                problems.append(
                    f"message {position}: the result of {message.call_id!r} is out of place"
                )
            continue
        if open_ids:
            problems.append(f"message {position}: the calls {open_ids} have no results")
            open_ids = []
        if message.role == "assistant" and message.tool_calls:
            open_ids = [call.id for call in message.tool_calls]
            if message.content is not None:
                problems.append(f"message {position}: text beside calls")
            for call_id in open_ids:
                if call_id in seen:
                    problems.append(f"message {position}: the id {call_id!r} is used twice")
                seen.add(call_id)
    if open_ids:
        problems.append(f"the calls {open_ids} have no results")
    return problems


def request_problems(body: JsonObject) -> list[str]:
    """What the template or the server could not handle, or would handle badly."""
    return list(_request(body))


def _request(body: JsonObject) -> Iterator[str]:
    if body.get("tools") and body.get("response_format"):
        yield "tools beside response_format: the model could not call a tool"
    if sum(m["role"] == "user" for m in body["messages"]) != 1:
        yield "a user message in the middle of the loop: it voids the prefix cache and reasoning"
    waiting: list[str] = []
    for message in body["messages"]:
        if message["role"] == "tool":
            if not waiting or waiting.pop(0) != message["tool_call_id"]:
                yield f"the result of {message['tool_call_id']!r} is out of place"
        elif waiting:
            yield f"no result for {waiting}"
        for call in message.get("tool_calls") or ():
            waiting.append(call["id"])
            yield from _call_problems(message, call)
        content = str(message.get("content"))
        if message["role"] != "system" and any(each in content for each in CONTROL_LITERALS):
            yield f"control tokens in the content of a {message['role']} message"
    if waiting:
        yield f"no result for {waiting}"


def _call_problems(message: JsonObject, call: JsonObject) -> Iterator[str]:
    if message["content"] is not None:
        yield "text beside calls"
    try:
        arguments = json.loads(call["function"]["arguments"], parse_constant=_refuse)
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        yield f"the arguments of {call['id']!r} are no JSON object"


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
