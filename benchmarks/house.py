"""How the sources are cut: `python -m benchmarks.house [--before COMMIT] [FOLDER ...]`.

Counts agentkit, how it was at a commit, and the packages of the command line, and follows one warm
streamed tool call of agentkit through its files. What is counted:

- logic: lines that are neither blank, comment, docstring, import nor `__all__`;
- private functions used once: functions and methods with a leading underscore whose name the
  package mentions in one place, as a share of all functions and methods;
- circles: modules that import each other when they are loaded;
- `Any`: names in annotations and elsewhere, imports left out;
- broad excepts: `except Exception`, `except BaseException` and a bare `except`.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import statistics
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from types import FrameType
from typing import Any

from agentkit import Agent, VLLMModel, tool
from benchmarks.model_server import model_server
from benchmarks.older import agentkit_at
from soak.proof import ROOT, write_record

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Module:
    """What one file holds.

    Attributes:
        name: Dotted name.
        lines: Number of lines.
        docstrings: Lines of docstrings.
        imports: Lines of imports and of `__all__`.
        logic: Lines that do something.
        comments: Comments, trailing ones included.
        functions: Lines of each function.
        private: Names of functions with a leading underscore.
        mentions: Names and attributes that are read, and how often.
        imported: What is imported at load time: a module, and the name taken from it.
        any: Mentions of `Any`.
        broad: Excepts that catch everything.
    """

    name: str
    lines: int = 0
    docstrings: int = 0
    imports: int = 0
    logic: int = 0
    comments: int = 0
    functions: list[int] = field(default_factory=list)
    private: list[str] = field(default_factory=list)
    mentions: Counter[str] = field(default_factory=Counter)
    imported: set[tuple[str, str]] = field(default_factory=set)
    any: int = 0
    broad: int = 0


def read(path: Path, name: str) -> Module:
    """Count one file."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    module = Module(name, lines=text.count("\n") + 1)
    used: set[int] = set()
    for node in ast.walk(tree):
        _count(node, module)
        if span := _apart(node):
            lines = range(span[0], span[1] + 1)
            used.update(lines)
            if isinstance(node, ast.Expr):
                module.docstrings += len(lines)
            else:
                module.imports += len(lines)
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        module.comments += bare.startswith("#") or "  # " in line
        module.logic += bool(bare) and not bare.startswith("#") and number not in used
    module.imported = set(_imports(tree.body, name, is_package=path.name == "__init__.py"))
    return module


def _apart(node: ast.AST) -> tuple[int, int] | None:
    """First and last line of a node that is no logic."""
    match node:
        case ast.Import() | ast.ImportFrom() | ast.Expr(ast.Constant(str())):
            return node.lineno, node.end_lineno or node.lineno
        case ast.Assign([ast.Name("__all__")]):
            return node.lineno, node.end_lineno or node.lineno
        case _:
            return None


def _count(node: ast.AST, module: Module) -> None:
    if isinstance(node, Function):
        module.functions.append((node.end_lineno or node.lineno) - node.lineno + 1)
        if node.name.startswith("_") and not node.name.startswith("__"):
            module.private.append(node.name)
    elif isinstance(node, ast.Name):
        module.mentions[node.id] += 1
        module.any += node.id == "Any"
    elif isinstance(node, ast.Attribute):
        module.mentions[node.attr] += 1
    elif isinstance(node, ast.ImportFrom):
        module.mentions.update(alias.name for alias in node.names)
    elif isinstance(node, ast.ExceptHandler):
        module.broad += node.type is None or (
            isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"}
        )


