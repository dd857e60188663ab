from __future__ import annotations

import os
import signal
import subprocess
import sys

import httpx2
import pytest
from typer.testing import CliRunner

from agentkit.cli.app import app
from agentkit.testing import FAULTS

pytestmark = pytest.mark.slow

TERMINAL = {"COLUMNS": "200", "TERM": "dumb"}


def test_a_scenario_that_ends_as_the_table_says_is_ok() -> None:
    result = CliRunner().invoke(app, ["faults", "run", "unknown_tool", "overflow"], env=TERMINAL)
    assert result.exit_code == 0, result.output
    assert "ContextWindowError" in result.output
    assert "2 scenarios, 8 runs" in result.output
    assert "SURPRISE" not in result.output


def test_one_mode_alone_can_be_asked_for() -> None:
    arguments = ["faults", "run", "unknown_tool", "--whole", "--backend", "trio"]
    result = CliRunner().invoke(app, arguments, env=TERMINAL)
    assert "1 scenario, 1 run in" in result.output


def test_an_unknown_backend_is_wrong_usage() -> None:
    result = CliRunner().invoke(app, ["faults", "run", "--backend", "curio"], env=TERMINAL)
    assert result.exit_code == 2
    assert "curio" in result.output


def test_an_unknown_scenario_is_named() -> None:
    result = CliRunner().invoke(app, ["faults", "run", "nonsense"], env=TERMINAL)
    assert result.exit_code == 2
    assert "nonsense" in result.output


def test_the_list_shows_every_fault() -> None:
    result = CliRunner().invoke(app, ["faults", "list"], env=TERMINAL)
    assert all(name in result.output for name in FAULTS)


def test_serve_serves_faults_until_it_is_stopped() -> None:
    command = [sys.executable, "-m", "agentkit", "faults", "serve", "internal_error", "--rate", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        body = {"messages": [{"role": "user", "content": "hi"}]}
        response = httpx2.post(f"{url}/chat/completions", json=body)
        server.send_signal(signal.SIGINT)
        last = server.stdout.read()
    assert response.status_code == 500
    assert "1 request, {'internal_error': 1}" in last


def test_serve_refuses_an_unknown_fault() -> None:
    result = CliRunner().invoke(app, ["faults", "serve", "nonsense"], env=TERMINAL)
    assert result.exit_code == 2
    assert "nonsense" in result.output
