from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from agentkit import Agent, RunFiles, tool
from agentkit.cli.app import app
from agentkit.models.embedded import BUNDLED
from agentkit.testing import ScriptedModel, say
from tests.models.test_prompt import TemplateServer


def invoke(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    @tool(effect="pure")
    def read(path: str) -> str:
        """Reads a file."""
        return f"{path} \x1b[31mred"

    replies = ['<|tool_call>call:read{path:<|"|>ü.py<|"|>}<tool_call|>', "It says hello."]
    server = TemplateServer(BUNDLED / "chat_template.jinja", replies=replies)
    Agent(server.model(), tools=[read], observers=[RunFiles(tmp_path)]).run_sync("What is it?")
    (file,) = tmp_path.glob("*.jsonl")
    return file


def test_a_run_is_drawn(run_file: Path) -> None:
    code, out, _ = invoke("context", "show", str(run_file))
    assert code == 0
    assert "window 8,192" in out
    assert "2 requests" in out


def test_the_prompt_of_a_step_comes_to_the_letter(run_file: Path) -> None:
    code, out, _ = invoke("context", "show", str(run_file), "--step", "2")
    assert code == 0
    assert out.startswith("<bos><|turn>")
    assert 'response:read{value:<|"|>ü.py \x1b[31mred<|"|>}' in out
    assert not out.endswith("\n\n")


def test_what_cannot_be_shown_is_said_in_a_sentence(run_file: Path, tmp_path: Path) -> None:
    code, _, err = invoke("context", "show", str(run_file), "--step", "7")
    assert (code, "no step 7: the run has 2" in err) == (2, True)
    other = tmp_path / "other"
    Agent(ScriptedModel([say("Hello.")]), observers=[RunFiles(other)]).run_sync("Hi.")
    (file,) = other.glob("*.jsonl")
    code, _, err = invoke("context", "show", str(file), "--step", "1")
    assert (code, "does not hold what was sent" in err) == (2, True)
