from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from agentkit.schema.jsontype import InvalidValueError, json_type
from tests.schema.wire_forms import REFUSED, Form, kind_of

_OF_ONE_KIND = 20
"""Values of one type: building a type takes a hundred times as long as reading a value."""


def judged(seed: int, values: int) -> dict[str, int]:
    """Judges values in all their forms, by the reference and by pydantic.

    Raises:
        AssertionError: A form came to something else than it has to.
    """
    rng = random.Random(seed)
    counts: Counter[str] = Counter()
    for _ in range(values // _OF_ONE_KIND):
        kind = kind_of(rng)
        judge = _Judge(kind.annotation)
        for _ in range(_OF_ONE_KIND):
            counts["values"] += 1
            for form in kind.forms(rng, kind.sample(rng)):
                judge.judge(form, counts)
    return counts


class _Judge:
    """Judges the forms of one type."""

    def __init__(self, annotation: Any) -> None:
        self._annotation = annotation
        self._ours = json_type(annotation, {})
        self._theirs: TypeAdapter[Any] = TypeAdapter(annotation)

    def judge(self, form: Form, counts: Counter[str]) -> None:
        try:
            got: Any = self._ours.read(json.loads(json.dumps(form.wire)))
        except InvalidValueError:
            got = REFUSED
        told = f"{self._annotation} from {form.wire!r} ({form.name}): {got!r}"
        assert _spelled(got) == _spelled(form.outcome), f"{told}, not {form.outcome!r}"
        strict = self._pydantic(form.wire, strict=True)
        lax = self._pydantic(form.wire, strict=False)
        if got is REFUSED:
            counts["forms refused"] += 1
            counts["of them changed or taken by pydantic's lax mode"] += lax is not REFUSED
            counts["of them changed or taken by pydantic's strict mode"] += strict is not REFUSED
            return
        for theirs in (strict, lax):
            agree = theirs is REFUSED or _spelled(theirs) == _spelled(got)
            assert agree, f"{told}; pydantic: {theirs!r}"
        counts["forms that arrived equal"] += 1
        counts["of them refused by pydantic's lax mode"] += lax is REFUSED

    def _pydantic(self, wire: Any, *, strict: bool) -> Any:
        try:
            return self._theirs.validate_json(to_json(wire), strict=strict or None)
        except ValidationError:
            return REFUSED


def _spelled(value: Any) -> str:
    """A value with its types; the two spellings of UTC made one."""
    return repr(value).replace("datetime.timezone.utc", "TzInfo(0)")


@pytest.mark.parametrize("seed", range(3))
def test_a_value_arrives_in_every_certain_form_and_in_no_other(seed: int) -> None:
    counts = judged(seed, 100)
    assert counts["forms that arrived equal"] > 100
    assert counts["forms refused"] > 100
