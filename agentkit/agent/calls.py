"""One reply's calls: repaired, checked, approved, run at the same time, answered in call order.

In: the calls as the model wrote them. Out: the calls as they stand in the history, and for each a
result or a question to a person. The repair ladder: the model's own parse (`models`) → the name →
certain coercions (`schema`) → one constrained second try → feedback as the call's result. Nothing
of a cut reply comes here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread

from agentkit.agent.answers import AnswerTool
from agentkit.agent.approvals import Approved, decide, denied
from agentkit.agent.replies import ask_for
from agentkit.agent.state import CallAtWork, Run, current_budget, current_call, current_run
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
    AssistantMessage,
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

Prepared = ValidatedCall | ToolResult

_log = get_logger()

_NO_LIMITS = Limits(steps=None)


@dataclass(slots=True)
class Outcome:
    """What came of a reply's calls, by their places.

    Attributes:
        results: None for a call that has none yet.
        waiting: The questions to people that nobody has answered.
        approved: The ids of the questions that were answered with yes.
    """

    results: list[ToolResult | None]
    waiting: dict[int, Approval] = field(default_factory=dict)
    approved: dict[int, str] = field(default_factory=dict)


# --- before: repair and check ------------------------------------------------------------------


async def prepare(run: Run, calls: Sequence[ToolCall]) -> tuple[list[ToolCall], list[Prepared]]:
    """The calls as they shall stand in the history, and each ready to run or answered already."""
    final: list[ToolCall] = []
    prepared: list[Prepared] = []
    for call in calls:
        named = _as_meant(run, _repair_name(run, call))
        checked = await _checked(run, named)
        if isinstance(checked, ToolResult) and checked.kind == "invalid_arguments":
            named, checked = await _second_try(run, named, checked)
        final.append(named)
        prepared.append(checked)
    return final, prepared


async def _checked(run: Run, call: ToolCall) -> Prepared:
    """The call checked; large arguments in a thread, since the event loop has others to serve."""
    if is_small(call.arguments):
        return run.wiring.toolset.validate(call)
    return await anyio.to_thread.run_sync(run.wiring.toolset.validate, call)


def _repair_name(run: Run, call: ToolCall) -> ToolCall:
    name = run.wiring.toolset.resolve_name(call.name)
    if name is None or name == call.name:
        return call
    repaired = replace(call, name=name)
    run.emit(CallRepaired(repaired, "name", call.name, run.step))
    return repaired


def _as_meant(run: Run, call: ToolCall) -> ToolCall:
    """The call; of a typed answer, the one that was certainly meant."""
    answer = run.wiring.answer
    return call if answer is None or call.name != answer.tool.name else answer.meant_by(call)


async def _second_try(run: Run, call: ToolCall, checked: ToolResult) -> tuple[ToolCall, Prepared]:
    """The call asked for again under the grammar of its one tool, where the server enforces it."""
    if not run.wiring.model.constrains or run.budget.over() is not None:
        return call, checked
    response = await ask_for(run, call.name)
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


# --- during: approve and run -------------------------------------------------------------------


async def run_calls(run: Run, prepared: Sequence[Prepared], outcome: Outcome) -> None:
    """Fills the outcome: decisions first, one after another; then all that may run, at once.

    A call that is identical to an earlier one of the same reply is not run again, unless a person
    said yes to each of them. What needs no running is answered first, in call order, so that what
    the progress guard makes of a reply does not depend on which task came first. When the run is
    cancelled the outcome holds what was finished by then.
    """
    ready: dict[int, Prepared] = {}
    for position, item in enumerate(prepared):
        if outcome.results[position] is None:
            decided = await decide(run, position, item)
            if isinstance(decided, Approval):
                outcome.waiting[position] = decided
            elif isinstance(decided, Approved):
                outcome.approved[position] = decided.id
                ready[position] = decided.call
            else:
                ready[position] = decided
    twins = _twins(ready, outcome)
    first_ones = {position: item for position, item in ready.items() if position not in twins}
    to_run = _answer_at_once(run, first_ones, outcome)
    try:
        async with anyio.create_task_group() as group:
            for position, call in to_run.items():
                group.start_soon(_run_one, run, position, call, outcome)
    except BaseExceptionGroup as errors:
        raise _first(errors) from None  # so that callers catch it by its own type
    finally:
        # Only now: no call of this reply was written in the knowledge of another one's result.
        run.taint |= READS & frozenset(
            label for call in to_run.values() for label in call.tool.labels
        )
    for position, first in twins.items():
        outcome.results[position] = _twin_result(run, prepared[position], outcome.results[first])


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _answer_at_once(
    run: Run, ready: dict[int, Prepared], outcome: Outcome
) -> dict[int, ValidatedCall]:
    """Gives the results that are there already; returns the calls that must run."""
    to_run: dict[int, ValidatedCall] = {}
    for position, item in ready.items():
        if isinstance(item, ToolResult):
            outcome.results[position] = _finish(run, position, _call_of(run, item), item, None)
        elif (
            position not in outcome.approved
            and (known := run.guard.known(item.call, item.tool.effect)) is not None
        ):
            effect = item.tool.effect
            outcome.results[position] = _finish(run, position, item.call, known, effect)
        else:
            to_run[position] = item
    return to_run


async def _run_one(run: Run, position: int, item: ValidatedCall, outcome: Outcome) -> None:
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
            returned = await _execute(run, position, item, key, outcome.approved.get(position))
    spent = None
    if budget.steps or budget.runs:
        spent = Spent(budget.steps, budget.tool_calls, budget.usage, tuple(budget.runs))
    effect = item.tool.effect
    outcome.results[position] = _finish(run, position, item.call, returned, effect, spent)


def _finish(
    run: Run,
    position: int,
    call: ToolCall,
    returned: ToolResult,
    effect: Effect | None,
    spent: Spent | None = None,
) -> ToolResult:
    """The result as the model will read it."""
    result = run.guard.watch(call, _with_edit(run, position, call, returned), effect)
    was = None if result == returned else returned
    run.emit(ToolFinished(call, result, run.step, was, spent))
    return result


def _with_edit(run: Run, position: int, call: ToolCall, result: ToolResult) -> ToolResult:
    """The result, saying so where a person changed what the history has as the model's call."""
    message = run.messages[-1]
    assert isinstance(message, AssistantMessage), "calls run right after the reply that holds them"
    if message.tool_calls[position].arguments == call.arguments:
        return result
    made = json.dumps(call.arguments, ensure_ascii=False, default=str)
    note = f"(A person changed the arguments to {made}.)"
    content = result.content
    if isinstance(content, str):
        return replace(result, content=f"{note}\n{content}")
    return replace(result, content=(TextPart(note), *content))


