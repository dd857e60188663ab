"""One step of a run: a reply of the model, and what becomes of its calls.

`next_reply` asks for the reply and emits its events. A reply that cannot be used is given up
(`StepRestarted`) and asked for once more; its cost counts. `prepare` makes a `ReplyCall` of each
call, in the form in which it stands in the history, and `run_calls` gives each its result or the
question that waits for a person.

A run asks its model and runs its tools only from here. Whatever a tool does, the other calls of the
reply have their results. The history is only read: the loop appends to it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Generator, Sequence
from contextlib import AsyncExitStack, aclosing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from operator import is_
from typing import Any, Literal, TypeAlias

import anyio
import anyio.from_thread
import anyio.to_thread

from agentkit.agent.approvals import Approved, decide, denied
from agentkit.agent.own_tools import AnswerTool, choice_of_step
from agentkit.agent.run import CallAtWork, Run, Streamed, current_budget, current_call, current_run
from agentkit.errors import ModelStatusError, ToolError, first_error
from agentkit.events import (
    AskedAgain,
    CallRepaired,
    ContextCompacted,
    ModelCalled,
    ModelFinished,
    PromptFitted,
    ReplyInterrupted,
    Spent,
    StepFinished,
    StepRestarted,
    StepStarted,
    ToolFinished,
    ToolProgress,
    ToolStarted,
)
from agentkit.exact import text_of_inexact, why_inexact
from agentkit.executors import ends_this_task
from agentkit.media import without_media
from agentkit.messages import (
    JsonObject,
    Message,
    ModelRequest,
    ModelResponse,
    ModelSettings,
    ResultKind,
    StopReason,
    TextPart,
    ToolCall,
    ToolChoice,
    ToolResult,
    common_length,
    history_problems,
)
from agentkit.policy import (
    READS,
    Approval,
    Budget,
    Limits,
    bounded_thoughts,
    reminded,
    second_try,
    unusable,
)
from agentkit.redaction import get_logger
from agentkit.schema.ladder import has_long_number, with_every_digit
from agentkit.schema.shape import Shape
from agentkit.toolset import Effect, RunHandles, ToolContext, ValidatedCall
from agentkit.toolset.results import is_small

Problem: TypeAlias = tuple[StopReason, str]
"""Why a reply cannot be used: the stop reason that follows from it, and a sentence for a person."""

_NO_LIMITS = Limits(steps=None)
_FREE = ToolChoice()

_DEBUG = bool(os.environ.get("AGENTKIT_DEBUG"))
"""Whether the history is checked before each request (`agentkit.messages.history_problems`)."""


async def next_reply(run: Run) -> tuple[ModelResponse, Problem | None]:
    """The step's reply, the second one if the first is unusable, and why it is unusable too."""
    run.step += 1
    run.budget.spend(steps=1)
    run.emit(StepStarted(run.step))
    started = time.monotonic()
    settings = _settings(run)
    choice = choice_of_step(run.step, settings.tool_choice, run.wiring.toolset, run.wiring.own)
    response = await _generate(run, settings, choice, show=True)
    problem = problem_of(run, response, choice)
    if problem is not None:
        given_up, (stop, why) = response, problem
        run.emit(StepRestarted(why, attempt=2, step=run.step))
        again = second_try(_resolved(run, response), settings, choice)
        messages = tuple(run.messages)
        if stop == "malformed_call" and not run.wiring.model.constrains:
            messages = reminded(messages)  # no grammar holds the model to its format
        response = await _generate(run, again, choice, show=True, messages=messages)
        problem = problem_of(run, response, choice)
        became: Literal["call", "answer"] = "call" if response.message.tool_calls else "answer"
        outcome = became if problem is None else "nothing"
        run.emit(AskedAgain(why, given_up.message.content or "", given_up.usage, outcome, run.step))
    seconds = round(time.monotonic() - started, 6)
    finish, usage = response.finish_reason, response.usage
    run.emit(StepFinished(response.message, finish, usage, seconds, step=run.step))
    return response, problem


def problem_of(run: Run, response: ModelResponse, choice: ToolChoice = _FREE) -> Problem | None:
    """Why a reply cannot be used; None if it can be."""
    answer, message = run.wiring.answer, response.message
    names = set[str]()  # a text that is a call of one of these is unusable
    if not message.tool_calls and run.wiring.settings.recovery is not False:
        names.update(tool.name for tool in run.wiring.toolset)
        if answer is not None and answer.in_text(message.content or "", "") is not None:
            names.discard(answer.tool.name)  # a text that is a call of this one is the answer
    return unusable(_resolved(run, response), names, choice)


