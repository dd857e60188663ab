from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.examples.running import REPO, replayed, run_example, tool_errors

SAMPLE = REPO / "examples" / "code_fixer" / "sample"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not sys.platform.startswith("linux"), reason="commands run in a sandbox of Linux"
    ),
]


def contents(folder: Path) -> dict[str, str]:
    return {
        os.path.relpath(file, folder): file.read_text()
        for file in sorted(folder.rglob("*.py"))
        if "__pycache__" not in file.parts
    }


def test_a_failing_suite_becomes_green_on_a_copy_and_the_run_replays(tmp_path: Path) -> None:
    before = contents(SAMPLE)
    done = run_example("code_fixer", tmp_path, "--model", "scripted", "--yes")
    assert done.code == 0, done.out + done.err
    head, place, *_, last = done.out.splitlines()
    assert head == "model: scripted, a fixed script and no language model"
    assert last == "the tests are green"
    assert contents(SAMPLE) == before
    copy = Path(place.removeprefix("project: "))
    changed = contents(copy)
    assert {name for name in changed if changed[name] != before[name]} == {
        "ledger/money.py",
        "ledger/book.py",
    }
    assert tool_errors(tmp_path) == []
    assert "identical" in replayed("code_fixer", tmp_path, SAMPLE)
    shutil.rmtree(copy.parent)


def test_without_a_yes_nothing_is_changed_and_the_verdict_is_red(tmp_path: Path) -> None:
    """The verdict is found by running the tests: a model that claims success does not matter."""
    project = tmp_path / "project"
    shutil.copytree(SAMPLE, project)
    options = ("--model", "scripted", "--project", project, "--in-place")
    done = run_example("code_fixer", tmp_path / "runs", *options)
    assert done.code != 0
    assert contents(project) == contents(SAMPLE)
    assert "nobody answered" in done.err.splitlines()[-1]
    assert "Traceback" not in done.err


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    done = run_example("code_fixer", tmp_path, "--model", "scripted", "--project", nowhere)
    assert done.code == 2
    assert done.err.endswith(f"there is no directory {nowhere}\n")
