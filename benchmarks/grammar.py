"""What the grammar of a call costs at the size of a real Gemma, against a budget.

    make bench-grammar
    make bench-grammar ARGS="--vocabulary synthetic"
    make bench-grammar ARGS="--before 8562c87"      the same calls under an older agentkit's grammar
    make bench-grammar ARGS="--compare 0.2.9"       ours beside xgrammar's own style for Gemma

Each row compiles the structural tag of a forced call by the tested vLLM's xgrammar (one thread, no
cache) and follows a valid call through it, token by token. Compiling is in CPU seconds, masks in
CPU milliseconds. The budget is a row's: it fails the command, but for rows of the older agentkit.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from agentkit_tools import project_workspace

from agentkit.gemma4.escape import Escape
from agentkit.gemma4.grammar import compile_grammar, compile_tool
from agentkit.gemma4.render import render_call
from agentkit.messages import ToolChoice, ToolDefinition
from agentkit.schema.lower import lower
from benchmarks.older import agentkit_at
from benchmarks.styles import compared
from tests.gemma4.examples import CONSTRUCTS, example
from tests.gemma4.matcher import Matcher, matcher
from tests.gemma4.vocabulary import Kind
from tests.mcp_corpus import load
from tests.schema.corpus import systematic

ROOT: Final = Path(__file__).parents[1]
RECORD: Final = ROOT / "docs" / "proof" / "bench_grammar.json"
MEDIAN, MOST_OF_100, MOST = 0.05, 1.0, 50.0
"""Milliseconds a token: in the median, at the 99th percentile, at most. A token of a 31B model
takes some 20 ms, and masks are made for every request of a batch in turn."""
COMPILE_ONE, COMPILE_MANY = 2.0, 3.0
"""CPU seconds for any one tool, and for 100 of them."""
ONE: Final = ToolChoice("required", max_calls=1)


@dataclass(frozen=True, slots=True)
class Calls:
    """The calls of one row.

    Attributes:
        name: What is measured.
        tools: The tools that may be called.
        arguments: Those of a valid call; where None, they are made up from each tool's schema.
        many: Whether it is the grammar of many tools.
    """

    name: str
    tools: Sequence[ToolDefinition]
    arguments: dict[str, Any] | None = None
    many: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        name: What is measured.
        tag: The structural tag.
        texts: Valid replies.
        many: Whether it is the grammar of many tools.
    """

    name: str
    tag: str
    texts: tuple[str, ...]
    many: bool = False


@dataclass(frozen=True, slots=True)
class Cost:
    """What a row costs: CPU seconds to compile, CPU milliseconds a mask."""

    compile: float
    median: float
    most_of_100: float
    most: float
    refused: str = ""

    def over(self, row: Row) -> list[str]:
        """The limits that it breaks."""
        limits = [
            ("compile", self.compile, COMPILE_MANY if row.many else COMPILE_ONE),
            ("median", self.median, MEDIAN),
            ("99th percentile", self.most_of_100, MOST_OF_100),
            ("most", self.most, MOST),
        ]
        broken = [f"{name} {value:.3f} > {limit}" for name, value, limit in limits if value > limit]
        return [*broken, *([f"refused: {self.refused}"] if self.refused else [])]


# --- rows ----------------------------------------------------------------------------------------


def calls() -> Iterator[Calls]:
    """What is measured, in the order of the table."""
    for name, (schema, value) in CONSTRUCTS.items():
        yield Calls(name, [_tool(f"set_{name}", {"value": schema})], {"value": value})
    for n, definition in enumerate(systematic()[:100]):
        yield Calls(f"signature {n}: {definition.name}", [definition])
    for definition in load():
        yield Calls(f"mcp {definition.name}", [definition])
    yield Calls("mcp, all", load(), many=True)
    hundred = [_tool(f"tool_{n}", _FIVE) for n in range(100)]
    yield Calls("100 tools of five parameters", hundred, many=True)
    yield Calls("the project tools", project_tools())
    schema, value = CONSTRUCTS["a nested order"]
    yield Calls("a typed answer", [ToolDefinition("final_answer", "", schema)], value)


_FIVE: Final[dict[str, Any]] = {
    "query": {"type": "string", "minLength": 1},
    "limit": {"type": "integer", "minimum": 1, "maximum": 100},
    "sort": {"enum": ["new", "old", "best"]},
    "exact": {"type": "boolean"},
    "note": {"type": "string", "maxLength": 200},
}


def project_tools() -> list[ToolDefinition]:
    """The tools for a project folder."""
    return [tool.definition for tool in project_workspace(ROOT)]


def _tool(name: str, properties: dict[str, Any]) -> ToolDefinition:
    schema = {"type": "object", "properties": properties, "required": sorted(properties)}
    return ToolDefinition(name.replace(" ", "_"), "", schema)


