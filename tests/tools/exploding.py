"""Forty patterns that explode, and every entry by which a pattern or a text comes in from outside.

Each is tried as a whole run of an agent whose model calls one tool once, beside a task that ticks.
"""

from __future__ import annotations

import gc
import resource
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any, TypeAlias

from agentkit_tools.files import ProjectFiles
from agentkit_tools.project import project_reader
from agentkit_tools.search import Search

from agentkit import Agent, Limits
from agentkit.messages import JsonObject
from agentkit.testing import ScriptedModel, call, say
from agentkit.toolset import Tool, make_tool
from tests.ticking import ticking

SIZE = 100_000
"""Characters of the text that a pattern meets."""

_REGEXES = [
    "^(a+)+$",
    "^(a|a)*b$",
    "(a*)*b",
    "(.*)*=",
    r"^(\w+\s?)*!$",
    "(?:a?){500}a{500}b",
    "a{0,1000}a{0,1000}b",
    "([a-z]+)*[A-Z]",
    "((a{0,100}){0,100}){0,100}b",
    "(?=(a+))*b",
    r"(a)\1*b",
    "(((((a*)*)*)*)*)*b",
    "(a|aa)+$b",
    "(a|a?)+b",
    "^(([a-z])+.)+[A-Z]([a-z])+$",
    "(x+x+)+y",
    ".*.*.*.*.*.*.*.*=.*",
    "^(.*?,){11}P",
    r"(\s*a)*b",
    "(?:[ab]*a[ab]{20}){5}c",
]
_GLOBS = [
    "*a*a*a*a*a*a*a*a*b",
    "*a" * 40 + "b",
    "a*" * 100 + "b",
    "**/a/**/a/**/a/**/b",
    "**/" * 60 + "b",
    "*?" * 60 + "b",
    "[a-z]*" * 60 + "b",
    "[!b]*" * 60 + "b",
    "*[a]*[a]*[a]*[a]*[a]*b",
    "*aa*aa*aa*aa*aa*b",
    "!*a*a*a*a*a*a*b",
    "/*a*a*a*a*/*a*a*a*a*/b",
    "*/*/*/*/*a*a*a*b",
    "?" * 200 + "*b",
    r"\*a*a*a*a*b",
    "*a*a*a*a*a*a*a*a*/",
    "[" * 200,
    "[[:alpha:]]*" * 20 + "b",
    "*a*" * 60,
    "{a,aa}*{a,aa}*b",
]
PATTERNS = [*_REGEXES, *_GLOBS]


@dataclass(frozen=True)
class Report:
    """What one try cost this process and its children.

    Attributes:
        entry: Where the pattern came in.
        pattern: Its beginning.
        seconds: Of CPU time.
        delay: Seconds of CPU time that the event loop's own thread took between two turns, at most.
        held: The same of all threads: on a busy machine more than the loop waited.
        ended: Why the run ended.
    """

    entry: str
    pattern: str
    seconds: float
    delay: float
    held: float
    ended: str


Prepare: TypeAlias = Callable[[str, Path], tuple[list[Tool[..., Any]], str, JsonObject]]


def _project(folder: Path, ignored: str = "") -> None:
    """A project with names that stars like, and a file of one long line."""
    deep = folder / ("a" * 40) / ("a" * 120)
    deep.mkdir(parents=True)
    for number in range(20):
        (deep / f"{'a' * 200}{number}").write_text("x")
    (folder / "long.txt").write_text("a" * SIZE + "\n" + "ab " * 100 + "\n")
    if ignored:
        (folder / ".gitignore").write_text(ignored)


def _repeated(pattern: str) -> str:
    return "".join(islice(cycle(pattern + "\n"), SIZE))


def _ignore(pattern: str, folder: Path) -> tuple[list[Tool[..., Any]], str, JsonObject]:
    _project(folder, pattern + "\n")
    return list(ProjectFiles(folder)), "list_files", {}


