"""One run of an agent over a project that holds its own Python; run by that Python, see `planting`.

PYTHON planted_run.py PROJECT < calls.json   runs each call in the sandbox, prints what it said
PYTHON planted_run.py PROJECT later          what any later run does: imports, searches, commands
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.util
import json
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path


def main(project: Path, later: bool) -> None:
    """Begins as an agent would, then runs calls or does what later runs do."""
    _loaded(project / "agents" / "agent.py")
    from agentkit_tools import Bounds, Search, Shell  # noqa: PLC0415 - found as the project has it
    from agentkit_tools.commands import run  # noqa: PLC0415 - found as the project has it
    from agentkit_tools.paths import Root  # noqa: PLC0415 - found as the project has it
    from agentkit_tools.sandbox import Sandbox, python_folders  # noqa: PLC0415 - as above

    from agentkit.toolset.options import note_launch  # noqa: PLC0415 - found as the project has it

    note_launch(["python3", "servers/server.py"], project)
    if not later:
        sandbox = Sandbox(Root(project), Bounds(output=100_000), python_folders())
        outcomes = [run(sandbox, line, 60) for line in json.load(sys.stdin)]
        print(json.dumps([[outcome.output, outcome.stopped] for outcome in outcomes]))  # noqa: T201 - read by who started this
        return
    for name in ("shop", "shop.cart", "lonely", "zipped", "zlib", "colorsys", "colorsys_not_there"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    with contextlib.suppress(OSError):
        ctypes.CDLL("libnote.so")
    for entry in entry_points(group="agentkit.toolsets"):
        with contextlib.suppress(ImportError, AttributeError):
            entry.load()
    subprocess.run(["python3", "servers/server.py"], cwd=project, check=False)
    tool = Search(project).get("search_text")
    assert tool is not None, "one of its tools"
    tool("anything")
    Shell(project).check()
    run(Sandbox(Root(project), Bounds(), python_folders()), "true", 20)


def _loaded(file: Path) -> None:
    """As the command line loads an agent's file."""
    spec = importlib.util.spec_from_file_location("agentkit_loaded_agent", file)
    assert spec is not None, "a file of Python"
    assert spec.loader is not None, "a file of Python"
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(file.parent))
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(file.parent))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] == ["later"])