def row_of(calls: Calls) -> Row:
    """The row of these calls under the grammar that agentkit writes today."""
    lowered = [lower(definition) for definition in calls.tools]
    tag = compile_grammar([compile_tool(tool) for tool in lowered], ONE).structured_outputs
    texts = []
    for tool in lowered[:5]:
        given = calls.arguments
        value = example(tool.definition.parameters) if given is None else given
        shown = Escape().escape_json(tool.rename(value))
        texts.append(render_call(tool.definition.name, shown))
    return Row(calls.name, str(tag["structural_tag"]), tuple(texts), calls.many)


# --- measuring -----------------------------------------------------------------------------------


def measured(row: Row, process: Matcher) -> Cost:
    """Compile a row's tag, follow its texts."""
    answer = process.ask(row.tag, texts=row.texts)
    times = [ms for text in answer["texts"] for ms in text["milliseconds"]]
    refused = next(
        (row.texts[n] for n, text in enumerate(answer["texts"]) if text["refused"] is not None), ""
    )
    hundredth = sorted(times)[min(len(times) - 1, int(len(times) * 0.99))]
    return Cost(answer["compile"], statistics.median(times), hundredth, max(times), refused[:200])


_OLDER: Final = """
import json, sys, types
# The package without its __init__, which needs more than writing a grammar does.
sys.modules["agentkit"] = agentkit = types.ModuleType("agentkit")
agentkit.__path__ = [sys.argv[1] + "/agentkit"]
from agentkit.gemma4.grammar import compile_grammar, compile_tool
from agentkit.messages import ToolChoice, ToolDefinition
from agentkit.schema.lower import lower
one = ToolChoice("required", max_calls=1)
tags = []
for tools in json.load(sys.stdin):
    made = [compile_tool(lower(ToolDefinition(*tool))) for tool in tools]
    tags.append(str(compile_grammar(made, one).structured_outputs["structural_tag"]))
print(json.dumps(tags))
"""
"""Reads the tools of each row and writes its tag, by the agentkit that lies in the given folder."""


def older(revision: str, measured: Sequence[Calls]) -> dict[str, str]:
    """The tags that another revision of agentkit writes, by the name of the row."""
    with agentkit_at(revision) as folder:
        tools = [
            [(tool.name, tool.description, tool.parameters) for tool in row.tools]
            for row in measured
        ]
        told = subprocess.run(
            [sys.executable, "-c", _OLDER, str(folder)],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            input=json.dumps(tools),
        ).stdout
    return dict(zip([row.name for row in measured], json.loads(told), strict=True))


def _line(cost: Cost) -> str:
    masks = f"{cost.median:8.4f} {cost.most_of_100:8.3f} {cost.most:8.2f}"
    return f"{cost.compile:8.2f} {masks}"


def main() -> int:
    """Print the table; 1 where a row is over the budget."""
    parser = argparse.ArgumentParser(prog="make bench-grammar", description=__doc__)
    parser.add_argument("--vocabulary", choices=("real", "synthetic"))
    parser.add_argument("--before", metavar="REVISION", help="an older agentkit beside this one")
    parser.add_argument("--compare", metavar="XGRAMMAR", help="xgrammar's own Gemma style")
    parser.add_argument("--only", default="", help="rows whose name begins so")
    options = parser.parse_args()
    kind: Kind | None = options.vocabulary
    if options.compare:
        return compared(options.compare, kind)
    rows = [row for row in calls() if row.name.startswith(options.only)]
    before = older(options.before, rows) if options.before else {}
    failed = 0
    record: dict[str, Any] = {}
    with matcher(kind) as process:
        print(f"xgrammar {process.version}, vocabulary: {kind or 'real where it can be had'}")
        print(f"{'':34} compile/s   median      99 %     most   (masks in ms)")
        for each in rows:
            row = row_of(each)
            cost = measured(row, process)
            over = cost.over(row)
            failed += bool(over)
            print(f"{row.name[:34]:34} {_line(cost)}  {'; '.join(over)}", flush=True)
            record[row.name] = _figures(cost)
            if row.name in before:
                old = measured(replace(row, tag=before[row.name]), process)
                print(
                    f"{'  before':34} {_line(old)}  {'refused' if old.refused else ''}", flush=True
                )
                record[row.name]["before"] = _figures(old)
    print(f"{len(record)} rows, {failed} over the budget")
    if not options.only:
        _save(kind, record, failed)
    return int(failed > 0)


def _figures(cost: Cost) -> dict[str, Any]:
    names = ("compile", "median", "most_of_100", "most")
    figures: dict[str, Any] = {name: round(getattr(cost, name), 4) for name in names}
    return figures | ({"refused": cost.refused} if cost.refused else {})


def _save(kind: Kind | None, record: dict[str, Any], failed: int) -> None:
    stored = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    stored[kind or "real"] = {"rows": record, "over the budget": failed}
    RECORD.write_text(json.dumps(stored, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    sys.exit(main())
