from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from agentkit_tools import ProjectFiles
from agentkit_tools.edits import Edit

from agentkit import Agent, ToolContext, ToolError
from agentkit.messages import ToolCall
from agentkit.testing import ScriptedModel, call, say
from agentkit.toolset import ValidatedCall
from tests.tools.writing import killed_writers

CONTEXT: ToolContext[Any] = ToolContext(None, "run")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    base = tmp_path / "shop"
    (base / "src").mkdir(parents=True)
    (base / "src" / "shop.py").write_text("class Shop:\n    price = 3\n\n    tax = 1\n")
    (base / "README.md").write_text("# Shop\n")
    (base / ".git").mkdir()
    (base / ".git" / "config").write_text("[core]\n")
    (base / ".gitignore").write_text("*.log\n/out/\n!keep.log\n")
    (base / "out").mkdir()
    (base / "out" / "made.txt").write_text("x")
    (base / "a.log").write_text("x")
    (base / "src" / "keep.log").write_text("x")
    return base


def run(root: Path, name: str, *arguments: Any, **named: Any) -> str:
    tool = ProjectFiles(root).get(name)
    assert tool is not None
    if name in ("write_file", "edit_file"):
        arguments = (CONTEXT, *arguments)
    return str(tool(*arguments, **named))


def edit(root: Path, path: str, old: str, new: str) -> str:
    from_model = {"path": path, "edits": [{"old": old, "new": new}]}
    agent = Agent(
        ScriptedModel([call("edit_file", **from_model), say("done")]),
        toolsets=[ProjectFiles(root)],
        observers=(),
    )
    message = agent.run_sync("?").messages[-2]
    assert message.role == "tool"
    return str(message.content)


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("src/shop.py", "src/shop.py"),
        (" ./src/../src/shop.py", "src/shop.py"),
        ("../elsewhere.py", 'the path "../elsewhere.py" is outside the project.'),
    ],
)
def test_whoever_is_asked_about_a_write_reads_which_file_it_is(
    root: Path, path: str, target: str
) -> None:
    checked = ProjectFiles(root).validate(
        ToolCall("1", "write_file", {"path": path, "content": ""})
    )
    assert isinstance(checked, ValidatedCall)
    assert checked.target == target
    inside = ToolCall("2", "edit_file", {"path": str(root / "a.py"), "edits": []})
    checked = ProjectFiles(root).validate(inside)
    assert isinstance(checked, ValidatedCall)
    assert checked.target == "a.py"


def test_the_tools_say_what_they_do(root: Path) -> None:
    declared = {tool.name: (tool.effect, set(tool.options.labels)) for tool in ProjectFiles(root)}
    reads = ("pure", {"reads_private", "reads_untrusted"})
    assert declared == {
        "list_files": reads,
        "read_file": reads,
        "write_file": ("probed", {"writes"}),
        "edit_file": ("probed", {"writes"}),
    }


# --- list and read -----------------------------------------------------------------------------


def test_a_small_project_is_listed_whole_without_what_git_ignores(root: Path) -> None:
    assert run(root, "list_files") == ("4 files\n.gitignore\nREADME.md\nsrc/keep.log\nsrc/shop.py")
    assert run(root, "list_files", "src") == "2 files\nsrc/keep.log\nsrc/shop.py"


def test_a_large_project_is_listed_by_folder(root: Path) -> None:
    for number in range(70):
        (root / "src" / f"m{number:02}.py").touch()
    assert run(root, "list_files") == "74 files\n.gitignore\nREADME.md\nsrc/ (72 files)"
    head, *names = run(root, "list_files", "src").splitlines()
    assert head == "72 files, first 60 of 72 entries shown"
    assert names[0] == "keep.log"


def test_an_endless_gitignore_counts_up_to_its_last_whole_line(root: Path) -> None:
    rules = "*.log\n" + "x\n" * 20_000 + "*.py\n"
    (root / ".gitignore").write_text(rules)
    kept = "4 files\n.gitignore\nREADME.md\nout/made.txt\nsrc/shop.py"
    assert run(root, "list_files") == kept


def test_a_file_is_read_with_line_numbers_and_in_parts(root: Path) -> None:
    assert run(root, "read_file", "src/shop.py", 2, 3) == (
        "   2|     price = 3\n   3|\n(lines 2 to 3 of 4; go on with first_line=4)"
    ).replace("3|\n", "3| \n")
    assert run(root, "read_file", "src/shop.py", 4) == "   4|     tax = 1\n(lines 4 to 4 of 4)"


