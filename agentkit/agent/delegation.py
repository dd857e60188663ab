"""An agent that works for others: for each input of a batch, or as a tool of another agent.

In: a function that begins a run of the agent, or continues it if it is recorded. Out: the results,
in the order of the inputs, or a tool that takes one task or several. Nothing here looks into a run.
"""

from __future__ import annotations

import functools
import inspect
import json
import types
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Generic, TypeAlias, TypedDict, TypeVar

import anyio
from pydantic import Field
from pydantic_core import to_jsonable_python

from agentkit.agent.options import Cancellation, RunOptions, check_input
from agentkit.agent.run import current_call
from agentkit.errors import (
    AgentKitError,
    ToolDefinitionError,
    ToolError,
    first_error,
    refuse_async,
    wrong_value,
)
from agentkit.events import OutputT, RunResult
from agentkit.messages import (
    AssistantMessage,
    Content,
    JsonObject,
    Message,
    ToolMessage,
    text_of,
)
from agentkit.policy import Limits
from agentkit.schema.feedback import Problem
from agentkit.toolset import (
    ApprovalRule,
    Arguments,
    Effect,
    Label,
    Tool,
    ToolContext,
    ToolOptions,
    ToolOutput,
    make_tool,
)
from agentkit.toolset.options import problem_with_name

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BatchProgress(Generic[OutputT]):
    """One run of a batch has ended.

    Attributes:
        position: The place of its input, from 0.
        result: Its result.
        done: Runs that have ended by now.
        total: Inputs of the batch.
    """

    position: int
    result: RunResult[OutputT]
    done: int
    total: int


async def run_all(
    start: Callable[[Content, RunOptions[Any]], Awaitable[RunResult[OutputT]]],
    inputs: Iterable[Content],
    options: RunOptions[Any],
    concurrency: int,
    deps_each: Iterable[Any] | None = None,
    on_progress: Callable[[BatchProgress[OutputT]], object] | None = None,
) -> list[RunResult[OutputT]]:
    """Starts a run for each input; results in the order of the inputs.

    A run whose model fails does not end the others: its result says `error` and why.

    Args:
        start: A function that begins a run, or continues it if it is recorded.
        inputs: What the user says, for each run.
        options: The options of every run; a `run_id` names the batch, and each run's name is that
            with its place.
        concurrency: Most runs at work.
        deps_each: The deps of each run.
        on_progress: Called as each run ends.

    Raises:
        ValueError: `concurrency` is below 1, there are not as many deps as inputs, an input holds
            what no model takes, or a journal comes without a `run_id` or the other way round.
    """
    if concurrency < 1:
        raise ValueError(f"concurrency is {concurrency}; nothing would ever run below 1")
    refuse_async("on_progress", on_progress)
    todo = _tasks(inputs, options, deps_each)
    cancellation = options.get("cancellation") or Cancellation()
    results: dict[int, RunResult[OutputT]] = {}

    async def one(content: Content, own: RunOptions[Any]) -> RunResult[OutputT]:
        run_id = own.get("run_id") or ""
        if cancellation.cancelled:
            why = "the batch was cancelled before this run began"
            return RunResult("", "cancelled", (), run_id=run_id, explanation=why)
        try:
            return await start(content, own)
        except AgentKitError as error:
            # An error from before the run began, as from the instructions, has no result.
            return error.result or RunResult("", "error", (), run_id=run_id, explanation=str(error))

    async def work(position: int, task: tuple[Content, RunOptions[Any]]) -> None:
        result = results[position] = await one(*task)
        if on_progress is not None:
            on_progress(BatchProgress(position, result, len(results), len(todo)))

    try:
        await at_once(concurrency, todo, work)
    except BaseExceptionGroup as errors:
        raise first_error(errors) from None
    return [results[position] for position in sorted(results)]


def _tasks(
    inputs: Iterable[Content], options: RunOptions[Any], deps_each: Iterable[Any] | None
) -> list[tuple[Content, RunOptions[Any]]]:
    """Each input with the options of its run."""
    batch = options.get("run_id")
    if (options.get("journal") is None) != (batch is None):
        raise ValueError("give journal= and batch= together: a batch is found by its name")
    if isinstance(inputs, str):
        raise TypeError("inputs is one text; give a list of them, or use run")
    unchecked: dict[str, object] = {"inputs": inputs, "deps_each": deps_each}
    for name, each in unchecked.items():
        if each is not None and not isinstance(each, Iterable):
            raise wrong_value(name, each, "give a list, with one for each run")
    todo = list(inputs)
    for content in todo:
        check_input(content)
    deps = [options.get("deps")] * len(todo) if deps_each is None else list(deps_each)
    if len(deps) != len(todo):
        raise ValueError(
            f"deps_each has {len(deps)} values for {len(todo)} inputs; give one for each"
        )
    return [
        (content, {**options, "deps": own, "run_id": batch and f"{batch}-{position:06}"})
        for position, (content, own) in enumerate(zip(todo, deps, strict=True))
    ]


