from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

import agentkit
from agentkit.cli.app import app, lines_of, versions
from agentkit.errors import install

pytestmark = pytest.mark.slow

REPO = Path(__file__).parents[2]


def test_the_version_is_the_librarys() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"agentkit {agentkit.__version__}\n")


def declared(requirements: list[str]) -> dict[str, str]:
    """The names that a table of pyproject.toml has, with the versions that are installed."""
    return {name: version(name) for text in requirements for name in [Requirement(text).name]}


def test_all_versions_are_those_of_pyproject_and_of_what_is_installed() -> None:
    result = CliRunner().invoke(app, ["--version", "--all", "--json"])
    found = json.loads(result.stdout)
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert found["agentkit"] == agentkit.__version__
    assert found["python"].split()[1] == ".".join(map(str, sys.version_info[:3]))
    assert found["dependencies"] == declared(project["dependencies"])
    assert set(found["extras"]) == set(extras)
    for extra in ("cli", "local", "mcp", "otel", "evals", "ray"):
        assert found["extras"][extra] == declared(extras[extra])
    assert found["extras"]["vllm"] == {"vllm": None}


def test_all_versions_for_people_say_what_is_missing_and_where_a_vllm_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "gpu" / "lib" / "python3.12" / "site-packages" / "vllm-0.99.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.99\n")
    program = tmp_path / "gpu" / "bin" / "vllm"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.setenv("AGENTKIT_CACHE", str(tmp_path / "cache"))
    said = CliRunner().invoke(app, ["--version", "--all"]).stdout
    rows = dict(re.split(r" {2,}", row, maxsplit=1) for row in said.splitlines())
    assert rows["agentkit"].startswith(f"{agentkit.__version__} in ")
    assert rows["vllm 0.99"] == str(tmp_path / "gpu")
    assert f"pydantic {version('pydantic')}" in rows["dependencies"]
    assert rows["extra vllm"] == "not installed"


def test_an_extra_that_is_there_in_part_says_what_is_missing() -> None:
    found = versions()
    found["extras"] = {"cli": {"typer": "1", "rich": None}}
    found["vllm"] = {}
    rows = lines_of(found)
    assert "extra cli     typer 1, rich MISSING" in rows
    assert rows[-1].startswith("vllm          none here")


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_names_the_commands(option: str) -> None:
    result = CliRunner().invoke(app, [option])
    assert result.exit_code == 0
    assert "run" in result.stdout


@pytest.mark.parametrize("missing", ["onnxruntime", "tokenizers", "numpy"])
@pytest.mark.parametrize(
    "arguments", [["run", "?", "-m", "tiny"], ["eval", "run", "project", "-m", "tiny"]]
)
def test_without_its_extra_the_demonstration_model_says_how_to_install_it(
    tmp_path: Path, arguments: list[str], missing: str
) -> None:
    hidden = f"import sys; sys.modules[{missing!r}] = None; sys.argv[1:] = {arguments!r}\n"
    done = subprocess.run(
        [sys.executable, "-c", hidden + "from agentkit.cli import main; main()"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(REPO), str(REPO / "tools")])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.endswith(
        f"--model tiny: the demonstration model needs the extra `local` ({missing} is missing): "
        f"{install('local')}\n"
    )


@pytest.mark.parametrize(
    ("command", "name"), [("run", "model"), ("chat", "model"), ("doctor", "url")]
)
def test_help_names_the_variable_that_is_the_default(command: str, name: str) -> None:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    (option,) = [each for each in group.commands[command].params if each.name == name]
    told = f"{getattr(option, 'help', '')} {option.envvar}"
    assert "AGENTKIT_BASE_URL" in told


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("arguments", [["--help"], ["faults", "list"]])
def test_an_output_that_takes_nothing_ends_the_command_with_a_sentence(
    arguments: list[str],
) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "agentkit", *arguments],
            cwd=REPO,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "agentkit: No space left on device\n")


def test_a_command_that_does_not_exist_is_wrong_usage() -> None:
    result = CliRunner().invoke(app, ["frobnicate"])
    assert result.exit_code == 2
    assert "frobnicate" in result.stderr


@pytest.mark.parametrize("missing", ["typer", "rich", "prompt_toolkit"])
def test_without_its_extra_the_command_says_how_to_install_it(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None\nfrom agentkit.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == (f"agentkit: the command line needs the extra `cli`: {install('cli')}\n")
