from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any, get_type_hints
from xmlrpc.client import ServerProxy

import anyio
import pytest

from agentkit.errors import ToolDefinitionError, ToolError
from agentkit.messages import ToolCall, ToolResult
from agentkit.toolset import (
    RunHandles,
    Tool,
    ToolContext,
    ToolOptions,
    Toolset,
    ValidatedCall,
    make_tool,
    tool,
)
from agentkit.toolset.options import ToolKeywords


def checked(made: Tool[..., Any], **arguments: Any) -> ValidatedCall:
    result = Toolset([made]).validate(ToolCall("c1", made.name, arguments))
    assert isinstance(result, ValidatedCall), result
    return result


def run(made: Tool[..., Any], context: ToolContext[Any] | None = None, **arguments: Any) -> Any:
    """The call's value, run to its end."""
    bound = checked(made, **arguments).bind(context or ToolContext(None, "r"))
    if not made.is_async:
        return bound()

    async def main() -> Any:
        return await bound()

    return anyio.run(main)


# --- the decorator -----------------------------------------------------------------------------


def test_a_tool_is_still_the_function_it_was() -> None:
    @tool
    def add(a: int, b: int = 1) -> int:
        """Adds."""
        return a + b

    assert add(1, b=2) == 3
    assert add.name == "add"
    assert add.definition.description == "Adds."


def test_a_tool_has_the_signature_of_its_function() -> None:
    assert inspect.signature(tool(plain)) == inspect.signature(plain)


def test_what_stands_around_a_tool_does_not_lose_what_it_declares() -> None:
    inner = tool(approval="always", labels={"writes"})(plain)

    @functools.wraps(inner)
    def logged(path: str) -> None:
        inner(path)

    for outer in (logged, functools.partial(inner, "x"), functools.partial(logged)):
        with pytest.raises(ToolDefinitionError, match=r"plain .*; write @tool around it"):
            Toolset([outer])


def test_the_method_of_a_proxy_which_has_every_attribute_is_refused() -> None:
    with pytest.raises(ToolDefinitionError, match=r"_Method.__call__ \("):
        make_tool(ServerProxy("http://localhost:1").add)


def test_tools_are_members_of_sets_and_keys() -> None:
    counts = {tool(plain): 1, hash: 2}
    assert counts[make_tool(plain)] == 1
    assert {make_tool(plain), make_tool(plain)} == {make_tool(plain)}
    assert make_tool(plain, name="other") not in counts


def test_what_is_declared_can_be_read() -> None:
    @tool(
        name="find",
        description="Finds things.",
        effect="pure",
        timeout=5,
        retries=2,
        labels={"egress"},
        output_cap=1_000,
        examples=({"city": "Turin"},),
    )
    def search(city: str) -> str:
        """Not this."""
        return city

    assert (search.name, search.definition.description) == ("find", "Finds things.")
    assert (search.effect, search.timeout, search.retries) == ("pure", 5, 2)
    assert search.options.labels == {"egress"}
    assert search.definition.parameters["examples"] == [{"city": "Turin"}]


def test_without_a_word_a_tool_must_not_run_twice() -> None:
    @tool
    def pay(amount: int) -> None: ...

    assert (pay.effect, pay.retries, pay.timeout) == ("once", 0, None)


def plain(path: str) -> None: ...


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (ToolOptions(retries=1), 'effect "once" (the default) and retries contradict'),
        (ToolOptions(effect="pure", retries=-1), "0 means one attempt"),
        (ToolOptions(timeout=0), "give seconds above 0"),
        (ToolOptions(timeout=float("nan")), "give seconds above 0"),
        (ToolOptions(output_cap=5), "give at least 100 characters"),
        (ToolOptions(output_cap=1e3), "output_cap is 1000.0; give a whole number"),  # type: ignore[arg-type] # the point
        (ToolOptions(effect="pure", retries=1.5), "retries is 1.5; give a whole number"),  # type: ignore[arg-type] # the point
        (ToolOptions(retries=None), "retries is None; give a number"),  # type: ignore[arg-type] # the point
        (ToolOptions(labels={1}), "1 is no label"),  # type: ignore[arg-type] # the point
        (ToolOptions(labels=None), "None is no set of labels"),  # type: ignore[arg-type] # the point
        (ToolOptions(lock=1), "lock is 1; give a parameter's name"),  # type: ignore[arg-type] # the point
        (ToolOptions(target=1), "target is 1; give a parameter's name"),  # type: ignore[arg-type] # the point
        (ToolOptions(effect="probed", probe="no"), "probe is 'no'; give a function"),  # type: ignore[arg-type] # the point
        (ToolOptions(lock="file"), "lock='file' names no parameter"),
        (ToolOptions(target="file"), "target='file' names no parameter"),
        (ToolOptions(effect="safe"), "choose one of pure, idempotent, probed, once"),  # type: ignore[arg-type] # the point
        (ToolOptions(labels=frozenset({"network"})), "reads_private, reads_untrusted"),  # type: ignore[arg-type] # the point
        (ToolOptions(examples=({"file": "a"},)), "did you mean"),
    ],
)
def test_declarations_that_make_no_sense_say_where_and_what_to_do(
    options: ToolOptions, says: str
) -> None:
    with pytest.raises(ToolDefinitionError) as caught:
        make_tool(plain, options=options)
    assert str(caught.value).startswith(f"plain ({__file__}:")
    assert says in str(caught.value) or says == "did you mean"


