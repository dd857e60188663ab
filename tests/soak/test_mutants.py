from __future__ import annotations

import json
from pathlib import Path

import pytest

from soak.mutants import Trial, wilson
from soak.mutations import mutants_of

SEED = 17
"""Of a sample that holds one mutant that the tests below notice, and one that they do not."""

SOURCE = '''"""Says what is more."""

from typing import Final

LEAST: Final = 3


def more(a: int, b: int = 0) -> bool:
    """Whether a is more than b, and enough."""
    if a < LEAST:
        raise ValueError(f"{a} is below {LEAST}")
    return a > b


def unused(text: str) -> str:
    return text or "nothing"
'''
TESTS = """from shop.counting import more

def test_more():
    assert more(4, 3)
    assert not more(3, 3)
"""


def test_each_mutant_is_the_module_with_one_change() -> None:
    made = mutants_of(SOURCE)
    assert [mutant.what for mutant in made] == [
        "3 → 4",
        "0 → 1",
        "if a < LEAST → if not",
        "raise ValueError(f'{a} is below {LEAST}') → pass",
        "a < LEAST → a <= LEAST",
        "return a > b → return None",
        "a > b → a >= b",
        "return text or 'nothing' → return None",
        "text or 'nothing' → text and 'nothing'",
        "'nothing' → 'nothing?'",
    ]
    assert len({mutant.source for mutant in made}) == len(made)
    assert mutants_of(SOURCE) == made


def test_the_interval_is_wilsons() -> None:
    low, high = wilson(38, 52)
    assert (round(low, 4), round(high, 4)) == (0.5975, 0.8323)
    assert wilson(0, 0) == (0.0, 1.0)


def project(folder: Path) -> Path:
    (folder / "shop").mkdir(parents=True)
    (folder / "tests").mkdir()
    (folder / "shop" / "counting.py").write_text(SOURCE)
    (folder / "tests" / "test_counting.py").write_text(TESTS)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(240)  # it starts three test runs
def test_a_trial_tells_what_the_tests_notice_and_goes_on_where_it_was(tmp_path: Path) -> None:
    root, out = project(tmp_path / "project"), tmp_path / "out.json"
    trial = Trial(root, "shop.counting", ["tests"], sample=2, seed=SEED, out=out)
    assert trial.run(jobs=1, minutes=5.0) == 0
    assert {verdict.what: verdict.by == "lived" for verdict in trial.verdicts} == {
        "a > b → a >= b": False,
        "text or 'nothing' → text and 'nothing'": True,
    }
    assert (root / "shop" / "counting.py").read_text() == SOURCE
    kept = json.loads(out.read_text())
    assert (kept["run"], kept["killed"], kept["mutants of the module"]) == (2, 1, 10)
    known = sorted(trial.verdicts, key=lambda verdict: verdict.number)
    larger = Trial(root, "shop.counting", ["tests"], sample=3, seed=SEED, out=out)
    assert larger.verdicts == known
    again = Trial(root, "shop.counting", ["tests"], sample=2, seed=SEED, out=out, again=True)
    assert again.verdicts == [verdict for verdict in known if verdict.by != "lived"]
    other = Trial(root, "shop.counting", ["tests"], sample=2, seed=SEED + 1, out=out)
    assert other.verdicts == []


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_tests_that_fail_without_a_change_are_no_judge(tmp_path: Path) -> None:
    root = project(tmp_path / "project")
    (root / "tests" / "test_counting.py").write_text("def test_no():\n    assert False\n")
    trial = Trial(root, "shop.counting", ["tests"], 3, 0, tmp_path / "out.json")
    with pytest.raises(SystemExit, match="fail without any change"):
        trial.run(jobs=1, minutes=1.0)
