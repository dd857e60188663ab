from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from agentkit.context.finding import missing, open_tasks

FILLER = ["it", "was", "then", "said", "to", "be", "in", "that", "one", "and", "so", "on", "with"]


def word(rng: random.Random) -> str:
    return "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(3, 9)))


def fact(rng: random.Random) -> str:
    """A name, a path, a file, a number, a code or a symbol."""
    one, other = word(rng), word(rng)
    return rng.choice(
        [
            f"{one.capitalize()} {other.capitalize()}",
            f"{one}/{other}/{word(rng)}.{word(rng)[:4]}",
            f"{one}.py",
            str(rng.randrange(10, 10**12)),
            f"{rng.randrange(1000, 10**9):,}",
            f"{rng.randrange(10**4)}-{one.upper()}",
            f"{one}_{other}",
            f"{one}{other.capitalize()}",
            f"https://{one}.org/{other}?n=1",
        ]
    )


@pytest.mark.parametrize("seed", range(40))
def test_every_planted_fact_is_in_the_summary_or_on_the_list(seed: int) -> None:
    rng = random.Random(seed)
    planted = list({one.casefold(): one for one in (fact(rng) for _ in range(12))}.values())
    words = [f" {one} {' '.join(rng.choices(FILLER, k=rng.randint(1, 5)))}" for one in planted]
    text = f"the beginning{''.join(words)}."
    told = [one for one in planted if rng.random() < 0.5]
    lost = list(missing(f"we saw {'; '.join(told)} and so on", [text]))
    assert sorted(lost) == sorted(set(planted) - set(told))


@pytest.mark.parametrize(
    ("summary", "fact"),
    [
        ("see src/main.py", "main.py"),
        ("see main.py", "src/main.py"),
        ("it has 12345 lines", "1234"),
        ("parse_configs", "parse_config"),
        ("the key 4711-XYZ", "4711-XY"),
    ],
)
def test_a_part_of_a_name_is_not_the_name(summary: str, fact: str) -> None:
    assert list(missing(summary, [f"look at {fact} again"])) == [fact]


def test_a_number_is_the_same_however_it_is_grouped() -> None:
    assert not list(missing("1234 lines, 90 of them", ["it has 1,234 lines, 90% of them"]))


def test_what_came_last_is_listed_first_and_open_tasks_before_all() -> None:
    texts = ["read old/one.py", "- [ ] mend the login", "read new/two.py"]
    assert list(missing("", texts)) == ["mend the login", "new/two.py", "old/one.py"]


def test_a_task_is_open_until_it_is_marked_as_done() -> None:
    texts = [
        "1. [ ] read it\n2. [ ] mend it",
        "To do: write a test",
        "1. [x] read it\n2. [ ] mend it",
    ]
    assert open_tasks(texts) == ["mend it", "write a test"]
    assert list(missing("I will mend that and write the test for it", texts)) == []
    assert list(missing("I will mend that", texts)) == ["write a test"]


def test_what_only_begins_a_sentence_is_no_name() -> None:
    assert not list(missing("", ["Reading it was easy. Then it broke.\nNothing else happened."]))


@pytest.mark.parametrize(
    "make",
    [
        lambda n: "a" * n,
        lambda n: " " * n,
        lambda n: "/" * n,
        lambda n: "1,234," * (n // 6),
        lambda n: "Ab " * (n // 3),
        lambda n: "[ ] " * (n // 4),
        lambda n: '"' * n,
        lambda n: "a.b/_" * (n // 5),
        lambda n: "x_" * (n // 2),
    ],
)
def test_no_text_takes_long(make: Callable[[int], str]) -> None:
    started = time.process_time()
    for _ in missing("something", [make(300_000)]):
        pass
    assert time.process_time() - started < 3


def test_any_text_is_taken() -> None:
    rng = random.Random(5)
    for _ in range(200):
        text = "".join(
            chr(rng.choice([rng.randrange(32, 127), rng.randrange(0x2FFFF)])) for _ in range(80)
        )
        assert all(missing("", [text]))
