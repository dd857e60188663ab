"""One step's reply: the model is asked, and once more where its reply is no step forward.

In: a run. Out: a reply that can be used, or the reason why there is none. It appends nothing to
the history; a reply that is given up is void (`StepRestarted`), but what it cost is booked.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import replace
from operator import is_
from typing import Literal, TypeAlias

from agentkit.agent.state import Run, Streamed
from agentkit.errors import ModelStatusError
from agentkit.events import (
    AskedAgain,
    ContextCompacted,
    ModelCalled,
    ModelFinished,
    PromptFitted,
    ReplyInterrupted,
    StepFinished,
    StepRestarted,
    StepStarted,
)
from agentkit.exact import text_of_inexact, why_inexact
from agentkit.media import without_media
from agentkit.messages import (
    JsonObject,
    Message,
    ModelRequest,
    ModelResponse,
    ModelSettings,
    StopReason,
    ToolCall,
    ToolChoice,
)
from agentkit.policy import bounded_thoughts, history_problems, reminded, second_try, unusable
from agentkit.schema.ladder import has_long_number, with_every_digit
from agentkit.schema.shape import Shape

Problem: TypeAlias = tuple[StopReason, str]
"""Why a reply cannot be used: the stop reason it comes to, and a sentence for a person."""

_DEBUG = bool(os.environ.get("AGENTKIT_DEBUG"))
"""Checks the history's invariant before each request."""


async def ask(run: Run) -> tuple[ModelResponse, Problem | None]:
    """The step's reply, the first or the second, and why it cannot be used where it cannot."""
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
        run.emit(_asked_again(run, first, given_up, response, problem))
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


def _asked_again(
    run: Run,
    why: Problem,
    first: ModelResponse,
    second: ModelResponse,
    problem: Problem | None,
) -> AskedAgain:
    became: Literal["call", "answer", "nothing"]
    became = "nothing" if problem else "call" if second.message.tool_calls else "answer"
    return AskedAgain(why[1], first.message.content or "", first.usage, became, run.step)


async def ask_for(run: Run, tool: str, *, show: bool = False) -> ModelResponse:
    """A reply that is one call of one tool, as far as the model can be made to give one.

    Without a thought: vLLM lets a grammar begin where the thought ends, so a model that opens none
    would be free.
    """
    choice = ToolChoice("required", name=tool, max_calls=1)
    settings = replace(_settings(run), thinking=False)
    return await _generate(run, settings, choice, show=show)


def _settings(run: Run) -> ModelSettings:
    """The run's settings; others where the progress guard wants something to change."""
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

    A server that refuses it may be one that takes no images, or not this one: where tools returned
    any, it is asked again with the server's words in their place, here and in all later steps.
    """
    if messages is None:
        messages = tuple(run.messages)
    if run.no_media:
        messages = tuple(without_media(messages, run.no_media))
    try:
        return await _generated(run, settings, choice, messages, show=show)
    except ModelStatusError as error:
        bare = tuple(without_media(messages, str(error)))
        if error.status_code not in _REFUSALS or bare == messages:
            raise
        response = await _generated(run, settings, choice, bare, show=show)
        run.no_media = str(error)
        return response


_REFUSALS = (400, 413, 415, 422, 500, 501)
"""Statuses by which servers say that they do not take an image: vLLM 400, llama.cpp 500."""


async def _generated(
    run: Run,
    settings: ModelSettings,
    choice: ToolChoice,
    messages: tuple[Message, ...],
    *,
    show: bool,
) -> ModelResponse:
    request = ModelRequest(messages, run.wiring.toolset.definitions, settings, tool_choice=choice)
    if _DEBUG and (problems := history_problems(request.messages)):
        raise AssertionError(f"the history is not valid: {'; '.join(problems)}")
    response: ModelResponse | None = None
    started = time.monotonic()
    first: float | None = None
    fitted: PromptFitted | None = None
    events = bounded_thoughts(run.wiring.model.generate(request), settings.thinking_tokens)
    with _recorded(run, started):
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
                    calls=tuple(streamed.calls[index] for index in sorted(streamed.calls)),
                    why=why,
                    seconds=seconds,
                    step=run.step,
                )
            )
        raise
    run.streamed = None  # it came to its end: the reply itself is there


def _kept(run: Run, response: ModelResponse) -> ModelResponse:
    """The reply, with a call whose arguments cannot be kept exactly as one that is malformed, and
    numbers that no float holds as their tool takes them.

    Here every model's replies come in, before anything of them is recorded: a record would hold
    other arguments, which a resumed run might take.
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
    """The event of a model call; what it says of the request is what the last one did not."""
    before, run.sent = run.sent, request
    same = _leading(before.messages, request.messages)
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


def _leading(before: Sequence[Message], now: Sequence[Message]) -> int:
    """How many leading messages are equal; nearly always all that were there before."""
    if before == now[: len(before)]:
        return len(before)
    pairs = enumerate(zip(before, now, strict=False))
    return next((n for n, (old, new) in pairs if old != new), min(len(before), len(now)))
