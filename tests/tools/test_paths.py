"""Paths beneath one root, by `openat2` and by the walk of other systems: the same for both."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from agentkit_tools.paths import Root, is_environment, is_git_directory, is_protected
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit import ToolError

SECRET = "the canary"
PROC = "/proc/self/root"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A project among things that are none of its business."""
    (tmp_path / "shop" / "src").mkdir(parents=True)
    (tmp_path / "shop" / "src" / "shop.py").write_text("class Shop: ...\n")
    (tmp_path / "shop" / ".git").mkdir()
    (tmp_path / "shop-private").mkdir()
    (tmp_path / "shop-private" / "key").write_text(SECRET)
    (tmp_path / "shop" / "inner").symlink_to("src")
    (tmp_path / "shop" / "file-link").symlink_to("src/shop.py")
    (tmp_path / "shop" / "absolute").symlink_to(tmp_path / "shop" / "src" / "shop.py")
    (tmp_path / "shop" / "out").symlink_to("../shop-private")
    (tmp_path / "shop" / "out-file").symlink_to(tmp_path / "shop-private" / "key")
    (tmp_path / "shop" / "src" / "up").symlink_to("../..")
    (tmp_path / "shop" / "proc").symlink_to("/proc/self/root")
    (tmp_path / "shop" / "loop").symlink_to("pool")
    (tmp_path / "shop" / "pool").symlink_to("loop")
    return tmp_path


@pytest.fixture(params=[False, True], ids=["openat2", "walk"])
def root(request: pytest.FixtureRequest, base: Path) -> Root:
    return Root(base / "shop", walk=request.param)


def read(root: Root, path: str) -> str:
    with os.fdopen(root.open(path)) as file:
        return file.read()


def write(root: Root, path: str) -> None:
    with root.parent(path, create=True) as (folder, name):
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, dir_fd=folder))


@pytest.mark.parametrize(
    "path",
    [
        *("src/shop.py", "./src/shop.py", "src//shop.py", "src/../src/shop.py", " src/shop.py\n"),
        *("gone/../src/shop.py", "inner/shop.py", "file-link", "absolute", "inner/../file-link"),
    ],
)
def test_a_file_of_the_project_is_opened_however_it_is_named(root: Root, path: str) -> None:
    assert read(root, path) == "class Shop: ...\n"


def test_an_absolute_path_inside_the_project_is_fine(root: Root) -> None:
    assert read(root, str(root.path / "src" / "shop.py")) == "class Shop: ...\n"


OUTSIDE = [
    *("..", "../shop-private/key", "/etc/passwd", "src/../../shop-private/key", "//etc/passwd"),
    *("out/key", "out-file", "src/up/shop-private/key", "inner/up/shop-private/key"),
    *("proc/etc/passwd", "proc", f"{PROC}/etc/passwd", "src/up"),
]


@pytest.mark.parametrize("path", OUTSIDE)
def test_what_lies_outside_is_refused_for_reading_listing_and_writing(
    root: Root, path: str
) -> None:
    for attempt in (root.open, root.open_directory, root.open_any):
        with pytest.raises(ToolError) as caught:
            attempt(path)
        assert SECRET not in str(caught.value)
    for new in (path, f"{path}/new"):
        with pytest.raises(ToolError, match=r"outside|is a link|goes through"):
            write(root, new)


def test_the_same_name_with_more_letters_is_another_folder(root: Root, base: Path) -> None:
    with pytest.raises(ToolError, match="outside"):
        read(root, f"{base}/shop-private/key")


@pytest.mark.parametrize("path", ["a\0b", "\0", "x" * 5000, "\ud800"])
def test_what_is_no_path_is_said_to_be_none(root: Root, path: str) -> None:
    for attempt in (root.open, root.open_directory):
        with pytest.raises(ToolError, match="is not a path"):
            attempt(path)


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("~", "outside the project"),
        ("~/notes.txt", "outside the project"),
        ("$HOME/notes.txt", "is no path here"),
        ("${TMPDIR}/notes.txt", "is no path here"),
        ("%APPDATA%\\notes.txt", "is no path here"),
        ("C:\\notes.txt", "is no path here"),
        ("file:///etc/passwd", "is no path here"),
        ("src\\new.py", 'write "src/new.py"'),
        ("..\\new.py", 'write "../new.py"'),
    ],
)
def test_what_only_a_shell_or_another_system_takes_for_a_path_makes_no_file(
    root: Root, path: str, meant: str
) -> None:
    before = sorted(root.path.rglob("*"))
    with pytest.raises(ToolError, match=re.escape(meant)):
        write(root, path)
    assert sorted(root.path.rglob("*")) == before


