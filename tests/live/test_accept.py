"""A real vLLM is accepted, and the report says of which model that is."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agentkit.cli.app import app
from tests.live.client import KEY, URL, live

pytestmark = [
    *live,
    pytest.mark.skipif(
        os.environ.get("AGENTKIT_LIVE_CHECKPOINT", "tiny") != "tiny",
        reason="a model of random weights never calls a tool by itself",
    ),
]


def test_the_server_is_accepted_and_the_report_can_be_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTKIT_API_KEY", KEY)
    monkeypatch.setenv("AGENTKIT_EVALS", str(tmp_path / "runs"))
    few = ["--conversations", "2", "--skip", "bfcl", "--output", str(tmp_path)]
    done = CliRunner().invoke(app, ["accept", URL, *few])
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "acceptance.json").read_text())
    outcomes = {part["name"]: part["outcome"] for part in found["parts"]}
    passed = dict.fromkeys(("doctor", "scenarios", "grammar", "conversations"), "passed")
    assert outcomes == {**passed, "bfcl": "not run"}, done.output  # `test_evals` plays it
    assert (found["demonstration"], found["control"]) == (True, "grammar")
    scenarios = found["parts"][1]["figures"]
    assert (scenarios["wrong"], scenarios["absent"]) == (0, 1)  # the model takes no picture
    page = (tmp_path / "acceptance.html").read_text()
    assert "mean nothing of a released Gemma 4" in page
    assert KEY not in page + done.output
    assert URL.removeprefix("http://") not in page + done.output
