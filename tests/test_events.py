from __future__ import annotations

import dataclasses
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from agentkit import events
from agentkit.events import Event, ModelEvent
from agentkit.messages import (
    AssistantMessage,
    Message,
    ModelResponse,
    ModelSettings,
    ToolCall,
    ToolChoice,
    ToolDefinition,
    ToolResult,
    Usage,
)
from tests.test_messages import calls, messages, texts

_EITHER: TypeAdapter[list[events.StepFinished | events.ToolFinished]] = TypeAdapter(
    list[events.StepFinished | events.ToolFinished], config={"ser_json_inf_nan": "constants"}
)


def read_back(event: events.StepFinished | events.ToolFinished) -> Event:
    return _EITHER.validate_json(_EITHER.dump_json([event]))[0]


@settings(max_examples=50, deadline=None)
@given(messages, st.floats(0, 100), st.integers(1, 9))
def test_a_finished_step_comes_back_from_json_as_it_was(
    message: Message, seconds: float, step: int
) -> None:
    event = events.StepFinished(message, "stop", Usage(1, 2), seconds, step)
    assert read_back(event) == event


@settings(max_examples=50, deadline=None)
@given(calls, texts)
def test_a_finished_tool_comes_back_from_json_as_it_was(call: ToolCall, text: str) -> None:
    event = events.ToolFinished(call, ToolResult(call.id, text), 3)
    assert read_back(event) == event


@pytest.mark.parametrize("kind", [*get_args(Event), *get_args(ModelEvent)])
def test_every_event_is_immutable_and_knows_its_step(kind: type) -> None:
    assert dataclasses.is_dataclass(kind)
    assert "step" in {field.name for field in dataclasses.fields(kind)}
    assert getattr(kind, "__dataclass_params__").frozen  # noqa: B009 - not in the type stubs


def test_every_event_class_of_the_module_is_in_the_union() -> None:
    parts = {
        events.ContextUse,
        events.PromptSent,
        events.PromptTokens,
        events.RunResult,
        events.Spent,
        events.Summary,
    }
    named = {getattr(events, name) for name in events.__all__} - parts
    classes = {kind for kind in named if isinstance(kind, type)}
    assert classes == {*get_args(Event), *get_args(ModelEvent)}


@settings(max_examples=100, deadline=None)
@given(messages, calls, texts)
def test_events_come_back_from_their_lines(message: Message, call: ToolCall, text: str) -> None:
    result = ToolResult(call.id, text, data={"n": [1, None]})
    finished: events.RunResult[str] = events.RunResult(text, "answer", (message,), Usage(1), 2, "r")
    happened: list[Event] = [
        events.RunStarted("r", "m", (message,), ("a", "b")),
        events.StepFinished(message, "stop", Usage(1, 2, 3), 0.5, 1),
        events.ToolFinished(call, result, 1),
        events.CallRepaired(call, "name", text, 2),
        events.ApprovalNeeded(call, "id", text, 2),
        events.ApprovalDecided("id", "edit", 2, arguments={"text": text}),
        events.ToolFinished(
            call, result, 1, ToolResult(call.id, "before"), events.Spent(1, 2, Usage(3))
        ),
        called(message, text),
        events.RunStarted("r", "m", (), settings=ModelSettings(seed=1), limits={"steps": 3}),
    ]
    for event in happened:
        assert events.load_event(events.dump_event(event)) == event
    line = events.dump_event(events.RunFinished(finished))
    assert b"\n" not in line
    back = events.load_event(line)
    assert isinstance(back, events.RunFinished)
    assert back.result == dataclasses.replace(finished, messages=())


def called(message: Message, text: str) -> events.ModelCalled:
    return events.ModelCalled(
        same=1,
        messages=(message,),
        settings=ModelSettings(stop=(text,)),
        tool_choice=ToolChoice("required", "f", 1),
        tools=(ToolDefinition("f", text, {"type": "object"}),),
        response=ModelResponse(AssistantMessage(text), "stop", Usage(1, 2)),
        model="m",
        constrains=True,
        seconds=0.5,
        first_token=None,
        step=1,
    )


def test_an_answer_of_any_type_comes_back_as_json() -> None:
    finished: events.RunResult[object] = events.RunResult({"n": [1, 2.5, None]}, "answer", ())
    back = events.load_event(events.dump_event(events.RunFinished(finished)))
    assert isinstance(back, events.RunFinished)
    assert back.result.output == {"n": [1, 2.5, None]}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"event": "StepStarted"}', r"StepStarted\.step: Field required"),
        (
            '{"event": "StepStarted", "step": "x"}',
            r"StepStarted\.step: Input should be a valid int",
        ),
        ('{"event": "RunFinished", "output": 1}', r"RunResult\.stop_reason: Field required"),
    ],
)
def test_a_field_that_is_missing_or_wrong_is_named(line: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        events.load_event(line)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("line", ["", "[]", "{}", '{"event": "Other"}', '{"event": "StepStarted"}'])
def test_other_lines_are_no_events(line: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        events.load_event(line)
