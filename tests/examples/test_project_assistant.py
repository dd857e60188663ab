from __future__ import annotations

from pathlib import Path

import pytest

from tests.examples.running import REPO, replayed, run_example, tool_errors
from tests.servers import asks, says, serving

pytestmark = pytest.mark.slow

SAMPLE = REPO / "examples" / "project_assistant" / "sample"


def test_the_demonstration_model_answers_about_the_sample_and_the_run_replays(
    tmp_path: Path,
) -> None:
    done = run_example("project_assistant", tmp_path, "Where is Till defined?")
    assert done.code == 0, done.err
    assert done.err == "model: tiny\n"
    assert "`Till` is defined in shop/till.py:6." in done.out
    assert tool_errors(tmp_path) == []
    assert "identical" in replayed("project_assistant", tmp_path, SAMPLE)


def test_it_works_with_a_server_over_any_directory(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "shop.py").write_text("class Shop: ...\n")
    with serving(asks("find_definition", name="Shop"), says("In shop.py.")) as server:
        options = ("--model", server.url, "--project", project)
        done = run_example("project_assistant", tmp_path / "runs", *options, "Where is Shop?")
    assert done.code == 0, done.err
    assert done.out.splitlines()[:3] == [
        "-> find_definition {'name': 'Shop'}",
        "<- 1 result",
        "In shop.py.",
    ]


def test_what_is_wrong_is_said_in_one_line(tmp_path: Path) -> None:
    done = run_example("project_assistant", tmp_path, "?", "--project", tmp_path / "no")
    assert done.code == 1
    assert "project_assistant: there is no directory" in done.err.splitlines()[-1]
