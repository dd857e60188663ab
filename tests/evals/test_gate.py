from __future__ import annotations

import json
from pathlib import Path

import anyio
import pytest
from agentkit_evals.core import EvalError, TrialResult
from agentkit_evals.gate import CODES, Gate, gate_json, gate_words, judged
from agentkit_evals.manifest import RunManifest
from agentkit_evals.stats import score
from agentkit_evals.store import Store, Writer
from agentkit_evals.subject import Subject

from tests.evals.test_store import line, lost


def run_of(folder: Path, marks: str) -> Store:
    """One trial a case: `x` passed, `-` did not, `?` has no verdict, ` ` was not played."""
    store = Store(folder)
    cases = tuple(f"c{number:03}" for number in range(len(marks)))
    store.begin(
        RunManifest(suite="s", about={"v": "1"}, subject=Subject(model="gold"), cases=cases)
    )
    results = [
        lost(case) if mark == "?" else line(case, passed=mark == "x")
        for case, mark in zip(cases, marks, strict=True)
        if mark != " "
    ]
    anyio.run(write, store, results)
    return store


async def write(store: Store, results: list[TrialResult]) -> None:
    """Writes them as trials do that end together, which wait for the disk once."""
    writer = Writer(store)
    async with anyio.create_task_group() as group:
        for result in results:
            group.start_soon(writer.keep, result)
    writer.close()


def of(folder: Path, marks: str, base: str | None = None, **bars: float) -> Gate:
    against = None if base is None else run_of(folder / "base", base)
    return judged(run_of(folder / "run", marks), against=against, **bars)


@pytest.mark.parametrize(
    ("passed", "outcome"), [(100, "passed"), (95, "undecided"), (85, "undecided"), (70, "failed")]
)
def test_a_bar_within_the_interval_is_neither_met_nor_missed(
    tmp_path: Path, passed: int, outcome: str
) -> None:
    found = of(tmp_path, "x" * passed + "-" * (100 - passed), at_least=0.9)
    interval = score([1.0] * passed + [0.0] * (100 - passed), 100)
    assert found.outcome == outcome
    assert (interval.low >= 0.9) == (outcome == "passed")
    assert (interval.high < 0.9) == (outcome == "failed")


def test_a_run_that_is_shown_to_be_worse_fails_and_names_where(tmp_path: Path) -> None:
    found = of(tmp_path, "-" * 12 + "x" * 188, "x" * 200, margin=0)
    assert found.outcome == "failed"
    assert "worse in c000, c001" in gate_words(found)
    assert "and 2 more" in gate_words(found)


def test_a_run_that_is_worse_by_what_may_be_the_margin_is_neither(tmp_path: Path) -> None:
    """A run that is 4 points behind keeps a margin of 5, however few cases there are."""
    found = of(tmp_path, "-" * 12 + "x" * 188, "x" * 200, margin=0.05)
    assert found.outcome == "undecided"
    assert "it is worse, but so few cases cannot tell whether by more" in gate_words(found)
    assert "worse in c000, c001" in gate_words(found)


def test_an_equal_run_of_many_cases_passes_and_of_few_cannot_be_told(tmp_path: Path) -> None:
    many = of(tmp_path / "many", "x" * 200, "x" * 200)
    assert many.outcome == "passed"
    few = of(tmp_path / "few", "x" * 9, "x" * 9)
    assert few.outcome == "undecided"
    assert "cases would mostly do" in gate_words(few)


def test_a_flip_or_two_is_no_failure(tmp_path: Path) -> None:
    assert of(tmp_path, "--" + "x" * 48, "x" * 50).outcome == "undecided"


def test_a_wide_margin_forgives_a_loss_that_is_certain(tmp_path: Path) -> None:
    assert of(tmp_path, "-" * 12 + "x" * 188, "x" * 200, margin=0.1).outcome == "passed"


def test_what_was_not_played_or_has_no_verdict_is_not_taken_for_good(tmp_path: Path) -> None:
    unfinished = of(tmp_path / "1", "x" * 100 + " ", at_least=0.5)
    assert unfinished.outcome == "undecided"
    assert "1 trial of run not played yet" in gate_words(unfinished)
    broken = of(tmp_path / "2", "x" * 90 + "?" * 10, at_least=0.5)
    assert broken.outcome == "undecided"
    assert "agentkit eval retry run" in gate_words(broken)
    assert of(tmp_path / "3", "x" * 90 + "?" * 10, at_least=0.5, most_lost=0.2).outcome == "passed"
    assert of(tmp_path / "4", "?" * 3, at_least=0.5, most_lost=1).outcome == "undecided"


def test_one_bar_that_is_missed_fails_all(tmp_path: Path) -> None:
    found = of(tmp_path, "x" * 100 + "-" * 100, "x" * 100 + "-" * 100, at_least=0.9)
    assert [bar.outcome for bar in found.bars] == ["failed", "passed"]
    assert json.loads(gate_json(found))["outcome"] == "failed"
    assert CODES[found.outcome] == 1


def test_a_gate_without_a_bar_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(EvalError, match="needs a bar"):
        of(tmp_path, "x")
