"""One step's reply: asked for, told to whoever watches, kept as a record keeps it.

In: a run and its history. Out: the reply, the second one where the first was no step forward, and
why it still is none. Each call of the model goes through here, but for what a tool asks of it. A
reply that is given up is void (`StepRestarted`), but what it cost is booked. The history is only
read.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from operator import is_
from typing import Literal, TypeAlias

from agentkit.agent.run import Run, Streamed
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
    common_length,
    history_problems,
)
from agentkit.policy import bounded_thoughts, reminded, second_try, unusable
from agentkit.schema.ladder import has_long_number, with_every_digit
from agentkit.schema.shape import Shape

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
    choice = _first_choice(run, settings) if run.step == 1 else ToolChoice()
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


def _first_choice(run: Run, settings: ModelSettings) -> ToolChoice:
    """Which calls the first reply may or must hold. One that must be of some tool is not met with a
    call of the agent's own, while there are others.
    """
    choice = settings.tool_choice or ToolChoice()
    if choice.mode != "required" or choice.name is not None or choice.among or not run.wiring.own:
        return choice
    others = (tool.name for tool in run.wiring.toolset if tool.name not in run.wiring.own)
    return replace(choice, among=tuple(others))


def problem_of(run: Run, response: ModelResponse, *, forced: bool = False) -> Problem | None:
    """Why a reply is no step forward: a stop reason and a sentence."""
    recovers, answer = run.wiring.settings.recovery is not False, run.wiring.answer
    names = {tool.name for tool in run.wiring.toolset} if recovers else set[str]()
    if answer is not None and answer.in_text(response.message.content or "", "") is not None:
        names.discard(answer.tool.name)  # spelled out, that one call is the answer
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
