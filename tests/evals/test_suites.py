from __future__ import annotations

from pathlib import Path

import pytest
from agentkit_evals.core import EvalError
from agentkit_evals.store import Store
from agentkit_evals.suites import SUITES, load_suite

from tests.evals.helpers import ran

pytestmark = pytest.mark.anyio

MINE = '''
from agentkit_evals import Task, TaskSuite


class Light:
    def __init__(self):
        self.on = False

    def switch(self, on: bool) -> str:
        """Switch the light.

        Args:
            on: Whether it shall be on.
        """
        self.on = on
        return "ok"


suite = TaskSuite(
    "light",
    [
        Task(
            id="on",
            turns=("Turn the light on.",),
            world=Light,
            tools=lambda light: [light.switch],
            check=lambda light: None if light.on else "light:off",
            gold=((("switch", {"on": True}),),),
        )
    ],
)
'''


async def test_a_file_is_a_suite(tmp_path: Path, store: Store) -> None:
    path = tmp_path / "light.py"
    path.write_text(MINE)
    assert [result.passed for result in await ran(store, f"{path}:suite")] == [True]
    assert load_suite(str(path)).name == "light"


def test_a_module_of_the_working_directory_is_a_suite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "light_in_the_hall.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    assert load_suite("light_in_the_hall:suite").name == "light"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def (", "raised SyntaxError"),
        ("1 / 0", "raised ZeroDivisionError: division by zero"),
        ("import sys; sys.exit(3)", "raised SystemExit: 3"),
        ("import no_such_library", "No module named 'no_such_library'"),
    ],
)
def test_a_file_that_cannot_be_imported_is_named_each_time(
    tmp_path: Path, text: str, words: str
) -> None:
    path = tmp_path / "dark.py"
    path.write_text(text)
    for _ in range(2):
        with pytest.raises(EvalError, match=words):
            load_suite(str(path))


@pytest.mark.parametrize("name", [*SUITES, "agentkit_evals.project:project_suite"])
def test_suites_are_found_by_name_and_by_module(name: str) -> None:
    assert load_suite(name).name.partition(":")[0] in (name, "project")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("nothing", "there are bfcl, context, faults, project"),
        ("gone.py:suite", "there is no file"),
        ("json:suite", "json has no 'suite'"),
        ("bfcl:simple", "no category"),
    ],
)
def test_what_is_not_there_is_named(target: str, message: str) -> None:
    with pytest.raises(EvalError, match=message):
        load_suite(target)


NONE = """
number = 3


class Another:
    name = "another"


def fails():
    raise RuntimeError("no weather today")
"""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "number",
            "number is no suite: its type int has no name, cases, about, open and aclose; name a",
        ),
        ("Another", "Another is no suite: its type Another has no cases, about, open and aclose"),
        ("fails", "cannot be made: RuntimeError: no weather today"),
    ],
)
def test_what_is_no_suite_or_fails_to_make_one_is_told(
    tmp_path: Path, name: str, words: str
) -> None:
    path = tmp_path / "none.py"
    path.write_text(NONE)
    with pytest.raises(EvalError, match=words):
        load_suite(f"{path}:{name}")


def test_a_suite_without_parts_takes_none() -> None:
    with pytest.raises(EvalError, match=r"tiny:x cannot be made: TypeError: .*0 positional"):
        load_suite("tiny:x")
