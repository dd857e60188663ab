from __future__ import annotations

import pytest

from soak.edits import batch
from tests.tools.edited import draw, plain

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("number", range(2))
def test_edits_of_files_in_every_encoding_change_what_they_mean_and_nothing_else(
    number: int,
) -> None:
    counts = batch(number, cases=160)
    assert counts["found and exact"] > 50


def test_the_generator_is_a_judge_from_outside() -> None:
    cases = [draw(number) for number in range(160)]
    assert sum(bool(case.after) for case in cases) > 50
    assert sum(case.why == "nowhere" for case in cases) > 30
    assert plain("caf\u0065\u0301\u00a0\u2026 \u2019 \r\n") == "caf\u00e9 ... '\n"
