"""What commands leave behind runs nowhere outside; `make soak PART=escapes` tries each alone."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator

import pytest

from tests.tools.planting import KINDS, Kind, Template, at_once, each, template, usable
from tests.tools.plants import PLANTS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a sandbox of Linux"),
    pytest.mark.skipif(shutil.which("git") is None, reason="repositories are made by git"),
]
SHOWN = (
    "environment: a file of paths",
    "code: the agent's file",
    "git: a folder above a nested directory exchanged",
)


@pytest.fixture(scope="module")
def made() -> Iterator[Template]:
    with template() as one:
        yield one


def test_each_has_a_name_of_its_own() -> None:
    assert len({plant.name for plant in PLANTS}) == len(PLANTS)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_that_a_command_leaves_behind_runs_outside(made: Template, kind: Kind) -> None:
    assert at_once(made, kind) == []


@pytest.mark.parametrize("name", SHOWN)
def test_without_the_sandbox_it_runs(made: Template, name: str) -> None:
    plants = [plant for plant in usable(made) if plant.name == name]
    assert set(each(made, plants, within=False)) == {name}
