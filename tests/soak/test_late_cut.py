from __future__ import annotations

import re

import anyio
import pytest

from agentkit import Model
from agentkit.messages import ModelRequest, ToolMessage, text_of
from agentkit.testing import call, say
from agentkit.testing.scripted import Reply
from soak.late_cut import REALLY, SURELY, Place, Question, counted, missed, question
from tests.agent.following import Windowed


def reply(request: ModelRequest) -> Reply:
    """Reads the file, and then quotes the asked line where it stands in the prompt."""
    asked = re.search(r"line (?:(\d+) )?of (\S+)\?", text_of(request.messages[0].content))
    assert asked is not None
    newest = request.messages[-1]
    if not isinstance(newest, ToolMessage):
        return call("read_file", path=asked[2])
    line = re.search(rf"^ *{asked[1] or 1}\| (.*)$", text_of(newest.content), re.MULTILINE)
    return say(line[1] if line is not None else "I do not know.")


@pytest.mark.slow
def test_the_proof_counts_what_a_reader_who_sees_the_line_gets_right() -> None:
    questions: list[tuple[Place, Question]] = [
        (place, question(seed, place)) for seed in range(2) for place in PLACES
    ]
    model: Model = Windowed(reply, 8_192)
    counts = anyio.run(counted, model, questions)
    assert counts["questions"] == 6
    assert sum(counts[f"right, nothing cut, {SURELY}, {place}"] for place in PLACES) > 0
    for place in PLACES:
        for what in ("right", "asked line in the prompt"):
            for where in (SURELY, REALLY):
                whole = counts[f"{what}, nothing cut, {where}, {place}"]
                assert counts[f"{what}, as it is, {where}, {place}"] == whole
    assert missed(counts) == []


PLACES: tuple[Place, ...] = ("head", "middle", "tail")


def test_fewer_right_than_with_nothing_cut_is_a_miss() -> None:
    counts = {
        f"right, nothing cut, {SURELY}, head": 3,
        f"right, as it is, {SURELY}, head": 3,
        f"asked line in the prompt, nothing cut, {REALLY}, middle": 5,
        f"asked line in the prompt, as it is, {REALLY}, middle": 4,
    }
    assert missed(counts) == [
        f"right, only estimated, {SURELY}, head: 0, and 3 with nothing cut",
        f"asked line in the prompt, as it is, {REALLY}, middle: 4, and 5 with nothing cut",
    ]


def test_a_model_that_is_never_right_proves_nothing() -> None:
    assert missed({}) == ["nothing is right with nothing cut: that proves nothing"]