def test_a_long_file_is_shown_two_hundred_lines_at_a_time(root: Path) -> None:
    (root / "long.txt").write_text("x\n" * 450)
    lines = run(root, "read_file", "long.txt").splitlines()
    assert len(lines) == 201
    assert lines[-1] == "(lines 1 to 200 of 450; go on with first_line=201)"
    with pytest.raises(ToolError, match="has only 450 lines"):
        run(root, "read_file", "long.txt", 451)
    with pytest.raises(ToolError, match="last_line 2 comes before first_line 3"):
        run(root, "read_file", "long.txt", 3, 2)


def test_what_is_not_there_or_no_text_is_said_with_a_hint(root: Path) -> None:
    (root / "data.bin").write_bytes(b"\0\1")
    with (root / "huge.txt").open("wb") as huge:
        huge.truncate(10_000_001)
    with pytest.raises(ToolError, match=r'no file "src/shp.py".*Did you mean "src/shop.py"'):
        run(root, "read_file", "src/shp.py")
    with pytest.raises(ToolError, match=r'no folder "scr".*Did you mean "src"'):
        run(root, "list_files", "scr")
    with pytest.raises(ToolError, match=r'"README.md" is a file, not a folder: read it instead'):
        run(root, "list_files", "README.md")
    with pytest.raises(ToolError, match="is a folder"):
        run(root, "read_file", "src")
    with pytest.raises(ToolError, match="not a text file"):
        run(root, "read_file", "data.bin")
    with pytest.raises(ToolError, match="larger than"):
        run(root, "read_file", "huge.txt")


def test_an_empty_file_and_an_endless_line_are_shown_as_such(root: Path) -> None:
    (root / "empty").touch()
    (root / "min.js").write_text("x" * 100_000)
    assert run(root, "read_file", "empty") == "(the file is empty)"
    assert run(root, "read_file", "min.js").endswith("… (100000 characters)")


# --- write -------------------------------------------------------------------------------------


def test_a_file_is_written_with_the_folders_it_needs(root: Path) -> None:
    assert (
        run(root, "write_file", "a/b/new.txt", "one\ntwo\n")
        == "Wrote a/b/new.txt, 2 lines, a new file."
    )
    assert (root / "a" / "b" / "new.txt").read_text() == "one\ntwo\n"
    again = run(root, "write_file", "a/b/new.txt", "x")
    assert again == "Wrote a/b/new.txt, 1 line; it had 2."


def test_a_write_keeps_the_mode_and_leaves_nothing_beside(root: Path) -> None:
    script = root / "src" / "shop.py"
    script.chmod(0o751)
    run(root, "write_file", "src/shop.py", "new")
    assert stat.S_IMODE(script.stat().st_mode) == 0o751
    assert sorted(os.listdir(root / "src")) == ["keep.log", "shop.py"]


def test_a_write_cuts_a_hard_link_rather_than_writing_through_it(root: Path) -> None:
    outside = root.parent / "outside.txt"
    outside.write_text("precious")
    os.link(outside, root / "linked.txt")
    run(root, "write_file", "linked.txt", "new")
    assert edit(root, "linked.txt", "new", "newer").startswith("Edited linked.txt")
    assert outside.read_text() == "precious"
    assert (root / "linked.txt").read_text() == "newer"


def test_nothing_is_written_outside_or_where_git_would_run_it(root: Path) -> None:
    (root / "link").symlink_to("../victim")
    for path in ("../victim", "link", ".git/hooks/pre-commit", "/etc/agentkit-test"):
        with pytest.raises(ToolError):
            run(root, "write_file", path, "x")
        assert "Error" in edit(root, path, "a", "b")
    assert not (root.parent / "victim").exists()


def test_a_full_disk_leaves_the_old_content(root: Path) -> None:
    """As near as can be had without one: the new file cannot be made."""
    name = "x" * 255
    (root / name).write_text("old")
    run(root, "write_file", name, "new")  # a longest name still has one to be written beside it
    assert (root / name).read_text() == "new"
    with pytest.raises(ToolError, match="File name too long"):
        run(root, "write_file", "y" * 256, "new")
    assert sorted(path.name for path in root.iterdir() if path.name.endswith(".tmp")) == []


@pytest.mark.slow
def test_a_write_that_is_killed_leaves_the_old_content_or_the_new(tmp_path: Path) -> None:
    killed_writers(tmp_path, kills=20, seed=1)


# --- edit --------------------------------------------------------------------------------------


def test_an_edit_shows_what_changed(root: Path) -> None:
    assert edit(root, "src/shop.py", "price = 3", "price = 4") == (
        "Edited src/shop.py:\n@@ -1,3 +1,3 @@\n class Shop:\n-    price = 3\n+    price = 4\n "
    )
    assert (root / "src" / "shop.py").read_text() == "class Shop:\n    price = 4\n\n    tax = 1\n"


def probed(root: Path, name: str, run_id: str, **arguments: Any) -> object:
    """What the tool's probe says of a call after a crash: its result, or None if it is to run."""
    tool = ProjectFiles(root).get(name)
    assert tool is not None
    probe = tool.options.probe
    assert probe is not None
    found = probe(arguments, ToolContext(None, run_id))
    return getattr(found, "value", None)


