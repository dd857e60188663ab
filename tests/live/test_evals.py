"""A real suite on a real vLLM: it completes and reports, whatever the score is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from agentkit_evals.bfcl import install
from agentkit_evals.cli import app
from agentkit_evals.core import EvalError
from typer.testing import CliRunner

from tests.live.client import KEY, URL, live, replies_end

pytestmark = live


@replies_end
@pytest.mark.timeout(900)
@pytest.mark.parametrize("suite", ["bfcl:multi_turn_base", "project"])
def test_a_suite_completes_and_is_reported(
    suite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        install(lambda _: None)
    except EvalError as error:
        pytest.skip(f"needs bfcl-eval in the cache: {error}")
    monkeypatch.setenv("AGENTKIT_API_KEY", KEY)
    options = ["--limit", "10", "--max-tokens", "300", "--temperature", "0", "--name", "live"]
    command = ["run", suite, "--model", URL, *options, "--folder", str(tmp_path), "--json"]
    done = CliRunner().invoke(app, command)
    with capsys.disabled():
        print(done.output)  # noqa: T201 - the score is what one wants to see
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["graded"], found["missing"], found["infrastructure"]) == (found["cases"], 0, {})
    assert found["usage"]["input_tokens"] > 0
