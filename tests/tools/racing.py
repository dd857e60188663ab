"""File tools against a process that swaps what they are about to touch for links that lead out."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from agentkit_tools import ProjectFiles, Search, project_reader
from agentkit_tools.edits import Edit
from agentkit_tools.paths import Root

from agentkit import Tool, ToolContext, ToolError, Toolset

_CANARY = "canary-of-the-race"
_INSIDE = "inside"
_SWAPPER = Path(__file__).with_name("swapper.py")
_Try = Callable[[], Any]


def race(folder: Path, operations: int, seed: int) -> dict[str, int]:
    """Reads, lists, searches, writes and edits while links are swapped in.

    Args:
        folder: An empty one; in memory it is faster, since every write waits for its disk.
        operations: How many.
        seed: Of their order.

    Returns:
        How many there were of each kind, and how many were refused or found nothing there.

    Raises:
        AssertionError: One got out.
    """
    project, outside = _made(folder)
    counts: Counter[str] = Counter()
    choose = random.Random(seed)
    tries = [(name, how) for name, how, weight in _tries(project) for _ in range(weight)]
    with _swapping(folder):
        for _ in range(operations):
            name, attempt = choose.choice(tries)
            counts[name] += 1
            try:
                text = str(attempt())
            except (ToolError, FileNotFoundError) as refusal:
                text = str(refusal)
                counts["refused or gone"] += 1
            assert _CANARY not in text, f"{name} read what is outside: {text}"
    there = {path.name: path.read_text() for path in outside.iterdir()}
    assert there == {"file": _CANARY, _CANARY: ""}, f"something was written outside: {there}"
    assert counts["refused or gone"] < operations, "something got through to the inside"
    return dict(counts)


def _made(folder: Path) -> tuple[Path, Path]:
    project, outside = folder / "project", folder / "outside"
    (project / "dir").mkdir(parents=True)
    outside.mkdir()
    (outside / "file").write_text(_CANARY)
    (outside / _CANARY).touch()  # a listing would show it
    (project / "dir" / "file").write_text(_INSIDE)
    (project / "file").write_text(_INSIDE)
    (project / "dir-link").symlink_to("../outside")
    (project / "file-link").symlink_to("../outside/file")
    return project, outside


def _tries(project: Path) -> Iterator[tuple[str, _Try, int]]:
    """Each kind of operation with its weight, by both ways to open."""
    context: ToolContext[Any] = ToolContext(None, "race")
    edits = [Edit(_INSIDE, f"{_INSIDE}.")], [Edit(f"{_INSIDE}.", _INSIDE)]
    for walk in (False, True):
        files = ProjectFiles(Root(project, walk=walk))
        for path in ("dir/file", "file"):
            yield "read", partial(_tool(files, "read_file"), path), 8
            yield "write", partial(_tool(files, "write_file"), context, path, _INSIDE), 4
            for edit in edits:
                yield "edit", partial(_tool(files, "edit_file"), context, path, edit), 2
        yield "list", partial(_tool(files, "list_files"), "dir"), 4
    reader = Toolset(project_reader(project))
    for path in ("dir/file", "file"):
        yield "read", partial(_tool(reader, "read_file"), path), 8
    yield "list", partial(_tool(reader, "list_files"), "dir"), 4
    for text in (_INSIDE, "canary"):
        yield "search", partial(_tool(reader, "search_text"), text), 4
    for ripgrep, weight in ((False, 4), (True, 1)):
        for text in (_INSIDE, "canary"):
            search = _tool(Search(project, ripgrep=ripgrep), "search_text")
            yield "search", partial(search, text), weight


def _tool(tools: Toolset, name: str) -> Tool[..., Any]:
    found = tools.get(name)
    assert found is not None, "one of the tools"
    return found


@contextmanager
def _swapping(folder: Path) -> Generator[None]:
    command = [sys.executable, "-IS", str(_SWAPPER), str(folder / "project")]
    with subprocess.Popen(command) as swapper:
        try:
            yield
            assert swapper.poll() is None, "the swapper was at work to the end"
        finally:
            swapper.kill()
