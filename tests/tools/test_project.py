from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from agentkit_tools import project_reader
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit import ToolError

FILES = {
    "README.md": "# Shop\n\nSells tea.\n",
    "src/shop.py": "class Shop:\n    PRICE = 3\n\n    async def sell(self, n: int) -> int:\n"
    "        return n * self.PRICE\n",
    "src/cart.js": "export default class Cart {\n  addItem(item) {\n    this.addItem(item);\n  }\n"
    "}\nexport const TAX = 0.19;\nfunction* walk() {}\n",
    "src/main.go": "package main\n\ntype Till struct{}\n\nfunc (t *Till) Open() error {\n"
    "\treturn nil\n}\n\nfunc main() {}\n",
    "src/lib.rs": "pub(crate) async fn pour(tea: Tea) {}\npub struct Tea;\n"
    "static mut CUPS: u8 = 0;\nconst fn zero() -> u8 { 0 }\nmacro_rules! brew { () => {} }\n",
    ".secret/key.txt": "Shop",
    ".env": "Shop=1",
    "node_modules/x/index.js": "class Shop {}",
    "build/out.py": "class Shop: ...",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    base = tmp_path / "shop"
    for name, text in FILES.items():
        file = base / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (tmp_path / "shop-private").mkdir()
    (tmp_path / "shop-private" / "salaries.txt").write_text("secret")
    return base


def tool_of(root: Path, name: str) -> Callable[..., str]:
    return next(tool for tool in project_reader(root) if tool.name == name)


def test_the_tools_are_read_only_and_say_so(root: Path) -> None:
    tools = project_reader(root)
    assert [tool.name for tool in tools] == [
        "find_definition",
        "search_text",
        "list_files",
        "read_file",
    ]
    assert {tool.options.effect for tool in tools} == {"pure"}


def test_a_directory_that_is_missing_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match="nowhere"):
        project_reader(tmp_path / "nowhere")


# --- listings ----------------------------------------------------------------------------------


def test_a_search_says_how_many_results_there_are_and_where(root: Path) -> None:
    assert tool_of(root, "search_text")("PRICE") == (
        "2 results\nsrc/shop.py:2: PRICE = 3\nsrc/shop.py:5: return n * self.PRICE"
    )


def test_one_result_and_none_are_said_in_grammar(root: Path) -> None:
    search = tool_of(root, "search_text")
    assert search("Sells tea").splitlines()[0] == "1 result"
    assert search("coffee") == "0 results"


def test_only_the_first_results_are_shown_but_all_are_counted(root: Path) -> None:
    (root / "many.txt").write_text("leaf\n" * 25)
    head, *shown = tool_of(root, "search_text")("leaf").splitlines()
    assert head == "25 results, first 10 shown"
    assert shown == [f"many.txt:{n}: leaf" for n in range(1, 11)]


def test_search_takes_text_literally(root: Path) -> None:
    assert tool_of(root, "search_text")("class Shop:").splitlines()[0] == "1 result"
    assert tool_of(root, "search_text")("c.*s") == "0 results"


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_an_empty_search_is_refused(root: Path, text: str) -> None:
    with pytest.raises(ToolError, match="empty"):
        tool_of(root, "search_text")(text)


def test_hidden_and_generated_folders_are_skipped(root: Path) -> None:
    found = tool_of(root, "search_text")("Shop").splitlines()[1:]
    assert {line.partition(":")[0] for line in found} == {"README.md", "src/shop.py"}
    assert tool_of(root, "list_files")() == "2 entries\nREADME.md\nsrc/"


def test_what_gitignore_leaves_out_is_not_searched(root: Path) -> None:
    (root / ".gitignore").write_text("*.log\n/made/\n")
    (root / "made").mkdir()
    for name in ("made/a.txt", "src/run.log", "src/notes.txt"):
        (root / name).write_text("Earl Grey")
    assert tool_of(root, "search_text")("Earl Grey") == "1 result\nsrc/notes.txt:1: Earl Grey"


def test_a_folder_lists_its_files_in_order(root: Path) -> None:
    listing = tool_of(root, "list_files")("src")
    assert listing == "4 entries\ncart.js\nlib.rs\nmain.go\nshop.py"


def test_a_full_folder_shows_its_first_entries(root: Path) -> None:
    for number in range(50):
        (root / "src" / f"f{number:02}").touch()
    assert tool_of(root, "list_files")("src").splitlines()[0] == "54 entries, first 40 shown"


# --- definitions -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("Shop", "src/shop.py:1"),
        ("sell", "src/shop.py:4"),
        ("sell()", "src/shop.py:4"),
        ("PRICE", "src/shop.py:2"),
        ("Cart", "src/cart.js:1"),
        ("addItem", "src/cart.js:2"),
        ("TAX", "src/cart.js:6"),
        ("walk", "src/cart.js:7"),
        ("Till", "src/main.go:3"),
        ("Open", "src/main.go:5"),
        ("main", "src/main.go:9"),
        ("pour", "src/lib.rs:1"),
        ("Tea", "src/lib.rs:2"),
        ("CUPS", "src/lib.rs:3"),
        ("zero", "src/lib.rs:4"),
        ("brew", "src/lib.rs:5"),
    ],
)
def test_definitions_are_found_in_python_javascript_go_and_rust(
    root: Path, name: str, where: str
) -> None:
    head, *found = tool_of(root, "find_definition")(name).splitlines()
    assert head == "1 result"
    assert found[0].startswith(f"{where}: ")


@pytest.mark.parametrize("name", ["Sho", "hop", "self", "(", "[a", "\\"])
def test_only_whole_names_count_and_no_name_is_a_pattern(root: Path, name: str) -> None:
    assert tool_of(root, "find_definition")(name) == "0 results"


