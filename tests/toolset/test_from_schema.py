from __future__ import annotations

from functools import partial
from typing import Any

import anyio
import pytest

from agentkit import RunContext, Tool, ToolContext, ToolDefinitionError, Toolset
from agentkit.executors import LocalExecutor
from agentkit.messages import JsonObject, ToolCall, ToolResult
from agentkit.toolset import ToolOptions

SCHEMA: JsonObject = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
    "required": ["city"],
}


def run(tool: Tool[..., Any], **arguments: Any) -> ToolResult:
    asked = ToolCall("c1", tool.name, arguments)
    checked = Toolset([tool]).validate(asked)
    if isinstance(checked, ToolResult):
        return checked
    return anyio.run(LocalExecutor().execute, checked, ToolContext("deps", "r", 1, asked))


def plain(city: str, days: int = 1) -> str:
    return f"{city} {days}"


def any_of_it(**arguments: Any) -> str:
    return str(arguments)


async def slowly(city: str, *, days: int = 2) -> str:
    return f"{city} {days}"


def first(context: ToolContext[str], /, **arguments: Any) -> str:
    return f"{context.deps} {context.call.id} {arguments}"


def among(city: str, run_of: RunContext[str], days: int = 3) -> str:
    return f"{run_of.deps} {city} {days}"


def bound(greeting: str, context: ToolContext[Any], /, **arguments: Any) -> str:
    return f"{greeting} {context.deps} {arguments}"


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (plain, "Turin 2"),
        (any_of_it, "{'city': 'Turin', 'days': 2}"),
        (slowly, "Turin 2"),
        (first, "deps c1 {'city': 'Turin', 'days': 2}"),
        (among, "deps Turin 2"),
        (partial(bound, "hello"), "hello deps {'city': 'Turin', 'days': 2}"),
    ],
)
def test_a_function_gets_the_checked_arguments_by_name(function: Any, says: str) -> None:
    tool = Tool.from_schema("weather", "Tells the weather.", SCHEMA, function)
    assert run(tool, city="Turin", days="2").content == says
    wrong = run(tool, city="Turin", days=0, why=1)
    assert wrong.content == (
        "Error: weather was not run. days: got 0, want at least 1. "
        "why: is not a parameter; there is city, days."
    )


def test_it_declares_what_a_decorated_function_does() -> None:
    options = ToolOptions(effect="pure", labels={"egress"}, timeout=3)
    tool = Tool.from_schema("weather", "Tells the weather.", SCHEMA, plain, options=options)
    assert (tool.effect, set(tool.labels), tool.timeout) == ("pure", {"egress"}, 3)
    assert tool.definition.parameters == SCHEMA
    assert tool.definition.parameters is not SCHEMA
    assert tool.unchecked == ()
    assert tool("Rome", 4) == "Rome 4"


def test_its_examples_reach_the_model() -> None:
    options = ToolOptions(examples=({"city": "Turin"},))
    tool = Tool.from_schema("weather", "Tells the weather.", SCHEMA, plain, options=options)
    assert tool.definition.parameters == {**SCHEMA, "examples": [{"city": "Turin"}]}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (ToolOptions(lock="town"), "lock='town' names no parameter"),
        (ToolOptions(target="town"), "target='town' names no parameter"),
        (ToolOptions(examples=({"city": 5},)), "does not fit: city: got 5, want a string"),
    ],
)
def test_declarations_that_do_not_fit_its_schema_are_refused(
    options: ToolOptions, says: str
) -> None:
    with pytest.raises(ToolDefinitionError, match=says):
        Tool.from_schema("weather", "Tells the weather.", SCHEMA, plain, options=options)


def test_a_lock_may_be_an_argument_that_the_schema_leaves_open() -> None:
    options = ToolOptions(lock="town")
    tool = Tool.from_schema("weather", "Tells the weather.", SCHEMA, any_of_it, options=options)
    closed = {**SCHEMA, "additionalProperties": False}
    assert tool.options.lock == "town"
    with pytest.raises(ToolDefinitionError, match="lock='town' names no parameter"):
        Tool.from_schema("weather", "Tells the weather.", closed, any_of_it, options=options)


def test_what_cannot_be_checked_is_told_and_offered_all_the_same() -> None:
    schema = {"properties": {"city": {"type": "string", "pattern": "^(?!x)"}}}
    tool = Tool.from_schema("weather", "", schema, any_of_it)
    assert tool.unchecked == ('the pattern "^(?!x)"',)
    assert run(tool, city="x").content == "{'city': 'x'}"


def needs_more(city: str, days: int, why: str) -> None: ...


def needs_place(place: str, /, **arguments: Any) -> None: ...


def named_alike(city: ToolContext[Any], **arguments: Any) -> None: ...


def takes_less(city: str) -> None: ...


@pytest.mark.parametrize(
    ("name", "schema", "function", "declared", "problem"),
    [
        ("weather", {"type": "array"}, plain, {}, "does not describe an object"),
        ("weather", {"properties": []}, plain, {}, "not valid JSON Schema"),
        ("two words", SCHEMA, plain, {}, "no name a model can call"),
        ("weather", SCHEMA, takes_less, {}, "takes no days, which the schema has"),
        ("weather", SCHEMA, needs_more, {}, "needs why, which the schema does not have"),
        ("weather", SCHEMA, needs_place, {}, "needs place, which the schema does not have"),
        ("weather", SCHEMA, named_alike, {}, r"rename the parameter, or write `city, /`"),
        ("weather", SCHEMA, plain, {"retries": 2}, "retries contradict each other"),
        ("weather", SCHEMA, max, {}, "has no signature that Python can tell"),
    ],
)
def test_a_mistake_is_told_when_the_tool_is_made(
    name: str, schema: object, function: Any, declared: Any, problem: str
) -> None:
    options = ToolOptions(**declared)
    with pytest.raises(ToolDefinitionError, match=problem):
        Tool.from_schema(name, "Tells the weather.", schema, function, options=options)
