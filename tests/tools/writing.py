"""Writers that are killed: the file they leave is the old one or the new one, never a torn one.

    python -m tests.tools.writing FOLDER KILLS SEED      in a process that has no threads, to fork

A kill leaves what the kernel has: that a written file outlives the machine's power is the work of
fsync, which no kill can test.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from agentkit_tools import ProjectFiles
from agentkit_tools.edits import Edit

from agentkit import ToolContext

_REPO = Path(__file__).parents[2]
_LINE = "a line that is long enough to be torn\n"
_LONGEST_LIFE = 0.05  # seconds


def killed_writers(folder: Path, kills: int, seed: int) -> None:
    """Starts and kills so many writers, and looks at the file after each.

    Raises:
        AssertionError: One left something else than the old content or the new.
    """
    command = [sys.executable, "-m", __name__, str(folder), str(kills), str(seed)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([".", "tools"])}
    done = subprocess.run(
        command, cwd=_REPO, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def main() -> None:
    """Forks, kills, looks."""
    folder, kills = Path(sys.argv[1]), int(sys.argv[2])
    choose = random.Random(int(sys.argv[3]))
    tools = ProjectFiles(folder)
    write, listing = tools.get("write_file"), tools.get("list_files")
    assert write is not None
    assert listing is not None
    write(ToolContext(None, "first"), "file", _content(0))
    for _ in range(kills):
        writer = os.fork()
        if not writer:
            _write_for_ever(tools)
        time.sleep(choose.uniform(0, _LONGEST_LIFE))
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
        assert (folder / "file").read_text() in (_content(0), _content(1)), "a torn file"
        assert listing() == "1 file\nfile", "what a kill leaves behind is not shown"


def _write_for_ever(tools: ProjectFiles) -> None:
    write, edit = tools.get("write_file"), tools.get("edit_file")
    assert write is not None
    assert edit is not None
    context: ToolContext[Any] = ToolContext(None, "killed")
    while True:
        write(context, "file", _content(0))
        edit(context, "file", [Edit(f"0\n{_LINE}{_LINE}", f"1\n{_LINE}{_LINE}")])


def _content(number: int) -> str:
    """Either way it has the same length."""
    return f"{number}\n" + _LINE * 5_000


if __name__ == "__main__":
    main()
