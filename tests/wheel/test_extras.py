"""What is in the wheel, and that each extra is enough for what it is for."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from agentkit.errors import DISTRIBUTION
from release.check import EXTRAS
from release.closure import brought
from tests.wheel.conftest import REPO, Installed
from tests.wheel.test_locks import DEMO

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ONLY = '''
"""Imports modules where only what an extra brings is installed; all else is missing."""
import importlib, re, sys
from importlib.metadata import packages_distributions

there = set(sys.argv[1].split(","))
missing = {
    package
    for package, names in packages_distributions().items()
    if not {re.sub(r"[-_.]+", "-", name).lower() for name in names} & there
}


class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


for name in [name for name in sys.modules if name.partition(".")[0] in missing]:
    del sys.modules[name]
sys.meta_path.insert(0, Missing())
for module in sys.argv[2].split(","):
    importlib.import_module(module)
'''


def only(extras: Iterable[str], *modules: str) -> str:
    """A program that imports modules where these extras alone are installed."""
    brings = brought(DISTRIBUTION, extras)
    inside = {"psutil"} if "ray" in brings else set[str]()  # ray has a copy of it within itself
    there = ",".join(sorted(brings | inside))
    return f"import sys; sys.argv = ['only', {there!r}, {','.join(modules)!r}]\n{ONLY}"


@pytest.mark.parametrize("extra", EXTRAS)
def test_each_extra_imports_alone(installed: Installed, extra: str, home: Path) -> None:
    done = installed.script(only([extra] if extra else [], *EXTRAS[extra]), home)
    assert done.code == 0, done.err


def test_without_the_command_lines_extra_the_command_says_how_to_get_it(
    installed: Installed, home: Path
) -> None:
    code = only([], "agentkit.cli")
    done = installed.script(f"{code}from agentkit.cli import main\nmain()\n", home)
    assert done.code == 1
    assert "agentkit: the command line needs the extra `cli`: pip install " in done.err
    assert "Traceback" not in done.err


def test_the_wheel_holds_the_code_the_model_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    (about,) = [top for top in tops if top.endswith(".dist-info")]
    assert tops == {"agentkit", "agentkit_start.py", "agentkit_tools", "agentkit_evals", about}
    assert "agentkit/py.typed" in names
    assert "agentkit/models/tiny/model.safetensors" in names
    assert f"{about}/licenses/LICENSE" in names
    assert not [name for name in names if name.startswith("agentkit/") and "/test_" in name]


def test_the_command_of_the_wheel_says_all_versions(installed: Installed) -> None:
    done = installed.agentkit("--version", "--all")
    assert done.code == 0, done.err
    first, *_ = done.out.splitlines()
    assert str(installed.python.parents[1]) in first
    assert "MISSING" not in done.out


def test_what_the_demonstration_installs_answers_its_questions(
    installed: Installed, home: Path
) -> None:
    code = only(DEMO, "agentkit.cli")
    questions = (REPO / "examples" / "questions.txt").read_text().splitlines()
    for question in questions:
        argv = ["agentkit", "run", question, "-p", str(REPO), "-m", "tiny"]
        done = installed.script(
            f"{code}sys.argv = {argv}\nfrom agentkit.cli import main\nmain()\n", home
        )
        assert done.code == 0, done.err
        assert done.out.strip(), question