def test_after_a_crash_a_write_is_known_by_its_content(root: Path) -> None:
    new = {"path": "README.md", "content": "# Tea\n"}
    assert probed(root, "write_file", "run", **new) is None
    run(root, "write_file", **new)
    assert probed(root, "write_file", "run", **new) == "Wrote README.md, 1 line."
    assert probed(root, "write_file", "run", path="gone", content="") is None


def test_after_a_crash_an_insertion_is_known_by_the_mark_that_its_call_left(root: Path) -> None:
    insertion = {"path": "README.md", "edits": [Edit("# Shop", "# Shop\n# Shop")]}
    assert probed(root, "edit_file", "run", **insertion) is None
    run(root, "edit_file", **insertion)
    assert probed(root, "edit_file", "run", **insertion) == "Edited README.md."
    with pytest.raises(ToolError, match=r"Read README.md to see"):
        probed(root, "edit_file", "another run", **insertion)


# --- encodings, line ends, names ---------------------------------------------------------------


ZH, JA = "# 商品价格\n价格 = 3\n", "# 商品の価格\n価格 = 3\n"
RU = "# Цена товара\nцена = 3\n"  # noqa: RUF001 - Cyrillic
WIDE = "\ufeffx\r\n價 = 3\r\n"


@pytest.mark.parametrize(
    ("text", "encoding", "old", "new"),
    [
        ("Café", "latin-1", "Café", "Thé"),
        ("\ufeffa = 1\n", "utf-8", "a = 1", "a = é"),
        (WIDE, "utf-16-le", "價 = 3", "價 = 4"),
        (WIDE, "utf-16-be", "價 = 3", "價 = 4"),
        (WIDE, "utf-32-le", "價 = 3", "價 = 4"),
        (WIDE, "utf-32-be", "價 = 3", "價 = 4"),
        ("price = 3\r\n", "utf-16-le", "3", "4"),
        (ZH, "gbk", "价格 = 3", "价格 = 4"),
        (JA, "cp932", "価格 = 3", "価格 = 4"),
        (JA, "euc_jp", "価格 = 3", "価格 = 4"),
        (JA, "iso2022_jp", "= 3", "= 4"),
        (RU, "koi8-r", "цена", "сумма"),
        (RU, "cp1251", "цена", "сумма"),
    ],
)
def test_an_edit_keeps_the_encoding(
    root: Path, text: str, encoding: str, old: str, new: str
) -> None:
    (root / "a.txt").write_bytes(text.encode(encoding))
    said = edit(root, "a.txt", old, new)
    assert (root / "a.txt").read_bytes() == text.replace(old, new).encode(encoding), said
    assert new in run(root, "read_file", "a.txt")


@pytest.mark.parametrize(
    ("before", "old", "new", "after"),
    [
        (b"n = '\xfc\xfd\xfe'\nx = 1\n", "x = 1", "x = 2", b"n = '\xfc\xfd\xfe'\nx = 2\n"),
        (b"h\xc3\xa9\xc3\xa9\n\xff\nx\n", "x", "é", b"h\xc3\xa9\xc3\xa9\n\xff\n\xc3\xa9\n"),
    ],
)
def test_bytes_that_nothing_explains_stay_as_they_are(
    root: Path, before: bytes, old: str, new: str, after: bytes
) -> None:
    (root / "a.txt").write_bytes(before)
    said = edit(root, "a.txt", old, new)
    assert (root / "a.txt").read_bytes() == after, said


def test_what_an_encoding_cannot_hold_is_named_and_nothing_is_written(root: Path) -> None:
    (root / "latin.txt").write_bytes("Café".encode("latin-1"))
    said = edit(root, "latin.txt", "Café", "Café ☕")
    assert "(U+2615 HOT BEVERAGE) cannot be written: latin.txt is in Windows-1252" in said
    assert (root / "latin.txt").read_bytes() == "Café".encode("latin-1")
    (root / "odd.txt").write_bytes(b"\xfc\xfd\xfe\na\n")
    assert "cannot be written: odd.txt is in an unknown encoding" in edit(root, "odd.txt", "a", "ä")
    assert "\\xFC\\xFD\\xFE" in run(root, "read_file", "odd.txt")
    assert (root / "odd.txt").read_bytes() == b"\xfc\xfd\xfe\na\n"


