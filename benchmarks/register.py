"""What it costs to register tools: `python -m benchmarks.register`.

100 functions of five parameters each, from Python source to a definition with JSON Schema and a
validator that has checked one call. CPU milliseconds of this process for all 100; the median of
several rounds, each with functions that were never seen before. Peers run beside it where they are
installed; those that are not are skipped. smolagents needs functions in files, strands, kani and
pydantic-ai do not.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import importlib.metadata
import importlib.util
import json
import linecache
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from agentkit.messages import ToolCall
from agentkit.toolset import Toolset, ValidatedCall

TOOLS = 100
SOURCE = '''
def tool_{n}(
    city: str, days: int, units: Literal["metric", "imperial"] = "metric",
    tags: list[str] | None = None, verbose: bool = False,
) -> str:
    """Forecast number {n} for a city.

    Args:
        city: Name of the city, in English.
        days: How many days ahead, 1 to 7.
        units: Units of the answer.
        tags: Words that the forecast must mention.
        verbose: Whether to explain.
    """
    return city
'''
ARGUMENTS = {"city": "Turin", "days": 3, "tags": ["rain"]}


def functions(round_: int) -> list[Callable[..., str]]:
    """Functions that no library has seen, with source that `inspect` finds."""
    made: list[Callable[..., str]] = []
    for n in range(TOOLS):
        source = f"from typing import Literal\n{SOURCE.format(n=n)}"
        name = f"<benchmark {round_} {n}>"
        linecache.cache[name] = (len(source), None, source.splitlines(True), name)
        scope: dict[str, Any] = {"__name__": f"benchmark_{round_}"}
        exec(compile(source, name, "exec", dont_inherit=True), scope)  # noqa: S102 - our own text above
        made.append(scope[f"tool_{n}"])
    return made


def ours(made: Iterable[Callable[..., str]]) -> object:
    """A toolset, and one checked call of each tool."""
    toolset = Toolset(made)
    for definition in toolset.definitions:
        checked = toolset.validate(ToolCall("1", definition.name, ARGUMENTS))
        assert isinstance(checked, ValidatedCall)
    return toolset


def pydantic_ai(made: Iterable[Callable[..., str]]) -> object:
    """Its function toolset."""
    make = importlib.import_module("pydantic_ai").Tool

    tools = [make(function) for function in made]
    for tool in tools:
        tool.function_schema.validator.validate_python(ARGUMENTS)
    return [tool.tool_def for tool in tools]


def smolagents(made: Iterable[Callable[..., str]]) -> object:
    """Its `tool` decorator; it has no validator to call."""
    tool = importlib.import_module("smolagents").tool

    return [tool(function) for function in made]


def strands(made: Iterable[Callable[..., str]]) -> object:
    """Its `tool` decorator."""
    tool = importlib.import_module("strands").tool

    tools = [tool(function) for function in made]
    for one in tools:
        one._metadata.validate_input(ARGUMENTS)
    return [one.tool_spec for one in tools]


def kani(made: Iterable[Callable[..., str]]) -> object:
    """Its `AIFunction`."""
    ai_function = importlib.import_module("kani").AIFunction

    return [ai_function(function).json_schema for function in made]


PEERS: dict[str, Callable[[Iterable[Callable[..., str]]], object]] = {
    "agentkit": ours,
    "pydantic_ai": pydantic_ai,
    "smolagents": smolagents,
    "strands": strands,
    "kani": kani,
}


ROOT = Path(__file__).parents[1]
RECORD = ROOT / "docs" / "proof" / "register.json"
DISTRIBUTIONS = {
    "pydantic": "pydantic",  # what ours stands on
    "pydantic_ai": "pydantic-ai-slim",
    "smolagents": "smolagents",
    "strands": "strands-agents",
    "kani": "kani",
}


def _commit() -> str:
    git = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()


def measure(register: Callable[[Iterable[Callable[..., str]]], object], rounds: int) -> float:
    """Median CPU milliseconds for all tools; the first round, with its imports, does not count."""
    spent: list[float] = []
    for round_ in range(rounds + 1):
        made = functions(round_)
        gc.collect()
        started = time.process_time()
        register(made)
        spent.append((time.process_time() - started) * 1_000)
    return statistics.median(spent[1:])


def main() -> int:
    """Prints one line for each library; `--record` keeps the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--record", action="store_true", help=f"write {RECORD.name}")
    options = parser.parse_args()
    results: dict[str, float] = {}
    for name, register in PEERS.items():
        if importlib.util.find_spec(name) is None:
            print(f"{name:12} not installed, skipped")
            continue
        results[name] = round(measure(register, options.rounds), 1)
        print(f"{name:12} {results[name]:7.1f} ms CPU for {TOOLS} tools")
    if options.record:
        versions = {
            name: importlib.metadata.version(distribution)
            for name, distribution in DISTRIBUTIONS.items()
            if name in {"pydantic", *results}
        }
        record = {
            "part": "register",
            "commit": _commit(),
            "tools": TOOLS,
            "rounds": options.rounds,
            "versions": {"python": platform.python_version(), **versions},
            "cpu_ms": results,
        }
        RECORD.write_text(json.dumps(record, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
