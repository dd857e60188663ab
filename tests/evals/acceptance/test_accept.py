"""`agentkit accept` as a user sees it: a report that can be shown, whatever the server is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from agentkit.cli.app import app
from agentkit.serving.process import free_port
from agentkit.testing import Delivery, FaultServer, say
from tests.evals.acceptance.good_server import SERVED, good_server

KEY = "a-key-that-nobody-may-see"


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No suite is installed, and runs are kept for the test alone."""
    monkeypatch.setenv("AGENTKIT_API_KEY", KEY)
    monkeypatch.setenv("AGENTKIT_EVALS", str(tmp_path / "runs"))
    monkeypatch.setenv("AGENTKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("AGENTKIT_BASE_URL", raising=False)


def accepted(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["accept", *arguments])


def report_in(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "acceptance.json").read_text())
    return found


def outcomes(found: dict[str, Any]) -> dict[str, str]:
    return {part["name"]: part["outcome"] for part in found["parts"]}


@pytest.mark.slow
def test_a_good_server_is_accepted(tmp_path: Path) -> None:
    with good_server() as url:
        done = accepted(url, "--output", str(tmp_path), "--conversations", "2")
    found = report_in(tmp_path)
    assert done.exit_code == 0, done.output
    assert found["verdict"] == (
        "Accepted: agents can rely on this server. Not run: BFCL, several turns."
    )
    assert found["model"] == SERVED
    assert (found["accepted"], found["demonstration"], found["control"]) == (True, False, "grammar")
    assert outcomes(found) == {
        "doctor": "passed",
        "scenarios": "passed",
        "bfcl": "not run",
        "grammar": "passed",
        "conversations": "passed",
    }
    bfcl = found["parts"][2]
    assert bfcl["remedy"] == "agentkit eval suites install bfcl"
    figures = found["parts"][4]["figures"]
    assert figures["counted exactly"] == figures["prompts"] == 12
    assert figures["share of what was sent before"] > 0.5


@pytest.mark.slow
def test_a_bad_server_is_not_and_every_part_says_why(tmp_path: Path) -> None:
    with FaultServer(then=say("Hello."), max_model_len=2048) as server:
        done = accepted(server.url, "--output", str(tmp_path), "--conversations", "1", "--json")
    found = report_in(tmp_path)
    assert done.exit_code == 1
    assert json.loads(done.stdout) == found
    assert found["verdict"].startswith("Not accepted: 2 of 5 parts failed (the doctor's ex")
    assert outcomes(found)["doctor"] == "failed"
    assert outcomes(found)["scenarios"] == "failed"
    scenarios = found["parts"][1]["tables"]["Scenarios"]
    assert all(row["says"] for row in scenarios if row["verdict"] == "wrong")
    assert {"forced", "typed record"} <= {
        r["scenario"] for r in scenarios if r["verdict"] != "right"
    }


@pytest.mark.slow
def test_the_report_tells_nobody_where_the_server_is_or_its_key(tmp_path: Path) -> None:
    with FaultServer(then=say(f"Ask 10.1.2.3 with {KEY}.")) as server:
        secret = server.url.replace("http://", "http://someone:pa55-of-acceptance@")
        done = accepted(secret, "--only", "scenarios", "--output", str(tmp_path))
    told = "".join(path.read_text() for path in tmp_path.glob("acceptance.*")) + done.output
    port = server.url.rpartition(":")[2].partition("/")[0]
    for hidden in (KEY, "someone", "pa55-of-acceptance", "127.0.0.1", port, "10.1.2.3"):
        assert hidden not in told, hidden
    assert '"address": "http, this machine"' in told


def test_parts_can_be_chosen_but_for_the_one_that_the_others_need(tmp_path: Path) -> None:
    with FaultServer(then=say("Hello.")) as server:
        accepted(server.url, "--only", "grammar", "--output", str(tmp_path))
    assert [part["says"] for part in report_in(tmp_path)["parts"][1:3]] == ["left out"] * 2
    done = accepted("http://localhost:8000", "--skip", "doctor")
    assert done.exit_code == 2
    assert "cannot be left out" in done.output


def test_where_no_server_answers_it_exits_with_3_and_writes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    done = accepted(f"http://127.0.0.1:{free_port()}", "--output", str(folder))
    assert done.exit_code == 3
    assert "agentkit serve" in done.output
    assert not folder.exists()


@pytest.mark.parametrize("arguments", [["not an address"], []])
def test_what_is_no_address_is_used_wrongly(arguments: list[str]) -> None:
    assert accepted(*arguments).exit_code == 2


def test_a_folder_that_cannot_be_written_is_said_before_anything_is_asked(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with FaultServer() as server:
        done = accepted(server.url, "--output", str(tmp_path / "file" / "report"))
        assert (done.exit_code, server.requests) == (2, [])
    assert "is no folder" in done.output


@pytest.mark.slow
def test_cases_of_bfcl_are_played_and_kept_where_other_runs_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bfcl_installed: Path
) -> None:
    monkeypatch.setenv("AGENTKIT_CACHE", str(bfcl_installed.parents[1]))
    only = ["--only", "bfcl", "--bfcl-cases", "2", "--output", str(tmp_path)]
    with good_server() as url:
        done = accepted(url, *only)
    part = report_in(tmp_path)["parts"][2]
    assert (part["outcome"], part["figures"]["graded"]) == ("warned", 2), part
    assert part["says"] == (
        "0% of 2 cases passed; an agent that does nothing passes 0%; "
        "that is no better than doing nothing"
    )
    (run,) = (tmp_path / "runs").iterdir()
    assert f"agentkit eval report {run.name}" in done.stderr


@pytest.mark.slow
def test_what_is_not_done_in_time_is_told_and_ends_no_report(tmp_path: Path) -> None:
    with FaultServer(then=Delivery(end="stall")) as server:
        done = accepted(server.url, "--minutes", "0.1", "--output", str(tmp_path))
    assert done.exit_code == 1
    found = report_in(tmp_path)
    assert (found["model"], found["fingerprint"]) == (server.model, "")
    said = {part["name"]: part["says"] for part in found["parts"]}
    assert said["doctor"].startswith("not done after 1 seconds")
    assert "not played in time" in said["scenarios"]
    assert said["grammar"] == "the examination did not come to it"
    assert "0 of 10 conversations were done in time" in said["conversations"]