def _ignore_much(pattern: str, folder: Path) -> tuple[list[Tool[..., Any]], str, JsonObject]:
    _project(folder, "".join(f"{pattern}{n}\n" for n in range(SIZE // (len(pattern) + 5))))
    return list(ProjectFiles(folder)), "list_files", {}


def _find(pattern: str, folder: Path) -> tuple[list[Tool[..., Any]], str, JsonObject]:
    _project(folder)
    return list(Search(folder)), "find_files", {"name": pattern}


def _search(pattern: str, folder: Path) -> tuple[list[Tool[..., Any]], str, JsonObject]:
    _project(folder)
    return list(Search(folder)), "search_text", {"text": pattern, "regex": True}


def _search_plainly(pattern: str, folder: Path) -> tuple[list[Tool[..., Any]], str, JsonObject]:
    _project(folder)
    return project_reader(folder), "search_text", {"text": pattern}


def _edit(pattern: str, folder: Path) -> tuple[list[Tool[..., Any]], str, JsonObject]:
    _project(folder)
    (folder / "code.txt").write_text(_repeated(f"  {pattern[:30]}"))
    edits = [{"old": _repeated(pattern[:30]), "new": "b"}]
    return list(ProjectFiles(folder)), "edit_file", {"path": "code.txt", "edits": edits}


def _edit_all(pattern: str, folder: Path) -> tuple[list[Tool[..., Any]], str, JsonObject]:
    _project(folder)
    text = _repeated(f"{pattern[:30]}\n\n")
    (folder / "code.txt").write_text(f"begin\n{text}")
    edits = [{"old": f"begin\n{text}", "new": text.swapcase()}]
    return list(ProjectFiles(folder)), "edit_file", {"path": "code.txt", "edits": edits}


def _path(pattern: str, folder: Path) -> tuple[list[Tool[..., Any]], str, JsonObject]:
    _project(folder)
    return list(ProjectFiles(folder)), "read_file", {"path": _repeated(pattern)}


def _definition(pattern: str, folder: Path) -> tuple[list[Tool[..., Any]], str, JsonObject]:
    _project(folder)
    return project_reader(folder), "find_definition", {"name": pattern}


def foreign(schema: JsonObject) -> Tool[..., Any]:
    """A tool as an MCP server declares it."""

    async def pay(**arguments: Any) -> str:
        return "paid"

    return Tool.from_schema("pay", "Pays.", {"type": "object", **schema}, pay)


def _schema(pattern: str, _folder: Path) -> tuple[list[Tool[..., Any]], str, JsonObject]:
    text = {"type": "string", "pattern": pattern}
    return [foreign({"properties": {"to": text}})], "pay", {"to": "a" * SIZE}


def _schema_keys(pattern: str, _folder: Path) -> tuple[list[Tool[..., Any]], str, JsonObject]:
    schema = {"patternProperties": {pattern: {"type": "string"}}, "additionalProperties": False}
    return [foreign(schema)], "pay", {"a" * SIZE: 1, **{f"{'a' * 50}{n}": 1 for n in range(500)}}


def _strange_keys(pattern: str, _folder: Path) -> tuple[list[Tool[..., Any]], str, JsonObject]:
    count = SIZE // (len(pattern) + 8)
    schema: JsonObject = {"properties": {f"{pattern}{n}": {} for n in range(50)}}
    return [foreign(schema)], "pay", {f"{pattern} {n}": "x" for n in range(count)}


def _own_keys(pattern: str, _folder: Path) -> tuple[list[Tool[..., Any]], str, JsonObject]:
    def pay(to: str = "", amounts: list[int] | None = None) -> str:
        """Pays."""
        return "paid"

    count = SIZE // (len(pattern) + 8)
    return [make_tool(pay)], "pay", {f"{pattern} {n}": "x" for n in range(count)}


def _own_values(pattern: str, _folder: Path) -> tuple[list[Tool[..., Any]], str, JsonObject]:
    def pay(amounts: list[int]) -> str:
        """Pays."""
        return "paid"

    return [make_tool(pay)], "pay", {"amounts": [pattern] * (SIZE // (len(pattern) + 3))}


def _name(pattern: str, _folder: Path) -> tuple[list[Tool[..., Any]], str, JsonObject]:
    def pay(to: str) -> str:
        """Pays."""
        return "paid"

    return [make_tool(pay)], _repeated(pattern), {"to": "x"}


def _result(pattern: str, _folder: Path) -> tuple[list[Tool[..., Any]], str, JsonObject]:
    async def pay() -> list[JsonObject]:
        """Pays."""
        return [{pattern: n} for n in range(SIZE // (len(pattern) + 8))]

    return [make_tool(pay)], "pay", {}


_PREPARED: dict[str, Prepare] = {
    "a line of an ignore file": _ignore,
    "an ignore file of 100 kB": _ignore_much,
    "a name to find files by": _find,
    "an expression to search for": _search,
    "a text to search for": _search_plainly,
    "a text to replace": _edit,
    "a file to replace": _edit_all,
    "a path": _path,
    "a name to find the definition of": _definition,
    "a pattern of a schema": _schema,
    "a pattern of keys of a schema": _schema_keys,
    "keys that a schema does not have": _strange_keys,
    "keys that a function does not have": _own_keys,
    "values of a wrong type": _own_values,
    "a tool's name": _name,
    "a tool's result": _result,
}
ENTRIES = tuple(_PREPARED)


@contextmanager
def _timed() -> Generator[Callable[[], float]]:
    """CPU seconds of this process and of the children that it has waited for."""

    def now() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + children.ru_utime + children.ru_stime

    started = now()
    yield lambda: now() - started


def _prepared(
    entry: str, pattern: str, folder: Path
) -> tuple[list[Tool[..., Any]], str, JsonObject]:
    folder.mkdir()
    return _PREPARED[entry](pattern, folder)


async def tried(entry: str, pattern: str, folder: Path) -> Report:
    """One run of an agent whose model meets a pattern, or brings one."""
    tools, name, arguments = _prepared(entry, pattern, folder)
    model = ScriptedModel([call(name, **arguments), say("done")])
    agent = Agent(model, tools=tools, observers=(), limits=Limits(steps=3))
    # What other tests of this process left behind is not to be looked through on our account.
    gc.collect()
    gc.freeze()
    with _timed() as seconds:
        async with ticking() as delays:
            result = await agent.run("Go.")
        took = seconds()
    gc.unfreeze()
    return Report(
        entry,
        pattern[:40],
        round(took, 3),
        round(delays.longest_own, 3),
        round(delays.longest_cpu, 3),
        result.stop_reason,
    )
