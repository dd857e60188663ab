"""The loop: steps until an answer, a limit or an end.

```
              ┌──────────────────────────────────────────────────────────────┐
              ▼                                                              │
 started ─ limit? ─ ask ── calls ── prepare ── decide ── run ── results, in call order
              │      │                           │        │
              │      ├─ text ──► answer          │        └─ in circles ──► loop
              │      │   (typed: the answer      └─ nobody to ask ──► paused
              │      │    is a call as well)
              │      └─ unusable, also at the second try ──► truncated, empty, loop,
              │                                              malformed_call, content_filter
              └─ reached ──► steps, tool_calls, tokens, cost;  seconds and a cancellation end it
                             anywhere
```

One loop serves streaming and not: it says what happens through `emit`, and a stream is somebody
listening. It knows no JSON, no HTTP and no prompt text. Only the loop appends to the history, and
whatever ends it, each call in the history has its result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import anyio

from agentkit.agent.answers import AnswerTool
from agentkit.agent.approvals import taint_of_calls
from agentkit.agent.calls import Outcome, Prepared, failed, prepare, run_calls
from agentkit.agent.replies import ask, ask_for, problem_of
from agentkit.agent.state import Cancellation, Run
from agentkit.agent.surroundings import versions
from agentkit.errors import AgentKitError
from agentkit.events import RunFinished, RunResult, RunStarted
from agentkit.messages import (
    AssistantMessage,
    ModelRequest,
    ModelResponse,
    StopReason,
    ToolCall,
    ToolMessage,
    next_call_number,
)
from agentkit.policy import PausedRun
from agentkit.toolset.results import in_history


async def drive(
    run: Run, cancellation: Cancellation, paused: PausedRun | None = None
) -> RunResult[Any]:
    """Runs to the end. The last event is `RunFinished`, whatever that end is.

    Args:
        run: A run whose history ends with what the user said, or as `paused` left it.
        cancellation: Ends it from outside.
        paused: Where to go on, after a pause.

    Raises:
        AgentKitError: The model cannot be had. What was done so far is in the run file, and in
            the exception's `result`.
    """
    run.cancellation = cancellation
    if (serves := run.budget.parent) is not None and run.wiring.context.run_id not in serves.runs:
        serves.runs.append(run.wiring.context.run_id)
    run.emit(_started(run))
    result = run.end("cancelled", explanation="the run was cancelled")
    try:
        with anyio.move_on_after(run.budget.seconds_left) as scope:
            cancellation.bind(scope)
            result = await (_loop(run) if paused is None else _go_on(run, paused))
        if scope.cancelled_caught:
            result = _ended_early(run, cancellation)
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


def _started(run: Run) -> RunStarted:
    wiring, given = run.wiring, run.wiring.options
    run.sent = ModelRequest(tuple(run.messages))
    return RunStarted(
        wiring.context.run_id,
        wiring.model.name,
        tuple(run.messages),
        tuple(tool.name for tool in wiring.toolset),
        run.messages[:1] != list(given.history[:1]) and run.messages[0].role == "system",
        given.settings,
        asdict(given.limits) if given.limits is not None else None,
        versions=versions(),
    )


async def _loop(run: Run) -> RunResult[Any]:
    while True:
        if (over := run.budget.over()) is not None:
            return run.end(over[0], explanation=over[1])
        response, problem = await ask(run)
        if problem is not None:
            return _stopped(run, response, *problem)
        if not response.message.tool_calls:
            if run.wiring.answer is None:
                run.messages.append(response.message)
                return run.end("answer", response.message.content)
            answer = run.wiring.answer
            typed = _typed(run, answer, response)
            if typed is None:
                asked = await ask_for(run, answer.tool.name, show=True)
                if not problem_of(run, asked):
                    called = bool(asked.message.tool_calls)
                    typed = asked if called else _typed(run, answer, asked)
            if typed is None:
                run.messages.append(response.message)
                why = f"the model wrote text instead of calling {answer.tool.name}"
                return run.end("invalid_output", response.message.content, why)
            response = typed
        if (result := await _calls(run, response.message)) is not None:
            return result


def _typed(run: Run, answer: AnswerTool, response: ModelResponse) -> ModelResponse | None:
    """The reply as a typed answer, where its text is one."""
    call_id = f"call_{next_call_number(run.messages)}"
    call = answer.in_text(response.message.content or "", call_id)
    if call is None:
        return None
    return replace(response, message=replace(response.message, content=None, tool_calls=(call,)))


def _stopped(run: Run, response: ModelResponse, stop: StopReason, why: str) -> RunResult[Any]:
    """An end without an answer: what there is of a text is kept, a cut call is not."""
    message = response.message
    if message.content and not message.tool_calls:
        run.messages.append(message)
    return run.end(stop, message.content or "", f"{why}, also at the second try")


async def _calls(run: Run, message: AssistantMessage) -> RunResult[Any] | None:
    """Runs a reply's calls; the result, if that ends the run."""
    run.budget.spend(tool_calls=len(message.tool_calls))
    final, prepared = await prepare(run, message.tool_calls)
    run.messages.append(replace(message, content=None, tool_calls=tuple(final)))
    return await _run(run, final, prepared, Outcome([None] * len(final)))


async def _go_on(run: Run, paused: PausedRun) -> RunResult[Any]:
    """The rest of a reply whose calls have waited for a person, and then the loop."""
    message = paused.messages[-1]
    assert isinstance(message, AssistantMessage), "a run pauses at a reply with calls"
    calls = message.tool_calls
    by_id = {result.call_id: result for result in paused.done}
    outcome = Outcome([by_id.get(call.id) for call in calls])
    prepared = [run.wiring.toolset.validate(call) for call in calls]
    result = await _run(run, calls, prepared, outcome)
    run.taint |= taint_of_calls(run.wiring.toolset, calls, paused.done)
    return await _loop(run) if result is None else result


async def _run(
    run: Run, calls: Sequence[ToolCall], prepared: Sequence[Prepared], outcome: Outcome
) -> RunResult[Any] | None:
    before, taint = tuple(run.messages), run.taint
    try:
        await run_calls(run, prepared, outcome)
    finally:
        # The history must be valid however this ends: no call without its result.
        _append_results(run, calls, outcome)
    if outcome.waiting:
        done = tuple(result for result in outcome.results if result is not None)
        waiting = tuple(outcome.waiting.values())
        budget, run_id = run.budget, run.wiring.context.run_id
        paused = PausedRun(
            run_id,
            before,
            done,
            waiting,
            budget.usage,
            budget.steps,
            step=run.step,
            taint=taint,
            grants=tuple(run.wiring.authority.grants),
        )
        names = ", ".join(approval.call.name for approval in waiting)
        return run.end("paused", explanation=f"a person must decide on: {names}", paused=paused)
    if run.output:
        return run.end("answer", run.output[0])
    if run.guard.stop is not None:
        return run.end("loop", explanation=run.guard.stop)
    return None


def _append_results(run: Run, calls: Sequence[ToolCall], outcome: Outcome) -> None:
    for position, call in enumerate(calls):
        result = outcome.results[position]
        if position in outcome.waiting:
            result = failed(call, "cancelled", "not run yet: a person has to decide on it")
        elif result is None:
            result = failed(call, "cancelled", "the run ended before this call did")
        content = in_history(result.content)
        run.messages.append(ToolMessage(call.id, call.name, content, result.is_error))


def _ended_early(run: Run, cancellation: Cancellation) -> RunResult[Any]:
    if cancellation.cancelled:
        return run.end_early("cancelled", "the run was cancelled")
    return run.end_early("seconds", "stopped when the time was up")
