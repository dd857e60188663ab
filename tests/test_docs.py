from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs_runner import blocks_of, missing_links, run_page
from tests.servers import asks, says, serving

REPO = Path(__file__).parents[1]
PAGES = [REPO / "README.md", REPO / "CHANGELOG.md", *sorted((REPO / "docs").rglob("*.md"))]
NAMES = [str(page.relative_to(REPO)) for page in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_python_block_of_a_page_runs(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = run_page(page)
    assert ran == len([block for block in blocks_of(page.read_text()) if block.runs])
    capsys.readouterr()


def test_the_readme_shows_an_agent_that_answers(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_page(REPO / "README.md") >= 1
    assert "It is sunny." in capsys.readouterr().out


def test_hardly_any_block_is_left_out() -> None:
    blocks = [block for page in PAGES for block in blocks_of(page.read_text())]
    assert len([block for block in blocks if not block.runs]) <= len(blocks) // 5


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    assert missing_links(page, REPO) == []


# --- the runner itself -------------------------------------------------------------------------


def test_a_block_that_fails_fails_with_the_pages_line(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# T\n\n```python\nx = 1\n```\n\ntext\n\n```python\nassert x == 2\n```\n")
    with pytest.raises(AssertionError) as caught:
        run_page(page)
    assert caught.traceback[-1].lineno == 9  # counted from 0


def test_await_may_stand_in_a_block_and_no_run_blocks_are_compiled_only(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```python\nimport anyio\nawait anyio.lowlevel.checkpoint()\nx = 1\n```\n"
        "```python no-run\nraise SystemExit\n```\n```console\n$ not python\n```\n"
    )
    assert run_page(page) == 1
    page.write_text("```python no-run\nthis is no python\n```\n")
    with pytest.raises(SyntaxError):
        run_page(page)


def test_a_link_to_nowhere_or_out_of_the_project_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("[a](gone.md) [b](page.md#top) [c](https://x.invalid) [d](../up) [e](#here)")
    assert missing_links(page, tmp_path) == ["gone.md", "../up"]


# --- examples ----------------------------------------------------------------------------------


def example(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(REPO), str(REPO / "tools")])
    return subprocess.run(
        [sys.executable, str(REPO / "examples" / name), *arguments],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_project_assistant_shows_what_it_does(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("class Shop: ...\n")
    with serving(asks("find_definition", name="Shop"), says("In shop.py.")) as server:
        done = example("project_assistant.py", server.url, str(tmp_path), "Where is Shop?")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "-> find_definition {'name': 'Shop'}",
        "<- 1 result",
        "In shop.py.",
    ]


def test_the_project_assistant_says_in_one_line_what_is_wrong(tmp_path: Path) -> None:
    done = example("project_assistant.py", "http://127.0.0.1:1/v1", str(tmp_path / "no"), "?")
    assert done.returncode == 1
    assert done.stderr.startswith("project_assistant: there is no directory")
    assert len(done.stderr.splitlines()) == 1
