from __future__ import annotations

import re
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from agentkit_tools import project_reader

from agentkit.gemma4.dialect import Dialect
from agentkit.gemma4.escape import Escape
from agentkit.gemma4.parse import parse
from agentkit.messages import AssistantMessage, ToolMessage, UserMessage
from training.tiny_gemma4 import project
from training.tiny_gemma4.dialogue import Dialogue, completion, prompt
from training.tiny_gemma4.draw import Draw, HeldOutDraw, heldout, mentions_heldout
from training.tiny_gemma4.generate import dialogue, sample
from training.tiny_gemma4.kinds import KINDS
from training.tiny_gemma4.phrasebook import every, held_out, phrasings, plain
from training.tiny_gemma4.skills import SKILLS, answer_of


@cache
def trained_on() -> list[Dialogue]:
    draw = Draw(11)
    return [dialogue(draw) for _ in range(400)]


@cache
def held_out_ones() -> list[Dialogue]:
    draw = HeldOutDraw(11)
    return [dialogue(draw) for _ in range(1200)]


# --- what is held out ---------------------------------------------------------------------------


@pytest.mark.slow
def test_what_is_held_out_is_never_generated() -> None:
    draw = Draw(12)
    for _ in range(200):
        made = sample(draw)
        assert not mentions_heldout(made.prompt + made.completion)


def test_a_held_out_name_is_noticed_only_as_a_word_of_its_own() -> None:
    assert mentions_heldout("Where is ToolDefinition defined?")
    assert mentions_heldout('"Retry-After"')
    assert not mentions_heldout("Where is MyToolDefinitions defined?")


def test_the_names_of_the_demonstrations_questions_are_held_out() -> None:
    held = heldout()
    assert "ToolDefinition" in held["identifiers"]
    assert "examples" in held["folders"]
    assert "Retry-After" in held["texts"]


@pytest.mark.parametrize("kind", [kind for kind in phrasings() if not kind.endswith(" held")])
def test_each_kind_of_question_has_phrasings_that_are_never_drawn(kind: str) -> None:
    kept = {plain(text) for one in phrasings()[f"{kind} held"] for text in every(one)}
    assert len(kept) >= 2
    assert kept <= held_out()
    slots = {slot: f"{{{slot}}}" for slot in re.findall(r"\{(\w+)\}", str(phrasings()[kind]))}
    draw = Draw(13)
    asked = {plain(draw.ask(kind, **slots)) for _ in range(400)}
    assert not kept & asked
    assert len(asked) >= 10


# --- kinds --------------------------------------------------------------------------------------


def test_there_are_sixty_kinds_of_question_and_every_one_occurs() -> None:
    assert len(KINDS) >= 60
    assert {made.kind for made in held_out_ones()} >= {
        kind for kind, row in KINDS.items() if row.weight >= 2
    }


def test_most_answers_stand_in_a_result_word_for_word() -> None:
    """All but the fixed words around them; small talk has no result."""
    counts: Counter[bool] = Counter()
    for made in trained_on():
        before, last = made.messages[-2:]
        if isinstance(before, ToolMessage):
            seen = " ".join(str(message) for message in made.messages[:-1])
            rare = [word for word in str(last.content).split() if re.search(r"[\d/_.]\w", word)]
            counts[all(word.strip('`".,:') in seen for word in rare)] += 1
    assert counts[True] > 0.98 * counts.total()


def test_no_placeholder_is_left() -> None:
    for made in trained_on():
        for message in made.messages:
            if isinstance(message, UserMessage):
                assert not re.search(r"\{(name|other|text|folder|path|n|word)\}", str(message))
                assert not re.search(r"<[^>]*\|", str(message.content))


def test_each_call_is_of_a_declared_tool_and_each_call_has_its_result() -> None:
    for made in trained_on():
        declared = {tool["name"] for tool in made.tools}
        calls = [c for m in made.messages if isinstance(m, AssistantMessage) for c in m.tool_calls]
        results = [m.call_id for m in made.messages if isinstance(m, ToolMessage)]
        assert {call.name for call in calls} <= declared
        assert [call.id for call in calls] == results


def test_a_completion_read_back_is_the_message() -> None:
    for made in trained_on()[:150]:
        schemas = {tool["name"]: tool["parameters"] for tool in made.tools}
        for at in made.model_calls():
            message = made.messages[at]
            assert isinstance(message, AssistantMessage)
            cued = made.thinking and isinstance(made.messages[at - 1], ToolMessage)
            parsed = parse(completion(made, at), schemas, in_reasoning=cued)
            assert [(c.name, c.arguments) for c in parsed.calls] == [
                (c.name, c.arguments) for c in message.tool_calls
            ]
            assert parsed.text == (message.content or "")
            assert (parsed.reasoning or None) == message.reasoning
            assert parsed.stop is not None


def test_a_prompt_goes_on_with_what_was_completed_before_it() -> None:
    """But for the empty thought, which the template shows only where the model is to speak."""
    for made in trained_on()[:150]:
        calls = made.model_calls()
        for before, after in pairwise(calls):
            if after - before > 1 and isinstance(made.messages[after - 1], ToolMessage):
                said = prompt(made, before) + completion(made, before)
                said = said.replace("<|channel>thought\n<channel|>", "")
                assert prompt(made, after).startswith(said.removesuffix("<|tool_response>"))


def test_the_same_seed_draws_the_same_dialogues() -> None:
    assert sample(Draw(3)) == sample(Draw(3))


def test_the_tools_cover_the_types() -> None:
    types = {s["type"] for skill in SKILLS for s in skill.properties.values()}
    assert types == {"string", "integer", "number", "boolean", "array", "object"}
    assert any("enum" in s for skill in SKILLS for s in skill.properties.values())


def test_a_tools_text_is_said_as_it_is_and_an_object_field_by_field() -> None:
    assert answer_of("12 degrees, clear") == "12 degrees, clear"
    assert answer_of('{"degrees": 12, "sky": "clear"}') == "degrees: 12, sky: clear"
    assert answer_of("Error: no city Xy.") == "no city Xy."


# --- the forms of the real tools ----------------------------------------------------------------


def test_the_project_is_declared_as_the_real_tools_are() -> None:
    real = Dialect([tool.definition for tool in project_reader(Path())], Escape([])).declarations
    ours = [project.declaration(Draw(1), name, exact=True) for name in project.PROJECT_TOOLS]
    assert ours == real


def test_the_tools_print_what_the_real_ones_print(tmp_path: Path) -> None:
    draw = Draw(4)
    find, search, entries, read = (tool.function for tool in project_reader(tmp_path))
    for number in range(12):
        folder = tmp_path / f"folder{number}"
        folder.mkdir()
        names = [name for name in project.entries(draw) if not name.startswith(".")][:40]
        for name in names:
            (folder / name).mkdir() if name.endswith("/") else (folder / name).touch()
        if set(names) & {"build/", "dist/", "target/", "venv/"}:
            continue
        assert entries(folder.name) == project.listing(draw, sorted(names)).text
    for number, line in enumerate((1, 1, 2, -1, 3, 1)):
        lines = ["x" * at for at in range(1, (100 if number == 5 else 12))]
        (tmp_path / "lines.txt").write_text("\n".join(lines) + "\n")
        assert read("lines.txt", line) == project.reading(lines, line)
    (tmp_path / "lines.txt").write_text("class Tea:\n    pass\n")
    assert find("Tea") == "1 result\nlines.txt:1: class Tea:"
    assert search("coffee") == project.NOTHING.text