async def _execute(
    run: Run, position: int, item: ValidatedCall, key: str | None, approval: str | None
) -> ToolResult:
    answer = run.wiring.answer
    if answer is not None and item.tool is answer.tool:
        return await _accept(run, answer, item)
    async with AsyncExitStack() as stack:
        if key is not None:
            await stack.enter_async_context(run.locks.setdefault(key, anyio.Lock()))
        if approval is not None and not run.decisions.use(approval):
            why = "another resumption of this run has used the decision on it already"
            return replace(denied(item.call, why), attempts=0)
        run.emit(ToolStarted(item.call, run.step))
        return await run.wiring.executor.execute(item, _context(run, item.call, position))


async def _accept(run: Run, answer: AnswerTool, item: ValidatedCall) -> ToolResult:
    """Takes a typed answer; what its function raises sends it back."""
    try:
        run.output.append(await answer.output(item, run.wiring.context))
    except BaseException as error:
        if ends_this_task(error):
            raise
        if isinstance(error, ToolError):
            return failed(item.call, "error", str(error).removesuffix("."))
        return _broken(run, item.call, "its function", error)
    return ToolResult(item.call.id, "The answer is accepted.")


def _broken(run: Run, call: ToolCall, what: str, error: BaseException) -> ToolResult:
    """The result of a call that failed because a function beside its tool raised."""
    run_id = run.wiring.context.run_id
    _log.warning("tool failed", tool=call.name, run_id=run_id, step=run.step, exc_info=error)
    words = f"{type(error).__name__}: {error}".removesuffix(": ")
    return failed(call, "error", f"{call.name} failed, because {what} raised {words}")


def _context(run: Run, call: ToolCall, position: int) -> ToolContext[Any]:
    context = run.wiring.context
    return ToolContext(
        deps=context.deps,
        run_id=context.run_id,
        step=run.step,
        call=call,
        index=position,
        handles=RunHandles(
            report=partial(_report, run, call.id, run.step),
            ask=run.wiring.ask,
            generate=partial(_generate, run, current_budget.get()),
        ),
    )


async def _generate(
    run: Run, budget: Budget | None, messages: Sequence[Message], settings: ModelSettings
) -> str:
    """What the model says to messages of a tool; it counts as a step of the call's own."""
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


# --- after -------------------------------------------------------------------------------------


def _twins(ready: dict[int, Prepared], outcome: Outcome) -> dict[int, int]:
    """Positions of calls that an earlier call of the reply makes needless, with that one's."""
    if len(ready) < 2:
        return {}
    first: dict[str, int] = {}
    twins: dict[int, int] = {}
    for position, item in ready.items():
        if isinstance(item, ValidatedCall):
            key = item.call.name + json.dumps(item.call.arguments, sort_keys=True, default=str)
            if key in first and position not in outcome.approved:
                twins[position] = first[key]
            first.setdefault(key, position)
    return twins


def _twin_result(run: Run, item: Prepared, first: ToolResult | None) -> ToolResult:
    assert isinstance(item, ValidatedCall)
    assert first is not None, "the first of two equal calls has run"
    result = replace(first, call_id=item.call.id, attempts=0)
    if isinstance(first.content, str):
        note = "(This call stood twice in your reply; it was run once.)"
        result = replace(result, content=f"{first.content}\n\n{note}")
    run.emit(ToolFinished(item.call, result, run.step))
    return result


def failed(call: ToolCall, kind: ResultKind, why: str) -> ToolResult:
    """A result for a call that was not run."""
    return ToolResult(call.id, f"Error: {why}.", is_error=True, kind=kind)


def _call_of(run: Run, result: ToolResult) -> ToolCall:
    """The call that a ready-made result answers: in the newest reply."""
    message = run.messages[-1]
    assert message.role == "assistant"
    return next(call for call in message.tool_calls if call.id == result.call_id)