def _resolved(run: Run, response: ModelResponse) -> ModelResponse:
    """The reply, in which each call has the name of the tool that is meant."""
    resolve, message = run.wiring.toolset.resolve_name, response.message
    names = [resolve(call.name) or call.name for call in message.tool_calls]
    if names == [call.name for call in message.tool_calls]:
        return response
    calls = tuple(replace(c, name=n) for c, n in zip(message.tool_calls, names, strict=True))
    return replace(response, message=replace(message, tool_calls=calls))


async def forced_call(run: Run, tool: str, *, show: bool = False) -> ModelResponse:
    """A reply that is one call of one tool, as far as the model can be made to give one.

    The model does not reason: in vLLM a grammar begins to hold where the reasoning ends, so it
    would not hold a model that begins no reasoning.
    """
    choice = ToolChoice("required", name=tool, max_calls=1)
    settings = replace(_settings(run), thinking=False)
    return await _generate(run, settings, choice, show=show)


def _settings(run: Run) -> ModelSettings:
    """The run's settings, or changed ones if the progress guard asks for a change."""
    settings = run.wiring.settings
    if not run.guard.change:
        return settings
    return replace(settings, thinking=not settings.thinking, temperature=1.0, seed=None)


async def _generate(
    run: Run,
    settings: ModelSettings,
    choice: ToolChoice,
    *,
    show: bool,
    messages: tuple[Message, ...] | None = None,
) -> ModelResponse:
    """One model call, with the run's history if no other messages are given.

    A server may refuse a request because it takes no images, or not this one. If tools returned
    images, it is asked again with the server's words in their place, now and in all later steps.
    """
    if messages is None:
        messages = tuple(run.messages)
    if run.no_media:
        messages = tuple(without_media(messages, run.no_media))
    tools = run.wiring.toolset.definitions
    request = ModelRequest(messages, tools, settings, tool_choice=choice)
    try:
        return await _one_call(run, request, show=show)
    except ModelStatusError as error:
        bare = tuple(without_media(messages, str(error)))
        if error.status_code not in _REFUSALS or bare == messages:
            raise
        if run.streamed:  # refused in the middle of a reply
            run.emit(StepRestarted(str(error), attempt=2, step=run.step))
        response = await _one_call(run, replace(request, messages=bare), show=show)
        run.no_media = str(error)
        return response


_REFUSALS = (400, 413, 415, 422, 500, 501)
"""Statuses by which servers say that they do not take an image: vLLM 400, llama.cpp 500."""


async def _one_call(run: Run, request: ModelRequest, *, show: bool) -> ModelResponse:
    """Asks the model once, and emits the events of its reply."""
    if _DEBUG and (problems := history_problems(request.messages)):
        raise AssertionError(f"the history is not valid: {'; '.join(problems)}")
    response: ModelResponse | None = None
    started = time.monotonic()
    first_at: float | None = None  # when the first piece of the reply came
    fitted: PromptFitted | None = None
    events = bounded_thoughts(run.wiring.model.generate(request), request.settings.thinking_tokens)
    with _recorded(run, started):
        try:
            async with aclosing(events):
                async for event in events:
                    match event:
                        case ModelFinished():
                            response = _kept(run, event.response, request.tool_choice.max_calls)
                        case PromptFitted():
                            fitted = replace(event, step=run.step)
                        case ContextCompacted():
                            run.emit(replace(event, step=run.step))
                        case _:
                            restarted = isinstance(event, StepRestarted)
                            first_at = None if restarted else first_at or time.monotonic()
                            if show:
                                run.emit(replace(event, step=run.step))
                                if run.streamed is not None:
                                    run.streamed.add(event)
        finally:
            if fitted and fitted.sent and fitted.sent.summary:  # paid for, even if the call failed
                run.budget.spend(usage=fitted.sent.summary.cost)
    assert response is not None, "a model ends with ModelFinished or raises"
    first_token = None if first_at is None else round(first_at - started, 6)
    seconds = round(time.monotonic() - started, 6)
    run.emit(_called(run, request, response, seconds, first_token, fitted))
    run.budget.spend(usage=response.usage)
    return response


