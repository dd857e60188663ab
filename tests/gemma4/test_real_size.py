"""The grammar through xgrammar itself, on a vocabulary of a real Gemma's size."""

from __future__ import annotations

import statistics
from collections.abc import Generator

import pytest

from agentkit.gemma4.grammar import compile_grammar, compile_tool
from agentkit.gemma4.render import render_call
from agentkit.messages import JsonObject, ToolChoice, ToolDefinition
from agentkit.schema.lower import lower
from tests.gemma4.examples import CONSTRUCTS, example
from tests.gemma4.matcher import NO_XGRAMMAR, Matcher, matcher, xgrammar_python
from tests.gemma4.walks import walked
from tests.mcp_corpus import load

pytestmark = pytest.mark.slow

ONE = ToolChoice("required", max_calls=1)
TEXTS = ["text", "text of 200", "filled text", "pattern: no space", "pattern: URL", "any JSON"]


@pytest.fixture(scope="module")
def process() -> Generator[Matcher]:
    if (
        xgrammar_python() is None
    ):  # asked here, since it starts a process: collecting is to be quick
        pytest.skip(NO_XGRAMMAR)
    with matcher() as started:
        yield started


def tag(schema: JsonObject) -> str:
    parameters: JsonObject = {
        "type": "object",
        "properties": {"value": schema},
        "required": ["value"],
    }
    tool = compile_tool(lower(ToolDefinition("f", "", parameters)))
    return str(compile_grammar([tool], ONE).structured_outputs["structural_tag"])


@pytest.mark.parametrize("name", TEXTS)
def test_a_call_with_html_and_code_passes_and_masks_cost_next_to_nothing(
    name: str, process: Matcher
) -> None:
    schema, value = CONSTRUCTS[name]
    [followed] = process.ask(tag(schema), texts=[render_call("f", {"value": value})])["texts"]
    assert followed["refused"] is None
    assert statistics.median(followed["milliseconds"]) < 1  # 177 ms before it was rewritten


def test_what_does_not_fit_is_refused_by_xgrammar_too(process: Matcher) -> None:
    wrong = {"filled text": "", "text of 10": "a" * 129, "number of 0.1 to 0.95": 0.96}
    for name, value in wrong.items():
        asked = process.ask(tag(CONSTRUCTS[name][0]), texts=[render_call("f", {"value": value})])
        assert asked["texts"][0]["refused"] is not None, name
    spelled = '<|tool_call>call:f{value:<|"|>a<tool_call|>b<|"|>}<tool_call|>'
    asked = process.ask(tag({"type": "string"}), texts=[spelled])
    assert asked["texts"][0]["refused"] is not None


@pytest.mark.parametrize("at", [0, 25, 50])
def test_random_walks_end_in_valid_calls(at: int, process: Matcher) -> None:
    counts = walked(load()[at], process, 20, seed=at)
    assert counts["finished calls, all valid"] > 0


def test_every_tool_of_the_corpus_has_a_grammar_and_a_report() -> None:
    tools = load()
    assert len({tool.name for tool in tools}) == len(tools)
    for definition in tools:
        assert compile_tool(lower(definition)).name == definition.name
        assert example(definition.parameters) is not None
