from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from agentkit.cli.app import app
from agentkit.gemma4.report import declared
from agentkit.messages import ToolDefinition
from agentkit.schema.lower import lower
from tests.servers import Exchange, fails, serving

GOOD = '''
from typing import Annotated
from pydantic import Field
from agentkit import tool

@tool(effect="pure")
def forecast(city: str, days: Annotated[int, Field(ge=1, le=7)] = 1) -> str:
    """Forecast for a city."""
    return city
'''
LOSSY = '''
from typing import Annotated
from pydantic import WithJsonSchema
from agentkit import tool

@tool
def place(where: Annotated[str, WithJsonSchema({"$ref": "https://example.com/geo.json"})]) -> str:
    """Finds a place."""
    return where
'''


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["tools", *arguments])


def written(folder: Path, **modules: str) -> Path:
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def test_show_prints_the_declaration_word_for_word_and_each_limit(tmp_path: Path) -> None:
    result = run("show", str(written(tmp_path, good=GOOD) / "good.py"))
    assert result.exit_code == 0
    assert '<|tool>declaration:forecast{description:<|"|>Forecast for a city.<|"|>' in result.stdout
    assert "Days. Integer 1 to 7. Default: 1." in result.stdout
    assert "days  maximum 7 said as “integer 1 to 7”; held while decoding" in result.stdout


def test_lint_passes_the_examples() -> None:
    result = run("lint", "examples/")
    assert result.exit_code == 0
    assert "ok  refund" in result.stdout


def test_lint_fails_on_a_tool_that_loses_a_limit_and_says_which(tmp_path: Path) -> None:
    result = run("lint", str(written(tmp_path, good=GOOD, lossy=LOSSY)))
    assert result.exit_code == 1
    assert "ok  forecast" in result.stdout
    assert "place  1 limits" not in result.stdout
    assert "LOST, neither told nor held while decoding" in result.stdout
    assert "place: a limit is lost" in result.stdout


def test_of_a_folder_only_its_own_code_is_imported(tmp_path: Path) -> None:
    written(tmp_path, good=GOOD)
    for folder in ("env/lib/agentkit", ".hidden"):
        (tmp_path / folder).mkdir(parents=True)
        written(tmp_path / folder, other="raise RuntimeError('imported')  # agentkit")
    (tmp_path / "env" / "pyvenv.cfg").touch()
    (tmp_path / "folder.py").mkdir()
    result = run("lint", str(tmp_path))
    assert result.exit_code == 0, result.stderr
    assert "ok  forecast" in result.stdout


def test_one_tool_of_a_file_can_be_named(tmp_path: Path) -> None:
    both = written(tmp_path, both=GOOD + LOSSY) / "both.py"
    assert run("lint", f"{both}:forecast").exit_code == 0
    assert run("lint", f"{both}:place").exit_code == 1
    assert run("lint", f"{both}:absent").exit_code == 2


def test_a_module_is_named_as_for_the_other_commands() -> None:
    assert run("lint", "examples.order_desk:refund").exit_code == 0


@pytest.mark.parametrize("text", ["x = 1\n", "import absent_module\n", "def broken(:\n"])
def test_a_file_without_tools_or_that_cannot_run_is_wrong_usage(tmp_path: Path, text: str) -> None:
    result = run("lint", str(written(tmp_path, odd=text) / "odd.py"))
    assert result.exit_code == 2
    assert "odd.py" in result.stderr


def test_a_file_that_is_not_there_is_wrong_usage() -> None:
    assert run("lint", "absent.py").exit_code == 2


def forecast() -> str:
    """The declaration of GOOD's tool."""
    days = {"type": "integer", "minimum": 1, "maximum": 7, "default": 1}
    schema: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}}
    schema["properties"]["days"] = days
    definition = ToolDefinition(
        "forecast", "Forecast for a city.", {**schema, "required": ["city"]}
    )
    return declared(lower(definition))


@pytest.mark.parametrize(("prompt", "code"), [(forecast(), 0), ("<|tool>else<tool|>", 1)])
def test_lint_compares_with_what_the_server_prints(tmp_path: Path, prompt: str, code: int) -> None:
    def tokenize(exchange: Exchange) -> None:
        assert exchange.request.body["tools"][0]["function"]["name"] == "forecast"
        exchange.answer(200, {"tokens": [1, 2], "count": 2, "max_model_len": 10})

    def detokenize(exchange: Exchange) -> None:
        exchange.answer(200, {"prompt": f"<bos>{prompt}"})

    with serving(fails(404, {})) as server:
        server.paths |= {"/tokenize": tokenize, "/detokenize": detokenize}
        target = str(written(tmp_path, good=GOOD) / "good.py")
        result = run("lint", target, "--model", server.url)
    assert result.exit_code == code, result.output
    assert ("the server's template prints this tool differently" in result.stdout) == bool(code)


def test_a_server_that_cannot_be_asked_is_wrong_usage(tmp_path: Path) -> None:
    with serving(fails(404, {})) as server:
        target = str(written(tmp_path, good=GOOD) / "good.py")
        result = run("lint", target, "--model", server.url)
    assert result.exit_code == 2
    assert "what the server's template prints is not to be had" in result.stderr
    assert f"{server.url.removesuffix('/v1')} answered 404" in result.stderr


PLAIN = '''
from agentkit import Agent
from agentkit.testing import ScriptedModel


def stock(item: str) -> int:
    """How many of an item are left."""
    return 3


agent = Agent(ScriptedModel([]), tools=[stock])
'''


@pytest.mark.parametrize("name", ["", ":agent", ":stock"])
def test_the_tools_of_an_agent_and_a_plain_function_are_shown(tmp_path: Path, name: str) -> None:
    result = run("show", str(written(tmp_path, shop=PLAIN) / "shop.py") + name)
    assert result.exit_code == 0
    assert "How many of an item are left." in result.stdout
