"""One reply's calls: checked, approved, run at the same time, answered in call order.

In: the calls as the model wrote them. `prepare` makes a `ReplyCall` of each, as it shall stand in
the history, and `run_calls` gives each its result or the question that waits for a person. Only
here a tool is run; whatever it does, the other calls of the reply have their results.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread

from agentkit.agent.approvals import Approved, decide, denied
from agentkit.agent.own_tools import AnswerTool
from agentkit.agent.reply import forced_call
from agentkit.agent.run import CallAtWork, Run, current_budget, current_call, current_run
from agentkit.errors import ToolError
from agentkit.events import (
    CallRepaired,
    ModelFinished,
    Spent,
    ToolFinished,
    ToolProgress,
    ToolStarted,
)
from agentkit.executors import ends_this_task
from agentkit.logs import get_logger
from agentkit.messages import (
    Message,
    ModelRequest,
    ModelSettings,
    ResultKind,
    TextPart,
    ToolCall,
    ToolResult,
)
from agentkit.policy import READS, Approval, Budget, Limits
from agentkit.toolset import Effect, RunHandles, ToolContext, ValidatedCall
from agentkit.toolset.results import is_small

_log = get_logger()

_NO_LIMITS = Limits(steps=None)


@dataclass(slots=True)
class ReplyCall:
    """One call of a reply, and what becomes of it.

    Attributes:
        position: Its place in the reply.
        call: The call as it stands in the history.
        checked: Ready to run, or the result that says why it is not. A person may change it.
        approved: The id of the question that a person answered with yes; empty without one.
        waiting: The question to a person that nobody has answered.
        twin_of: The earlier call of the same reply that makes this one needless.
        result: What the model reads, once it is there.
    """

    position: int
    call: ToolCall
    checked: ValidatedCall | ToolResult
    approved: str = ""
    waiting: Approval | None = None
    twin_of: ReplyCall | None = None
    result: ToolResult | None = None


# --- before they stand in the history -------------------------------------------------------------


async def prepare(run: Run, calls: Sequence[ToolCall]) -> list[ReplyCall]:
    """The calls as they shall stand in the history, each ready to run or answered already."""
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
    """The call checked; large arguments in a thread, since the event loop has others to serve."""
    if is_small(call.arguments):
        return run.wiring.toolset.validate(call)
    return await anyio.to_thread.run_sync(run.wiring.toolset.validate, call)


def _as_meant(run: Run, call: ToolCall) -> ToolCall:
    """The call as it is. Of a typed answer it is the call that was certainly meant."""
    answer = run.wiring.answer
    return call if answer is None or call.name != answer.tool.name else answer.meant_by(call)


async def _second_try(
    run: Run, call: ToolCall, checked: ToolResult
) -> tuple[ToolCall, ValidatedCall | ToolResult]:
    """The call asked for again under the grammar of its one tool, where the server enforces it."""
    if not run.wiring.model.constrains or run.budget.over() is not None:
        return call, checked
    response = await forced_call(run, call.name)
    again = response.message.tool_calls
    if response.finish_reason == "length" or not again or again[0].name != call.name:
        return call, checked
    repaired = _as_meant(run, replace(again[0], id=call.id))
    valid = await _checked(run, repaired)
    if isinstance(valid, ToolResult):
        return call, checked
    was = call.malformed or json.dumps(call.arguments, default=str)
    run.emit(CallRepaired(repaired, "constrained", was, run.step))
    return repaired, valid


# --- decided and run -----------------------------------------------------------------------------


async def run_calls(run: Run, calls: Sequence[ReplyCall]) -> None:
    """Gives each call that has no result a result or a question that waits.

    Decisions come first, one after another; then all that may run, at once. A call that is
    identical to an earlier one of the same reply is not run again, unless a person said yes to each
    of them. What needs no running is answered first, in call order, so that what the progress guard
    makes of a reply does not depend on which task came first. When the run is cancelled, what was
    finished by then has its result.
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
    to_run = [(each, call) for each in ready if (call := _left_to_run(run, each)) is not None]
    try:
        async with anyio.create_task_group() as group:
            for each, call in to_run:
                group.start_soon(_run_one, run, each, call)
    except BaseExceptionGroup as errors:
        error: BaseException = errors
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None  # so that callers catch it by its own type
    finally:
        # Only now: no call of this reply was written in the knowledge of another one's result.
        run.taint |= READS & frozenset(label for _, call in to_run for label in call.tool.labels)
    for each in ready:
        if each.twin_of is not None:
            each.result = _twin_result(run, each, each.twin_of.result)


def _find_twins(ready: Sequence[ReplyCall]) -> None:
    """Marks each call that an earlier one of the reply makes needless."""
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


def _left_to_run(run: Run, each: ReplyCall) -> ValidatedCall | None:
    """The call if it has to run. One whose result is known already is given that result here."""
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
    budget = Budget(_NO_LIMITS, run.budget)
    current_budget.set(budget)  # this task is the call's own
    current_run.set(run)
    current_call.set(CallAtWork(run, item.call.id, run.step))
    try:
        key = item.lock_key
    except Exception as error:  # noqa: BLE001 - the boundary around user code
        returned = _broken(run, item.call, "its lock=", error)
    else:
        returned = failed(item.call, "cancelled", "it was cancelled; it may have acted before")
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
    """The result as the model will read it: with a warning where the progress guard has one, and
    with a note where a person changed what the history has as the model's call.
    """
    result = returned
    if each.call.arguments != ran.arguments:
        made = json.dumps(ran.arguments, ensure_ascii=False, default=str)
        note = f"(A person changed the arguments to {made}.)"
        content = result.content
        text = isinstance(content, str)
        result = replace(
            result, content=f"{note}\n{content}" if text else (TextPart(note), *content)
        )
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
    """Takes a typed answer; what its function raises sends it back."""
    try:
        run.output.append(await answer.output(item, _tool_context(run, each, item.call)))
    except BaseException as error:
        if ends_this_task(error):
            raise
        if isinstance(error, ToolError):
            return failed(item.call, "error", str(error).removesuffix("."))
        return _broken(run, item.call, "its function", error)
    return ToolResult(item.call.id, "The answer is accepted.")


def _broken(run: Run, call: ToolCall, what: str, error: BaseException) -> ToolResult:
    """The result of a call that failed because a function beside its tool raised."""
    _log.warning("tool failed", tool=call.name, run_id=run.id, step=run.step, exc_info=error)
    words = f"{type(error).__name__}: {error}".removesuffix(": ")
    return failed(call, "error", f"{call.name} failed, because {what} raised {words}")


def _tool_context(run: Run, each: ReplyCall, call: ToolCall) -> ToolContext[Any]:
    """What the tool may know and do; of a call that a person has changed, as they left it."""
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
    """What the model answers to messages of a tool; it counts as a step of the call's own."""
    budget = budget or run.budget
    if (over := budget.over()) is not None:
        raise ToolError(over[1])
    budget.spend(steps=1)
    request = ModelRequest(messages, settings=settings.over(run.wiring.settings))
    async with aclosing(run.wiring.side_model.generate(request)) as events:
        async for event in events:
            if isinstance(event, ModelFinished):
                budget.spend(usage=event.response.usage)
                return event.response.message.content or ""
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


def failed(call: ToolCall, kind: ResultKind, why: str) -> ToolResult:
    """A result for a call that was not run."""
    return ToolResult(call.id, f"Error: {why}.", is_error=True, kind=kind)
