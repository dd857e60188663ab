"""The loop: steps until an answer, a limit or an end.

```
              ┌──────────────────────────────────────────────────────────────┐
              ▼                                                              │
 started ─ limit? ─ ask ── calls ── prepare ── decide ── run ── results, in call order
              │      │                           │        │
              │      ├─ text ──► answer          │        └─ in circles ──► loop
              │      │   (typed: a call as       └─ nobody to ask ──► paused
              │      │   well, or invalid_output)
              │      └─ unusable, also at the second try ──► truncated, empty, loop, no_call,
              │                                              malformed_call, content_filter
              └─ reached ──► steps, tool_calls, tokens, cost;  seconds and a cancellation end it
                             anywhere
```

One loop serves streamed and other runs: it emits events, and a stream is one more listener. It
knows no JSON, no HTTP and no prompt text. Only the loop appends to the history, and whatever ends
it, each call in the history has its result. A step's reply and the results of its calls come from
`step`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import anyio

from agentkit.agent.approvals import taint_of_calls
from agentkit.agent.options import Cancellation
from agentkit.agent.own_tools import AnswerTool
from agentkit.agent.run import Run, versions
from agentkit.agent.step import (
    ReplyCall,
    error_result,
    forced_call,
    next_reply,
    prepare,
    problem_of,
    run_calls,
)
from agentkit.errors import AgentKitError
from agentkit.events import (
    RunFinished,
    RunResult,
    RunStarted,
)
from agentkit.messages import (
    AssistantMessage,
    ModelRequest,
    ModelResponse,
    ToolMessage,
    next_call_number,
)
from agentkit.policy import PausedRun
from agentkit.toolset.results import NOT_DECIDED, NOT_DONE, in_history


async def drive(
    run: Run, cancellation: Cancellation, paused: PausedRun | None = None
) -> RunResult[Any]:
    """Runs to the end. The last event is `RunFinished`, whatever ends the run.

    Args:
        run: A run whose history ends with what the user said, or as `paused` left it.
        cancellation: Ends it from outside.
        paused: The pause that the run goes on from; None for a run that begins.

    Raises:
        AgentKitError: The model cannot be reached. What was done so far is in the run's record, and
            in the exception's `result`.
    """
    run.cancellation = cancellation
    if paused is not None:
        _take_over(run, paused)
    if (serves := run.budget.parent) is not None and run.id not in serves.runs:
        serves.runs.append(run.id)
    run.emit(_started(run))
    result = run.end("cancelled", explanation="the run was cancelled")
    try:
        with anyio.move_on_after(run.budget.seconds_left) as scope, cancellation.bind(scope):
            result = await (_loop(run) if paused is None else _go_on(run, paused))
        if scope.cancelled_caught and cancellation.cancelled:
            result = run.end_early("cancelled", "the run was cancelled")
        elif scope.cancelled_caught:
            result = run.end_early("seconds", "stopped when the time was up")
    except AgentKitError as error:
        result = error.result = run.end_early("error", str(error))
        raise
    except Exception as error:  # a bug, ours or that of a function of the user's: never hidden
        result = run.end_early("error", f"{type(error).__name__}: {error}")
        raise
    except BaseException:
        result = run.end_early("cancelled", "the run was cancelled")
        raise
    finally:
        run.emit(RunFinished(result))
    return result


def _take_over(run: Run, paused: PausedRun) -> None:
    """Continues from what was spent, said and permitted before the pause."""
    budget = run.budget
    budget.usage, budget.steps, budget.tool_calls = paused.usage, paused.steps, paused.tool_calls
    run.step = paused.steps if paused.step is None else paused.step
    run.wiring.authority.grants.extend(paused.grants)


def _started(run: Run) -> RunStarted:
    wiring, given = run.wiring, run.wiring.options
    run.sent = ModelRequest(tuple(run.messages))
    history, limits = given.get("history") or (), given.get("limits")
    return RunStarted(
        run.id,
        wiring.model.name,
        tuple(run.messages),
        tuple(tool.name for tool in wiring.toolset),
        run.messages[:1] != list(history[:1]) and run.messages[0].role == "system",
        given.get("settings"),
        asdict(limits) if limits is not None else None,
        versions=versions(),
    )


async def _loop(run: Run) -> RunResult[Any]:
    while True:
        if (over := run.budget.over()) is not None:
            return run.end(over[0], explanation=over[1])
        if run.cancellation.draining:
            return run.end("cancelled", explanation="the run was to end before its next step")
        response, problem = await next_reply(run)
        if problem is not None:
            stop, why = problem
            message = response.message
            if message.content and not message.tool_calls:  # a text is kept, a cut call is not
                run.messages.append(message)
            return run.end(stop, message.content or "", f"{why}, also at the second try")
        if not response.message.tool_calls:
            if run.wiring.answer is None:
                run.messages.append(response.message)
                return run.end("answer", response.message.content)
            typed = await _typed_answer(run, run.wiring.answer, response)
            if typed is None:
                run.messages.append(response.message)
                why = f"the model wrote text instead of calling {run.wiring.answer.tool.name}"
                return run.end("invalid_output", response.message.content, why)
            response = typed
        message = response.message
        run.budget.spend(tool_calls=len(message.tool_calls))
        prepared = await prepare(run, message.tool_calls)
        calls = tuple(each.call for each in prepared)
        run.messages.append(replace(message, content=None, tool_calls=calls))
        if (result := await _run_prepared(run, prepared)) is not None:
            return result


async def _typed_answer(
    run: Run, answer: AnswerTool, response: ModelResponse
) -> ModelResponse | None:
    """A reply that calls the answer's tool, instead of one that is text; None if there is none.

    It is made of the text if that is such an answer; else the model is asked for the call.
    """
    if (made := _read_as_answer(run, answer, response)) is not None:
        return made
    response = await forced_call(run, answer.tool.name, show=True)
    if problem_of(run, response) is not None:
        return None
    if response.message.tool_calls:
        return response
    return _read_as_answer(run, answer, response)


def _read_as_answer(run: Run, answer: AnswerTool, response: ModelResponse) -> ModelResponse | None:
    """The reply with the call of the answer's tool that its text amounts to, if it does."""
    call_id = f"call_{next_call_number(run.messages)}"
    call = answer.in_text(response.message.content or "", call_id)
    if call is None:
        return None
    return replace(response, message=replace(response.message, content=None, tool_calls=(call,)))


