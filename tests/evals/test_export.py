from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from agentkit_evals.core import Grade, Timing, Transcript, TurnRecord
from agentkit_evals.export import csv_of, inspect_log
from agentkit_evals.store import Store, Writer

from agentkit import Usage
from agentkit.policy import Prices
from soak import inspect_logs
from soak.readers.environments import made
from tests.evals.helpers import ran
from tests.evals.test_store import line, lost, wrote
from tests.evals.test_view import run_of

pytestmark = pytest.mark.anyio


def rows(store: Store, prices: Prices | None = None) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(csv_of(store, prices), newline="")))


async def test_a_line_of_csv_for_each_trial_with_its_tokens_times_and_cost(store: Store) -> None:
    results = await ran(store, limit=2, trials=2)
    found = rows(store, Prices(input=1_000_000))
    assert [(row["case"], row["trial"]) for row in found] == [
        (result.case, str(result.trial + 1)) for result in results
    ]
    assert {row["passed"] for row in found} == {"1"}
    for row, result in zip(found, results, strict=True):
        assert float(row["cost"]) == int(row["input_tokens"]) > 0
        assert float(row["seconds"]) == result.seconds
        assert int(row["calls"]) == len(result.transcript.calls)
        assert row["tags"] in ("answer", "files")


def test_what_has_no_verdict_is_neither_passed_nor_failed(tmp_path: Path) -> None:
    store = run_of(tmp_path / "a", {"one": "x-?"})
    assert [(row["status"], row["passed"], row["error"]) for row in rows(store)] == [
        ("graded", "1", ""),
        ("graded", "0", "failed"),
        ("infrastructure", "", "server:ModelTimeoutError"),
    ]
    log = json.loads(inspect_log(store).text)
    assert [("scores" in s, "error" in s) for s in log["samples"]] == [
        (True, False),
        (True, False),
        (False, True),
    ]
    assert log["results"]["scores"][0]["metrics"]["accuracy"]["value"] == 0.5


def test_no_text_is_a_formula_in_a_spreadsheet(tmp_path: Path) -> None:
    store = run_of(tmp_path / "a", {"one": "x"})
    writer = Writer(store)
    writer.append(replace(line("=1+1", 0), grade=Grade(passed=False, error='@x,\n"y"')))
    writer.close()
    found = {row["case"]: row for row in rows(store)}
    assert found["'=1+1"]["error"] == '\'@x,\n"y"'


def test_a_run_without_any_result_is_a_table_with_the_same_columns(tmp_path: Path) -> None:
    played = run_of(tmp_path / "a", {"one": "x"})
    header, _, rest = csv_of(run_of(tmp_path / "b", {"one": ""})).partition("\r\n")
    assert (header, rest) == (csv_of(played).partition("\r\n")[0], "")


def test_a_run_without_a_verdict_is_a_log_all_the_same(tmp_path: Path) -> None:
    store = run_of(tmp_path / "a", {"one": "?"})
    assert json.loads(inspect_log(store).text)["results"]["scores"] == []
    writer = Writer(store)
    writer.append(replace(lost("one", 1), timing=Timing((float("inf"),))))
    writer.close()
    assert "Infinity" in inspect_log(store).text


def test_a_log_has_the_tokens_of_all_its_samples(store: Store) -> None:
    turn = TurnRecord("answer", "", 1, Usage(10, 2))
    wrote(store, *(replace(each, transcript=Transcript((turn,))) for each in (line(), lost("b"))))
    log = json.loads(inspect_log(store).text)
    (whole,) = log["stats"]["model_usage"].values()
    parts = [usage for sample in log["samples"] for usage in sample["model_usage"].values()]
    assert whole["total_tokens"] == sum(part["total_tokens"] for part in parts) == 24


@pytest.mark.slow
def test_the_small_form_of_the_proof_of_logs() -> None:
    if not made("inspect", inspect_logs.INSPECT):
        pytest.skip("needs the environment that `make soak PART=inspect_logs` makes")
    assert inspect_logs.batch(0, runs=2)["runs"] == 2
