"""Ask a folder of CSV files a question; the answer is data, and its figures are checked.

    python examples/data_analyst/main.py --model http://localhost:8000/v1 \
        "Which town spent most on tea, and how much?"
    python examples/data_analyst/main.py --model scripted "Which town spent most?"

The model reads through SQL that can only select. An answer whose figures are not in the result of
the query that it names goes back to the model.
"""

from __future__ import annotations

import argparse
import csv
import json
import sqlite3
import sys
import threading
import time
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field

from agentkit import Agent, AgentKitError, Limits, Model, ToolError, VLLMModel, tool
from agentkit.messages import ModelRequest, text_of
from agentkit.testing import ScriptedModel
from agentkit.testing.scripted import Reply, call

SAMPLE = Path(__file__).parent / "sample"

INSTRUCTIONS = (
    "You answer questions about tables. Look at the tables first, then query them: let SQL do "
    "the counting and adding. Report only figures that a query returned."
)


_STEPS = 10_000  # of SQLite's machine between two looks at the clock: about a millisecond


class Figure(BaseModel):
    """One number of an answer."""

    label: str
    value: float


class Analysis(BaseModel):
    """An answer and what it rests on."""

    answer: str
    figures: list[Figure]
    sql: str


class NoTablesError(AgentKitError):
    """A folder has no tables to ask."""


class Tables:
    """The CSV files of a folder as tables in memory, which can be read and not changed.

    Args:
        folder: Where they are.
        seconds: Most time of a query; a join without a condition would take days.

    Raises:
        NoTablesError: There are none, or a file is no table; the message names it.
    """

    def __init__(self, folder: Path, *, seconds: float = 20.0) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()  # calls come from several threads, the clock is of one query
        self._db = sqlite3.connect(":memory:", check_same_thread=False)
        self._described: list[str] = []
        for file in sorted(folder.glob("*.csv")):
            try:
                with file.open(newline="", encoding="utf-8") as rows:
                    self._load(file.stem, *filter(None, csv.reader(rows)))
            except (OSError, ValueError, csv.Error, sqlite3.Error) as error:
                raise NoTablesError(f"{file} is no table: {error}") from error
        if not self._described:
            raise NoTablesError(f"there is no CSV file in {folder}")
        self._db.set_authorizer(_only_reads)

    def _load(self, name: str, *rows: list[str]) -> None:
        if not rows:
            raise ValueError("it is empty")
        head, *body = rows
        for row in body:
            if len(row) != len(head):
                raise ValueError(f"a row has {len(row)} values for {len(head)} columns: {row}")
        columns = ", ".join(f"{_quoted(column)} NUMERIC" for column in head)
        marks = ", ".join("?" * len(head))
        self._db.execute(f"CREATE TABLE {_quoted(name)} ({columns})")
        self._db.executemany(f"INSERT INTO {_quoted(name)} VALUES ({marks})", body)  # noqa: S608 - quoted
        self._described.append(
            f"{name}({', '.join(head)}): {len(body)} row{'s' * (len(body) != 1)}"
        )

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What a query returns.

        Raises:
            ToolError: It is wrong, would change something, or took too long and was ended.
        """
        with self._lock:
            until = time.monotonic() + self._seconds
            self._db.set_progress_handler(lambda: time.monotonic() > until, _STEPS)
            try:
                return self._db.execute(sql).fetchmany(200)
            except (sqlite3.Error, sqlite3.Warning) as error:
                if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
                    raise ToolError(self._too_long()) from None
                raise ToolError(f"SQLite says: {error}.") from None

    def _too_long(self) -> str:
        return (
            f"The query was ended after {self._seconds:g} seconds: "
            "join tables on their keys, or select fewer rows."
        )

    @tool(effect="pure")
    def tables(self) -> list[str]:
        """List the tables with their columns and number of rows."""
        return self._described

    @tool(effect="pure", output_cap=4_000, labels={"reads_untrusted"})
    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a query in SQLite's SQL.

        Args:
            sql: One SELECT statement.
        """
        return self.rows(sql)

    def report(
        self,
        answer: Annotated[str, Field(description="In one or two sentences.")],
        figures: Annotated[list[Figure], Field(description="The numbers of the answer.")],
        sql: Annotated[str, Field(description="The query that returns these numbers.")],
    ) -> Analysis:
        """Give the final answer."""
        returned = [value for row in self.rows(sql) for value in row]
        for figure in figures:
            if not any(_same(figure.value, value) for value in returned):
                raise ToolError(f"{figure.label}: {figure.value:g} is not in the query's result.")
        return Analysis(answer=answer, figures=figures, sql=sql)


def agent(model: Model, project: Path) -> Agent[Any, Analysis]:
    """An agent whose answers about the CSV files of a folder are checked data."""
    tables = Tables(project)
    return Agent(
        model,
        instructions=INSTRUCTIONS,
        tools=[tables.tables, tables.query],
        output_type=tables.report,
        limits=Limits(steps=20),
    )


def main() -> None:
    """Reads the command line; prints the answer as JSON."""
    parser = argparse.ArgumentParser(description="Ask a folder of CSV files a question.")
    parser.add_argument("question")
    parser.add_argument("--model", required=True, help="a vLLM server's address, or: scripted")
    parser.add_argument("--project", type=Path, default=SAMPLE, help="default: the sample")
    options = parser.parse_args()
    scripted = options.model == "scripted"
    if not options.project.is_dir():
        parser.error(f"there is no directory {options.project}")
    if scripted and not options.project.samefile(SAMPLE):
        parser.error("--model scripted knows the sample only")
    said = ", a fixed script and no language model: it answers one question" * scripted
    print(f"model: {options.model}{said}", file=sys.stderr)
    try:
        model: Model = script() if scripted else VLLMModel(options.model)
        result = agent(model, options.project).run_sync(options.question)
    except AgentKitError as error:
        sys.exit(f"data_analyst: {error}")
    print(f"run: {result.run_id}, ended by {result.stop_reason}", file=sys.stderr)
    if result.stop_reason != "answer":
        sys.exit(f"data_analyst: no answer: {result.explanation}")
    print(result.output.model_dump_json(indent=2))


# --- the tables --------------------------------------------------------------------------------


def _only_reads(action: int, *_details: Any) -> int:
    """SQLite asks this before it compiles any step of a statement."""
    allowed = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION)
    return sqlite3.SQLITE_OK if action in allowed else sqlite3.SQLITE_DENY


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def _same(one: float, other: Any) -> bool:
    return isinstance(other, int | float) and abs(one - other) <= 1e-6 * max(1.0, abs(other))


# --- the script --------------------------------------------------------------------------------

_SQL = (
    "SELECT town, sum(cents) / 100.0 AS euros FROM orders JOIN customers "
    "ON customers.id = customer_id GROUP BY town ORDER BY euros DESC"
)


def script() -> ScriptedModel:
    """Plays the part of a model where there is none; what it reports it has from the query."""

    def report(request: ModelRequest) -> Reply:
        town, euros = json.loads(text_of(request.messages[-1].content or ""))[0]
        return call(
            "report",
            answer=f"{town} spent most on tea: {euros:.2f} EUR.",
            figures=[{"label": f"{town}, EUR", "value": euros}],
            sql=_SQL,
        )

    return ScriptedModel([call("tables"), call("query", sql=_SQL), report])


if __name__ == "__main__":
    main()
