from __future__ import annotations

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit.gemma4.ebnf import EXCLUDED, Rules
from agentkit.gemma4.patterns import translate
from tests.gemma4.ebnf import Ebnf

SIMPLE = [
    r"^[A-Z]{2}-[0-9]{1,4}$",
    r"^[a-z]+$",
    r"^\d{4}-\d{2}$",
    r"^(GET|POST|PUT)$",
    r"^(?:a|bc)*d?$",
    r"^https?://[^\s/]+(/[^\s]*)?$",
    r"^[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}$",
    r"^\+?[0-9 ]{3,20}$",
    r"^[\w.-]{1,60}$",
    r"^.{2,5}$",
    r"^\S+$",
    r"^[^@]+(@[^@]+)?$",
    r"^[^=]+=([^=]+|none)$",
    r"^#?[^#]+$",
    r"^[^,;]*$",
    r"^a{3}b{2,}$",
    r"^é\u00e9\x41\t$",
    r"^[]a-]+$",
    r"abc",
    r"^ab",
    r"ab$",
    r"^a|b$",
    r"^a+?b*?$",
    r"^#[0-9a-fA-F]{6}$",
]


LATIN = st.characters(max_codepoint=0x2FF)


def grammar(pattern: str, low: int = 0, high: int | None = None) -> Ebnf:
    rules = Rules()
    found = translate(pattern, rules, low, high)
    assert found is not None
    return Ebnf("\n".join([f"root ::= {found.before('')}", *rules.lines.values()]))


@pytest.mark.parametrize("pattern", SIMPLE)
def test_whatever_the_translation_writes_matches_the_pattern(pattern: str) -> None:
    compiled, rng = grammar(pattern), random.Random(7)
    found = translate(pattern, Rules())
    assert found is not None
    for _ in range(60):
        text = compiled.sample(rng)
        assert re.search(pattern, text) or not found.exact, text
        assert not any(literal in text for literal in EXCLUDED)


@pytest.mark.parametrize("pattern", SIMPLE)
def test_what_matches_the_pattern_is_accepted(pattern: str) -> None:
    compiled = grammar(pattern)

    @settings(max_examples=25, deadline=None)
    @given(st.from_regex(re.compile(pattern, re.ASCII), alphabet=LATIN))
    def check(text: str) -> None:
        # `$` also matches before a last line break, which no one means.
        if not text.endswith("\n") and "\f" not in text and "\v" not in text:
            assert compiled.accepts(text), text

    check()


@pytest.mark.parametrize(
    "pattern",
    [
        *(r"(?=a)b", r"(?!a)b", r"(?<=a)b", r"(a)\1", r"\bword\b", r"(?i)a", r"\p{L}", r"a**"),
        *(
            r"(",
            r"a)",
            r"[",
            r"a{",
            r"\k<n>",
            r"^(.|x)*$",
            r"^.*\|>$",
            r"a{1,99999}",
            "a{²}",
            f"a{{{'9' * 5_000}}}",
            r"\u1_00",
            r"(^a)b",
            "a\\",
        ),
    ],
)
def test_what_has_no_translation_is_left_to_validation(pattern: str) -> None:
    assert translate(pattern, Rules()) is None


@pytest.mark.parametrize(
    ("pattern", "low", "high", "good", "bad"),
    [
        (r"^[a-z]+$", 0, 3, ["a", "abc"], ["", "abcd"]),
        (r"^[a-z]*$", 2, 3, ["ab", "abc"], ["", "a", "abcd"]),
        (r"^x[0-9]+y$", 4, 30, ["x12y", f"x{'1' * 28}y"], ["x1y", f"x{'1' * 29}y"]),
        (r"^[a-z]{2,}$", 5, None, ["abcde"], ["abcd"]),
        (r"^[A-Z]{3}$", 3, 3, ["ABC"], ["AB"]),
    ],
)
def test_lengths_are_kept_where_one_loop_can_keep_them(
    pattern: str, low: int, high: int | None, good: list[str], bad: list[str]
) -> None:
    compiled = grammar(pattern, low, high)
    assert [text for text in good if not compiled.accepts(text)] == []
    assert [text for text in bad if compiled.accepts(text)] == []
    found = translate(pattern, Rules(), low, high)
    assert found is not None
    assert found.low >= low


def test_lengths_that_cannot_be_kept_are_not_claimed() -> None:
    found = translate(r"^[a-z]+-[a-z]+$", Rules(), 0, 10)
    assert found is not None
    assert found.high is None


@pytest.mark.parametrize(
    ("pattern", "exact"),
    [(r"^[A-F0-9]{64}$", True), (r"^[a-z]{1,64}$", False), (r"^.{2,5}$", False), (r"^a+$", True)],
)
def test_only_long_counts_of_wide_classes_are_left_open(pattern: str, exact: bool) -> None:
    found = translate(pattern, Rules())
    assert found is not None
    assert found.exact == exact


PIECES = ["<", "|", '"', ">", "tool_call", "a", "@", ".", r"[^@]", r"\S", "(<|x)", "[<|]", "[^>]"]


@pytest.mark.slow
@given(
    st.lists(st.tuples(st.sampled_from(PIECES), st.sampled_from(["", "*", "+", "?"])), max_size=6),
    st.sampled_from(["^", ""]),
    st.sampled_from(["$", ""]),
    st.randoms(use_true_random=False),
)
@settings(max_examples=150, deadline=None)
def test_no_pattern_lets_a_text_spell_an_end(
    pieces: list[tuple[str, str]], start: str, end: str, rng: random.Random
) -> None:
    quote = [re.escape(p) if p in ("|", '"', ".") else p for p, _ in pieces]
    pattern = start + "".join(p + mark for p, (_, mark) in zip(quote, pieces, strict=True)) + end
    rules = Rules()
    found = translate(pattern, rules)
    if found is None:
        return
    compiled = Ebnf("\n".join([f"root ::= {found.before('')}", *rules.lines.values()]))
    for literal in EXCLUDED:
        for text in (literal, f"a{literal}", f"{literal}.", f"<{literal}@.", f"a@{literal}@a"):
            assert not compiled.accepts(text), (pattern, text)
    text = compiled.sample(rng)
    assert not any(literal in text for literal in EXCLUDED), pattern
    assert re.search(pattern, text), (pattern, text)