@contextmanager
def _recorded(run: Run, started: float) -> Generator[None]:
    """Emits what goes to the server and comes back in one model call, also if it is interrupted."""
    streamed = run.streamed = Streamed()
    try:
        with run.exchanges.told_to(run.emit, run.step):
            yield
    except BaseException as error:
        why = str(error) if isinstance(error, Exception) else "it was cancelled"
        seconds = round(time.monotonic() - started, 6)
        if streamed:
            shown = streamed.message
            run.emit(
                ReplyInterrupted(
                    text=shown.content or "",
                    reasoning=shown.reasoning or "",
                    calls=tuple(
                        (name, "".join(pieces))
                        for _, (name, pieces) in sorted(streamed.calls.items())
                    ),
                    why=why,
                    seconds=seconds,
                    step=run.step,
                )
            )
        raise
    run.streamed = None  # the whole reply is there


def _kept(run: Run, response: ModelResponse, most: int | None) -> ModelResponse:
    """The reply in a form that a record keeps exactly, and its first `most` calls, as vLLM does it
    with `parallel_tool_calls`.

    A call with arguments that cannot be kept becomes a malformed one, and a number with more digits
    than a float holds gets the type that its tool wants. Otherwise a resumed run might run other
    arguments than the call had.
    """
    was = response.message.tool_calls
    calls = tuple([_kept_call(run, call) for call in was[:most]])
    if len(calls) == len(was) and all(map(is_, calls, was)):
        return response
    return replace(response, message=replace(response.message, tool_calls=calls))


def _kept_call(run: Run, call: ToolCall) -> ToolCall:
    if why_inexact(call.arguments) is not None:
        return replace(call, arguments={}, malformed=text_of_inexact(call.arguments))
    if not has_long_number(call.arguments):
        return call
    toolset = run.wiring.toolset
    tool = toolset.get(toolset.resolve_name(call.name) or call.name)
    shape = Shape.of(tool.definition.parameters if tool is not None else None)
    arguments: JsonObject = with_every_digit(call.arguments, shape)
    return call if arguments == call.arguments else replace(call, arguments=arguments)


def _called(
    run: Run,
    request: ModelRequest,
    response: ModelResponse,
    seconds: float,
    first_token: float | None,
    fitted: PromptFitted | None,
) -> ModelCalled:
    """The event of a model call, with what is new in its request since the call before."""
    before, run.sent = run.sent, request
    same = common_length(before.messages, request.messages)
    return ModelCalled(
        same=same,
        messages=tuple(request.messages[same:]),
        settings=request.settings,
        tool_choice=request.tool_choice,
        tools=None if request.tools == before.tools else tuple(request.tools),
        response=response,
        model=run.wiring.model.name,
        constrains=run.wiring.model.constrains,
        seconds=seconds,
        first_token=first_token,
        step=run.step,
        fitted=fitted,
    )


# --- its calls, before they stand in the history -------------------------------------------------


@dataclass(slots=True)
class ReplyCall:
    """One call of a reply, and what becomes of it.

    Attributes:
        position: Its place in the reply.
        call: The call as it stands in the history.
        checked: The call that is ready to run, or a result that says why it cannot. A person may
            change it.
        approved: The id of the question that a person answered with yes; empty if none was asked.
        waiting: The question to a person that nobody has answered.
        twin_of: The same call earlier in the reply, whose result this one shares.
        result: What the model reads, once it is there.
    """

    position: int
    call: ToolCall
    checked: ValidatedCall | ToolResult
    approved: str = ""
    waiting: Approval | None = None
    twin_of: ReplyCall | None = None
    result: ToolResult | None = None


async def prepare(run: Run, calls: Sequence[ToolCall]) -> list[ReplyCall]:
    """The calls in the form in which they stand in the history, each ready to run or refused."""
    prepared: list[ReplyCall] = []
    for position, call in enumerate(calls):
        name = run.wiring.toolset.resolve_name(call.name)
        if name is not None and name != call.name:
            written, call = call.name, replace(call, name=name)
            run.emit(CallRepaired(call, "name", written, run.step))
        call = _as_meant(run, call)
        checked = await _checked(run, call)
        if isinstance(checked, ToolResult) and checked.kind == "invalid_arguments":
            call, checked = await _second_try(run, call, checked)
        prepared.append(ReplyCall(position, call, checked))
    return prepared


async def _checked(run: Run, call: ToolCall) -> ValidatedCall | ToolResult:
    """The call, checked; large arguments are checked in a thread to keep the event loop free."""
    if is_small(call.arguments):
        return run.wiring.toolset.validate(call)
    return await anyio.to_thread.run_sync(run.wiring.toolset.validate, call)


def _as_meant(run: Run, call: ToolCall) -> ToolCall:
    """The call itself; for a typed answer the call that was certainly meant."""
    answer = run.wiring.answer
    return call if answer is None or call.name != answer.tool.name else answer.meant_by(call)


