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
whatever ends it, each call in the history has its result. A reply that is given up is void
(`StepRestarted`), but what it cost is booked.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Generator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import asdict, replace
from operator import is_
from typing import Any, Literal, TypeAlias

import anyio
import anyio.to_thread

from agentkit.agent.approvals import taint_of_calls
from agentkit.agent.calls import ReplyCall, failed, run_calls
from agentkit.agent.options import Cancellation
from agentkit.agent.own_tools import AnswerTool
from agentkit.agent.run import Run, Streamed, versions
from agentkit.errors import AgentKitError, ModelStatusError
from agentkit.events import (
    AskedAgain,
    CallRepaired,
    ContextCompacted,
    ModelCalled,
    ModelFinished,
    PromptFitted,
    ReplyInterrupted,
    RunFinished,
    RunResult,
    RunStarted,
    StepFinished,
    StepRestarted,
    StepStarted,
)
from agentkit.exact import text_of_inexact, why_inexact
from agentkit.media import without_media
from agentkit.messages import (
    AssistantMessage,
    JsonObject,
    Message,
    ModelRequest,
    ModelResponse,
    ModelSettings,
    StopReason,
    ToolCall,
    ToolChoice,
    ToolMessage,
    ToolResult,
    common_length,
    history_problems,
    next_call_number,
)
from agentkit.policy import PausedRun, bounded_thoughts, reminded, second_try, unusable
from agentkit.schema.ladder import has_long_number, with_every_digit
from agentkit.schema.shape import Shape
from agentkit.toolset import ValidatedCall
from agentkit.toolset.results import in_history, is_small


async def drive(
    run: Run, cancellation: Cancellation, paused: PausedRun | None = None
) -> RunResult[Any]:
    """Runs to the end. The last event is `RunFinished`, whatever that end is.

    Args:
        run: A run whose history ends with what the user said, or as `paused` left it.
        cancellation: Ends it from outside.
        paused: The pause that the run goes on from; None for a run that begins.

    Raises:
        AgentKitError: The model cannot be had. What was done so far is in the run file, and in
            the exception's `result`.
    """
    run.cancellation = cancellation
    if (serves := run.budget.parent) is not None and run.id not in serves.runs:
        serves.runs.append(run.id)
    run.emit(_started(run))
    result = run.end("cancelled", explanation="the run was cancelled")
    try:
        with anyio.move_on_after(run.budget.seconds_left) as scope:
            cancellation.bind(scope)
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


def _started(run: Run) -> RunStarted:
    wiring, given = run.wiring, run.wiring.options
    run.sent = ModelRequest(tuple(run.messages))
    history, limits = given.get("history", ()), given.get("limits")
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
    """The call of the answer's tool for a reply that is text: the text itself where it is such an
    answer, or else what the model gives when it is asked for the call.
    """
    for asked_for in (False, True):
        if asked_for:
            response = await forced_call(run, answer.tool.name, show=True)
            if problem_of(run, response):
                return None
            if response.message.tool_calls:
                return response
        call_id = f"call_{next_call_number(run.messages)}"
        call = answer.in_text(response.message.content or "", call_id)
        if call is not None:
            message = replace(response.message, content=None, tool_calls=(call,))
            return replace(response, message=message)
    return None


async def _go_on(run: Run, paused: PausedRun) -> RunResult[Any]:
    """Goes on with a reply whose calls have waited for a person, and then with the loop."""
    message = paused.messages[-1]
    assert isinstance(message, AssistantMessage), "a run pauses at a reply with calls"
    done = {result.call_id: result for result in paused.done}
    validate = run.wiring.toolset.validate
    calls = [
        ReplyCall(position, call, validate(call), result=done.get(call.id))
        for position, call in enumerate(message.tool_calls)
    ]
    result = await _run_prepared(run, calls)
    run.taint |= taint_of_calls(run.wiring.toolset, message.tool_calls, paused.done)
    return await _loop(run) if result is None else result


async def _run_prepared(run: Run, calls: Sequence[ReplyCall]) -> RunResult[Any] | None:
    """Runs the calls of the newest reply; the result, if that ends the run."""
    before, taint = tuple(run.messages), run.taint
    try:
        await run_calls(run, calls)
    finally:
        # The history must be valid however this ends: no call without its result.
        for each in calls:
            result = each.result
            if each.waiting is not None:
                result = failed(each.call, "cancelled", "not run yet: a person has to decide on it")
            elif result is None:
                result = failed(each.call, "cancelled", "the run ended before this call did")
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
        )
        names = ", ".join(approval.call.name for approval in waiting)
        return run.end("paused", explanation=f"a person must decide on: {names}", paused=paused)
    if run.output:
        return run.end("answer", run.output[0])
    if run.guard.stop is not None:
        return run.end("loop", explanation=run.guard.stop)
    return None


# --- one step's reply ----------------------------------------------------------------------------

Problem: TypeAlias = tuple[StopReason, str]
"""Why a reply cannot be used: the stop reason it comes to, and a sentence for a person."""

_DEBUG = bool(os.environ.get("AGENTKIT_DEBUG"))
"""Whether the history is checked before each request (`agentkit.messages.history_problems`)."""


