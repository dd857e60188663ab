"""Ten cases of BFCL and the suite `project`, by the demonstration checkpoint on a real vLLM; then
what the grammar is worth to random weights, by `agentkit eval ablate` on the suite `schema`.

What is proved of the former is that they complete with a verdict on every trial. The checkpoint was
never shown such tools: its score is what it is, and is kept as such. Random weights are led to
begin a call more often than by chance, and write noise behind that: fewer of these calls may be
invalid with the grammar on, beyond chance.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from agentkit_evals.bfcl import install
from agentkit_evals.cli import app
from agentkit_evals.core import Turn
from typer.testing import CliRunner

from agentkit import Agent
from agentkit.gemma4.tokens import CALL_OPEN, IDS, QUOTE, RESPONSE_OPEN
from agentkit.messages import ModelSettings
from agentkit.models import Model
from soak.proof import commit_here, write_record
from tests.live.server import checkpoint_folder, live_server

_OPTIONS: Final = ("--limit", "10", "--max-tokens", "300", "--temperature", "0", "--name", "live")
_SUITES: Final = ("bfcl:multi_turn_base", "project")
_ABLATION: Final = (
    *("schema", "--off", "grammar", "--agent", "soak.evals_live:eager"),
    *("--trials", "3", "--max-tokens", "200", "--trial-tokens", "600"),
)
_LEVEL: Final = 0.01
_LIKED: Final = {CALL_OPEN: 6.0, QUOTE: 4.0, RESPONSE_OPEN: 5.5}
"""Added to the logits of these tokens, which random weights leave about equal to all others: a call
begins after some words, its texts end after some words, and the reply after one or two calls."""


def eager(model: Model, turn: Turn, settings: ModelSettings) -> Agent[Any, Any]:
    """An agent whose model likes to begin calls and to end, and writes noise."""
    liked = {str(IDS[token]): bias for token, bias in _LIKED.items()}
    return Agent(
        model,
        toolsets=[turn.tools],
        settings=settings.over(ModelSettings(extra_body={"logit_bias": liked})),
        observers=(),
    )


def main() -> int:
    """Runs all and writes `docs/proof/evals_live.json`; 1 if a trial has no verdict, or the grammar
    makes no difference.
    """
    argparse.ArgumentParser(description=__doc__).parse_args()
    install(print)
    with live_server(checkpoint_folder("random")) as server:
        os.environ["AGENTKIT_API_KEY"] = server.api_key
        ablation = _asked("ablate", *_ABLATION, "--model", server.url)
    with live_server(checkpoint_folder("tiny")) as server:
        os.environ["AGENTKIT_API_KEY"] = server.api_key
        url = server.url
        reports = [_asked("run", suite, "--model", url, *_OPTIONS) for suite in _SUITES]
    complete = all(r["graded"] == r["cases"] and not r["infrastructure"] for r in reports)
    off = ablation["arms"][1]
    change = off["invalid_change"]
    worth = not off["lost"] and change["difference"]["value"] > 0 and change["adjusted"] < _LEVEL
    shown = {
        "part": "evals_live",
        "commit": commit_here(),
        "command": f"agentkit eval run SUITE --model URL {' '.join(_OPTIONS)} --json",
        "reports": reports,
        "ablation of random weights": f"agentkit eval ablate {' '.join(_ABLATION)} --json",
        "ablation": ablation,
        "result": "passed" if complete and worth else "failed",
    }
    print(write_record("evals_live", shown))
    return 0 if complete and worth else 1


def _asked(*command: str) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        done = CliRunner().invoke(app, [*command, "--folder", str(Path(folder)), "--json"])
    print(done.stderr)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


if __name__ == "__main__":
    sys.exit(main())
