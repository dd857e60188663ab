"""`agentkit run` with an agent of one's own, for programs, and by a pipe."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from agentkit.cli.app import app

OWN = '''
from dataclasses import dataclass

from agentkit import Agent, tool
from agentkit.policy import Deny
from agentkit.testing import ScriptedModel, call, say


@tool(labels={"writes"})
def note(text: str) -> str:
    """Writes a note."""
    return f"noted {text}"


@dataclass
class Order:
    item: str
    count: int


script = [call("note", text="tea"), say("Done.")]
agent = Agent(ScriptedModel(script), tools=[note])
asks = Agent(ScriptedModel(script), tools=[note], policy="ask")
refuses = Agent(
    ScriptedModel(script), tools=[note], policy="ask", approve=lambda a: Deny("by the code")
)
typed = Agent(
    ScriptedModel([call("final_answer", answer={"item": "rug", "count": 2})]), output_type=Order
)
number = 3


@tool(labels={"exec"})
def execute(command: str) -> str:
    """Runs a command."""
    return command


runs_commands = Agent(ScriptedModel([say("Done.")]), tools=[execute])


def made():
    return agent


def made_for(model, project):
    return Agent(model, instructions=f"You work on {project.name}.")


def wants(model, project, more):
    return agent


async def later():
    return agent


def breaks():
    raise KeyError("shelf")
'''


@pytest.fixture(autouse=True)
def _nobody_elses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BASE_URL", "API_KEY", "MODEL_NAME", "THINKING", "ALLOW"):
        monkeypatch.delenv(f"AGENTKIT_{name}", raising=False)
    monkeypatch.setenv("AGENTKIT_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("AGENTKIT_CONFIG", os.devnull)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    file = tmp_path / "own.py"
    file.write_text(OWN)
    return file


def agentkit(*arguments: object, typed: str = "") -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=typed)


def run(own: Path, name: str, *arguments: object, typed: str = "") -> Result:
    return agentkit("run", "Go.", "--agent", f"{own}:{name}", *arguments, typed=typed)


# --- an agent of one's own ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["agent", "made", ""])
def test_an_agent_or_a_function_that_returns_one_answers(own: Path, name: str) -> None:
    done = run(own, name)
    assert (done.exit_code, done.stdout) == (0, "Done.\n"), done.stderr
    assert "→ note(text='tea')" in done.stderr


def test_a_path_may_hold_a_colon_and_the_tilde_of_an_option_is_the_home(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    other = tmp_path / "a:b" / "own.py"
    other.parent.mkdir()
    other.write_text(own.read_text())
    for name in ("", ":made"):
        done = agentkit("run", "Go.", "--agent", f"{other}{name}", "--journal", "~/runs.db")
        assert (done.exit_code, done.stdout) == (0, "Done.\n"), done.stderr
    assert (tmp_path / "home" / "runs.db").is_file()


PRINTING = '''
from agentkit import Agent, tool
from agentkit.testing import ScriptedModel, call, say


@tool(effect="pure")
def prints(text: str) -> str:
    """Prints, as those do who look for a fault."""
    print("own words", text)
    return text


print("own words of the import")
agent = Agent(ScriptedModel([call("prints", text="tea"), say("Done.")]), tools=[prints])
'''


@pytest.mark.parametrize("how", [[], ["--json"]])
def test_what_its_code_prints_does_not_stand_in_the_answer(tmp_path: Path, how: list[str]) -> None:
    own = tmp_path / "printing.py"
    own.write_text(PRINTING)
    done = run(own, "agent", *how)
    assert (json.loads(done.stdout)["output"] if how else done.stdout.strip()) == "Done."
    assert "own words of the import" in done.stderr
    assert "own words tea" in done.stderr


def test_code_inside_the_project_is_named_at_the_start(own: Path) -> None:
    done = run(own, "runs_commands", "--project", own.parent)
    first = done.stderr.splitlines()[0]
    assert first.startswith("read-only to commands: ")
    assert "the agent imports own.py from here" in first


@pytest.mark.parametrize("declared", ["@tool(effect='pure')", ""])
def test_an_agent_that_runs_no_commands_has_nothing_to_say_of_them(
    tmp_path: Path, declared: str
) -> None:
    own = tmp_path / "printing.py"
    own.write_text(PRINTING.replace('@tool(effect="pure")', declared))
    assert "commands" not in run(own, "agent", "--project", tmp_path).stderr


def test_a_person_decides_where_its_policy_asks_and_it_has_nobody_of_its_own(own: Path) -> None:
    assert "noted tea" in run(own, "asks", typed="y\n").stderr
    assert "a person said no: not now" in run(own, "asks", typed="n not now\n").stderr
    assert "a person said no: by the code" in run(own, "refuses", typed="y\n").stderr


@pytest.mark.slow
def test_an_option_goes_before_its_code_and_a_variable_does_not(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTKIT_ALLOW", "read-only")
    monkeypatch.setenv("AGENTKIT_BASE_URL", "http://127.0.0.1:1")
    assert "noted tea" in run(own, "agent").stderr
    assert "noted tea" not in run(own, "agent", "--allow", "read-only").stderr
    assert run(own, "agent", "--model", "http://127.0.0.1:1").exit_code == 1


def test_a_typed_answer_is_json(own: Path) -> None:
    assert json.loads(run(own, "typed").stdout) == {"item": "rug", "count": 2}


def test_a_run_of_ones_own_agent_is_resumed_with_it(own: Path) -> None:
    stopped = run(own, "agent", "--max-steps", 1)
    assert stopped.exit_code == 3
    resumed = agentkit("runs", "resume", "last", "--max-steps", 4)
    assert resumed.exit_code == 0, resumed.stderr


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("agnet", "has no agent 'agnet'"),
        ("number", "has no agent 'number'"),
        ("wants", "cannot be called: give it no parameters, or a model, or a model and a project"),
        ("later", "is async; make it a plain function that returns an Agent"),
        ("breaks", "raised KeyError: 'shelf' ("),
        ("made_for", "no model given"),
    ],
)
def test_what_is_no_agent_is_said_in_a_sentence(own: Path, name: str, said: str) -> None:
    done = run(own, name)
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("agentkit: ")
    assert said in line


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import shopp", "raised ModuleNotFoundError: No module named 'shopp'"),
        ("agent = (", "raised SyntaxError: '(' was never closed"),
        ("x = 1 / 0", "raised ZeroDivisionError: division by zero"),
    ],
)
def test_a_file_that_cannot_be_imported_says_where(tmp_path: Path, code: str, said: str) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text(f"\n{code}\n")
    done = run(broken, "agent")
    assert done.exit_code == 2
    assert said in done.stderr
    assert f"({broken}, line 2)" in done.stderr


# --- MCP servers ----------------------------------------------------------------------------------

SERVER = '''
from mcp.server import MCPServer

server = MCPServer("shop")


@server.tool()
def price(item: str) -> int:
    """The price of an item."""
    return 3


server.run()
'''

ASKS_THE_SHOP = """
from agentkit import Agent
from agentkit.testing import ScriptedModel, call, say

