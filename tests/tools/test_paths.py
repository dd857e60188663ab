"""Paths beneath one root, by `openat2` and by the walk of other systems: the same for both."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from agentkit_tools.paths import Root, is_protected
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
    ("make", "kind"), [(os.mkfifo, "a named pipe"), (os.mkdir, "a folder"), (bind_socket, "socket")]
)
def test_special_files_are_neither_opened_nor_replaced(
    root: Root, make: Callable[[Path], None], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root.path)  # a socket's path must be short
    make(Path("odd"))
    with pytest.raises(ToolError, match=f"{kind}|No such device"):
        root.open("odd")
    with pytest.raises(ToolError, match=kind):
        write(root, "odd")


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
