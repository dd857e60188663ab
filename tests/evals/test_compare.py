from __future__ import annotations

import json
from pathlib import Path

import pytest
from agentkit_evals.compare import Comparison, compare, comparison_json, comparison_table
from agentkit_evals.core import EvalError
from agentkit_evals.store import Store, Writer
from rich.console import Console

from tests.evals.helpers import plan, ran
from tests.evals.test_store import line

pytestmark = pytest.mark.anyio


async def verdicts(folder: Path, *tries: list[bool]) -> Store:
    """A run over the first cases of `project`, one list of verdicts each."""
    store = Store(folder)
    manifest = await plan(limit=len(tries), trials=len(tries[0]))
    store.begin(manifest)
    writer = Writer(store)
    for case, passed in zip(manifest.cases, tries, strict=True):
        for number, verdict in enumerate(passed):
            writer.append(line(case, number, passed=verdict))
    writer.close()
    return store


async def both(tmp_path: Path, first: str, second: str) -> Comparison:
    """Of two runs with one try a case: `x` passed, `-` not."""
    stores = [
        await verdicts(tmp_path / name, *([mark == "x"] for mark in marks))
        for name, marks in (("1", first), ("2", second))
    ]
    (found,) = compare(*stores)
    return found


async def test_few_flips_are_no_clear_winner_and_every_flip_is_listed(tmp_path: Path) -> None:
    found = await both(tmp_path, "xx--x", "x-xxx")
    assert found.winner is None
    assert (found.gained, found.lost) == (["change_vat", "write_licence"], ["answer_where"])
    assert found.p == 1
    assert "no clear winner" in shown(found)


async def test_eight_flips_one_way_are_a_winner(tmp_path: Path) -> None:
    found = await both(tmp_path, "--------x", "xxxxxxxxx")
    assert found.winner == "second"
    assert found.p == pytest.approx(2 / 2**8)
    assert found.difference.value == pytest.approx(8 / 9)
    assert "the second is better" in shown(found)
    again = await both(tmp_path / "turned", "xxxxxxxxx", "--------x")
    assert again.winner == "first"


async def test_several_tries_are_compared_by_what_they_make_of_each_case(tmp_path: Path) -> None:
    weak = await verdicts(tmp_path / "1", *[[n % 3 == 0, False] for n in range(9)])
    strong = await verdicts(tmp_path / "2", *[[True, n % 2 == 0] for n in range(9)])
    (found,) = compare(weak, strong)
    assert found.p == found.adjusted == pytest.approx(2 / 2**8)
    assert found.winner == "second"
    assert 0 < found.difference.low < found.difference.value < found.difference.high
    assert compare(strong, strong)[0].winner is None


async def test_a_run_of_one_try_a_case_is_not_shown_to_be_better_by_luck(tmp_path: Path) -> None:
    """Signs alone would call it better (2 / 2**6): where most tries pass, one try of each case
    often has no failure, and eight of each often have one.
    """
    once = await verdicts(tmp_path / "1", *[[True]] * 9)
    often = await verdicts(tmp_path / "2", *[[number > 5] + [True] * 7 for number in range(9)])
    for found in (*compare(once, often), *compare(often, once)):
        assert found.p > 0.05
        assert found.winner is None


async def test_many_runs_at_once_have_to_be_surer(tmp_path: Path) -> None:
    base = await verdicts(tmp_path / "0", *[[False]] * 6, *[[True]] * 3)
    better = await verdicts(tmp_path / "1", *[[True]] * 9)
    assert compare(base, better)[0].winner == "second"
    found = compare(base, better, base, base)
    assert [one.p for one in found] == [pytest.approx(2 / 2**6), 1, 1]
    assert found[0].adjusted == pytest.approx(3 * 2 / 2**6)
    assert [one.winner for one in found] == [None, None, None]
    assert "p = 0.0312, 0.0938 among all of these comparisons" in shown(*found)


async def test_one_case_that_differs_decides_nothing(tmp_path: Path) -> None:
    first = await verdicts(tmp_path / "1", [False, False])
    second = await verdicts(tmp_path / "2", [True, True])
    (found,) = compare(first, second)
    assert found.winner is None


async def test_runs_of_different_data_are_not_compared(tmp_path: Path) -> None:
    first, second = Store(tmp_path / "1"), Store(tmp_path / "2")
    await ran(first)
    manifest = await plan()
    text = manifest.dump().replace(b'"tasks_sha256": "', b'"tasks_sha256": "0')
    (second.folder / "trials").mkdir(parents=True)
    (second.folder / "manifest.json").write_bytes(text)
    with pytest.raises(EvalError, match=r"cannot be compared: .* has changed in tasks_sha256; run"):
        compare(first, second)


async def test_cases_of_one_run_only_are_left_out_and_counted(tmp_path: Path) -> None:
    first = await verdicts(tmp_path / "1", [True], [True], [False])
    second = await verdicts(tmp_path / "2", [True], [False])
    (found,) = compare(first, second)
    assert (found.cases, found.left_out) == (2, 1)
    assert json.loads(comparison_json([found]))[0]["scores"] == [1.0, 0.5]


def shown(*found: Comparison) -> str:
    console = Console(width=120, force_terminal=False)
    with console.capture() as captured:
        console.print(comparison_table(found))
    return captured.get()
