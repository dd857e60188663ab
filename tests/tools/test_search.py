from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from agentkit_tools import Search

from agentkit import ToolError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    base = tmp_path / "shop"
    files = {
        "src/shop.py": "class Shop:\n    price = 3\n",
        "src/till.py": "from shop import Shop\nShop.price\n",
        "docs/a-b.md": "The Shop.\n",
        ".github/ci.yml": "name: Shop\n",
        ".gitignore": "*.log\nbuild/\n",
        "src/.gitignore": "!kept.log\n",
        "a.log": "Shop\n",
        "src/kept.log": "Shop\n",
        "build/x.py": "Shop\n",
        "node_modules/m/i.js": "Shop\n",
        ".git/config": "Shop\n",
    }
    for name, text in files.items():
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text(text)
    (base / "data.bin").write_bytes(b"Shop\0")
    (tmp_path / "private.txt").write_text("Shop secret\n")
    (base / "link.txt").symlink_to("../private.txt")
    (base / "up").symlink_to("..")
    return base


@pytest.fixture(params=[True, False], ids=["ripgrep", "python"])
def search(request: pytest.FixtureRequest, root: Path) -> Search:
    return Search(root, ripgrep=request.param)


def run(search: Search, name: str, *arguments: Any) -> str:
    tool = search.get(name)
    assert tool is not None
    return str(tool(*arguments))


def test_ripgrep_is_part_of_the_environment_so_that_both_ways_are_tested(root: Path) -> None:
    with pytest.raises(ToolError, match="need ripgrep"):
        run(Search(root, ripgrep=False), "search_text", "Shop|Till", ".", True)
    assert "result" in run(Search(root), "search_text", "Shop|Till", ".", True)


def test_text_is_found_without_what_is_ignored_generated_binary_or_gits_own(
    search: Search,
) -> None:
    assert run(search, "search_text", "Shop") == (
        "6 results\n"
        ".github/ci.yml:1: name: Shop\n"
        "docs/a-b.md:1: The Shop.\n"
        "src/kept.log:1: Shop\n"
        "src/shop.py:1: class Shop:\n"
        "src/till.py:1: from shop import Shop\n"
        "src/till.py:2: Shop.price"
    )


@pytest.mark.parametrize(
    ("where", "count"), [("src", "4 results"), ("src/till.py", "2 results"), ("docs", "1 result")]
)
def test_a_search_can_be_kept_to_a_folder_or_file(search: Search, where: str, count: str) -> None:
    assert run(search, "search_text", "Shop", where).splitlines()[0] == count


def test_text_is_taken_literally(search: Search) -> None:
    assert run(search, "search_text", "S..p") == "0 results"
    assert run(search, "search_text", "--version") == "0 results"
    assert run(search, "search_text", "class Shop:").splitlines()[0] == "1 result"


def test_many_results_are_counted_and_the_first_shown(search: Search, root: Path) -> None:
    (root / "many.txt").write_text("leaf\n" * 60)
    head, *shown = run(search, "search_text", "leaf").splitlines()
    assert head == "60 results, first 40 shown"
    assert shown[-1] == "many.txt:40: leaf"


@pytest.mark.parametrize("text", ["", " \n", "a\nb", "a\0b"])
def test_what_cannot_be_searched_for_is_refused(search: Search, text: str) -> None:
    with pytest.raises(ToolError):
        run(search, "search_text", text)


def test_what_is_in_files_of_odd_names_is_found_and_in_no_other(search: Search, root: Path) -> None:
    for name in (b"caf\xe9.txt", b"one\ntwo.txt"):
        (root / os.fsdecode(name)).write_text("a rare word\n")
    (root / "two.txt").write_text("another\n")
    assert run(search, "search_text", "rare").splitlines() == [
        "2 results",
        "caf\\xE9.txt:1: a rare word",
        "one\\x0Atwo.txt:1: a rare word",
    ]
    assert run(search, "search_text", "rare", "caf\\xE9.txt").startswith("1 result")
    assert run(search, "find_files", "one*two.txt") == "1 file\none\\x0Atwo.txt"


@pytest.mark.parametrize("folder", ["..", "/etc", "up", "link.txt", "gone"])
def test_nothing_outside_is_searched(search: Search, folder: str) -> None:
    with pytest.raises(ToolError) as caught:
        run(search, "search_text", "secret", folder)
    assert "Shop secret" not in str(caught.value)


def test_a_wrong_expression_is_explained(root: Path) -> None:
    with pytest.raises(ToolError, match="regular expression is wrong"):
        run(Search(root), "search_text", "a(", ".", True)


def test_a_search_that_was_stopped_says_so_and_is_no_short_list(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "rg"
    program.parent.mkdir()
    program.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo ripgrep 15 && exit\n'
        "printf './src/shop.py\\0001:7:\\n'\nkill -9 $$\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    with pytest.raises(ToolError, match="the search was stopped"):
        run(Search(root), "search_text", "Shop")


def test_a_search_in_python_ends_in_time_as_well(root: Path) -> None:
    told = r"^the search was stopped: one may take 1e-06 seconds\. Search in a smaller folder\.$"
    with pytest.raises(ToolError, match=told):
        run(Search(root, ripgrep=False, seconds=1e-6), "search_text", "Shop")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("shop.py", "1 file\nsrc/shop.py"),
        ("*.py", "2 files\nsrc/shop.py\nsrc/till.py"),
        ("src/*.log", "1 file\nsrc/kept.log"),
        ("SHOP", "1 file\nsrc/shop.py"),
        ("./docs/a-b.md", "1 file\ndocs/a-b.md"),
        ("private", "0 files"),
    ],
)
def test_files_are_found_by_name(search: Search, name: str, found: str) -> None:
    assert run(search, "find_files", name) == found


def test_without_pathspec_what_everybody_ignores_is_still_skipped(search: Search) -> None:
    with pytest.raises(ToolError, match="empty"):
        run(search, "find_files", " ")
    assert run(search, "find_files", "node_modules") == "0 files"