@pytest.mark.parametrize("name", ["two words", "", "9lives", "x" * 65, "a<b", "naïve"])
def test_a_name_no_model_can_call_is_refused(name: str) -> None:
    if name == "":
        function: Callable[..., Any] = lambda x: x  # noqa: E731 - nameless is the point
        with pytest.raises(ToolDefinitionError, match="lambda"):
            make_tool(function, options=ToolOptions(strict=False))
    else:
        with pytest.raises(ToolDefinitionError, match="no name a model can call"):
            tool(name=name)(plain)


# --- methods -----------------------------------------------------------------------------------


class Shop:
    def __init__(self, name: str) -> None:
        self.name = name

    @tool
    def refund(self, order: int) -> str:
        """Refunds."""
        return f"{self.name} {order}"

    @classmethod
    @tool
    def count(cls, n: int) -> str:
        return f"{cls.__name__} {n}"

    @staticmethod
    @tool
    def add(a: int, b: int) -> int:
        return a + b


def test_a_decorated_method_is_a_tool_of_each_instance() -> None:
    a, b = Shop("a"), Shop("b")
    assert a.refund(3) == "a 3"
    assert run(a.refund, order="3") == "a 3"
    assert run(b.refund, order=4) == "b 4"


def test_a_decorated_static_method_is_a_tool() -> None:
    assert run(Shop.add, a=1, b=2) == 3


def test_a_decorated_class_method_is_a_tool() -> None:
    made = make_tool(Shop.count)
    assert run(made, n=2) == "Shop 2"


def test_a_method_without_its_instance_is_refused() -> None:
    with pytest.raises(ToolDefinitionError, match="register it from an instance"):
        Toolset([Shop.refund])


def test_tool_over_classmethod_says_which_way_round() -> None:
    with pytest.raises(ToolDefinitionError, match="write @classmethod above @tool"):
        tool(Shop.__dict__["count"])


# --- kinds of callables ------------------------------------------------------------------------


class Greeter:
    async def __call__(self, name: str) -> str:
        return f"hello {name}"


async def wait(n: int) -> int:
    await anyio.lowlevel.checkpoint()
    return n


