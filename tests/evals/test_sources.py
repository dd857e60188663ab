from __future__ import annotations

import ast
import gc
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from agentkit_evals.sources import files_hash, sources_hash

pytestmark = pytest.mark.slow

REPO = Path(__file__).parents[2]


@dataclass(frozen=True)
class OneOf:
    words: frozenset[str]

    def __call__(self, world: object) -> bool:
        return world in self.words


class Wanted:
    def __init__(self, number: int) -> None:
        self.number = number

    def check(self, world: object) -> bool:
        return self.number == world


def check(world: object, words: object = frozenset({"one", "two", "three"})) -> bool:
    return world == words


def closing(words: object) -> Callable[[object], bool]:
    return lambda world: world == words


WORDS = frozenset({"one", "two", "three", "four"})
CHECKS = [check, OneOf(WORDS), closing([{"x": set(WORDS)}]), partial(check, words=OneOf(WORDS))]


def test_a_check_that_holds_a_set_has_the_same_hash_in_each_process() -> None:
    program = (
        "from tests.evals.test_sources import CHECKS\n"
        "from agentkit_evals.sources import sources_hash\n"
        "print(*(sources_hash([check]) for check in CHECKS))"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=REPO,
            env={"PYTHONPATH": "evals:.", "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(hashes) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Wanted(1).check, Wanted(2).check),
        (OneOf(frozenset("a")), OneOf(frozenset("b"))),
        (closing({"a"}), closing({"b"})),
        (closing({"a"}), closing(frozenset({"a"}))),
        (partial(check, words=("a",)), partial(check, words=["a"])),
    ],
)
def test_another_value_is_another_hash(
    one: Callable[..., bool], other: Callable[..., bool]
) -> None:
    assert sources_hash([one]) != sources_hash([other])
    assert sources_hash([one]) == sources_hash([one])


def test_an_object_that_only_has_an_address_does_not_count() -> None:
    assert sources_hash([closing(object())]) == sources_hash([closing(object())])


PROJECT = {
    "judge_a.py": (
        "import json, pathlib\n"
        "import judged_b as b\n"
        "EXPECTED = json.loads(pathlib.Path(__file__).with_name('expected.json').read_text())\n"
        "def check(world):\n"
        "    from judged_package.late import right\n"
        "    return right(b.plain(world), EXPECTED)\n"
    ),
    "judged_b.py": "from judged_package import plain\n",
    "judged_package/__init__.py": "from .deep import plain\n",
    "judged_package/deep.py": "def plain(world):\n    return world\n",
    "judged_package/late.py": "def right(one, other):\n    return one == other\n",
    "expected.json": "{}",
    "beside.py": "",
}
HASHES = (
    "from judge_a import check\n"
    "from agentkit_evals.sources import files_hash, sources_hash\n"
    "print(files_hash([check]), sources_hash([check]))"
)


@pytest.mark.parametrize("changed", list(PROJECT))
def test_what_a_check_imports_and_what_it_has_read_count(tmp_path: Path, changed: str) -> None:
    def hashes() -> str:
        return subprocess.run(
            [sys.executable, "-c", HASHES],
            cwd=tmp_path,
            env={"PYTHONPATH": f"{REPO / 'evals'}:{REPO}:.", "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    for name, text in PROJECT.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    before = hashes()
    new = "[1]" if changed.endswith(".json") else f"{PROJECT[changed]}CHANGED = True\n"
    (tmp_path / changed).write_text(new)
    assert (hashes() != before) == (changed != "beside.py")


def test_what_is_installed_is_not_imported_to_hash_a_check(tmp_path: Path) -> None:
    (tmp_path / "judge.py").write_text(
        "def check(world: object) -> bool:\n"
        "    import hypothesis.strategies, wsgiref.util\n"
        "    return world in (hypothesis.strategies, wsgiref.util)\n"
    )
    program = (
        "import sys\n"
        "from agentkit_evals.sources import files_hash\n"
        "from judge import check\n"
        "files_hash([check])\n"
        "print(*{'hypothesis', 'wsgiref'} & set(sys.modules), 'and no others')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{tmp_path}:{REPO / 'evals'}:{REPO}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "and no others\n", done.stderr


class Parses:
    """Garbage in a ring, which makes a syntax tree when it is collected."""

    def __init__(self) -> None:
        self.ring = self

    def __del__(self) -> None:
        ast.parse("1 + 1")


def test_a_syntax_tree_that_something_else_makes_meanwhile_does_no_harm() -> None:
    before = gc.get_threshold()
    for made in range(3):
        for _ in range(3):
            Parses()
        gc.set_threshold(50)  # The ring is collected while the tree of this file is made.
        try:
            assert files_hash([check, Wanted]), made
        finally:
            gc.set_threshold(*before)
            gc.collect()  # or another test's tree is made while a ring is collected
