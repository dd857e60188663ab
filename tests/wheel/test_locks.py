"""What `make demo` and `make test` install: nothing that is not asked for, and a newcomer's wait is
bounded.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import distribution, packages_distributions
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from agentkit.errors import DISTRIBUTION
from release.closure import brought
from tests.wheel.conftest import REPO

PYPROJECT: dict[str, Any] = tomllib.loads((REPO / "pyproject.toml").read_text())
DEMO = ("cli", "local", "tools")
EXTRAS = tuple({*PYPROJECT["project"]["optional-dependencies"]} - {"vllm"})
QUICK = {"rfc3339-validator", "six", "sniffio", "setuptools"}
"""What some package loads where it finds it, in a few milliseconds."""
LARGEST_DEMO = 240_000_000
"""Bytes of what `make demo` installs, unpacked; most of it are onnxruntime and numpy."""


def locked(name: str) -> dict[str, str]:
    """The packages of a lock that are for this platform, with their versions."""
    lines = (REPO / name).read_text().splitlines()
    entries = [Requirement(line.rstrip(" \\")) for line in lines if line[:1].isalnum()]
    return {
        canonicalize_name(entry.name): str(entry.specifier)
        for entry in entries
        if entry.marker is None or entry.marker.evaluate()
    }


def group(name: str) -> list[str]:
    """What a group of development asks for, with the groups in it."""
    return [
        needed
        for entry in PYPROJECT["dependency-groups"][name]
        for needed in ([entry] if isinstance(entry, str) else group(entry["include-group"]))
    ]


def needed(extras: tuple[str, ...], asked: list[str]) -> set[str]:
    """All that these extras and these packages bring."""
    names = brought(DISTRIBUTION, extras) - {DISTRIBUTION}
    return names.union(*(brought(one.name, one.extras) for one in map(Requirement, asked)))


@pytest.mark.parametrize(
    ("lock", "extras", "asked"),
    [
        ("requirements-demo.lock", DEMO, group("build")),
        (
            "requirements-dev.lock",
            EXTRAS,
            group("dev"),
        ),
    ],
)
def test_a_command_installs_what_it_asks_for_and_nothing_else(
    lock: str, extras: tuple[str, ...], asked: list[str]
) -> None:
    assert set(locked(lock)) == needed(extras, asked)


def test_the_tests_replace_nothing_that_the_demonstration_installed() -> None:
    assert locked("requirements-demo.lock").items() <= locked("requirements-dev.lock").items()


@pytest.mark.slow
def test_what_is_here_for_the_tests_alone_is_not_loaded_with_agentkit() -> None:
    """A library may load what it finds: with all checkers of formats, jsonschema takes a second."""
    code = "import sys, agentkit; print(*{name.partition('.')[0] for name in sys.modules})"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    owners = packages_distributions()
    loaded = {canonicalize_name(d) for name in done.stdout.split() for d in owners.get(name, ())}
    assert loaded - brought(DISTRIBUTION, EXTRAS) <= QUICK


def test_the_demonstration_stays_quick_to_install() -> None:
    sizes = {
        name: sum(file.size or 0 for file in distribution(name).files or ())
        for name in locked("requirements-demo.lock")
    }
    assert sum(sizes.values()) < LARGEST_DEMO, sorted(sizes.items(), key=lambda one: -one[1])[:5]
    assert len(sizes) <= 52, sorted(sizes)