def test_a_whole_write_keeps_the_mark_and_the_line_ends_and_says_so(root: Path) -> None:
    (root / "a.txt").write_bytes("\ufeffa\r\nb\r\n".encode("utf-16-le"))
    said = run(root, "write_file", "a.txt", "é\n")
    assert said == (
        "Wrote a.txt, 1 line; it had 2, and its line ends (CRLF) are kept; "
        "it is UTF-16 (little-endian) as before."
    )
    assert (root / "a.txt").read_bytes() == "\ufeffé\r\n".encode("utf-16-le")
    assert probed(root, "write_file", "run", path="a.txt", content="é\n") is not None
    assert probed(root, "write_file", "run", path="a.txt", content="è\n") is None
    (root / "l.txt").write_bytes("Café\n".encode("latin-1"))
    said = run(root, "write_file", "l.txt", "Café\n")
    assert said.endswith("it had 1; it was in Windows-1252 (Latin-1) and is UTF-8 now.")
    assert (root / "l.txt").read_text("utf-8") == "Café\n"


def test_a_name_that_looks_like_one_that_is_there_is_that_one(root: Path) -> None:
    (root / "Cafe\u0301.txt").write_text("a = 1\n")
    (root / "at 10\u202fAM.txt").write_text("b = 1\n")
    assert run(root, "read_file", "Caf\u00e9.txt") == "   1| a = 1"
    assert run(root, "read_file", "at 10 AM.txt") == "   1| b = 1"
    assert "Edited" in edit(root, "Caf\u00e9.txt", "1", "2")
    run(root, "write_file", "at 10 AM.txt", "b = 2\n")
    names = sorted(path.name for path in root.glob("*.txt"))
    assert names == ["Cafe\u0301.txt", "at 10\u202fAM.txt"]
    (root / "at 10\u2009AM.txt").write_text("another\n")
    with pytest.raises(ToolError, match="no file"):
        run(root, "read_file", "at 10 AM.txt")


ODD_NAMES = {
    b"caf\xe9.txt": "caf\\xE9.txt",
    b"d\xff/in\xc3.txt": "d\\xFF/in\\xC3.txt",
    b"a\nb.txt": "a\\x0Ab.txt",
    b"\x1b[31m": "\\x1B[31m",
    "\u2028.txt".encode(): "\\u2028.txt",
    b"back\\slash": "back\\slash",
}
"""Names as they are, and as they are shown."""


@pytest.mark.parametrize(("name", "shown"), ODD_NAMES.items())
def test_a_name_that_is_no_utf8_or_no_line_is_shown_by_its_bytes_and_taken_so(
    root: Path, name: bytes, shown: str
) -> None:
    file = root / os.fsdecode(name)
    file.parent.mkdir(exist_ok=True)
    file.write_text("a = 1\n")
    (root / "b.txt").write_text("a = 1\n")
    listed = run(root, "list_files").splitlines()
    assert shown in listed
    assert len(listed) == 7
    assert run(root, "read_file", shown) == "   1| a = 1"
    assert edit(root, shown, "1", "2").startswith(f"Edited {shown}:")
    assert run(root, "write_file", shown, "a = 3\n") == f"Wrote {shown}, 1 line; it had 1."
    assert file.read_text() == "a = 3\n"


class _Meddled(ToolContext[Path]):
    """The context of a call during which somebody else saves a file."""

    @property
    def idempotency_key(self) -> str:
        self.deps.write_text("theirs\n")
        return "key"


def test_an_edit_of_a_file_that_somebody_saves_meanwhile_changes_nothing(root: Path) -> None:
    context = _Meddled(root / "README.md", "run")
    tool = ProjectFiles(root).get("edit_file")
    assert tool is not None
    with pytest.raises(ToolError, match="it was changed meanwhile; read it again"):
        tool(context, "README.md", [Edit("Shop", "Store")])
    assert (root / "README.md").read_text() == "theirs\n"
    assert sorted(os.listdir(root)) == [".git", ".gitignore", "README.md", "a.log", "out", "src"]


def test_a_file_too_large_to_be_read_is_not_called_no_text(root: Path) -> None:
    (root / "big.txt").write_text("line\n" * 2_000_001)
    assert "it was larger than 10,000,000 bytes." in run(root, "write_file", "big.txt", "x")


def test_a_file_two_hundred_folders_deep_is_listed(root: Path) -> None:
    deep = root.joinpath(*(f"n{number}" for number in range(200)))
    deep.mkdir(parents=True)
    (deep / "leaf.txt").touch()
    assert "leaf.txt" in run(root, "list_files")


def test_a_project_opened_through_a_link_takes_paths_through_it(root: Path) -> None:
    link = root.parent / "link"
    link.symlink_to(root)
    other = root.parent / "other"
    other.symlink_to(root.parent)
    for base in (link, root, other / "shop", other / "link"):
        assert run(link, "read_file", str(base / "README.md")) == "   1| # Shop"
        assert run(root, "read_file", str(base / "README.md")) == "   1| # Shop"
    with pytest.raises(ToolError, match="outside"):
        run(link, "read_file", str(root.parent / "link2" / "README.md"))
