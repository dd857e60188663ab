from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from agentkit import Agent, Context, ContextCompacted, ContextWindowError, Event, Model, tool
from agentkit.context import ContextWindow, Count, PromptForm
from agentkit.events import ModelEvent, ModelFinished, StepRestarted, TextDelta
from agentkit.messages import (
    AssistantMessage,
    Message,
    ModelRequest,
    ModelResponse,
    ToolCall,
    ToolMessage,
    Usage,
    UserMessage,
    text_of,
)
from agentkit.models import WindowedModel
from agentkit.testing import ScriptedModel, call, say
from tests.context.driving import encoded, form_of, prompt_text, tokens


class Counting(ScriptedModel):
    """A scripted model that knows its window."""

    def __init__(self, script: Iterable[Any], *, window: int = 4096, form: bool = True) -> None:
        super().__init__(script)
        self._form = form_of(window=window) if form else None

    async def prompt_form(self, request: ModelRequest) -> PromptForm | None:  # noqa: ARG002 - one form for all
        return self._form

    async def generate(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        counted = tokens(prompt_text(request.messages, self._form)) if self._form else 0
        async for event in super().generate(request):
            if isinstance(event, ModelFinished):
                usage = Usage(input_tokens=counted, output_tokens=5)
                event = ModelFinished(replace(event.response, usage=usage))
            yield event

    async def count(self, wanted: Count) -> Sequence[int] | None:
        return encoded(wanted)


async def answer(model: Model, request: ModelRequest) -> ModelResponse:
    (response,) = [
        e.response async for e in model.generate(request) if isinstance(e, ModelFinished)
    ]
    return response


def talk(steps: int, words: int) -> ModelRequest:
    messages: list[Message] = [UserMessage("Read.")]
    for n in range(steps):
        messages.append(AssistantMessage(None, (ToolCall(f"c{n}", "read"),)))
        messages.append(ToolMessage(f"c{n}", "read", f"{n} " + "word " * words))
    return ModelRequest(tuple(messages))


TOO_LONG = ContextWindowError("This model's maximum context length is 2048 tokens.")


@pytest.mark.anyio
async def test_a_server_that_is_stricter_than_thought_is_asked_once_more_with_less() -> None:
    inner = Counting([TOO_LONG, say("ok")])
    window = ContextWindow()
    response = await answer(WindowedModel(inner, window), talk(6, 60))
    assert response.message.content == "ok"
    first, second = inner.requests
    assert len(second.messages) < len(first.messages) or second.messages != first.messages
    assert window.use().compactions == 1


class RefusesInMidReply(Counting):
    """A server that finds out in the middle of its first reply that the window is full."""

    async def generate(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        if not self.requests:
            yield TextDelta("Half an ")
        async for event in super().generate(request):
            yield event


@pytest.mark.anyio
async def test_what_was_shown_before_a_refusal_is_taken_back() -> None:
    model = WindowedModel(RefusesInMidReply([TOO_LONG, say("ok")]), ContextWindow())
    events = [event async for event in model.generate(talk(6, 60))]
    shown = [event for event in events if isinstance(event, TextDelta | StepRestarted)]
    assert shown[0] == TextDelta("Half an ")
    assert isinstance(shown[1], StepRestarted)
    assert "maximum context length" in shown[1].reason
    assert "".join(event.text for event in shown[2:] if isinstance(event, TextDelta)) == "ok"


@pytest.mark.anyio
async def test_a_second_refusal_is_the_end() -> None:
    inner = Counting([TOO_LONG, TOO_LONG])
    with pytest.raises(ContextWindowError):
        await answer(WindowedModel(inner, ContextWindow()), talk(6, 60))
    assert len(inner.requests) == 2


@pytest.mark.anyio
async def test_where_nothing_can_be_left_out_the_largest_part_is_named() -> None:
    inner, request = Counting([TOO_LONG]), ModelRequest((UserMessage("word " * 100),))
    with pytest.raises(ContextWindowError, match=r"maximum context length.*The largest is user"):
        await answer(WindowedModel(inner, ContextWindow()), request)
    assert len(inner.requests) == 1


@pytest.mark.anyio
async def test_a_model_that_wants_requests_as_they_are_gets_them() -> None:
    inner = Counting([say("ok")], form=False)
    request = talk(40, 300)
    await answer(WindowedModel(inner, ContextWindow(Context(compact_at=200))), request)
    assert inner.requests == [request]


@pytest.mark.anyio
async def test_of_any_other_model_long_results_are_previews_and_the_users_limit_holds() -> None:
    inner = ScriptedModel([say("ok"), say("ok")])
    await answer(WindowedModel(inner, ContextWindow()), talk(1, 30_000))
    assert "left out" in text_of(inner.requests[0].messages[-1].content)
    await answer(WindowedModel(inner, ContextWindow(Context(compact_at=500))), talk(20, 60))
    assert len(inner.requests[1].messages) < 41


# --- in a run ----------------------------------------------------------------------------------


@tool(effect="pure")
def read(n: int) -> str:
    """Reads."""
    return f"{n} " + "word " * 100


@pytest.mark.anyio
async def test_a_run_keeps_its_whole_history_while_less_of_it_is_sent() -> None:
    events: list[Event] = []
    model = Counting([*(call("read", n=n) for n in range(40)), say("done")], window=2048)
    agent = Agent(model, tools=[read], observers=[lambda _run_id, event: events.append(event)])
    result = await agent.run("Read all.")
    assert result.output == "done"
    results = [m for m in result.messages if isinstance(m, ToolMessage)]
    assert [text_of(m.content).split()[0] for m in results] == [str(n) for n in range(40)]
    assert all(len(text_of(m.content)) > 400 for m in results)
    use = result.context
    assert all(prompt.exact and prompt.foreseen == prompt.counted for prompt in use.prompts)
    assert use.compactions >= 2
    assert len(use.prompts) == 41
    assert use.tokens == use.prompts[-1].foreseen <= 2048
    assert 0 < len(model.requests[-1].messages) < 82 - use.dropped + 2
    compacted = [event for event in events if isinstance(event, ContextCompacted)]
    assert len(compacted) == use.compactions
    assert all(event.step > 0 and event.after < event.before for event in compacted)


@pytest.mark.anyio
async def test_an_overflow_that_cannot_be_mended_leaves_the_partial_result() -> None:
    model = Counting([call("read", n=1)], window=1024)
    with pytest.raises(ContextWindowError) as caught:
        await Agent(model, tools=[read], observers=()).run("word " * 2000)
    assert caught.value.result.stop_reason == "error"
    assert caught.value.result.context.parts["user"] > 1024
