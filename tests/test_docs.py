from __future__ import annotations

import ast
import codeop
import re
from pathlib import Path

import pytest

from tests.docs_runner import blocks_of, missing_links, run_page

REPO = Path(__file__).parents[1]
PAGES = [
    REPO / "README.md",
    REPO / "CONTRIBUTING.md",
    REPO / "SECURITY.md",
    REPO / "CHANGELOG.md",
    *sorted((REPO / "docs").rglob("*.md")),
    *sorted((REPO / "examples").glob("**/README.md")),
]
NAMES = [str(page.relative_to(REPO)) for page in PAGES]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_python_block_of_a_page_runs(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_page(page) == len(blocks_of(page.read_text()))
    capsys.readouterr()


def test_the_readme_shows_an_agent_that_answers(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_page(REPO / "README.md") >= 1
    assert "It is sunny." in capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_no_block_is_left_out(page: Path) -> None:
    assert [block.line for block in blocks_of(page.read_text()) if not block.runs] == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_a_page_says_where_a_block_cannot_be_pasted_into_a_file(page: Path) -> None:
    """A block with `await` at its top is for a notebook or an asynchronous prompt."""
    text = page.read_text()
    top = [block for block in blocks_of(text) if not is_for_a_file(block.text)]
    assert not top or "`python -m asyncio`" in text


def refused_at_a_prompt(block: str) -> str:
    """The first line that `python -m asyncio` would not take, where a block is pasted into it: up
    to Python 3.12 a blank line ends what is indented there.
    """
    compiled = codeop.CommandCompiler()
    compiled.compiler.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    typed: list[str] = []
    for line in [*block.splitlines(), ""]:
        typed.append(line)
        try:
            if compiled("\n".join(typed), symbol="single") is not None:
                typed.clear()
        except SyntaxError:
            return line
    return "".join(typed)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_what_is_for_an_asynchronous_prompt_can_be_pasted_into_one(page: Path) -> None:
    text = page.read_text()
    if "`python -m asyncio`" in text:
        refused = [refused_at_a_prompt(block.text) for block in blocks_of(text)]
        assert not any(refused), refused


def is_for_a_file(block: str) -> bool:
    """Whether a block can be pasted into a file as it is."""
    try:
        compile(block, "page", "exec", dont_inherit=True)
    except SyntaxError:
        return False
    return True


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    assert missing_links(page, REPO) == []


OF_TODAY = [
    page for page in PAGES if page.name != "CHANGELOG.md" and "sample" not in page.parent.parts
]


@pytest.mark.parametrize("page", OF_TODAY, ids=[str(page.relative_to(REPO)) for page in OF_TODAY])
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    folders = (
        "agentkit|benchmarks|docs|evals|examples|release|soak|tests|tools|training|typing_tests"
    )
    named = re.findall(rf"`((?:{folders})/[\w./-]*)`", page.read_text())
    assert [name for name in named if not (REPO / name).exists()] == []


# --- the runner itself -------------------------------------------------------------------------


_STATION = re.compile(r"^[ │├└─]*([\w/]+\.py) {2,}([A-Za-z_]\w*)(?:\.(\w+))?", re.MULTILINE)
"""A line of a drawing: a file of the library, and the function or the class to begin reading at."""


def test_the_drawings_of_the_architecture_name_what_is_in_the_files() -> None:
    page = (REPO / "docs" / "architecture.md").read_text()
    stations: list[tuple[str, str, str]] = _STATION.findall(page)
    missing: list[str] = []
    for file, *names in stations:
        source = (REPO / "agentkit" / file).read_text()
        lost = [
            name for name in names if name and not re.search(rf"\b(def|class) {name}\b", source)
        ]
        missing += [f"{file}: {name}" for name in lost]
    assert len(stations) > 50, "the drawings are written in another form"
    assert missing == []


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