async def _second_try(
    run: Run, call: ToolCall, checked: ToolResult
) -> tuple[ToolCall, ValidatedCall | ToolResult]:
    """The call, asked for again under the grammar of its one tool if the server enforces one."""
    if not run.wiring.model.constrains or run.budget.over() is not None:
        return call, checked
    response = await forced_call(run, call.name)
    again = response.message.tool_calls
    if problem_of(run, response) or not again or again[0].name != call.name:
        return call, checked
    repaired = _as_meant(run, replace(again[0], id=call.id))
    valid = await _checked(run, repaired)
    if isinstance(valid, ToolResult):
        return call, checked
    was = call.malformed or json.dumps(call.arguments, default=str)
    run.emit(CallRepaired(repaired, "constrained", was, run.step))
    return repaired, valid


# --- its calls, decided and run ------------------------------------------------------------------


async def run_calls(run: Run, calls: Sequence[ReplyCall]) -> None:
    """Gives each call that has no result a result or a question that waits.

    Decisions come first, one after another; then all calls that may run, at the same time. A call
    that is identical to an earlier one of the same reply is not run again, unless a person said yes
    to each of them. Calls that need not run get their results first, in call order, so that the
    progress guard does not depend on which task came first. When the run is cancelled, calls that
    were finished by then have their results.
    """
    todo = [each for each in calls if each.result is None]
    for each in todo:
        decided = await decide(run, each.position, each.checked)
        if isinstance(decided, Approval):
            each.waiting = decided
        elif isinstance(decided, Approved):
            each.checked, each.approved = decided.call, decided.id
        else:
            each.checked = decided
    ready = [each for each in todo if each.waiting is None]
    _find_twins(ready)
    to_run = [(each, call) for each in ready if (call := _to_run(run, each)) is not None]
    try:
        async with anyio.create_task_group() as group:
            for each, call in to_run:
                group.start_soon(_run_one, run, each, call)
    except BaseExceptionGroup as errors:
        raise first_error(errors) from None
    finally:
        # Only now: the model wrote all calls of this reply before it read any of their results.
        run.taint |= READS & frozenset(label for _, call in to_run for label in call.tool.labels)
    for each in ready:
        if each.twin_of is not None:
            each.result = _twin_result(run, each, each.twin_of.result)


def _find_twins(ready: Sequence[ReplyCall]) -> None:
    """Marks each call that repeats an earlier one of the reply."""
    if len(ready) < 2:
        return
    first: dict[str, ReplyCall] = {}
    for each in ready:
        if isinstance(each.checked, ValidatedCall):
            call = each.checked.call
            key = call.name + json.dumps(call.arguments, sort_keys=True, default=str)
            if key in first and not each.approved:
                each.twin_of = first[key]
            first.setdefault(key, each)


def _to_run(run: Run, each: ReplyCall) -> ValidatedCall | None:
    """The call if it has to run; else None. If its result is known, it gets that here."""
    checked = each.checked
    if each.twin_of is not None:
        return None
    if isinstance(checked, ToolResult):
        each.result = _finished(run, each, each.call, checked, None)
        return None
    effect = checked.tool.effect
    known = None if each.approved else run.guard.known(checked.call, effect)
    if known is None:
        return checked
    each.result = _finished(run, each, checked.call, known, effect)
    return None


async def _run_one(run: Run, each: ReplyCall, item: ValidatedCall) -> None:
    """Runs one call, in a task of its own, and gives it its result."""
    budget = Budget(_NO_LIMITS, run.budget)
    current_budget.set(budget)  # this task is the call's own
    current_run.set(run)
    current_call.set(CallAtWork(run, item.call.id, run.step))
    try:
        key = item.lock_key
    except Exception as error:  # noqa: BLE001 - the boundary around user code
        returned = _broken(run, item.call, "its lock=", error)
    else:
        why = "it was cancelled; it may have acted before"
        returned = error_result(item.call, "cancelled", why)
        with anyio.CancelScope() as scope, run.cancellation.at_work(item.call.id, scope):
            returned = await _execute(run, each, item, key)
    spent = None
    if budget.steps or budget.runs:
        spent = Spent(budget.steps, budget.tool_calls, budget.usage, tuple(budget.runs))
    each.result = _finished(run, each, item.call, returned, item.tool.effect, spent)


