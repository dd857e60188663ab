from __future__ import annotations

import json
import os
import re
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from agentkit_evals.acceptance.cli import accept
from agentkit_evals.cli import app
from typer.testing import CliRunner, Result

from agentkit.cli.app import add_installed
from agentkit.testing import FaultServer, say
from tests.servers import fails, serving

LAMP = '''
from agentkit_evals import Task, TaskSuite


class Lamp:
    on = False

    def switch(self, on: bool) -> str:
        """Switch the lamp."""
        self.on = on
        return "Done."


task = Task(
    id="light",
    turns=("It is dark here.",),
    world=Lamp,
    tools=lambda lamp: [lamp.switch],
    check=lambda lamp: None if lamp.on else "lamp:off",
    gold=((("switch", {"on": True}),),),
)
suite = TaskSuite("lamp", [task])
'''

_GROUP = "agentkit.commands"


def agentkit_eval(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AGENTKIT_EVALS", str(tmp_path / "runs"))
    monkeypatch.delenv("AGENTKIT_BASE_URL", raising=False)
    return tmp_path / "runs"


@pytest.mark.slow
def test_a_run_is_reported_listed_and_compared() -> None:
    first = agentkit_eval("run", "project", "-m", "empty", "--name", "first")
    assert first.exit_code == 0, first.output
    assert "floor" in first.stdout
    second = agentkit_eval("run", "project", "-m", "gold", "--name", "second", "--json")
    assert json.loads(second.stdout)["passed"] == 9
    listed = agentkit_eval("list").stdout
    assert re.search(r"first +project +empty +9 of 9 +1", listed)
    assert agentkit_eval("report", "second", "--json").stdout == second.stdout
    compared = agentkit_eval("compare", "first", "second")
    assert "the second is better" in compared.stdout
    (body,) = json.loads(agentkit_eval("compare", "first", "second", "--json").stdout)
    assert body["winner"] == "second"
    assert "[+" in agentkit_eval("compare", "first", "second", "first").stdout


def test_the_same_name_goes_on_and_another_run_is_refused(folder: Path) -> None:
    options = ["run", "project", "-m", "gold", "--name", "a", "--limit", "3"]
    assert agentkit_eval(*options).exit_code == 0
    (written,) = (folder / "a" / "trials").glob("*.jsonl")
    before = written.read_bytes()
    assert agentkit_eval(*options).exit_code == 0
    assert list((folder / "a" / "trials").glob("*.jsonl")) == [written]
    assert written.read_bytes() == before
    other = agentkit_eval(*options, "--seed", "1")
    assert other.exit_code == 2
    assert "a change in seed (0 became 1)" in other.stderr
    assert "give this run another name" in other.stderr


def test_a_run_without_verdicts_ends_with_code_1_and_says_what_failed() -> None:
    with serving(fails(400, {"error": {"message": "bad day", "code": 400}})) as server:
        done = agentkit_eval("run", "project", "-m", server.url, "--limit", "2", "--name", "a")
    assert done.exit_code == 1
    assert "2 trials (2 server:ModelStatusError)" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "project"], "name a server"),
        (["run", "nothing", "-m", "gold"], "no suite 'nothing'"),
        (["run", "project", "-m", "gold", "--case", "x"], "no case x"),
        (["run", "project", "-m", "gold", "--name", "../x"], "no name of a run"),
        (["report", "nothing"], "holds no run"),
        (["compare", "x", "y"], "holds no run"),
    ],
)
def test_wrong_usage_is_code_2_and_a_sentence(arguments: list[str], words: str) -> None:
    done = agentkit_eval(*arguments)
    assert done.exit_code == 2
    assert words in " ".join(done.stderr.replace("│", " ").split())


def test_what_cannot_be_run_leaves_no_run(folder: Path) -> None:
    assert agentkit_eval("run", "project", "-m", "gpt").exit_code == 2
    assert agentkit_eval("run", "project").exit_code == 2
    assert not folder.exists()


def test_a_suite_of_a_file_anywhere_gets_a_name(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "lamp.py").write_text(LAMP)
    done = agentkit_eval("run", f"{tmp_path}/lamp.py:suite", "-m", "gold")
    assert done.exit_code == 0, done.output
    (run,) = folder.iterdir()
    assert run.name.startswith("lamp.py-suite-")


def test_a_run_that_cannot_be_read_does_not_hide_the_others(folder: Path) -> None:
    assert (
        agentkit_eval("run", "project", "-m", "gold", "--limit", "1", "--name", "a").exit_code == 0
    )
    (folder / "b").mkdir()
    (folder / "b" / "manifest.json").write_text("{")
    listed = agentkit_eval("list")
    assert listed.exit_code == 0
    assert re.search(r"a +project +gold +1 of 1 +1", listed.stdout)
    assert "b/manifest.json cannot be read" in listed.stderr


