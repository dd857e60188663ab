"""Process trees that a tool leaves behind if it is let, and how to find them afterwards.

Each process of a tree has a marker in its environment, which it cannot lose by changing its session
or its parent.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Literal

from agentkit.toolset import tool

Shape = Literal["child", "session", "double_fork", "deep"]
SHAPES: tuple[Shape, ...] = ("child", "session", "double_fork", "deep")
MARKER = "AGENTKIT_TEST_TREE"

_SLEEP = "import time; time.sleep(600)"
_DAEMON = f"import os\nif os.fork(): os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)\n{_SLEEP}"
_DEEP = (
    "import subprocess, sys\n"
    f"subprocess.Popen([sys.executable, '-S', '-c', {_SLEEP!r}], start_new_session=True)\n{_SLEEP}"
)


def plant(marker: str, shape: Shape) -> None:
    """Starts a tree of processes and returns when all of it is there."""
    code = {"child": _SLEEP, "session": _SLEEP, "double_fork": _DAEMON, "deep": _DEEP}[shape]
    subprocess.Popen(
        [sys.executable, "-S", "-c", code],
        env={**os.environ, MARKER: marker},
        stdin=subprocess.DEVNULL,
        start_new_session=shape == "session",
    )
    wanted = 2 if shape == "deep" else 1
    while len(living(marker)) < wanted or (shape == "double_fork" and not _detached(marker)):
        time.sleep(0.005)


def _detached(marker: str) -> bool:
    return all(os.getsid(pid) != os.getsid(0) for pid in living(marker))


def living(marker: str) -> list[int]:
    """The processes of a tree that are not dead."""
    found: list[int] = []
    for folder in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            if f"{MARKER}={marker}\0".encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return found


@tool(effect="once", timeout=30.0)
def plants_and_waits(marker: str, shape: Shape, ready: Path) -> None:
    """Starts a tree and never returns."""
    plant(marker, shape)
    ready.touch()
    time.sleep(600)


@tool(effect="once")
def plants_and_returns(marker: str, shape: Shape) -> str:
    """Starts a tree and leaves it alone."""
    plant(marker, shape)
    return "planted"
