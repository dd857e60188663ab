"""The proof of notations, small: a reply that is a call in a wrong form is asked again."""

from __future__ import annotations

import pytest

from soak.notations import batch, missed


@pytest.mark.parametrize("number", [0, 1, 6, 11])
def test_a_reply_in_a_wrong_notation_is_asked_again_once(number: int) -> None:
    counts = batch(number, 1)
    assert missed(counts) == []