async def at_once(
    most: int, items: Sequence[T], work: Callable[[int, T], Awaitable[object]]
) -> None:
    """Calls `work` with the position of each item and the item, at most so many at a time."""
    waiting = iter(enumerate(items))

    async def worker() -> None:
        for position, item in waiting:
            await work(position, item)

    async with anyio.create_task_group() as group:
        for _ in range(min(most, len(items))):
            group.start_soon(worker)


# --- as a tool -----------------------------------------------------------------------------------

Start: TypeAlias = Callable[[Content, RunOptions[Any]], Awaitable[RunResult[Any]]]
"""A function that begins a run of the agent, or continues it if it is recorded."""

InputType: TypeAlias = Any
"""The type of a task: a type whose values reach the agent as JSON (text as it is), or a function
whose parameters become the tool's and which returns the agent's input."""

_MOST_TASKS = 16


class _Callers:
    def __repr__(self) -> str:
        return "those of the calling run"


CALLERS: Final = _Callers()
"""The deps of the run that makes the call."""


class DelegateOptions(TypedDict, total=False):
    """The options of an agent that serves as a tool; see `Agent.as_tool`."""

    limits: Limits | None
    effect: Effect
    approval: ApprovalRule
    deps: Any
    input_type: InputType


@dataclass(frozen=True, slots=True)
class Delegate:
    """How an agent serves as a tool.

    Attributes:
        start: A function that begins its run.
        name: The tool's name.
        description: When to use it.
        options: What the tool declares. Its labels are those of what an answer may hold; everything
            else that the agent does is decided call by call.
        limits: The limits of each of its runs, instead of its own.
        deps: The `deps` of its runs: a value, or a function of the calling run's `deps`.
        input_type: The type of a task.
    """

    start: Start
    name: str
    description: str
    options: ToolOptions
    limits: Limits | None
    deps: Any
    input_type: InputType

    @staticmethod
    def of(
        start: Start, name: str, description: str, reads: frozenset[Label], given: DelegateOptions
    ) -> Delegate:
        """The delegate for an agent whose tools read what has these labels."""
        if problem := problem_with_name(name):
            raise ToolDefinitionError(f"an agent as a tool: {problem}")
        refuse_async("deps", deps := given.get("deps", CALLERS))
        effect, approval = given.get("effect", "once"), given.get("approval", "policy")
        return Delegate(
            start,
            name,
            description,
            ToolOptions(labels=reads, effect=effect, approval=approval),
            given.get("limits"),
            deps,
            given.get("input_type", str),
        )

    def run_options(
        self, context: ToolContext[Any], cancellation: Cancellation, suffix: str = ""
    ) -> RunOptions[Any]:
        """The options of a run that serves this call."""
        deps = self.deps
        if deps is CALLERS:
            deps = context.deps
        elif isinstance(deps, types.FunctionType | types.MethodType | functools.partial):
            deps = deps(context.deps)
        key = context.idempotency_key[:8]
        call = current_call.get()
        return RunOptions(
            deps=deps,
            limits=self.limits,
            run_id=f"{context.run_id}.{self.name}-{key}{suffix}",
            cancellation=cancellation,
            journal=call.run.wiring.options.get("journal") if call is not None else None,
        )


def delegate(how: Delegate) -> Tool[..., Any]:
    """A tool that gives one task to an agent and returns its answer.

    Raises:
        ToolDefinitionError: The type of the input cannot be a tool's.
    """

    async def serve(context: ToolContext[Any], task: Content) -> Any:
        with _cancelled_with_call(context) as cancellation:
            result = await how.start(task, how.run_options(context, cancellation))
        if result.stop_reason == "answer":
            return _answer(result)
        raise ToolError(_unfinished(how.name, result))

    if not _is_function(how.input_type):

        async def one(context: ToolContext[Any], task: Any) -> Any:
            return await serve(context, _as_text(task))

        one.__annotations__["task"] = how.input_type
        one.__doc__ = f"{how.description}\n\nArgs:\n    task: What to do, in full.\n"
        return _made(how, one)
    return _of_function(how, how.input_type, serve)


def _of_function(
    how: Delegate, make_task: Callable[..., Any], serve: Callable[..., Awaitable[Any]]
) -> Tool[..., Any]:
    """A tool with the parameters of a function that makes the agent's task of them."""

    async def _one(_context: ToolContext[Any], /, *args: Any, **kwargs: Any) -> Any:
        task = make_task(*args, **kwargs)
        return await serve(_context, await task if inspect.isawaitable(task) else task)

    inner = make_tool(make_task, name=how.name, description=how.description, options=how.options)
    return replace(inner, function=_one, signature=_WithContext(inner.signature))


