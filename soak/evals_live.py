"""Ten cases of BFCL and the suite `project`, by the demonstration checkpoint on a real vLLM.

What is proved is that they complete with a verdict on every trial. The checkpoint has two million
parameters and was never shown such tools: its score is what it is, and is kept as such.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from agentkit_evals.bfcl import install
from agentkit_evals.cli import app
from typer.testing import CliRunner

from agentkit.messages import JsonObject
from soak.proof import commit_here, write_record
from tests.live.server import checkpoint_folder, live_server

_OPTIONS: Final = ("--limit", "10", "--max-tokens", "300", "--temperature", "0", "--name", "live")
_SUITES: Final = ("bfcl:multi_turn_base", "project")


def main() -> int:
    """Runs both suites and writes `docs/proof/evals_live.json`; 1 if a trial has no verdict."""
    install(print)
    with live_server(checkpoint_folder("tiny")) as server:
        os.environ["AGENTKIT_API_KEY"] = server.api_key
        reports = [_report(suite, server.url) for suite in _SUITES]
    complete = all(r["graded"] == r["cases"] and not r["infrastructure"] for r in reports)
    shown = {
        "part": "evals_live",
        "commit": commit_here(),
        "command": f"agentkit eval run SUITE --model URL {' '.join(_OPTIONS)} --json",
        "reports": reports,
        "result": "passed" if complete else "failed",
    }
    print(write_record("evals_live", shown))
    return 0 if complete else 1


def _report(suite: str, url: str) -> JsonObject:
    with tempfile.TemporaryDirectory() as folder:
        command = ["run", suite, "--model", url, *_OPTIONS, "--folder", str(Path(folder)), "--json"]
        done = CliRunner().invoke(app, command)
    print(done.stderr)
    assert done.exit_code == 0, done.output
    found: Any = json.loads(done.stdout)
    return dict(found)


if __name__ == "__main__":
    sys.exit(main())
