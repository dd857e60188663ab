from __future__ import annotations

import pytest

from agentkit.gemma4.wrong_forms import split_reasoning


@pytest.mark.parametrize(
    ("text", "thought", "rest"),
    [
        ("<|channel>thought\nhm<channel|>Yes.", "hm", "Yes."),
        ("Yes. <|channel>thought\nhm<channel|>No.", "hm", "Yes. No."),
        ("<|channel>thought\na<channel|>b<|channel>c<channel|>d", "a\nc", "bd"),
        ("<|channel>thought\nnever closed", "never closed", ""),
        ("thought\nhm<channel|>Yes.", "hm", "Yes."),
        ("thought\nYes.", "", "Yes."),
        ("a thought\nYes.", "", "a thought\nYes."),
        ("`<|channel>` opens a thought.", "", "`<|channel>` opens a thought."),
        (
            "```\n<|channel>thought\nhm<channel|>\n```",
            "",
            "```\n<|channel>thought\nhm<channel|>\n```",
        ),
        ("Yes.", "", "Yes."),
    ],
)
def test_thoughts_are_taken_out_of_a_text(text: str, thought: str, rest: str) -> None:
    assert split_reasoning(text) == (thought, rest)
