"""Runs the Python blocks of a page of documentation, in order, in one namespace.

The page says `http://localhost:8000/v1` where the reader has a vLLM; here a small server on
loopback stands in for it, whose model calls the first tool once and then answers. A block that
begins with ```` ```python no-run ```` is only compiled.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import anyio

from tests.servers import Exchange, Script, call_chunks, says, serving, streamed

_BLOCK = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"\binto\s+`(\w+)\.py`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
READERS_SERVER = "http://localhost:8000/v1"


@dataclass(frozen=True)
class Block:
    """One block of code: where it stands, what it says, whether it is run."""

    line: int
    text: str
    runs: bool


def blocks_of(page: str) -> list[Block]:
    """The Python blocks of a page."""
    return [
        Block(page[: found.start()].count("\n") + 2, found[3], "no-run" not in found[2])
        for found in _BLOCK.finditer(page)
        if found[1] in ("python", "py")
    ]


def links_of(page: str) -> list[str]:
    """The addresses that a page links to, outside its blocks of code."""
    return _LINK.findall(_BLOCK.sub("", page))


def missing_links(file: Path, root: Path) -> list[str]:
    """Relative links that lead nowhere, or out of the project."""
    missing: list[str] = []
    for link in links_of(file.read_text()):
        if re.match(r"[a-z]+:", link) or link.startswith("#"):
            continue
        target = (file.parent / link.partition("#")[0]).resolve()
        if not target.exists() or not target.is_relative_to(root):
            missing.append(link)
    return missing


def run_page(file: Path) -> int:
    """Runs a page; returns how many blocks ran.

    Raises:
        Exception: Whatever a block raises, with the page's own line numbers.
    """
    text = file.read_text()
    page = ModuleType("__main__")
    namespace = vars(page)
    ran = 0
    with _imported_as(page, {"__main__", *_FILE.findall(text)}), serving(_like_a_model) as server:
        for block in blocks_of(text):
            code = _compiled(block, file, server.url)
            if block.runs:
                _execute(code, namespace)
                ran += 1
    return ran


@contextmanager
def _imported_as(page: ModuleType, names: set[str]) -> Generator[None]:
    """While the page runs, it is the program, and each file into which it says to put a block."""
    before = {name: sys.modules.get(name) for name in names}
    sys.modules.update(dict.fromkeys(names, page))
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def _like_a_model(exchange: Exchange) -> None:
    body = exchange.request.body
    asked = body["messages"][-1]["role"] == "user"
    script: Script = says("It is sunny.")
    if asked and body.get("tools"):
        function = body["tools"][0]["function"]
        script = streamed(call_chunks((function["name"], _arguments(function["parameters"]))))
    script(exchange)


def _arguments(schema: dict[str, Any]) -> dict[str, Any]:
    """The least arguments that fit."""
    properties = schema.get("properties", {})
    return {name: _value(properties[name]) for name in schema.get("required", ())}


def _value(schema: dict[str, Any]) -> Any:
    if schema.get("enum"):
        return schema["enum"][0]
    values = {"string": "Turin", "integer": 1, "number": 1.0, "boolean": True, "array": []}
    if schema.get("type") == "object":
        return _arguments(schema)
    return values.get(str(schema.get("type")), "Turin")


def _compiled(block: Block, file: Path, url: str) -> CodeType:
    text = "\n" * (block.line - 1) + block.text.replace(READERS_SERVER, url)
    code: CodeType = compile(
        text, str(file), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True
    )
    return code


def _execute(code: CodeType, namespace: dict[str, Any]) -> None:
    call: Callable[[], Any] = lambda: eval(code, namespace)  # noqa: E731 - our own pages
    if code.co_flags & inspect.CO_COROUTINE:
        main: Callable[[], Coroutine[Any, Any, Any]] = call
        anyio.run(main)
    else:
        call()