def test_a_home_in_which_the_project_lies_and_quotes_around_a_path_are_understood(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(root.path.parent))
    for path in ("~/shop/src/shop.py", '"src/shop.py"', "`src/shop.py`", "' src/shop.py '"):
        assert root.relative(path) == "src/shop.py"
    assert root.relative("''") == "."


@pytest.mark.parametrize(
    "name", ["~", "$HOME", "%x%", "C:", "~x", "a~", "$postId", "dev\\x2d", "notes:", "'a'", " a"]
)
def test_a_name_that_is_there_is_that_name_whatever_it_looks_like(root: Root, name: str) -> None:
    (root.path / name).mkdir()
    (root.path / name / "a").touch()
    assert root.relative(f"{name}/a") == f"{name}/a"
    (root.path / name / "b ").touch()
    assert root.relative(f"{name}/b ") == f"{name}/b "


def test_links_that_lead_in_circles_end(root: Root) -> None:
    with pytest.raises(ToolError, match="circles"):
        read(root, "loop")


def test_a_missing_file_is_missing_and_no_refusal(root: Root) -> None:
    for attempt in (root.open, root.open_directory, root.open_any):
        with pytest.raises(FileNotFoundError):
            attempt("src/gone.py")


@pytest.mark.parametrize("path", ["file-link", "inner/new.py", "absolute"])
def test_nothing_is_written_through_a_link_and_its_target_is_named(root: Root, path: str) -> None:
    with pytest.raises(ToolError, match=r'is a link that leads to "src'):
        write(root, path)


@pytest.mark.parametrize(
    "path",
    [".git/config", ".GIT/hooks/x", ".agentkit/x", "src/.git/x", ".git", ".g\u200cit/x", ".git./x"],
)
def test_protected_paths_are_not_written_however_they_are_spelled(root: Root, path: str) -> None:
    assert is_protected(path)
    with pytest.raises(ToolError, match="protected"):
        write(root, path)


def test_names_that_only_look_protected_are_written(root: Root, base: Path) -> None:
    for path in (".github/ci.yml", ".gitignore", "git/x", "a/.git-keep"):
        write(root, path)
        assert (base / "shop" / path).exists()


def bind_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(path))


@pytest.mark.parametrize(
    ("make", "kind"),
    [(os.mkfifo, "a named pipe"), (os.mkdir, "a folder"), (bind_socket, "a socket")],
)
def test_special_files_are_neither_opened_nor_replaced(
    root: Root, make: Callable[[Path], None], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root.path)  # a socket's path must be short
    make(Path("odd"))
    for attempt in (root.open, partial(write, root)):
        with pytest.raises(ToolError, match=f'^"odd" is {kind}'):
            attempt("odd")


def test_a_directory_that_is_moved_away_stays_the_root(root: Root, base: Path) -> None:
    os.rename(base / "shop", base / "moved")
    (base / "shop").symlink_to("shop-private")
    assert read(root, "src/shop.py") == "class Shop: ...\n"
    with pytest.raises(FileNotFoundError):
        read(root, "key")


def test_a_missing_root_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match="nowhere"):
        Root(tmp_path / "nowhere")


_pieces = st.sampled_from(
    ["..", ".", "/", "src", "shop.py", "out", "out-file", "up", "inner", "proc", "key", "\0", " "]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(_pieces, max_size=8).map("/".join))
def test_no_made_up_path_reads_what_is_outside(
    tmp_path_factory: pytest.TempPathFactory, path: str
) -> None:
    folder = tmp_path_factory.getbasetemp() / "fuzz"
    if not folder.exists():
        (folder / "shop" / "src").mkdir(parents=True)
        (folder / "shop" / "src" / "shop.py").write_text("inside")
        (folder / "shop" / "src" / "up").symlink_to("../..")
        (folder / "shop" / "inner").symlink_to("src")
        (folder / "shop" / "out").symlink_to("../private")
        (folder / "shop" / "proc").symlink_to("/proc/self/root")
        (folder / "private").mkdir()
        (folder / "private" / "key").write_text(SECRET)
    for walk in (False, True):
        try:
            assert read(Root(folder / "shop", walk=walk), path) == "inside"
        except (ToolError, FileNotFoundError):
            continue


# --- names, kinds and bounds ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "git"),
    [
        ("HEAD objects refs", True),
        ("HEAD commondir", True),
        ("HEAD", False),
        ("HEAD objects", False),
        ("HEAD refs", False),
        ("commondir objects refs", False),
    ],
)
def test_a_repository_of_git_is_told_by_what_is_in_it(names: str, git: bool) -> None:
    assert is_git_directory(names.split()) is git


