from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.errors import JournalError
from agentkit.events import CallRepaired, ModelCalled, RunFinished, RunResult
from agentkit.journal import (
    CallDone,
    CallIntended,
    CallStarted,
    Decided,
    Entry,
    RunOpened,
    Shown,
    dump_entry,
    load_entry,
)
from agentkit.messages import (
    AssistantMessage,
    ImagePart,
    ModelResponse,
    ModelSettings,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolChoice,
    ToolResult,
    UserMessage,
)
from agentkit.policy import Deny, Edit, Limits, Prices

CALL = ToolCall("call_0", "pay", {"to": "Ada", "sum": 1.5, "tags": ["a", None]})
PARTS = (TextPart("a chart"), ImagePart("data:image/png;base64,AA=="))
ENTRIES: list[Entry] = [
    RunOpened(
        (SystemMessage("Be brief."), UserMessage("Go.")),
        "gemma",
        ModelSettings(temperature=0.0, stop=("x",)),
        Limits(steps=3, prices=Prices(input=2.0)),
        {"project": "here"},
    ),
    CallIntended("k" * 32, CALL, "once", "boot", 1),
    CallStarted("k" * 32, 1),
    CallDone("k" * 32, ToolResult("call_0", PARTS, data={"rows": [1]}, retry=True), 1),
    Decided("a" * 32, Edit({"sum": 2}), 3),
    Decided("a" * 32, Deny("too much")),
    Shown("ToolFinished", 1, "call_0"),
    CallRepaired(CALL, "name", "Pay", 1),
    ModelCalled(
        same=0,
        messages=(UserMessage("Go."),),
        settings=ModelSettings(),
        tool_choice=ToolChoice("required", name="pay", max_calls=1),
        tools=None,
        response=ModelResponse(AssistantMessage(None, (CALL,)), "tool_calls"),
        model="gemma",
        constrains=True,
        seconds=0.5,
        first_token=None,
        step=1,
    ),
    RunFinished(RunResult("Done.", "answer", (), run_id="r")),
]


@pytest.mark.parametrize("entry", ENTRIES, ids=[type(entry).__name__ for entry in ENTRIES])
def test_every_entry_comes_back_as_it_was(entry: Entry) -> None:
    text = dump_entry(entry)
    assert json.loads(text)["event"] == type(entry).__name__
    assert load_entry(text) == entry


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), json_values, max_size=4), st.text())
def test_any_arguments_and_any_text_come_back(arguments: dict[str, Any], text: str) -> None:
    call = ToolCall("c", "t", arguments)
    intent = CallIntended("k", call, "pure", "", 1)
    assert load_entry(dump_entry(intent)) == intent
    done = CallDone("k", ToolResult("c", text), 1)
    assert load_entry(dump_entry(done)) == done


def test_half_a_surrogate_pair_does_not_stop_a_run() -> None:
    done = CallDone("k", ToolResult("c", "half \ud83d"), 1)
    back = load_entry(dump_entry(done))
    assert isinstance(back, CallDone)
    assert back.result.content == "half ?"


@given(st.data())
def test_a_damaged_entry_is_an_error_of_its_own(data: st.DataObject) -> None:
    text = dump_entry(data.draw(st.sampled_from(ENTRIES)))
    at = data.draw(st.integers(0, len(text) - 1))
    damaged = text[:at] + data.draw(st.text(max_size=3)) + text[at + data.draw(st.integers(0, 9)) :]
    try:
        load_entry(damaged)
    except JournalError as error:
        assert "no entry of a journal" in str(error)  # noqa: PT017 - most damage raises, some does not


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"event": "os.system"}', "[" * 100_000])
def test_what_is_no_entry_is_refused(text: str) -> None:
    with pytest.raises(JournalError):
        load_entry(text)
