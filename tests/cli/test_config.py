"""What holds for run and chat, and whose word it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from agentkit.cli.app import app

URL = "http://localhost:8000/v1"


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("BASE_URL", "MODEL_NAME", "THINKING", "ALLOW"):
        monkeypatch.delenv(f"AGENTKIT_{name}", raising=False)
    file = tmp_path / "home" / "config.toml"
    file.parent.mkdir()
    (tmp_path / "project").mkdir()
    monkeypatch.setenv("AGENTKIT_CONFIG", str(file))
    monkeypatch.chdir(tmp_path / "project")
    return file


def config(*options: str) -> Result:
    return CliRunner().invoke(app, ["config", *options])


def test_where_nothing_is_said_the_place_and_the_defaults_are_shown(file: Path) -> None:
    assert config().stdout.splitlines() == [
        f"file: {file} (there is none)",
        "model = -  (the default; or AGENTKIT_BASE_URL)",
        "model_name = -  (the default; or AGENTKIT_MODEL_NAME)",
        "thinking = -  (the default; or AGENTKIT_THINKING)",
        "allow = read-only  (the default; or AGENTKIT_ALLOW)",
    ]


def test_a_file_that_is_named_and_is_not_there_is_told(file: Path) -> None:
    assert config().stderr == f"agentkit: AGENTKIT_CONFIG names {file}, which is not there\n"
    file.write_text("")
    assert config().stderr == ""


def test_an_option_goes_before_a_variable_and_a_variable_before_the_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(f'model = "{URL}"\nmodel_name = "g"\nthinking = true\nallow = "ask"\n')
    monkeypatch.setenv("AGENTKIT_ALLOW", "auto-edit")
    monkeypatch.setenv("AGENTKIT_MODEL_NAME", "of-the-shell")
    assert config("--model-name", "typed").stdout.splitlines()[1:] == [
        f"model = {URL}  (the file)",
        "model_name = typed  (this command line)",
        "thinking = true  (the file)",
        "allow = auto-edit  (AGENTKIT_ALLOW)",
    ]


@pytest.mark.slow
def test_what_the_file_says_reaches_run(file: Path) -> None:
    file.write_text('model = "http://127.0.0.1:1"\n')
    done = CliRunner().invoke(app, ["run", "?"])
    assert done.exit_code == 1
    assert "no server answers at http://127.0.0.1:1" in done.stderr


def test_a_file_inside_the_project_sets_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = tmp_path / "project" / "config.toml"
    planted.write_text(f'model = "{URL}"\nallow = "full"\n')
    (tmp_path / "link.toml").symlink_to(planted)
    for named in (planted, tmp_path / "link.toml", tmp_path / "project" / "." / "config.toml"):
        monkeypatch.setenv("AGENTKIT_CONFIG", str(named))
        done = config()
        assert "lies in the project, so it is not read" in done.stderr
        assert "full" not in done.stdout
        assert URL not in done.stdout


def test_a_link_of_the_users_own_out_of_the_project_is_followed(file: Path, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.toml"
    real.write_text('allow = "ask"\n')
    file.symlink_to(real)
    assert "allow = ask  (the file)" in config().stdout


def test_a_file_with_a_byte_order_mark_is_read(file: Path) -> None:
    file.write_text('allow = "ask"\n', encoding="utf-8-sig")
    assert "allow = ask  (the file)" in config().stdout


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("allow = ask", "is no TOML"),
        ("allow = " + "[" * 3_000, "is no TOML"),
        ('url = "x"', "there is no setting `url`; there are model, model_name, thinking and allow"),
        ('api_key = "sk"', "`api_key` does not belong into a file: set AGENTKIT_API_KEY"),
        ('allow = "all"', "`allow`: input should be 'read-only', 'ask', 'auto-edit' or 'full'"),
        ('thinking = "yes"', "`thinking`: input should be a valid boolean"),
        ('model = "gemma"', "`model`: 'gemma' is no address; it should look like http://local"),
    ],
)
def test_a_file_that_says_what_no_setting_is_is_refused(
    file: Path, content: str, said: str
) -> None:
    file.write_text(content)
    for command in (["config"], ["run", "?"], ["chat"]):
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 2
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"agentkit: {file}")
        assert said in line


def test_a_shell_can_be_taught_to_complete() -> None:
    done = CliRunner().invoke(
        app,
        prog_name="agentkit",
        env={
            "_AGENTKIT_COMPLETE": "complete_bash",
            "COMP_WORDS": "agentkit con",
            "COMP_CWORD": "1",
        },
    )
    assert "config" in done.output.split()
