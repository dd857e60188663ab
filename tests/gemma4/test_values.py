from __future__ import annotations

import pytest

from agentkit.gemma4.shape import ANYTHING, Shape
from agentkit.gemma4.values import Reading, read_arguments

Q = "\ufdd0"


def read(text: str, shape: Shape = ANYTHING, *, closed: bool = True) -> Reading:
    return read_arguments(text, Q, shape, closed=closed)


def test_the_syntax_of_the_template_is_read() -> None:
    text = f"a:{Q}x,y:}}{Q},b:[1,{{c:null}},[]],d:{{}},e:-1.5,f:true}}"
    assert read(text).arguments == {
        "a": "x,y:}",
        "b": [1, {"c": None}, []],
        "d": {},
        "e": -1.5,
        "f": True,
    }


def test_an_open_call_is_read_only_as_it_stands() -> None:
    assert read("n:1} and text", closed=False) == Reading({"n": 1}, end=4)
    for text in ("path=x}", "n:1", f"a:{Q}b{Q}c{Q}}}", "a:foo, bar,n:3}"):
        assert read(text, closed=False).arguments is None
        assert read(text).arguments is not None


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("", "key"),
        ("a", "key"),
        ("a:", "value"),
        ("a:1", "value"),
        (f"a:{Q}b", "string"),
        (f"a:{Q}b{Q}", "value"),
        ("a:[1,", "value"),
        ("a:{b", "key"),
        ('a:"b', "string"),
        (f"a:{Q}b{Q}c", None),
    ],
)
def test_where_a_text_ends_too_early_is_told(text: str, cut: str | None) -> None:
    assert read(text, closed=False).cut == cut


def test_the_schema_decides_between_two_readings() -> None:
    text = f"code:{Q}x = {{{Q},b:{Q}}}{Q}}}"
    assert read(text).arguments == {"code": "x = {", "b": "}"}
    only_code = Shape.of({"properties": {"code": {"type": "string"}}})
    assert read(text, only_code).arguments == {"code": 'x = {",b:"}'}


def test_nesting_beyond_reason_is_unreadable() -> None:
    assert read("a:" + "[" * 30 + "]" * 30 + "}").arguments is not None
    assert read("a:" + "[" * 99 + "]" * 99 + "}", closed=False).arguments is None
