"""The examples as a reader runs them, and their run files replayed offline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from typer.testing import CliRunner

from agentkit.cli.app import app

REPO = Path(__file__).parents[2]


@dataclass(frozen=True)
class Done:
    """What came of it."""

    code: int
    out: str
    err: str


def run_example(name: str, runs: Path, *arguments: object) -> Done:
    """Runs `examples/NAME/main.py`; its run file goes into the folder `runs`."""
    done = subprocess.run(
        [sys.executable, str(REPO / "examples" / name / "main.py"), *map(str, arguments)],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(REPO), str(REPO / "tools")]),
            "AGENTKIT_RUNS": str(runs),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def tool_errors(runs: Path) -> list[str]:
    """What went wrong in the tools of the one run in a folder."""
    (file,) = runs.iterdir()
    events = [json.loads(line) for line in file.read_text().splitlines()]
    results = [event["result"] for event in events if event["event"] == "ToolFinished"]
    assert results, "no tool was called"
    return [result["content"] for result in results if result["is_error"]]


def replayed(name: str, runs: Path, project: Path) -> str:
    """What `agentkit replay` says of the one run in a folder."""
    (file,) = runs.iterdir()
    target = f"{REPO}/examples/{name}/main.py:agent"
    arguments = ["replay", str(file), "--agent", target, "--project", str(project)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return result.output
