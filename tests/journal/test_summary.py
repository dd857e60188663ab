from __future__ import annotations

import pytest

from agentkit.errors import JournalError
from agentkit.events import RunStarted
from agentkit.journal import dump_entry, summary_of
from agentkit.journal.entries import Raw
from agentkit.messages import UserMessage

OPENING = Raw(1, 1, 0.0, "RunStarted", dump_entry(RunStarted("a", "model", (UserMessage("Hi."),))))


def called(body: str) -> Raw:
    return Raw(2, 1, 1.0, "ModelCalled", body)


def test_the_last_step_and_all_tokens_are_counted() -> None:
    line = called('{"step":4,"usage":{"input_tokens":7,"output_tokens":2}}')
    found = summary_of("a", [OPENING, line, line])
    assert (found.state, found.steps, found.usage.input_tokens) == ("died", 4, 14)
    assert found.question == "Hi."


@pytest.mark.parametrize(
    "body",
    [
        '{"usage":{"input_tokens":}}',
        '{"usage":{"input_tokens":"many"}}',
        '{"usage":{"input_tokens" 5}}',
        f'{{"step":{"9" * 5000}}}',
        '{"cost":{"a":1},"fitted":"what was sent"}',
        '{"cost":{"a":1},"fitted":{"sent":{"summary":[1]}}}',
        '[{"cost":{"a":1}}]',
    ],
)
def test_a_model_call_that_cannot_be_read_is_damage(body: str) -> None:
    with pytest.raises(JournalError):
        summary_of("a", [OPENING, called(body)])
