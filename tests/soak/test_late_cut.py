from __future__ import annotations

import re

import anyio

from agentkit import Model
from agentkit.messages import ModelRequest, ToolMessage, text_of
from agentkit.testing import call, say
from agentkit.testing.scripted import Reply
from soak.late_cut import Place, Question, counted, missed, question
from tests.agent.following import Windowed


def reply(request: ModelRequest) -> Reply:
    """Reads the file, and then quotes the asked line where it stands in the prompt."""
    asked = re.search(r"line (\d+) of (\S+)\?", text_of(request.messages[0].content))
    assert asked is not None
    newest = request.messages[-1]
    if not isinstance(newest, ToolMessage):
        return call("read_file", path=asked[2])
    line = re.search(rf"^ *{asked[1]}\| (.*)$", text_of(newest.content), re.MULTILINE)
    return say(line[1] if line is not None else "I do not know.")


def test_the_proof_counts_what_a_reader_who_sees_the_line_gets_right() -> None:
    questions: list[tuple[Place, Question]] = [
        (place, question(seed, place)) for seed in range(2) for place in PLACES
    ]
    model: Model = Windowed(reply, 8_192)
    counts = anyio.run(counted, model, questions)
    fits = counts["the whole file fits"]
    assert counts["questions"] == 6
    assert fits > 0
    for way in ("as it is", "only estimated", "nothing cut"):
        assert counts[f"right, {way}, fits"] == fits
    assert missed(counts) == []


PLACES: tuple[Place, ...] = ("head", "middle", "tail")


def test_fewer_right_than_with_nothing_cut_is_a_miss() -> None:
    counts = {"right, nothing cut, fits": 3, "right, as it is, fits": 3}
    assert missed(counts) == ["only estimated: 0 right, and 3 with nothing cut"]