def test_an_environment_of_python_is_told_by_what_is_in_it() -> None:
    assert is_environment(["pyvenv.cfg"])
    assert is_environment(["conda-meta"])
    assert not is_environment(["bin", "lib"])


@pytest.mark.parametrize(
    ("marks", "path", "kind"),
    [
        (["bare/HEAD", "bare/objects/x", "bare/refs/x"], "bare/hooks/x", "in a git directory"),
        (["a/tree/HEAD", "a/tree/commondir"], "a/tree/new", "in a git directory"),
        (["env/pyvenv.cfg"], "env/lib/x.py", "in a virtual environment"),
        (["pyvenv.cfg"], "bin/x", "in a virtual environment"),
        (["pyvenv.cfg"], "lib/x", "in a virtual environment"),
    ],
)
def test_what_others_run_is_not_written(root: Root, marks: list[str], path: str, kind: str) -> None:
    for mark in marks:
        write(root, mark)
    before = descriptors()
    with pytest.raises(ToolError, match=f'"{path}" is {kind}, which is not written here'):
        write(root, path)
    assert descriptors() == before


def test_a_project_that_is_an_environment_itself_is_written_beside_its_programs(
    root: Root, base: Path
) -> None:
    for path in ("pyvenv.cfg", "new.py", "src/new.py"):
        write(root, path)
        assert (base / "shop" / path).exists()


def descriptors() -> set[str]:
    """The descriptors that this process has open."""
    return {name for name in os.listdir("/dev/fd") if os.path.exists(f"/dev/fd/{name}")}


@pytest.mark.parametrize(
    "path", ["src/shop.py", "file-link", "out", "loop", "src/gone.py", "src/shop.py/x", "gone/x"]
)
def test_whatever_becomes_of_a_path_no_descriptor_stays_open(root: Root, path: str) -> None:
    before = descriptors()
    for attempt in (root.open, root.open_directory, root.open_any, root.open_path):
        with contextlib.suppress(ToolError, FileNotFoundError):
            os.close(attempt(path))
    with contextlib.suppress(ToolError, FileNotFoundError, FileExistsError):
        write(root, path)
    assert descriptors() == before


def test_what_is_special_leaves_no_descriptor_open_and_is_named_where_either_kind_will_do(
    root: Root,
) -> None:
    os.mkfifo(root.path / "odd")
    before = descriptors()
    for attempt in (root.open, root.open_any, partial(write, root)):
        with pytest.raises(ToolError, match=r'^"odd" is a named pipe'):
            attempt("odd")
    assert descriptors() == before


def test_a_folder_is_made_for_a_new_file_only_where_that_is_wanted(root: Root) -> None:
    with (
        pytest.raises(FileNotFoundError, match=r"^new/deep$"),
        root.parent("new/deep/x") as _,
    ):
        pass
    assert not (root.path / "new").exists()
    write(root, "new/deep/x")
    assert (root.path / "new" / "deep" / "x").exists()


def test_blanks_alone_name_the_root_and_a_name_behind_a_broken_link_is_a_name(root: Root) -> None:
    assert root.relative(" \n") == "."
    (root.path / "~").symlink_to("gone")
    assert root.relative("~") == "~"


def test_a_root_that_is_given_up_closes_its_descriptor(base: Path) -> None:
    before = descriptors()
    root = Root(base / "shop")
    assert Root.of(root) is root
    assert descriptors() - before == {str(root.descriptor)}
    assert not os.get_inheritable(root.descriptor)
    del root
    assert descriptors() == before
    assert Root.of(base / "shop").path == (base / "shop").resolve()


def test_the_beginning_of_a_file_is_read_and_no_more(root: Root) -> None:
    assert root.read("src/shop.py", 5) == b"class"
    assert root.read("src/shop.py", 500) == b"class Shop: ...\n"
    with pytest.raises(FileNotFoundError, match=r"^src/gone\.py$"):
        root.read("src/gone.py", 5)


def test_what_the_system_refuses_is_told_in_its_words(root: Root) -> None:
    name = "x" * 300
    for attempt in (root.open, root.open_any, partial(write, root)):
        with pytest.raises(ToolError, match=r'…": File name too long\.$'):
            attempt(name)
    before = descriptors()
    with pytest.raises(ToolError, match=r"File name too long\.$"):
        write(root, f"new/{name}/file")
    assert descriptors() == before


