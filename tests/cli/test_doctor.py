"""`agentkit doctor` as a user sees it: a table, JSON, and exit codes."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from agentkit.cli.app import app
from agentkit.serving.process import free_port
from agentkit.testing import FaultServer, say

run = CliRunner().invoke


def test_it_says_what_fails_and_what_to_change() -> None:
    with FaultServer(then=say("Hello."), max_model_len=2048) as server:
        done = run(app, ["doctor", server.url])
    assert done.exit_code == 1
    window = next(line for line in done.stdout.splitlines() if line.startswith("fail  window"))
    assert "2,048 tokens are too few" in window
    assert "--max-model-len" in done.stdout
    assert "agents will suffer from what failed" in done.stdout


def test_what_a_server_says_cannot_control_the_terminal() -> None:
    with FaultServer(then=say("Hello.")) as server:
        server.model = "gemma-4-\x1b[2Jfaulty"
        done = run(app, ["doctor", server.url])
    assert "\x1b" not in done.stdout
    assert "gemma-4-\ufffd[2Jfaulty" in done.stdout


def test_json_is_all_that_goes_to_standard_output() -> None:
    with FaultServer(then=say("Hello."), max_model_len=2048) as server:
        done = run(app, ["doctor", server.url, "--json"])
    told = json.loads(done.stdout)
    assert told["verdict"] == "fail"
    assert told["window"] == 2048
    assert {"probe", "verdict", "says", "remedy", "figures"} == set(told["findings"][0])


def test_where_no_server_answers_it_exits_with_3() -> None:
    done = run(app, ["doctor", f"http://127.0.0.1:{free_port()}"])
    assert done.exit_code == 3
    assert "agentkit serve" in done.stdout


def test_with_something_that_is_no_address_it_exits_with_2() -> None:
    assert run(app, ["doctor", "not an address"]).exit_code == 2


def test_a_model_that_is_not_served_is_named_with_those_that_are() -> None:
    with FaultServer(then=say("Hello.")) as server:
        done = run(app, ["doctor", server.url, "--model-name", "other"])
    assert done.exit_code == 1
    assert f"serves no model 'other'; it serves: {server.model}" in done.stdout


def test_without_an_address_it_looks_at_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AGENTKIT_BASE_URL", raising=False)
    done = run(app, ["doctor", "--json"])
    assert done.exit_code == 0
    assert [found["probe"] for found in json.loads(done.stdout)] == [
        "python",
        "extras",
        "vllm",
        "gpu",
        "disk",
        "port",
    ]


@pytest.mark.slow
def test_a_run_can_require_the_server_that_it_was_tried_with() -> None:
    with FaultServer(then=say("Hello.")) as server:
        told = json.loads(run(app, ["doctor", server.url, "--json"]).stdout)
        same = run(app, ["doctor", server.url, "--require", told["fingerprint"]])
        other = run(app, ["doctor", server.url, "--require", "0123456789abcdef"])
    assert same.exit_code == int(told["verdict"] == "fail")
    assert other.exit_code == 1
    assert "not 0123456789abcdef" in other.stdout
