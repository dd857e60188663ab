from __future__ import annotations

import pytest

from agentkit.gemma4.exact import Reading, read_exactly
from agentkit.schema.shape import ANYTHING, Shape

Q = "\ufdd0"


def read(text: str, shape: Shape = ANYTHING) -> Reading:
    return read_exactly(text, 0, Q, shape)


def test_the_syntax_of_the_template_is_read() -> None:
    text = f"a:{Q}x,y:}}{Q},b:[1,{{c:null}},[]],d:{{}},e:-1.5,f:true}}"
    assert read(text).arguments == {
        "a": "x,y:}",
        "b": [1, {"c": None}, []],
        "d": {},
        "e": -1.5,
        "f": True,
    }


def test_reading_ends_with_the_closing_brace() -> None:
    assert read("n:1} and text") == Reading({"n": 1}, 4)


@pytest.mark.parametrize(
    "text",
    [
        "path=x}",
        "path:x}",
        'path:"x"}',
        "path:'x'}",
        f"a:{Q}b{Q}c{Q}}}",
        f"a:{Q}b{Q}c:1}}",
        "n:1,n:2}",
        "n:007}",
        "flag:True}",
        f"a:x{Q}}}",
    ],
)
def test_whatever_is_not_in_the_syntax_is_not_read(text: str) -> None:
    assert read(text) == Reading()


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("", "key"),
        ("a", "key"),
        ("a:", "value"),
        ("a:1", "value"),
        ("a:tr", "value"),
        (f"a:{Q}b", "string"),
        (f"a:{Q}b{Q}", "value"),
        ("a:[1,", "value"),
        ("a:{b", "key"),
        (f"a:{Q}b{Q}c", None),
    ],
)
def test_where_a_text_ends_too_early_is_told(text: str, cut: str | None) -> None:
    assert read(text).cut == cut


def test_the_schema_gives_values_their_types() -> None:
    shape = Shape.of({"properties": {"zip": {"type": "string"}, "n": {"type": "integer"}}})
    assert read(f"zip:123,n:{Q}5{Q}}}", shape).arguments == {"zip": "123", "n": 5}


def test_nesting_beyond_reason_is_not_read() -> None:
    assert read("a:" + "[" * 30 + "]" * 30 + "}").arguments is not None
    assert read("a:" + "[" * 99 + "]" * 99 + "}").arguments is None
