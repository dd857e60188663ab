from __future__ import annotations

from collections import Counter

import pytest

from tests.agent.test_histories import rendered_check
from tests.context.histories import check_history
from tests.gemma4.official import needs_templates

pytestmark = pytest.mark.slow


def test_random_histories_keep_every_promise_of_the_window() -> None:
    counts: Counter[str] = Counter()
    for seed in range(25):
        counts += check_history(seed)
    assert counts["histories"] == 25
    assert counts["compactions"] > 10
    assert counts["cleared results"] > 10
    assert counts["dropped messages"] > 10
    assert counts["typed stops"] < 5


@needs_templates
@pytest.mark.parametrize("seed", [100, 101, 102, 250])  # of the last, with a summary
def test_what_is_sent_is_valid_for_all_official_templates(seed: int) -> None:
    check_history(seed, rendered_check)


@pytest.mark.parametrize("seed", [4244])
def test_what_once_went_wrong(seed: int) -> None:
    """A summary was asked for in a prompt that with its reply was longer than the window: behind a
    turn that had just ended, its reasoning counted as left out.
    """
    check_history(seed)
