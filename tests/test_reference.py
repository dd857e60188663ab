"""The tables of docs/reference.md say what the code has, no more and no less."""

from __future__ import annotations

import dataclasses
import re
import typing
from pathlib import Path
from typing import Any

import pytest

from agentkit import Context, Limits, ModelSettings, Timeouts, events

REPO = Path(__file__).parents[1]
PAGE = (REPO / "docs" / "reference.md").read_text()


def rows(heading: str) -> dict[str, list[str]]:
    """The rows below a heading that contains a text, by what stands in their first cell."""
    (section,) = [part for part in re.split(r"^## ", PAGE, flags=re.M)[1:] if heading in part[:80]]
    found = re.findall(r"^\| `([\w]+)` \| (.+) \|$", section, re.M)
    return {name: rest.split(" | ") for name, rest in found}


@pytest.mark.parametrize("kind", [ModelSettings, Limits, Context, Timeouts])
def test_every_field_has_a_row_in_its_order(kind: Any) -> None:
    fields = [field.name for field in dataclasses.fields(kind)]
    assert list(rows(f"`{kind.__name__}`")) == fields


@pytest.mark.parametrize("kind", [Limits, Timeouts])
def test_defaults_are_those_of_the_code(kind: Any) -> None:
    for field in dataclasses.fields(kind):
        said = rows(f"`{kind.__name__}`")[field.name][-1]
        if isinstance(field.default, int | float):
            assert float(said.replace(",", "")) == field.default
        else:
            assert said in ("none", "free")


def test_every_event_has_a_row() -> None:
    assert set(rows("Events")) == {kind.__name__ for kind in typing.get_args(events.Event)}


def test_every_variable_that_the_code_reads_has_a_row() -> None:
    named: set[str] = set()
    for folder in ("agentkit", "tools", "evals"):
        for file in (REPO / folder).rglob("*.py"):
            named |= set(re.findall(r"\"(AGENTKIT_[A-Z_]+)\"", file.read_text()))
    assert set(rows("Variables")) == named