def hidden(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def test_async_is_seen_through_partials_and_objects() -> None:
    assert make_tool(wait).is_async
    assert make_tool(functools.partial(wait, n=1), name="w").is_async
    greeter = make_tool(Greeter(), name="greet")
    assert greeter.is_async
    assert run(greeter, name="Ada") == "hello Ada"


def test_a_sync_wrapper_of_an_async_function_gives_its_awaitable() -> None:
    made = make_tool(hidden(wait))
    assert not made.is_async

    async def main() -> Any:
        return await checked(made, n=5).bind(ToolContext(None, "r"))()

    assert anyio.run(main) == 5


def counted(n: int) -> Iterator[str]:
    """Counts."""
    for i in range(n):
        yield f"{i} "


async def counted_async(n: int) -> AsyncIterator[str]:
    """Counts."""
    for i in range(n):
        yield f"{i} "


def with_a_value(n: int) -> Generator[str, None, int]:
    """Counts."""
    for i in range(n):
        yield str(i)
    return n


def rows(n: int) -> Iterator[dict[str, int]]:
    """Counts."""
    for i in range(n):
        yield {"n": i}


@pytest.mark.parametrize(
    ("function", "value", "progress"),
    [
        (counted, "0 1 2 ", ["0 ", "1 ", "2 "]),
        (counted_async, "0 1 2 ", ["0 ", "1 ", "2 "]),
        (with_a_value, 3, ["0", "1", "2"]),
        (rows, [{"n": 0}, {"n": 1}, {"n": 2}], ['{"n": 0}', '{"n": 1}', '{"n": 2}']),
    ],
)
def test_the_parts_of_a_generator_are_progress_and_joined(
    function: Callable[..., Any], value: object, progress: list[str]
) -> None:
    seen: list[str] = []
    context = ToolContext(None, "r", handles=RunHandles(report=seen.append))
    assert run(make_tool(function), context, n=3) == value
    assert seen == progress


def test_a_generator_stops_when_nobody_waits_any_more() -> None:
    closed: list[bool] = []
    handles = RunHandles()

    def endless() -> Iterator[str]:
        try:
            while True:
                handles.cancelled.set()
                yield "x"
        finally:
            closed.append(True)

    assert run(make_tool(endless), ToolContext(None, "r", handles=handles)) == "x"
    assert closed == [True]


# --- context -----------------------------------------------------------------------------------


def first(ctx: ToolContext[str], a: int) -> object:
    return ctx.deps, a


def last(a: int, *, where: ToolContext[str]) -> object:
    return where.deps, a


def before_the_slash(a: int, ctx: ToolContext[str], /) -> object:
    return ctx.deps, a


def maybe(a: int, ctx: ToolContext[str] | None = None) -> object:
    return ctx and ctx.deps, a


@pytest.mark.parametrize("function", [first, last, before_the_slash, maybe])
def test_the_context_reaches_any_place_and_the_model_never_sees_it(
    function: Callable[..., Any],
) -> None:
    made = make_tool(function)
    assert list(made.definition.parameters["properties"]) == ["a"]
    assert run(made, ToolContext("deps", "r"), a=1) == ("deps", 1)


def test_a_model_cannot_smuggle_a_context_in() -> None:
    result = make_tool(first).validate(ToolCall("c", "first", {"a": 1, "ctx": {"deps": "x"}}))
    assert isinstance(result, ToolResult)
    assert result.kind == "invalid_arguments"
    assert "ctx: is not a parameter" in str(result.content)


def test_the_keywords_of_the_decorator_are_the_options_of_a_tool() -> None:
    assert get_type_hints(ToolKeywords) == get_type_hints(ToolOptions)
    told = list(get_type_hints(ToolOptions))
    assert list(signature(tool).parameters) == ["function", "name", "description", *told]


def test_the_idempotency_key_depends_on_the_call_and_not_on_its_id_or_attempt() -> None:
    base = ToolCall("c1", "pay", {"a": 1, "b": 2})

    def key(run_id: str = "r", step: int = 1, index: int = 0, call: ToolCall = base) -> str:
        return ToolContext(None, run_id, step, call, index).idempotency_key

    assert key() == key(call=replace(base, id="c9"))
    assert key() == key(call=replace(base, arguments={"b": 2, "a": 1}))
    other_calls = [replace(base, name="x"), replace(base, arguments={"a": 1})]
    others = [key("s"), key(step=2), key(index=1), *(key(call=call) for call in other_calls)]
    assert len({key(), *others}) == 6


def test_asking_where_nobody_is_tells_the_model() -> None:
    async def main() -> None:
        with pytest.raises(ToolError, match="nobody can be asked"):
            await ToolContext(None, "r").ask("Sure?")

    anyio.run(main)


async def _person(question: str) -> str:
    return question.upper()


@pytest.mark.parametrize("person", [_person, str.upper])
def test_asking_a_person_gives_the_answer(person: Any) -> None:
    async def main() -> str:
        return await ToolContext(None, "r", handles=RunHandles(ask=person)).ask("sure?")

    assert anyio.run(main) == "SURE?"


# --- what a call says about itself -------------------------------------------------------------


def write(path: Path, text: str) -> None: ...


@pytest.mark.parametrize(
    ("lock", "key"),
    [
        (False, None),
        (True, "tool:write"),
        ("path", "path:b.txt"),
        ("text", "text:hi"),
        (lambda values: f"dir:{values['path'].parent}", "dir:a/.."),
        (lambda _: None, None),
    ],
)
def test_a_lock_key_comes_from_the_checked_arguments(lock: Any, key: str | None) -> None:
    made = make_tool(write, options=ToolOptions(lock=lock))
    assert checked(made, path="a/../b.txt", text="hi").lock_key == key


def test_an_approval_rule_may_look_at_the_arguments() -> None:
    made = make_tool(write, options=ToolOptions(approval=lambda v: len(v["text"]) > 3))
    assert checked(made, path="a", text="hi").approval == "never"
    assert checked(made, path="a", text="hello").approval == "always"
    assert checked(make_tool(write), path="a", text="hi").approval == "policy"