def _finished(
    run: Run,
    each: ReplyCall,
    ran: ToolCall,
    returned: ToolResult,
    effect: Effect | None,
    spent: Spent | None = None,
) -> ToolResult:
    """The result as the model will read it: with the progress guard's warning, if it has one, and
    with a note if a person changed the call that stands in the history.
    """
    result = returned
    if each.call.arguments != ran.arguments:
        arguments = json.dumps(ran.arguments, ensure_ascii=False, default=str)
        note = f"(A person changed the arguments to {arguments}.)"
        was = result.content
        content = f"{note}\n{was}" if isinstance(was, str) else (TextPart(note), *was)
        result = replace(result, content=content)
    result = run.guard.watch(ran, result, effect, run.step)
    run.emit(ToolFinished(ran, result, run.step, None if result == returned else returned, spent))
    return result


async def _execute(run: Run, each: ReplyCall, item: ValidatedCall, key: str | None) -> ToolResult:
    answer = run.wiring.answer
    if answer is not None and item.tool is answer.tool:
        return await _accept(run, answer, each, item)
    async with AsyncExitStack() as stack:
        if key is not None:
            await stack.enter_async_context(run.locks.setdefault(key, anyio.Lock()))
        if each.approved and not run.decisions.use(each.approved):
            why = "another resumption of this run has used the decision on it already"
            return replace(denied(item.call, why), attempts=0)
        run.emit(ToolStarted(item.call, run.step))
        return await run.wiring.executor.execute(item, _tool_context(run, each, item.call))


async def _accept(run: Run, answer: AnswerTool, each: ReplyCall, item: ValidatedCall) -> ToolResult:
    """Takes a typed answer. If its function raises, the model is told so instead."""
    try:
        run.output.append(await answer.output(item, _tool_context(run, each, item.call)))
    except BaseException as error:
        if ends_this_task(error):
            raise
        if isinstance(error, ToolError):
            return error_result(item.call, "error", str(error).removesuffix("."))
        return _broken(run, item.call, "its function", error)
    return ToolResult(item.call.id, "The answer is accepted.")


def _broken(run: Run, call: ToolCall, what: str, error: BaseException) -> ToolResult:
    """The result of a call that failed because another function than its tool raised."""
    warn = get_logger().warning
    warn("tool failed", tool=call.name, run_id=run.id, step=run.step, exc_info=error)
    words = f"{type(error).__name__}: {error}".removesuffix(": ")
    return error_result(call, "error", f"{call.name} failed, because {what} raised {words}")


def _tool_context(run: Run, each: ReplyCall, call: ToolCall) -> ToolContext[Any]:
    """What the tool may know and do; `call` is the call as it runs, perhaps changed by a person."""
    return ToolContext(
        deps=run.wiring.deps,
        run_id=run.id,
        step=run.step,
        call=call,
        index=each.position,
        handles=RunHandles(
            report=partial(_report, run, call.id, run.step),
            ask=run.wiring.ask,
            generate=partial(_side_reply, run, current_budget.get()),
        ),
    )


async def _side_reply(
    run: Run, budget: Budget | None, messages: Sequence[Message], settings: ModelSettings
) -> str:
    """The model's answer to messages of a tool; it counts as a step of the call."""
    budget = budget or run.budget
    if (over := budget.over()) is not None:
        raise ToolError(over[1])
    budget.spend(steps=1)
    request = ModelRequest(messages, settings=settings.over(run.wiring.settings))
    async with aclosing(run.wiring.side_model.generate(request)) as events:
        async for event in events:
            if isinstance(event, ModelFinished):
                budget.spend(usage=event.response.usage)
                if (problem := unusable(event.response)) is not None:
                    raise ToolError(problem[1])
                if said := event.response.message.content:
                    return said
    raise ToolError("the model said nothing")


def _report(run: Run, call_id: str, step: int, text: str) -> None:
    """Emits progress from the event loop's thread or from a tool's."""
    event = ToolProgress(call_id, text, step)
    try:
        anyio.get_current_task()
    except (RuntimeError, anyio.NoEventLoopError):
        anyio.from_thread.run_sync(run.emit, event)
    else:
        run.emit(event)


def _twin_result(run: Run, each: ReplyCall, first: ToolResult | None) -> ToolResult:
    assert isinstance(each.checked, ValidatedCall)
    assert first is not None, "the first of two equal calls has run"
    call = each.checked.call
    result = replace(first, call_id=call.id, attempts=0)
    if isinstance(first.content, str):
        note = "(This call stood twice in your reply; it was run once.)"
        result = replace(result, content=f"{first.content}\n\n{note}")
    run.emit(ToolFinished(call, result, run.step))
    return result


def error_result(call: ToolCall, kind: ResultKind, why: str) -> ToolResult:
    """The result of a call that never came to its tool, or failed outside of it."""
    return ToolResult(call.id, f"Error: {why}.", is_error=True, kind=kind)
