"""The proof of mentions, small: a call that is only mentioned does not run."""

from __future__ import annotations

import pytest

from soak.mentions import batch, missed
from tests.reading.mentions import ALONE, WAYS

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("number", range(8))
def test_a_call_that_is_only_mentioned_is_text(number: int) -> None:
    counts = batch(number, len(WAYS) + len(ALONE))
    assert missed(counts) == []
