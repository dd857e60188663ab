from __future__ import annotations

import threading
from pathlib import Path

import pytest

from agentkit.serving.process import cache_folder, locked, made_once


def quiet(_: str) -> None:
    pass


def test_the_cache_folder_is_the_one_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AGENTKIT_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"


def test_the_cache_folder_is_in_the_users_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AGENTKIT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "agentkit"


def test_a_folder_is_made_once(tmp_path: Path) -> None:
    folder = tmp_path / "env"
    made: list[Path] = []

    def make(target: Path) -> None:
        target.mkdir()
        made.append(target)

    made_once(folder, make, quiet)
    made_once(folder, make, quiet)
    assert made == [folder]


def test_a_half_made_folder_is_made_anew(tmp_path: Path) -> None:
    folder = tmp_path / "env"

    def break_off(target: Path) -> None:
        target.mkdir()
        (target / "leftover").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made_once(folder, break_off, quiet)
    made_once(folder, Path.mkdir, quiet)
    assert not (folder / "leftover").exists()
    assert len(list(folder.iterdir())) == 1


def test_two_that_want_the_same_folder_make_it_once(tmp_path: Path) -> None:
    folder = tmp_path / "env"
    inside, go_on, waiting = threading.Event(), threading.Event(), threading.Event()
    made: list[str] = []

    def slowly(target: Path) -> None:
        inside.set()
        assert go_on.wait(30)
        target.mkdir()
        made.append("first")

    def at_once(target: Path) -> None:
        target.mkdir()
        made.append("second")

    def note(_: str) -> None:
        waiting.set()

    first = threading.Thread(target=made_once, args=(folder, slowly, quiet))
    first.start()
    assert inside.wait(30)
    second = threading.Thread(target=made_once, args=(folder, at_once, note))
    second.start()
    assert waiting.wait(30), "the second must say that it waits"
    go_on.set()
    first.join(30)
    second.join(30)
    assert made == ["first"]


def test_a_lock_is_free_again_after_an_exception(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.lock"
    with pytest.raises(ValueError, match="inside"), locked(path, quiet):
        raise ValueError("inside")
    with locked(path, pytest.fail):
        pass
