"""Texts in a normal form of Unicode; what is pluralized or listed is tested where it is shown."""

from __future__ import annotations

import unicodedata
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.wording import normalized

Form = Literal["NFC", "NFKC"]


@given(
    st.sampled_from(["NFC", "NFKC"]),
    st.lists(
        st.text(st.characters(), max_size=9)
        | st.text("a\u0301\u0323\u0344\u0f73\uff9e\u1100\u1161\u11a8\ufb01\uff21", max_size=9)
    ),
)
def test_where_no_row_of_marks_is_long_the_form_is_that_of_unicode(
    form: Form, words: list[str]
) -> None:
    text = " ".join(words)
    assert normalized(form, text) == unicodedata.normalize(form, text)


@pytest.mark.parametrize("form", ["NFC", "NFKC"])
@pytest.mark.parametrize("marks", ["\u0301\u0323", "\u0f73", "\uff9e\u0301", "\u0344\u0323"])
def test_a_long_row_of_marks_is_put_into_a_form_in_time_that_is_in_line_with_it(
    form: Form, marks: str
) -> None:
    row = normalized(form, f"a{marks * 200_000}b")  # minutes, if they are sorted as one row
    assert row.startswith(unicodedata.normalize(form, f"a{marks * 30}"[:31]))
    assert row.endswith("b")
    assert len(row) >= 200_000