def test_a_file_is_not_listed_and_a_folder_not_read_and_both_are_said(root: Root) -> None:
    told = '"src/shop.py" is a file, not a folder: read it instead.'
    with pytest.raises(ToolError, match=re.escape(told)):
        root.open_directory("src/shop.py")
    with pytest.raises(ToolError, match=r'^"src" is a folder\.$'):
        root.open("src")
    with pytest.raises(ToolError, match=r'^"src" is a folder, not a file\.$'):
        write(root, "src")
    with pytest.raises(ToolError, match="is the project's directory, not a file"):
        write(root, ".")


def test_files_and_folders_alike_are_opened_where_either_will_do(root: Root) -> None:
    for path, is_kind in (("src", stat.S_ISDIR), ("src/shop.py", stat.S_ISREG)):
        for opened in (root.open_any(path), root.open_path(path)):
            assert is_kind(os.fstat(opened).st_mode)
            os.close(opened)
    with pytest.raises(ToolError, match='"inner" is a link that leads to "src": write there'):
        root.open_any("inner")
    with pytest.raises(ToolError, match='"out" is a link that leads out of the project'):
        root.open_path("out")


@pytest.mark.parametrize("links", [7, 8])
def test_a_chain_of_links_is_followed_seven_times(root: Root, base: Path, links: int) -> None:
    for number in range(1, links + 1):
        target = "src/shop.py" if number == 1 else f"chain{number - 1}"
        (base / "shop" / f"chain{number}").symlink_to(target)
    if links == 7:
        assert read(root, "chain7") == "class Shop: ...\n"
    else:
        with pytest.raises(ToolError, match='"chain8" is a link that leads in circles'):
            read(root, "chain8")


def test_a_path_is_as_long_as_the_system_allows_and_is_shown_in_short(root: Root) -> None:
    longest = "/".join(["x" * 99] * 40) + "/" + "y" * 96
    assert len(longest) == 4096
    assert root.relative(longest) == longest
    with pytest.raises(ToolError, match=f'^"{longest[:100]}…" is not a path.$'):
        root.relative(f"{longest}y")
    whole = "z" * 99 + "\0"
    with pytest.raises(ToolError, match=rf'^"{"z" * 99}\\x00" is not a path.$'):
        root.relative(whole)
    with pytest.raises(ToolError, match=f'^"{"z" * 100}…" is not a path.$'):
        root.relative(f"z{whole}")


def test_what_stands_in_a_folder_is_told_by_its_kind_and_no_link_is_followed(
    root: Root, base: Path
) -> None:
    os.mkfifo(base / "shop" / "pipe")
    (base / "shop" / "notes.md").touch()
    found = {entry.name: entry for entry in root.entries(".")}
    assert {name: entry.kind for name, entry in found.items()} == {
        **dict.fromkeys(("src", ".git"), stat.S_IFDIR),
        **dict.fromkeys(("inner", "file-link", "absolute", "out", "out-file"), stat.S_IFLNK),
        **dict.fromkeys(("proc", "loop", "pool"), stat.S_IFLNK),
        "notes.md": stat.S_IFREG,
        "pipe": stat.S_IFIFO,
    }
    assert found["inner"].inode == os.lstat(base / "shop" / "inner").st_ino


def test_an_absolute_path_may_go_through_any_name_of_the_root(root: Root, base: Path) -> None:
    (base / "another").symlink_to("shop")
    assert root.relative(str(base / "another" / "src" / "shop.py")) == "src/shop.py"
    assert root.relative(str(base / "another")) == "."


def test_a_name_that_looks_like_exactly_one_is_that_one(root: Root, base: Path) -> None:
    (base / "shop" / "café").mkdir()
    (base / "shop" / "café" / "menü.txt").write_text("cake")
    assert read(root, "cafe\u0301/menu\u0308.txt") == "cake"
    assert root.relative("cafe\u0301/new.txt") == "café/new.txt"
    assert root.relative("café/menu\u0308.txt") == "café/menü.txt"
    (base / "shop" / "café" / "été").mkdir()
    assert root.relative("cafe\u0301/e\u0301te\u0301/new.txt") == "café/été/new.txt"
    (base / "shop" / "cafe\u0301").mkdir()
    (base / "shop" / "cafe\u0301" / "menü.txt").write_text("other")
    assert read(root, "cafe\u0301/menü.txt") == "other"
    (base / "shop" / "ﬁle").touch()
    (base / "shop" / "fi\u200ble").touch()
    assert root.relative("fi\u200cle") == "fi\u200cle"
