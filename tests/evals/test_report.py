from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from agentkit_evals.core import Grade, Timing, Transcript, TrialResult, TurnRecord
from agentkit_evals.report import Rate, Report, Spread, as_json, as_table, report
from agentkit_evals.runner import run_local
from agentkit_evals.stats import score
from agentkit_evals.store import Store, Writer
from rich.console import Console

from agentkit import Usage
from agentkit.policy import Prices
from tests.evals.helpers import plan, ran
from tests.evals.test_store import MANIFEST, line, lost, wrote

pytestmark = pytest.mark.anyio


async def filled(store: Store, *results: TrialResult, trials: int) -> Report:
    manifest = await plan(trials=trials, only=("change_vat", "delete_one"))
    store.begin(manifest)
    writer = Writer(store)
    for result in results:
        writer.append(result)
    writer.close()
    return report(store)


async def test_one_try_a_case_is_scored_over_cases(store: Store) -> None:
    found = await filled(store, line("change_vat"), line("delete_one", passed=False), trials=1)
    assert found.score == score([1.0, 0.0], 2)
    assert (found.graded, found.passed, found.missing) == (2, 1, 0)
    assert found.errors == {"failed": 1}


async def test_several_tries_are_counted_by_case(store: Store) -> None:
    tries = [line("change_vat", n) for n in range(4)]
    tries += [line("delete_one", n, passed=n > 0) for n in range(4)]
    found = await filled(store, *tries, trials=4)
    assert found.score is not None
    assert found.score.value == 7 / 8
    assert [each.value for each in found.pass_hat] == pytest.approx([7 / 8, 0.75, 0.625, 0.5])
    assert [each.value for each in found.pass_at] == pytest.approx([7 / 8, 1, 1, 1])
    assert {each.cases for each in found.pass_hat} == {2}


async def test_a_number_over_fewer_cases_is_marked(store: Store) -> None:
    tries = [line("change_vat", 0), line("change_vat", 1), line("delete_one", 0, passed=False)]
    found = await filled(store, *tries, lost("delete_one", 1), trials=2)
    assert [(each.value, each.cases) for each in found.pass_hat] == [(0.5, 2), (1.0, 1)]
    assert "over 1 of 2 cases" in shown(found)
    assert found.score_at_worst == 0.5


async def test_the_floor_counts_verdicts_only(store: Store) -> None:
    await ran(store)
    floor = store.floor()
    floor.begin(await plan(model="empty"))
    writer = Writer(floor)
    for result in (line("change_vat", passed=False), lost("delete_one")):
        writer.append(result)
    writer.close()
    assert report(store).floor == Rate(0, 1)


async def test_trials_without_a_verdict_are_apart_and_both_numbers_are_said(store: Store) -> None:
    found = await filled(store, line("change_vat"), lost("delete_one"), trials=1)
    assert found.score == score([1.0], 1)
    assert found.score_at_worst == 0.5
    assert found.infrastructure == {"server:ModelTimeoutError": 1}
    assert found.infrastructure_words == {
        "server:ModelTimeoutError": "server:ModelTimeoutError: late"
    }
    assert found.infrastructure_share == 0.5
    assert "1 trial (1 server:ModelTimeoutError); with these as failures 50.0 %" in shown(found)


async def test_the_floor_stands_beside_the_score(store: Store) -> None:
    await ran(store)
    await ran(store.floor(), model="empty")
    found = report(store)
    assert found.floor == Rate(1, 9)
    assert "11.1 %  1 of 9 cases pass when nothing is done" in shown(found)


async def test_a_run_that_is_not_finished_can_be_looked_at(store: Store) -> None:
    wrote(store)
    found = report(store)
    assert (found.graded, found.missing, found.score) == (0, 1, None)
    assert "1 not played yet" in shown(found)
    assert MANIFEST.cases == ("a",)


def test_equal_results_give_equal_json_in_whatever_order_they_came(tmp_path: Path) -> None:
    results = [
        replace(line("a", number), grade=Grade(passed=False, error=error))
        for number, error in enumerate(("late", "early", "early", "never"))
    ]
    results += [lost("a", 4), replace(lost("a", 5), failure="harness:OSError: gone")]
    texts = set()
    for name, order in (("one", results), ("other", results[::-1])):
        wrote(Store(tmp_path / name), *order)
        texts.add(as_json(replace(report(Store(tmp_path / name)), times=None)))
    (text,) = texts
    assert list(json.loads(text)["errors"]) == ["early", "late", "never"]


@pytest.mark.slow
async def test_equal_runs_give_equal_json(tmp_path_factory: pytest.TempPathFactory) -> None:
    texts = []
    for concurrency in (1, 5):
        store = Store(tmp_path_factory.mktemp("run"))
        await run_local(await plan(trials=2), store, concurrency=concurrency)
        texts.append(as_json(replace(report(store), times=None)))
    assert texts[0] == texts[1]
    body = json.loads(texts[0])
    assert body["score"]["value"] == 1
    assert body["usage"]["input_tokens"] > 0


def shown(found: Report) -> str:
    console = Console(width=120, force_terminal=False)
    with console.capture() as captured:
        console.print(as_table(found))
    return captured.get()


async def test_times_tokens_and_costs_of_a_trial_are_said(store: Store) -> None:
    tries = [
        replace(line(case), seconds=seconds, timing=Timing((0.5, seconds / 2), seconds - 1))
        for case, seconds in (("change_vat", 2.0), ("delete_one", 4.0))
    ]
    usage = Usage(1_000_000, 2_000)
    turn = TurnRecord("answer", "", 1, usage)
    tries[0] = replace(tries[0], transcript=Transcript((turn,)))
    await filled(store, *tries, trials=1)
    found = report(store, Prices(input=0.5, output=10))
    assert found.times is not None
    assert found.times.trial == Spread(3.0, 2.0, 4.0)
    assert found.times.first_token == Spread(1.0, 0.5, 2.0)
    assert found.cost == 0.52
    text = shown(found)
    assert "a trial 500,000 in, 1,000 out" in text
    assert "p50 2 s, p95 4 s, mean 3 s" in text
    assert "0.52; a trial 0.26" in text


async def test_words_of_a_check_do_not_control_the_terminal(store: Store) -> None:
    error = "answer:\x1b[2J\x1b]0;owned\x07 \u202edeliaf"
    found = await filled(
        store, replace(line("change_vat"), grade=Grade(passed=False, error=error)), trials=1
    )
    assert list(found.errors) == [error], "in the numbers it is as it was"
    assert not set("\x1b\x07\u202e") & set(shown(found))
