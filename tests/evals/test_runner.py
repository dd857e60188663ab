from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from agentkit_evals.core import EvalError
from agentkit_evals.manifest import trials_of
from agentkit_evals.project import project_suite
from agentkit_evals.runner import Progress, run_local
from agentkit_evals.store import Store, Writer

from tests.evals.helpers import plan, ran
from tests.evals.test_store import line, lost

pytestmark = [pytest.mark.slow, pytest.mark.anyio]

REPO = Path(__file__).parents[2]
RUN = """
import sys
import anyio
from pathlib import Path
from agentkit_evals.runner import run_local
from agentkit_evals.store import Store, Writer
from tests.evals.helpers import plan

async def main():
    show = lambda progress: print(progress.done, flush=True)
    await run_local(await plan(trials=10), Store(Path(sys.argv[1])), watcher=show)

anyio.run(main)
"""


def killed_at(store: Store, done: int) -> None:
    """A run in another process, killed as soon as it says that so many trials are done."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(store.folder)],
        cwd=REPO,
        env={"PYTHONPATH": "evals:tools:."},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process, process.stdout as lines:
        for line in lines:
            if int(line) >= done:
                process.kill()
                break


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # the other process has its own
async def test_kills_lose_nothing_and_nothing_is_graded_twice(tmp_path: Path) -> None:
    broken, whole = Store(tmp_path / "broken"), Store(tmp_path / "whole")
    seen = 0
    for done in (12, 40):
        killed_at(broken, done)
        kept = len(broken.results())
        assert done <= kept < 90
        assert kept > seen
        seen = kept
    await ran(broken, trials=10)
    await ran(whole, trials=10)
    keys = [result.key for result in broken.lines()]
    assert len(keys) == len(set(keys)) == 90
    assert broken.canonical() == whole.canonical()


async def test_progress_counts_what_was_there_before(store: Store) -> None:
    await ran(store, limit=9)
    seen: list[Progress] = []
    await run_local(await plan(limit=9), store, watcher=seen.append)
    assert [(p.total, p.before, p.done) for p in seen] == [(9, 9, 9)]


async def test_progress_has_a_rate_and_an_end(store: Store) -> None:
    seen: list[Progress] = []
    await run_local(await plan(), store, concurrency=2, watcher=seen.append)
    assert [p.done for p in seen] == list(range(10))
    assert seen[-1].passed == 9
    assert seen[0].seconds_left is None
    assert seen[-1].rate > 0
    assert seen[-1].seconds_left == 0


async def test_any_concurrency_gives_the_same_results(tmp_path: Path) -> None:
    found = []
    for concurrency in (1, 7):
        store = Store(tmp_path / str(concurrency))
        await run_local(await plan(trials=2), store, concurrency=concurrency)
        found.append(store.canonical())
    assert found[0] == found[1]


async def test_every_case_is_tried_once_before_any_is_tried_again() -> None:
    manifest = await plan(trials=2, only=("delete_one", "answer_where"))
    trials = trials_of(manifest, await project_suite().cases())
    assert [(t.case.id, t.number) for t in trials] == [
        ("answer_where", 0),
        ("delete_one", 0),
        ("answer_where", 1),
        ("delete_one", 1),
    ]
    assert len({t.seed for t in trials}) == 4
    assert all(0 <= t.seed < 2**31 for t in trials)


async def test_a_case_that_is_not_there_is_named() -> None:
    with pytest.raises(EvalError, match="project has no case nothing"):
        await plan(only=("nothing",))


async def test_cases_are_chosen_by_pattern_and_by_tag() -> None:
    assert (await plan(only=("answer_w*",))).cases == ("answer_where",)
    assert (await plan(only=("answer_where", "*_vat"))).cases == ("answer_where", "change_vat")
    assert (await plan(tags=("answer",))).cases == ("answer_currency", "answer_where")
    with pytest.raises(EvalError, match="nothing to do: 0 cases"):
        await plan(tags=("answer",), only=("*_vat",))
    with pytest.raises(EvalError, match="no tag quick; there are answer, edit, files, idle"):
        await plan(tags=("quick",))


async def test_the_id_of_a_case_is_no_pattern(tmp_path: Path) -> None:
    (tmp_path / "ids.py").write_text(IDS)
    assert (await plan(f"{tmp_path}/ids.py:suite", only=("of[1]",))).cases == ("of[1]",)
    assert (await plan(f"{tmp_path}/ids.py:suite", only=("of[12]",))).cases == ("of1", "of2")


IDS = """
from agentkit_evals import Task, TaskSuite

suite = TaskSuite(
    "ids",
    [
        Task(id=name, turns=("Go.",), world=list, tools=lambda _: [], check=lambda _: None)
        for name in ("of1", "of2", "of[1]")
    ],
)
"""


async def test_a_shuffled_limit_draws_from_all_and_grows() -> None:
    whole = (await plan()).cases
    few, more = [(await plan(limit=n, shuffle=3)).cases for n in (4, 6)]
    assert few == more[:4]
    assert few != whole[:4]
    assert sorted((await plan(shuffle=3)).cases) == sorted(whole)
    assert few == (await plan(limit=4, shuffle=3)).cases
    assert few != (await plan(limit=4, shuffle=4)).cases


async def test_more_trials_play_the_new_ones_only(store: Store) -> None:
    before = await ran(store, limit=2)
    seen: list[Progress] = []
    await run_local(await plan(limit=2, trials=3), store, watcher=seen.append)
    assert (seen[0].before, seen[-1].done) == (2, 6)
    results = store.results()
    assert [results[result.key] for result in before] == before


async def test_a_retry_plays_what_was_lost_and_nothing_else(store: Store) -> None:
    manifest = await plan(limit=3)
    store.begin(manifest)
    writer = Writer(store)
    writer.append(line("change_vat", passed=False))
    writer.append(lost(manifest.cases[1]))
    writer.close()
    await run_local(manifest, store, which="lost")
    results = store.results()
    assert {case: r.status for (case, _), r in results.items()} == {
        "change_vat": "graded",
        manifest.cases[1]: "graded",
    }
    assert not results["change_vat", 0].passed
