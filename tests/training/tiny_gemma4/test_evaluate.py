from __future__ import annotations

import json
from pathlib import Path

import pytest

from agentkit.models.embedded import Decoder
from soak.tiny import write_record
from training.tiny_gemma4 import evaluate
from training.tiny_gemma4.draw import Draw, HeldOutDraw, mentions_heldout
from training.tiny_gemma4.generate import sample

pytestmark = pytest.mark.slow


def test_the_tools_reported_without_a_bar_were_never_trained_on() -> None:
    draw = Draw(2)
    names = [skill.name for skill in evaluate.UNTRAINED]
    for _ in range(300):
        prompt = sample(draw).prompt
        assert not any(name in prompt for name in names)
    made = evaluate.untrained_dialogue(HeldOutDraw(1))
    assert {tool["name"] for tool in made.tools} & set(names)


def test_a_share_of_nothing_misses_no_bar_and_is_shown_as_nothing() -> None:
    score = evaluate.Score()
    assert score.share("calls") == 1.0
    assert score.cell("calls") == "-"
    score.count("calls", right=True)
    score.count("calls", right=False)
    assert score.cell("calls") == "50.0% (1/2, 9.5-90.5)"


def test_the_total_leaves_the_untrained_tools_out() -> None:
    one, other = evaluate.Score(), evaluate.Score()
    one.count("calls", right=True)
    other.count("calls", right=False)
    assert evaluate.total({"one call": one, evaluate.NEVER_SEEN: other}).share("calls") == 1.0


def test_the_shipped_weights_make_most_calls_of_a_few_held_out_dialogues() -> None:
    scores = evaluate.evaluate(Decoder(), 12, 5)
    whole = evaluate.total(scores)
    assert whole.share("calls") >= 0.6
    assert whole.share("answers") >= 0.4


def test_a_missed_bar_is_a_failed_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(evaluate.BARS, "calls", 1.01)
    assert evaluate.main(["--dialogues", "2"]) == 1
    assert "MISSED" in capsys.readouterr().out


def test_the_record_says_what_was_counted(tmp_path: Path) -> None:
    score = evaluate.Score()
    score.count("calls", right=False)
    write_record(tmp_path / "r.json", {"one call": score}, 1)
    record = json.loads((tmp_path / "r.json").read_text())
    assert record["kinds"] == {"one call": {"calls": "0.0% (0/1, 0.0-79.3)"}}
    assert record["result"] == "missed: ['calls']"


def test_prompts_hold_held_out_names() -> None:
    made = list(evaluate.dialogues(3, 20))
    assert sum(mentions_heldout(str(one.messages)) for one in made) > 10