@pytest.mark.parametrize("name", ["", " ", "()"])
def test_an_empty_name_is_refused(root: Path, name: str) -> None:
    with pytest.raises(ToolError, match="empty"):
        tool_of(root, "find_definition")(name)


# --- reading -----------------------------------------------------------------------------------


def test_a_file_is_read_with_line_numbers(root: Path) -> None:
    assert tool_of(root, "read_file")("README.md") == "   1| # Shop\n   2| \n   3| Sells tea."


def test_an_empty_file_is_called_empty(root: Path) -> None:
    (root / "empty.txt").touch()
    assert tool_of(root, "read_file")("empty.txt") == "(the file is empty)"


def test_a_long_file_shows_its_beginning_and_says_so(root: Path) -> None:
    (root / "long.txt").write_text("x\n" * 100)
    lines = tool_of(root, "read_file")("long.txt").splitlines()
    assert len(lines) == 61
    assert lines[-1] == "(60 of 100 lines shown)"


def test_an_endless_line_is_cut_with_its_length(root: Path) -> None:
    (root / "min.js").write_text("x" * 500_000)
    text = tool_of(root, "read_file")("min.js")
    assert text.endswith("… (500000 characters)")
    assert len(text) < 1100


def test_huge_and_binary_files_are_neither_read_nor_searched(root: Path) -> None:
    (root / "huge.txt").write_text("needle" + "x" * 1_000_001)
    (root / "data.bin").write_bytes(b"needle\0")
    for name in ("huge.txt", "data.bin"):
        with pytest.raises(ToolError, match="not a text file of at most 1,000,000 bytes"):
            tool_of(root, "read_file")(name)
    assert tool_of(root, "search_text")("needle") == "0 results"


def test_a_named_pipe_is_neither_waited_for_nor_read(root: Path) -> None:
    os.mkfifo(root / "pipe")
    assert tool_of(root, "search_text")("Sells tea").splitlines()[0] == "1 result"
    with pytest.raises(ToolError):
        tool_of(root, "read_file")("pipe")


def test_a_file_that_is_no_utf8_is_read_in_its_encoding(root: Path) -> None:
    (root / "latin.txt").write_bytes("Café".encode("latin-1"))
    assert tool_of(root, "read_file")("latin.txt") == "   1| Café"


def test_a_name_that_is_nearly_right_gets_a_hint(root: Path) -> None:
    with pytest.raises(ToolError, match=r'no file "src/shp.py".*Did you mean "src/shop.py"\?'):
        tool_of(root, "read_file")("src/shp.py")
    with pytest.raises(ToolError, match=r'no folder "scr".*Did you mean "src"\?'):
        tool_of(root, "list_files")("scr")
    with pytest.raises(ToolError, match=r'no file "zzzzzz" in the project\.$'):
        tool_of(root, "read_file")("zzzzzz")


# --- paths outside -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "..",
        "../shop-private/salaries.txt",
        "src/../../shop-private/salaries.txt",
        "/etc/passwd",
        "/",
        "link.txt",
        "folder-link/salaries.txt",
        "folder-link",
        "src/up/shop-private/salaries.txt",
    ],
)
def test_a_path_outside_the_project_is_refused_and_nothing_of_it_shown(
    root: Path, path: str
) -> None:
    (root / "link.txt").symlink_to(root.parent / "shop-private" / "salaries.txt")
    (root / "folder-link").symlink_to(root.parent / "shop-private")
    (root / "src" / "up").symlink_to("../..")
    for name in ("read_file", "list_files"):
        with pytest.raises(ToolError) as caught:
            tool_of(root, name)(path)
        assert "is outside the project" in str(caught.value)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("path", ["a\0b", "\0", "x" * 5000, "\udcff"])
def test_a_path_that_is_none_is_an_error_for_the_model(root: Path, path: str) -> None:
    for name in ("read_file", "list_files"):
        with pytest.raises(ToolError):
            tool_of(root, name)(path)


def test_an_absolute_path_inside_the_project_is_fine(root: Path) -> None:
    assert "Sells tea" in tool_of(root, "read_file")(str(root / "README.md"))


def test_search_does_not_follow_links_out_of_the_project(root: Path) -> None:
    (root / "link.txt").symlink_to(root.parent / "shop-private" / "salaries.txt")
    (root / "folder-link").symlink_to(root.parent / "shop-private")
    assert tool_of(root, "search_text")("secret") == "0 results"


def test_links_that_lead_in_circles_end(root: Path) -> None:
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    with pytest.raises(ToolError):
        tool_of(root, "read_file")("a")
    assert tool_of(root, "search_text")("Sells tea").splitlines()[0] == "1 result"
    tool_of(root, "list_files")()


_pieces = st.sampled_from(
    ["..", ".", "/", "//", "src", "shop.py", "folder-link", "~", "shop-private", "\0", "x", " "]
)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.lists(_pieces, max_size=8).map("/".join))
def test_no_made_up_path_ever_reads_the_secret(
    tmp_path_factory: pytest.TempPathFactory, path: str
) -> None:
    base = tmp_path_factory.getbasetemp() / "fuzz"
    if not base.exists():
        (base / "shop" / "src").mkdir(parents=True)
        (base / "shop" / "src" / "shop.py").write_text("class Shop: ...")
        (base / "shop-private").mkdir()
        (base / "shop-private" / "x").write_text("secret")
        (base / "shop" / "folder-link").symlink_to(base / "shop-private")
    try:
        text = tool_of(base / "shop", "read_file")(path)
    except ToolError:
        return
    assert "secret" not in text