def _imports(body: Iterable[ast.stmt], name: str, *, is_package: bool) -> Iterator[tuple[str, str]]:
    """What a module imports outside of functions and of `if TYPE_CHECKING`."""
    package = name.split(".") if is_package else name.split(".")[:-1]
    for node in body:
        if isinstance(node, ast.Import):
            yield from ((alias.name, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*start, *([node.module] if node.module else [])])
            yield from ((source, f"{source}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Try):
            yield from _imports(node.body, name, is_package=is_package)


def modules(folder: Path) -> list[Module]:
    """Every file of a package."""
    found = []
    for path in sorted(folder.rglob("*.py")):
        parts = (folder.name, *path.relative_to(folder).with_suffix("").parts)
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append(read(path, name))
    return found


def cycle(found: Sequence[Module]) -> int:
    """How many modules import each other in a circle, in the first one found; 0 without one."""
    names = {module.name for module in found}
    edges = {
        module.name: {taken if taken in names else source for source, taken in module.imported}
        & names - {module.name}
        for module in found
    }
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return len(error.args[1]) - 1
    return 0


def figures(folder: Path) -> dict[str, Any]:
    """One column of the table."""
    found = modules(folder)
    lines = sum(module.lines for module in found)
    mentions = sum((module.mentions for module in found), Counter[str]())
    private = [name for module in found for name in module.private]
    functions = sorted(length for module in found for length in module.functions)
    return {
        "files": len(found),
        "lines": lines,
        "logic": sum(module.logic for module in found),
        "docstrings": sum(module.docstrings for module in found),
        "comments per 100 lines": round(100 * sum(m.comments for m in found) / lines, 1),
        "imports and __all__, %": round(100 * sum(m.imports for m in found) / lines, 1),
        "private functions used once, %": round(
            100 * sum(mentions[name] <= 1 for name in private) / max(1, len(functions)), 1
        ),
        "median file": statistics.median(module.lines for module in found),
        "largest file": max(module.lines for module in found),
        "function, 90th percentile": functions[len(functions) * 9 // 10],
        "largest function": functions[-1],
        "modules in a circle of imports": cycle(found),
        "Any": sum(module.any for module in found),
        "broad excepts": sum(module.broad for module in found),
    }


# --- the path of a call ---------------------------------------------------------------------------


@tool(effect="pure")
async def get_weather(city: str, days: int = 1) -> str:
    """Forecast for a city."""
    return f"{city}: sunny for {days} day(s)"


async def path_of_a_call() -> dict[str, int]:
    """Files and functions of agentkit that the second run of a streamed tool call enters."""
    folder = str(ROOT / "agentkit")
    entered: set[tuple[str, str]] = set()

    def follow(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(folder):
            entered.add((frame.f_code.co_filename, frame.f_code.co_qualname))

    async with model_server() as root, VLLMModel(root, "steps-10") as model:
        agent = Agent(model, tools=[get_weather], observers=())
        await _streamed(agent)
        sys.setprofile(follow)
        try:
            await _streamed(agent)
        finally:
            sys.setprofile(None)
    return {"functions": len(entered), "files": len({file for file, _ in entered})}


async def _streamed(agent: Agent[Any, Any]) -> None:
    async for _ in agent.stream("What will the weather be?"):
        pass


def main() -> int:
    """Print the table and keep it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.house")
    parser.add_argument("folders", nargs="*", type=Path, help="packages to count beside it")
    parser.add_argument("--before", metavar="COMMIT", help="count agentkit at that commit too")
    parser.add_argument("--save", action="store_true", help="write docs/proof/house.json")
    options = parser.parse_args()
    columns = {"agentkit": figures(ROOT / "agentkit")}
    if options.before:
        with agentkit_at(options.before) as folder:
            columns[f"at {options.before}"] = figures(folder / "agentkit")
    columns |= {folder.name: figures(folder) for folder in options.folders}
    path = asyncio.run(path_of_a_call())
    print(f"{'':32}" + "".join(f"{name:>12}" for name in columns))
    for name in columns["agentkit"]:
        print(f"{name:32}" + "".join(f"{column[name]:>12,}" for column in columns.values()))
    print(f"a warm streamed tool call: {path['functions']} functions in {path['files']} files")
    if options.save:
        record = {"packages": columns, "a warm streamed tool call": path}
        write_record("house", record)
    return 0


if __name__ == "__main__":
    sys.exit(main())
