from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from agentkit_evals.sources import sources_hash

REPO = Path(__file__).parents[2]


@dataclass(frozen=True)
class OneOf:
    words: frozenset[str]

    def __call__(self, world: object) -> bool:
        return world in self.words


class Wanted:
    def __init__(self, number: int) -> None:
        self.number = number

    def check(self, world: object) -> bool:
        return self.number == world


def check(world: object, words: object = frozenset({"one", "two", "three"})) -> bool:
    return world == words


def closing(words: object) -> Callable[[object], bool]:
    return lambda world: world == words


WORDS = frozenset({"one", "two", "three", "four"})
CHECKS = [check, OneOf(WORDS), closing([{"x": set(WORDS)}]), partial(check, words=OneOf(WORDS))]


def test_a_check_that_holds_a_set_has_the_same_hash_in_each_process() -> None:
    program = (
        "from tests.evals.test_sources import CHECKS\n"
        "from agentkit_evals.sources import sources_hash\n"
        "print(*(sources_hash([check]) for check in CHECKS))"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=REPO,
            env={"PYTHONPATH": "evals:.", "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(hashes) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Wanted(1).check, Wanted(2).check),
        (OneOf(frozenset("a")), OneOf(frozenset("b"))),
        (closing({"a"}), closing({"b"})),
        (closing({"a"}), closing(frozenset({"a"}))),
        (partial(check, words=("a",)), partial(check, words=["a"])),
    ],
)
def test_another_value_is_another_hash(
    one: Callable[..., bool], other: Callable[..., bool]
) -> None:
    assert sources_hash([one]) != sources_hash([other])
    assert sources_hash([one]) == sources_hash([one])


def test_an_object_that_only_has_an_address_does_not_count() -> None:
    assert sources_hash([closing(object())]) == sources_hash([closing(object())])