def test_the_package_adds_its_commands_and_a_broken_package_breaks_no_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    entries = project["project"]["entry-points"][_GROUP]
    loaded = {name: EntryPoint(name, target, _GROUP).load() for name, target in entries.items()}
    assert loaded == {"eval": app, "accept": accept}
    add_installed(EntryPoint("broken", "no_such_module:app", _GROUP))
    assert "the command broken cannot be loaded: No module named" in capsys.readouterr().err


def test_suites_says_what_there_is_and_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTKIT_CACHE", str(tmp_path))
    listed = agentkit_eval("suites").stdout
    assert "not installed: agentkit eval suites install bfcl" in listed
    done = agentkit_eval("run", "bfcl", "-m", "gold")
    assert done.exit_code == 2
    assert "agentkit eval suites install bfcl" in done.stderr


def test_a_gate_ends_with_the_code_of_its_outcome() -> None:
    for name, model in (("base", "gold"), ("bad", "empty")):
        assert agentkit_eval("run", "project", "-m", model, "--name", name).exit_code == 0
    assert agentkit_eval("gate", "base", "--at-least", "0.6").exit_code == 0
    assert agentkit_eval("gate", "bad", "--against", "base").exit_code == 1
    few = agentkit_eval("gate", "base", "--against", "base")
    assert few.exit_code == 3
    assert "base: cannot be told" in few.stdout
    assert agentkit_eval("gate", "base", "--against", "base", "--undecided-passes").exit_code == 0
    assert agentkit_eval("gate", "base").exit_code == 2
    body = json.loads(agentkit_eval("gate", "bad", "--at-least", "0.9", "--json").stdout)
    assert body["outcome"] == "failed"


def test_a_retry_needs_only_the_name_and_refuses_what_was_changed(
    tmp_path: Path, folder: Path
) -> None:
    suite = tmp_path / "lamp.py"
    suite.write_text(LAMP)
    with serving(fails(400, {"error": {"message": "bad day", "code": 400}})) as server:
        options = ["run", f"{suite}:suite", "-m", server.url, "--name", "a"]
        assert agentkit_eval(*options).exit_code == 1
        again = agentkit_eval("retry", "a")
        assert again.exit_code == 1
        assert "1 trial (1 server:ModelStatusError)" in again.stdout
    with (folder / "a" / "manifest.json").open() as file:
        assert json.load(file)["cases"] == ["light"]
    assert agentkit_eval("retry", "b").exit_code == 2


def test_parts_are_ablated_by_one_command_over_the_wire(folder: Path) -> None:
    with FaultServer(then=say("Done.")) as server:
        server.takes_grammar = True
        options = ["-m", server.url, "--case", "leave_*", "--case", "delete_one", "--name", "a"]
        parts = ["--off", "grammar", "--off", "recovery"]
        done = agentkit_eval("ablate", "project", *parts, *options, "--json")
    assert done.exit_code == 0, done.output
    assert {path.name for path in folder.iterdir()} == {
        "a-all-on",
        "a-grammar-off",
        "a-recovery-off",
    }
    body = json.loads(done.stdout)
    assert [arm["off"] for arm in body["arms"]] == [None, "grammar", "recovery"]
    assert [arm["score"]["value"] for arm in body["arms"]] == [0.5] * 3
    assert {arm["score_change"]["adjusted"] for arm in body["arms"][1:]} == {1.0}


def test_what_is_no_part_cannot_be_switched_off() -> None:
    done = agentkit_eval("ablate", "project", "--off", "luck", "-m", "gold")
    assert done.exit_code == 2
    words = " ".join(done.stderr.replace("│", " ").split())
    assert "luck cannot be switched off; grammar, recovery," in words


def test_nothing_of_a_reference_is_ablated(folder: Path) -> None:
    done = agentkit_eval("ablate", "project", "--off", "grammar", "-m", "gold")
    assert done.exit_code == 2
    assert "gold goes by a rule: nothing of it can be switched off" in done.stderr
    assert not folder.exists()


def test_names_that_look_like_markup_are_shown_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("[b]lamp.py").write_text(LAMP)
    done = agentkit_eval("run", "[b]lamp.py:suite", "-m", "gold", "--name", "monday[red]")
    assert "[b]lamp.py:suite  gold" in done.stdout
    assert re.search(r"monday\[red\] +\[b\]lamp.py:suite +gold", agentkit_eval("list").stdout)


CHECKED_BY = """
import os

from agentkit_evals import Task, TaskSuite


def check(world):
    with open({file!r}, "a") as file:
        print(os.getpid(), file=file)


suite = TaskSuite(
    "a",
    [Task(id="a", turns=("Go.",), world=dict, tools=lambda _: [], check=check, gold=((),))],
)
"""


def test_with_a_limit_of_memory_no_check_runs_in_the_command_itself(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    (tmp_path / "checked.py").write_text(CHECKED_BY.format(file=str(pids)))
    options = ["-m", "gold", "--trial-memory", "300"]
    done = agentkit_eval("run", f"{tmp_path}/checked.py:suite", *options)
    assert done.exit_code == 0, done.output
    seen = pids.read_text().split()
    assert len(seen) == 2, "one of the floor, and one of the trial"
    assert str(os.getpid()) not in seen