agent = Agent(ScriptedModel([call("shop_price", item="tea"), say("It costs 3.")]))
"""


@pytest.mark.slow
def test_the_tools_of_mcp_servers_are_offered_beside_the_own_ones(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SERVER)
    (tmp_path / "own.py").write_text(ASKS_THE_SHOP)
    command = {"command": sys.executable, "args": [str(tmp_path / "shop.py")]}
    servers = tmp_path / "mcp.json"
    servers.write_text(json.dumps({"mcpServers": {"shop": command}}))
    done = run(tmp_path / "own.py", "agent", "--mcp", servers)
    assert (done.exit_code, done.stdout) == (0, "It costs 3.\n"), done.stderr
    assert "  3\n" in done.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file or directory; name a JSON file"),
        ("{", "is no JSON"),
        ('{"servers": []}', "has no object `mcpServers`"),
        ('{"mcpServers": {"x": {"command": "${NOT_SET}"}}}', "NOT_SET, which is not set"),
    ],
)
def test_a_configuration_that_is_none_is_refused(
    own: Path, tmp_path: Path, content: str | None, said: str
) -> None:
    file = tmp_path / "servers.json"
    if content is not None:
        file.write_text(content)
    done = run(own, "agent", "--mcp", file)
    assert done.exit_code == 2
    assert said in done.stderr


def test_servers_of_which_nothing_is_known_need_more_than_read_only(tmp_path: Path) -> None:
    file = tmp_path / "servers.json"
    done = agentkit("run", "Go.", "--mcp", file, "-m", "tiny")
    assert done.exit_code == 2
    assert "add --allow ask" in done.stderr


# --- for programs ---------------------------------------------------------------------------------


def test_json_is_one_document_with_all_that_a_program_needs(own: Path) -> None:
    done = run(own, "agent", "--json")
    document = json.loads(done.stdout)
    assert document.pop("run_id")
    assert document.pop("usage")["output_tokens"] > 0
    assert document == {
        "output": "Done.",
        "stop_reason": "answer",
        "explanation": "",
        "steps": 2,
        "error": None,
        "exit_code": 0,
    }
    assert json.loads(run(own, "typed", "--json").stdout)["output"] == {"item": "rug", "count": 2}


@pytest.mark.parametrize(
    ("name", "options", "code", "reason"),
    [
        ("agent", ["--max-steps", "1"], 3, "steps"),
        ("agent", ["--model", "http://127.0.0.1:1"], 1, "error"),
        ("nobody", [], 2, None),
    ],
)
def test_the_document_is_written_however_it_ends(
    own: Path, name: str, options: list[str], code: int, reason: str | None
) -> None:
    done = run(own, name, "--json", *options)
    document = json.loads(done.stdout)
    assert (done.exit_code, document["exit_code"], document["stop_reason"]) == (code, code, reason)
    assert bool(document["error"]) is (code in (1, 2))


@pytest.mark.parametrize("given", [["-"], []])
def test_the_question_comes_from_a_pipe(own: Path, given: list[str]) -> None:
    asked = agentkit("run", *given, "--agent", own, "--json", typed="Where is\nShop?\n")
    assert asked.exit_code == 0, asked.stderr
    shown = agentkit("runs", "show", "last")
    assert "? Where is" in shown.stdout
    assert "Shop?" in shown.stdout


def test_an_empty_pipe_is_no_question(own: Path) -> None:
    done = agentkit("run", "--agent", own, typed=" \n")
    assert done.exit_code == 2
    assert "the question is empty" in done.stderr
