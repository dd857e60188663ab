from __future__ import annotations

import re
from collections import Counter

from training.tiny_gemma4.questions import Question, questions


def test_twenty_questions_are_asked_of_each_distribution_and_ten_of_the_sample() -> None:
    asked = Counter(each.project for each in questions())
    assert asked == {"cachetools": 20, "itsdangerous": 20, "xmltodict": 20, "sample": 10}


def test_every_check_can_be_read_and_refuses_silence() -> None:
    for each in questions():
        assert each.ask
        assert all(re.compile(pattern) for pattern in each.answer)
        assert not each.accepts("", called=True)
        assert not each.accepts("", called=False)


def test_a_place_must_have_its_file_and_its_line() -> None:
    (till,) = (each for each in questions() if each.ask == ("Where is Till defined?",))
    assert till.accepts("`Till` is defined in shop/till.py, line 6.", called=True)
    assert till.accepts("shop/till.py:6", called=True)
    assert not till.accepts("shop/till.py:16", called=True)
    assert not till.accepts("shop/till.py", called=True)


def test_every_pattern_must_match_and_a_call_may_be_forbidden() -> None:
    both = Question("sample", ("What is in shop?",), ("prices", "till"))
    assert both.accepts("prices.py and till.py", called=True)
    assert not both.accepts("prices.py", called=True)
    silent = Question("sample", ("Hello",), ("Hello",), calls=False)
    assert silent.accepts("Hello!", called=False)
    assert not silent.accepts("Hello!", called=True)
