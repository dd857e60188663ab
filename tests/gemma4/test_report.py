from __future__ import annotations

from typing import Any

import pytest

from agentkit.gemma4.report import ToolReport, report
from agentkit.messages import ToolDefinition
from tests.schema.corpus import wild


def reported(parameters: dict[str, Any], name: str = "refund") -> ToolReport:
    return report(ToolDefinition(name, "Refund an order.", parameters))


REFUND = {
    "type": "object",
    "properties": {
        "order_id": {"type": "integer", "minimum": 1},
        "reason": {"enum": ["damaged", "late"]},
        "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
        "type": {"type": "string"},
    },
    "required": ["order_id"],
    "additionalProperties": False,
}


def test_the_declaration_is_the_text_the_template_prints() -> None:
    declaration = reported(REFUND).declaration
    assert declaration.startswith('<|tool>declaration:refund{description:<|"|>Refund an order.')
    assert 'reason:{description:<|"|>Reason.<|"|>,enum:[<|"|>damaged<|"|>' in declaration
    assert declaration.endswith("}<tool|>")


def test_each_limit_says_whether_it_is_told_and_whether_it_is_held() -> None:
    limits = {(limit.place, limit.keyword): limit for limit in reported(REFUND).limits}
    told = {place: (limit.fate, limit.enforced) for place, limit in limits.items()}
    assert told["reason", "enum"] == ("shown", True)
    assert told["order_id", "minimum"] == ("words", True)
    assert told["tags", "uniqueItems"] == ("words", False)
    assert limits["order_id", "minimum"].text == "at least 1"
    assert not reported(REFUND).lost


def test_the_report_reads_as_sentences() -> None:
    lines = list(reported(REFUND).lines())
    assert lines[0].startswith("refund  10 limits: 8 shown, 2 in words; 9 held while decoding, ")
    assert lines[0].endswith("1 left to validation")
    assert "  type is shown as type_: Gemma's template or syntax has no place for it" in lines
    assert "  order_id  minimum 1 said as “at least 1”; held while decoding" in lines
    assert "  tags      uniqueItems true said as “no duplicates”; left to validation" in lines
    assert '  reason    enum ["damaged", "late"] shown; held while decoding' in lines


def test_a_limit_that_is_neither_told_nor_held_is_lost() -> None:
    tool = reported({"properties": {"x": {"$ref": "https://example.com/x.json"}}})
    assert [(limit.place, limit.keyword) for limit in tool.lost] == [("x", "$ref")]
    assert "1 LOST" in tool.summary
    assert any("LOST, neither told nor held" in line for line in tool.lines())


def test_a_limit_that_only_the_grammar_holds_is_not_lost() -> None:
    values = [f"{'long-' * 30}{number}" for number in range(70)]
    enum = {"anyOf": [{"enum": [*values, 1]}, {"type": "boolean"}]}
    tool = reported({"properties": {"x": enum}})
    hidden = [limit for limit in tool.limits if limit.fate == "hidden"]
    assert [limit.keyword for limit in hidden] == ["enum"]
    assert hidden[0].enforced
    assert not tool.lost
    assert "by the grammar only" in tool.summary


def test_places_are_written_as_people_write_them() -> None:
    places = {limit.place for definition in wild() for limit in report(definition).limits}
    assert {"(the whole)", "edits[].oldText", "headers.*", "Category.name", "point"} & places
    assert not any("/" in place and "$ref" not in place for place in places - {"a/b"})


@pytest.mark.slow
def test_every_tool_of_the_corpus_has_a_report() -> None:
    for definition in wild():
        assert list(report(definition).lines())


def test_a_limit_that_is_held_in_part_says_how_far() -> None:
    note = {"type": "string", "maxLength": 50, "minLength": 10}
    texts = {
        "code": {"type": "string", "pattern": "^[a-z]{1,64}$"},
        "host": {"type": "string", "format": "hostname"},
    }
    tool = reported({"properties": {"note": note}})
    assert "2 in part" in tool.summary
    lines = "\n".join(tool.lines())
    rest = ", the rest left to validation"
    assert f"held while decoding up to 128 characters, but for > and | at its end{rest}" in lines
    assert f"held while decoding up to 3 characters{rest}" in lines
    lines = "\n".join(reported({"properties": texts}).lines())
    assert f"held while decoding but for its long counts{rest}" in lines
    assert f"held while decoding but for the length of its labels (63 characters){rest}" in lines


def test_beside_much_else_a_greatest_length_is_left_to_validation() -> None:
    """A bound makes all else in a grammar dearer to compile (`agentkit.gemma4.grammar`)."""
    note = {"type": "string", "maxLength": 50}
    hosts = {f"host{n}": {"type": "string", "format": "hostname"} for n in range(2)}
    tool = reported({"properties": {"note": note, **hosts}})
    assert "1 left to validation" in tool.summary
