"""For random signatures: a value made from the schema alone validates and arrives equal."""

from __future__ import annotations

import dataclasses
import enum
import inspect
from typing import Annotated, Any, Literal, NamedTuple, Optional, Required, Union

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from agentkit.schema.signature import Signature, signature_of
from tests.schema.from_schema import values_of

pytestmark = pytest.mark.slow


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Item(BaseModel):
    sku: str
    count: int = 1
    colour: Colour | None = None
    parts: list[Item] = []


class Options(TypedDict, total=False):
    deep: bool
    limit: Required[int]


class Pair(NamedTuple):
    left: int
    right: str


@dataclasses.dataclass
class Point:
    x: int
    y: float


LEAVES: st.SearchStrategy[Any] = st.sampled_from(
    [
        bool,
        int,
        str,
        float,
        Literal["a", "b"],
        Literal[1, "one"],
        Colour,
        Level,
        Item,
        Options,
        Pair,
        Point,
        Annotated[int, Field(ge=0, le=100)],
        Annotated[str, Field(min_length=1, max_length=5)],
        Annotated[str, "described"],
    ]
)


def _of(origin: Any, *arguments: Any) -> Any:
    """A generic type made at run time: `list[int]`."""
    return origin[arguments[0] if len(arguments) == 1 else arguments]


TYPES: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        inner.map(lambda t: _of(list, t)),
        inner.map(lambda t: _of(dict, str, t)),
        inner.map(lambda t: Optional[t]),  # noqa: UP045 - made at run time
        st.tuples(inner, inner).map(lambda ts: _of(tuple, *ts)),
        st.tuples(st.sampled_from([int, str, bool]), inner).map(
            lambda ts: Union[ts[0], _of(list, ts[1])]  # noqa: UP007 - made at run time
        ),
    ),
    max_leaves=3,
)
KINDS = st.sampled_from(
    [
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.KEYWORD_ONLY,
    ]
)
NAMES = st.sampled_from(["json", "copy", "schema", "self_", "type", "a", "b", "model_config"])


@st.composite
def functions(draw: st.DrawFn) -> Any:
    """A function with random parameters; it returns what it was called with, by name."""
    empty = inspect.Parameter.empty
    parameters = [
        inspect.Parameter(
            name, draw(KINDS), annotation=draw(TYPES), default=draw(st.sampled_from([empty, None]))
        )
        for name in draw(st.lists(NAMES, unique=True, max_size=4))
    ]
    parameters.sort(key=lambda p: (p.kind, p.default is None and p.kind != p.KEYWORD_ONLY))
    late = False
    for position, parameter in enumerate(parameters):  # no required one after an optional one
        late = late or parameter.default is None
        if late and parameter.kind != parameter.KEYWORD_ONLY:
            parameters[position] = parameter.replace(default=None)
    shape = inspect.Signature(parameters)

    def function(*args: Any, **kwargs: Any) -> dict[str, Any]:
        return dict(shape.bind(*args, **kwargs).arguments)

    function.__signature__ = shape  # type: ignore[attr-defined] # made up
    return function


def same(left: Any, right: Any) -> bool:
    """JSON equality: unlike in Python, true is not 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    return bool(left == right)


def check_one(function: Any, data: st.DataObject) -> None:
    """One value of one signature's schema: it validates, and the function gets it."""
    signature: Signature = signature_of(function)
    Draft202012Validator.check_schema(signature.schema)
    arguments = data.draw(values_of(signature.schema))
    Draft202012Validator(signature.schema).validate(arguments)
    values = signature.check(arguments)
    assert isinstance(values, dict), [str(p) for p in values]
    positional, keyword = signature.call_arguments(values, None)
    got = function(*positional, **keyword)
    for key, value in arguments.items():
        if key not in values:
            assert value is None
            continue
        adapter = signature.parameters[key].type.adapter
        assert same(adapter.dump_python(got[key], mode="json", exclude_unset=True), value)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(functions(), st.data())
def test_a_value_made_from_the_schema_validates_and_arrives_equal(
    function: Any, data: st.DataObject
) -> None:
    check_one(function, data)
