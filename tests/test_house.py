"""What must hold of the text of every source file."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]
SOURCES = ("agentkit", "tools", "evals", "examples", "benchmarks", "soak", "training", "release")
LONGEST_FILE = 600
LONGER_FILES = {
    "training/tiny_gemma4/generate.py": "one kind of dialogue after the other, each a few lines",
    "training/tiny_gemma4/skills.py": "one tool of the dialogues after the other: a table",
    "agentkit/gemma4/constraints.py": "one rule of the grammar for each keyword of JSON Schema",
}
"""Looked at again, and one thing all the same; a file of this list may be shorter."""
LONGEST_FUNCTION = 60

# Written in two halves, so that this file does not hold them.
FORBIDDEN = [
    ("/ro" + "ot/", "a path of one machine"),
    ("/wo" + "rk/", "a path of one machine"),
    ("/ho" + "me/[a-z]+/[a-z]", "a path of one machine"),
    ("TO" + "DO", "unfinished work"),
    ("FIX" + "ME", "unfinished work"),
    ("XX" + "X", "unfinished work"),
    ("(?i)cla" + "ude|chat" + "gpt|copi" + "lot", "how it was written"),
    ("Signed-off" + "-by", "not part of a file"),
]
_KIND = r"#\s*(type:\s*ignore|noqa|pyright:\s*ignore)"
_RULE = r"(\[[\w\-, ]+\]|:\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*)?"
IGNORE = re.compile(f"{_KIND}{_RULE}(.*)$")


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPO,
        capture_output=True,
        check=False,
    )
    names = listed.stdout.decode().split("\0") if listed.returncode == 0 else []
    files = (
        [REPO / name for name in names if name]
        or [
            file  # an unpacked archive: without environments and caches
            for folder in (*SOURCES, "tests", "docs")
            for file in (REPO / folder).rglob("*")
            if not any(part.startswith((".", "__")) for part in file.relative_to(REPO).parts[:-1])
        ]
    )
    return [file for file in files if file.is_file()]


FILES = tracked()
PYTHON = [file for file in FILES if file.suffix == ".py"]
LIBRARY = [file for file in PYTHON if file.relative_to(REPO).parts[0] in SOURCES]


@cache
def texts() -> dict[Path, str]:
    found: dict[Path, str] = {}
    for file in FILES:
        if file.suffix in {".py", ".md", ".toml", ".sh", ".yml", ".cfg", ".jinja", ""}:
            with suppress(UnicodeDecodeError):
                found[file.relative_to(REPO)] = file.read_text()
    return found


@pytest.mark.parametrize(("pattern", "why"), FORBIDDEN, ids=[p for p, _ in FORBIDDEN])
def test_no_file_holds_what_does_not_belong(pattern: str, why: str) -> None:
    found = [
        f"{file}:{number}"
        for file, text in texts().items()
        if re.search(pattern, text) and file.name != "LICENSE"
        for number, line in enumerate(text.splitlines(), 1)
        if re.search(pattern, line)
    ]
    assert found == [], why


def test_every_ignore_names_its_rule_and_its_reason() -> None:
    bare: list[str] = []
    for file in PYTHON:
        for number, line in enumerate(file.read_text().splitlines(), 1):
            found = IGNORE.search(line)
            if found is None or '"' in line[found.start() :]:
                continue
            rule, reason = found[2], found[3].strip(" -#")
            if not rule or not reason:
                bare.append(f"{file.relative_to(REPO)}:{number}: {line.strip()}")
    assert bare == []


def test_no_file_is_longer_than_can_be_read_at_one_sitting() -> None:
    long = {
        str(file.relative_to(REPO)): lines
        for file in LIBRARY
        if (lines := len(file.read_text().splitlines())) > LONGEST_FILE
    }
    assert not set(long) - set(LONGER_FILES), long


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for file in LIBRARY:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{file.relative_to(REPO)}:{node.lineno} {node.name}", node


def body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its signature and docstring."""
    body = node.body[1:] if ast.get_docstring(node) else node.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


@pytest.mark.slow
def test_functions_stay_short() -> None:
    sizes = {where: body_lines(node) for where, node in functions()}
    assert {where: size for where, size in sizes.items() if size > LONGEST_FUNCTION} == {}
    assert sorted(sizes.values())[len(sizes) // 2] < 10


def passes_on(node: ast.AST, name: str) -> bool:
    """Whether a call inside takes `**name`."""
    return any(
        isinstance(inner, ast.keyword)
        and inner.arg is None
        and isinstance(inner.value, ast.Name)
        and inner.value.id == name
        for inner in ast.walk(node)
    )


def is_typed(keywords: ast.arg) -> bool:
    """Whether type checkers know each of the keywords: by a ParamSpec or an unpacked TypedDict."""
    match keywords.annotation:
        case ast.Attribute() | ast.Subscript(value=ast.Name(id="Unpack")):
            return True
        case _:
            return False


@pytest.mark.slow
def test_no_public_function_of_the_library_passes_keywords_through() -> None:
    passing = [
        where
        for where, node in functions()
        if where.startswith("agentkit/")
        and node.args.kwarg is not None
        and not node.name.startswith("_")
        and not is_typed(node.args.kwarg)
        and passes_on(node, node.args.kwarg.arg)
    ]
    assert passing == []


def test_a_command_that_is_asked_for_help_does_not_begin_to_work() -> None:
    started_by_others = {"benchmarks/model_server.py", "soak/forked.py"}
    silent = set[str]()
    folders = ("soak", "benchmarks", "release", "docs/site", "training/tiny_gemma4")
    for file in (file for folder in folders for file in REPO.glob(f"{folder}/*.py")):
        text = file.read_text()
        if "__main__" in text and "ArgumentParser(" not in text and "prove(" not in text:
            silent.add(str(file.relative_to(REPO)))
    assert silent == started_by_others