@dataclass(frozen=True, slots=True)
class _WithContext:
    """The arguments of a function, with the context as the first of them."""

    inner: Arguments

    def check(self, arguments: JsonObject) -> dict[str, Any] | list[Problem]:
        return self.inner.check(arguments)

    def call_arguments(
        self, values: Mapping[str, Any], injected: object
    ) -> tuple[list[Any], dict[str, Any]]:
        positional, keyword = self.inner.call_arguments(values, injected)
        return [injected, *positional], keyword


def fan_out(how: Delegate, most: int) -> Tool[..., Any]:
    """A tool that gives each of several tasks to a run of its own and joins the answers.

    Raises:
        ValueError: `most`, the tasks at work at the same time, is below 1.
        ToolDefinitionError: The type of the input cannot be a tool's.
    """
    if most < 1:
        raise ValueError(f"at_once is {most}; nothing would ever run below 1")
    if _is_function(how.input_type):
        raise ToolDefinitionError(
            f"{how.name}: a fan-out takes a list of tasks, so its input_type is a type; "
            "give a model or a dataclass"
        )

    async def several(context: ToolContext[Any], tasks: list[Any]) -> Any:
        answers: list[Any] = [""] * len(tasks)
        with _cancelled_with_call(context) as cancellation:

            async def work(position: int, task: Any) -> None:
                options = how.run_options(context, cancellation, f"-{position}")
                answers[position] = await answer(_as_text(task), options)

            await at_once(most, tasks, work)
        sections = zip(tasks, answers, strict=True)
        text = "\n\n".join(
            f"## {number}. {_as_text(task)}\n{_as_text(each)}"
            for number, (task, each) in enumerate(sections, 1)
        )
        return ToolOutput(text, data=[to_jsonable_python(each, fallback=str) for each in answers])

    async def answer(task: str, options: RunOptions[Any]) -> Any:
        """One task's answer. If it fails, the others go on."""
        try:
            result = await how.start(task, options)
        except AgentKitError as error:
            return f"Error: {error}"
        if result.stop_reason == "answer":
            return result.output
        return f"Error: {_unfinished('', result)}"

    several.__annotations__["tasks"] = Annotated[
        list[how.input_type], Field(min_length=1, max_length=_MOST_TASKS)  # type: ignore[name-defined] # a type that is known now only
    ]
    several.__doc__ = f"{how.description}\n\nArgs:\n    tasks: What to do, each task in full.\n"
    return _made(how, several)


@contextmanager
def _cancelled_with_call(context: ToolContext[Any]) -> Generator[Cancellation]:
    """A cancellation for the runs that serve a call: when the call is cancelled they end, with what
    they have done by then.
    """
    cancellation = Cancellation()
    call = current_call.get()
    if call is None:
        yield cancellation
        return
    with call.run.cancellation.at_work(context.call.id, cancellation):
        yield cancellation


def _made(how: Delegate, function: Callable[..., Any]) -> Tool[..., Any]:
    return make_tool(function, name=how.name, description=how.description, options=how.options)


def _is_function(input_type: InputType) -> bool:
    return isinstance(input_type, types.FunctionType | types.MethodType | functools.partial)


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(to_jsonable_python(value, fallback=str), ensure_ascii=False)


def _answer(result: RunResult[Any]) -> Any:
    if isinstance(result.output, str):
        return result.output
    return ToolOutput(result.output, data=result.output)


# --- a run without an answer ---------------------------------------------------------------------

_MOST_PARTIAL = 4_000
"""Characters that the caller reads of a run without an answer."""
_MOST_OF_ONE = 400  # characters of one result in it


def _unfinished(name: str, result: RunResult[Any]) -> str:
    """Why a run has no answer, and what it had done by then."""
    head = f"{name} stopped without an answer: {result.explanation}".strip()
    done = [*_calls(result.messages)]
    if isinstance(result.said, str) and result.said.strip():
        done.append(f"it was saying: {_cut(result.said.strip(), _MOST_OF_ONE)}")
    if not done:
        return f"{head} (run {result.run_id})"
    kept: list[str] = []
    for line in reversed(done):  # the newest matter most
        if sum(map(len, kept)) + len(line) > _MOST_PARTIAL:
            kept.append(f"({len(done) - len(kept)} earlier ones are in the record of the run)")
            break
        kept.append(line)
    listed = "\n".join(f"- {line}" for line in reversed(kept))
    return f"{head} (run {result.run_id})\nWhat it had done by then:\n{listed}"


def _calls(messages: tuple[Message, ...]) -> list[str]:
    """Each call of the run that has a result, with it."""
    asked: dict[str, str] = {}
    lines: list[str] = []
    for message in messages:
        if isinstance(message, AssistantMessage):
            for call in message.tool_calls:
                arguments = json.dumps(call.arguments, ensure_ascii=False, default=str)
                asked[call.id] = f"{call.name}({_cut(arguments[1:-1], _MOST_OF_ONE)})"
        elif isinstance(message, ToolMessage) and message.call_id in asked:
            text = " ".join(text_of(message.content).split())
            lines.append(f"{asked[message.call_id]}: {_cut(text, _MOST_OF_ONE)}")
    return lines


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