async def next_reply(run: Run) -> tuple[ModelResponse, Problem | None]:
    """The step's reply, the second one if the first was unusable, and why it still is unusable."""
    run.step += 1
    run.budget.spend(steps=1)
    run.emit(StepStarted(run.step))
    started = time.monotonic()
    settings = _settings(run)
    choice = (settings.tool_choice if run.step == 1 else None) or ToolChoice()
    response = await _generate(run, settings, choice, show=True)
    forced = choice.mode == "required"
    if (problem := problem_of(run, response, forced=forced)) is not None:
        run.emit(StepRestarted(problem[1], attempt=2, step=run.step))
        given_up = response
        again = second_try(response, settings, forced=forced)
        messages = tuple(run.messages)
        if problem[0] == "malformed_call" and not run.wiring.model.constrains:
            messages = reminded(messages)  # no grammar holds the model to its format
        response = await _generate(run, again, choice, show=True, messages=messages)
        first, problem = problem, problem_of(run, response, forced=forced)
        became: Literal["call", "answer", "nothing"]
        became = "nothing" if problem else "call" if response.message.tool_calls else "answer"
        said = given_up.message.content or ""
        run.emit(AskedAgain(first[1], said, given_up.usage, became, run.step))
    seconds = round(time.monotonic() - started, 6)
    run.emit(
        StepFinished(
            response.message, response.finish_reason, response.usage, seconds, step=run.step
        )
    )
    return response, problem


def problem_of(run: Run, response: ModelResponse, *, forced: bool = False) -> Problem | None:
    """Why a reply is no step forward: a stop reason and a sentence."""
    recovers = run.wiring.settings.recovery is not False
    names = [tool.name for tool in run.wiring.toolset] if recovers else ()
    return unusable(response, names, forced=forced)


async def forced_call(run: Run, tool: str, *, show: bool = False) -> ModelResponse:
    """A reply that is one call of one tool, as far as the model can be made to give one.

    It does not reason: vLLM lets a grammar begin where the reasoning ends, so a model that begins
    none would be free.
    """
    choice = ToolChoice("required", name=tool, max_calls=1)
    settings = replace(_settings(run), thinking=False)
    return await _generate(run, settings, choice, show=show)


def _settings(run: Run) -> ModelSettings:
    """The run's settings, or changed ones where the progress guard asks for a change."""
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
    """One model call, over the run's history where no other messages are given.

    A server may refuse a request because it takes no images, or not this one. Where tools returned
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
        response = await _one_call(run, replace(request, messages=bare), show=show)
        run.no_media = str(error)
        return response


_REFUSALS = (400, 413, 415, 422, 500, 501)
"""Statuses by which servers say that they do not take an image: vLLM 400, llama.cpp 500."""


async def _one_call(run: Run, request: ModelRequest, *, show: bool) -> ModelResponse:
    """Asks the model once, and tells whoever watches what comes of it."""
    if _DEBUG and (problems := history_problems(request.messages)):
        raise AssertionError(f"the history is not valid: {'; '.join(problems)}")
    response: ModelResponse | None = None
    started = time.monotonic()
    first: float | None = None
    fitted: PromptFitted | None = None
    events = bounded_thoughts(run.wiring.model.generate(request), request.settings.thinking_tokens)
    with _recorded(run, started):
        try:
            async with aclosing(events):
                async for event in events:
                    match event:
                        case ModelFinished():
                            response = _kept(run, event.response)
                        case PromptFitted():
                            fitted = replace(event, step=run.step)
                        case ContextCompacted():
                            run.emit(replace(event, step=run.step))
                        case _:
                            again = isinstance(event, StepRestarted)
                            first = None if again else first or time.monotonic()
                            if show:
                                run.emit(replace(event, step=run.step))
                                if run.streamed is not None:
                                    run.streamed.add(event)
        finally:
            if fitted is not None:  # a summary was paid for, whatever came of the reply
                run.budget.spend(usage=fitted.cost)
    assert response is not None, "a model ends with ModelFinished or raises"
    first = None if first is None else round(first - started, 6)
    seconds = round(time.monotonic() - started, 6)
    run.emit(_called(run, request, response, seconds, first, fitted))
    run.budget.spend(usage=response.usage)
    return response


@contextmanager
def _recorded(run: Run, started: float) -> Generator[None]:
    """Tells of one model call what goes to the server and comes back, also when it is cut short."""
    streamed = run.streamed = Streamed()
    try:
        with run.exchanges.told_to(lambda event: run.emit(replace(event, step=run.step))):
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
    run.streamed = None  # it came to its end: the reply itself is there


def _kept(run: Run, response: ModelResponse) -> ModelResponse:
    """The reply in a form that a record keeps exactly: a call with other arguments becomes a
    malformed one, and a number with more digits than a float holds takes its tool's type.

    Every model's reply passes here before anything of it is recorded. Otherwise a record might hold
    other arguments than the call had, and a resumed run would run those.
    """
    was = response.message.tool_calls
    calls = tuple([_kept_call(run, call) for call in was])
    if all(map(is_, calls, was)):
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
    first: float | None,
    fitted: PromptFitted | None,
) -> ModelCalled:
    """The event of a model call. Of the request it holds what is new since the call before."""
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
        first_token=first,
        step=run.step,
        fitted=fitted,
    )


# --- one step's calls, before they run -----------------------------------------------------------


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