async def _go_on(run: Run, paused: PausedRun) -> RunResult[Any]:
    """Continues with a reply whose calls have waited for a person, and then with the loop."""
    message = paused.messages[-1]
    assert isinstance(message, AssistantMessage), "a run pauses at a reply with calls"
    done = {result.call_id: result for result in paused.done}
    answer, validate = run.wiring.answer, run.wiring.toolset.validate
    for call in message.tool_calls:
        if answer is not None and call.name == answer.tool.name:
            done.pop(call.id, None)  # no pause holds an output: it is made of the call again
    calls = [
        ReplyCall(position, call, validate(call), result=done.get(call.id))
        for position, call in enumerate(message.tool_calls)
    ]
    result = await _run_prepared(run, calls)
    run.taint |= taint_of_calls(run.wiring.toolset, message.tool_calls, paused.done)
    return await _loop(run) if result is None else result


async def _run_prepared(run: Run, calls: Sequence[ReplyCall]) -> RunResult[Any] | None:
    """Runs the calls of the newest reply. Returns the run's result if that ends it."""
    before, taint = tuple(run.messages), run.taint
    try:
        await run_calls(run, calls)
    finally:
        # Whatever ends this, the history must be valid: no call without its result.
        for each in calls:
            result = each.result
            if each.waiting is not None:
                result = error_result(each.call, "cancelled", NOT_DECIDED)
            elif result is None:
                result = error_result(each.call, "cancelled", NOT_DONE)
            content = in_history(result.content)
            run.whole.keep(run.next_number, result.content, content)
            made = ToolMessage(each.call.id, each.call.name, content, result.is_error)
            run.messages.append(made)
    if waiting := tuple(each.waiting for each in calls if each.waiting is not None):
        paused = PausedRun(
            run.id,
            before,
            tuple(each.result for each in calls if each.result is not None),
            waiting,
            run.budget.usage,
            run.budget.steps,
            step=run.step,
            taint=taint,
            grants=tuple(run.wiring.authority.grants),
            tool_calls=run.budget.tool_calls,
        )
        names = ", ".join(approval.call.name for approval in waiting)
        return run.end("paused", explanation=f"a person must decide on: {names}", paused=paused)
    if run.output:
        return run.end("answer", run.output[0])
    if run.guard.stop is not None:
        return run.end("loop", explanation=run.guard.stop)
    return None
