from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import pytest

from agentkit import ToolError
from agentkit.testing import ScriptedModel, call
from examples.data_analyst.main import Analysis, Figure, NoTablesError, Tables, agent
from tests.examples.running import REPO, replayed, run_example, tool_errors

pytestmark = pytest.mark.slow

SAMPLE = REPO / "examples" / "data_analyst" / "sample"


def spent_by_town() -> Counter[str]:
    """The right answer, in cents, counted another way."""
    with (SAMPLE / "customers.csv").open() as rows:
        towns = {row["id"]: row["town"] for row in csv.DictReader(rows)}
    spent: Counter[str] = Counter()
    with (SAMPLE / "orders.csv").open() as rows:
        for row in csv.DictReader(rows):
            spent[towns[row["customer_id"]]] += int(row["cents"])
    return spent


def test_the_answer_is_checked_data_and_the_run_replays(tmp_path: Path) -> None:
    done = run_example("data_analyst", tmp_path, "--model", "scripted", "Which town spent most?")
    assert done.code == 0, done.err
    assert done.err.startswith("model: scripted, a fixed script and no language model")
    answer = Analysis.model_validate_json(done.out)
    ((town, cents),) = spent_by_town().most_common(1)
    assert answer.figures == [Figure(label=f"{town}, EUR", value=cents / 100)]
    assert tool_errors(tmp_path) == []
    assert "identical" in replayed("data_analyst", tmp_path, SAMPLE)


def test_a_figure_that_no_query_returned_goes_back_to_the_model() -> None:
    sql = "SELECT count(*) FROM orders"

    def claim(value: int) -> dict[str, object]:
        figures = [{"label": "orders", "value": value}]
        return {"answer": f"{value} orders.", "figures": figures, "sql": sql}

    model = ScriptedModel([call("report", **claim(61)), call("report", **claim(60))])
    result = agent(model, SAMPLE).run_sync("How many orders?")
    assert result.output is not None
    assert result.output.answer == "60 orders."
    refused = model.requests[1].messages[-1]
    assert refused.content == "Error: orders: 61 is not in the query's result."


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE orders",
        "INSERT INTO orders VALUES (1)",
        "ATTACH '/tmp/x.db' AS x",
        "PRAGMA writable_schema=1",
        "SELECT 1; SELECT 2",
        "SELECT load_extension('x')",
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x FROM n) SELECT * FROM n",
        "nonsense",
    ],
)
def test_a_query_can_only_select(sql: str) -> None:
    tables = Tables(SAMPLE)
    with pytest.raises(ToolError, match="SQLite says"):
        tables.rows(sql)
    assert len(tables.rows("SELECT * FROM orders")) == 60


def test_a_query_that_takes_too_long_is_ended_and_the_next_one_runs() -> None:
    tables = Tables(SAMPLE, seconds=0.02)
    days_of_work = f"SELECT count(*) FROM {', '.join(f'orders AS o{n}' for n in range(8))}"
    with pytest.raises(ToolError, match=r"ended after 0\.02 seconds: join tables on their keys"):
        tables.rows(days_of_work)
    assert tables.rows("SELECT count(*) FROM orders") == [(60,)]


def test_the_tables_are_described() -> None:
    assert json.dumps(Tables(SAMPLE).tables()) == (
        '["customers(id, name, town): 8 rows", '
        '"orders(id, customer_id, day, tea, grams, cents): 60 rows"]'
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "t.csv is no table: it is empty"),
        (b"a,b\n1\n", "a row has 1 values for 2 columns"),
        (b"a,a\n1,2\n", "duplicate column name"),
        (b"\xff\xfe\n", "can't decode"),
        (None, "there is no CSV file in"),
    ],
)
def test_a_file_that_is_no_table_is_named_with_the_reason(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    if content is not None:
        (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(NoTablesError, match=words):
        Tables(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--model", "nonsense", "?"), 1, "is no address of a server"),
        (("--model", "scripted", "--project", "nowhere", "?"), 2, "there is no directory nowhere"),
        (("--model", "scripted", "--project", REPO, "?"), 2, "knows the sample only"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    tmp_path: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = run_example("data_analyst", tmp_path, *arguments)
    assert done.code == code
    assert words in done.err.splitlines()[-1]
