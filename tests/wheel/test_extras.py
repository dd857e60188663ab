"""What is in the wheel, and that each extra is enough for what it is for."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tests.wheel.conftest import REPO, Installed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ONLY = '''
"""Imports modules where only what an extra brings is installed; all else is missing."""
import importlib, re, sys
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions

from packaging.requirements import Requirement


def brought(name, extras, seen):
    key = (re.sub(r"[-_.]+", "-", name).lower(), tuple(sorted(extras)))
    if key in seen:
        return
    try:
        requires = distribution(name).requires or []
    except PackageNotFoundError:
        return
    seen.add(key)
    for text in requires:
        needed = Requirement(text)
        if needed.marker is None or any(
            needed.marker.evaluate({"extra": extra}) for extra in ("", *extras)
        ):
            brought(needed.name, needed.extras, seen)


seen = set()
brought("agentkit-gemma", sys.argv[1].split(",") if sys.argv[1] else [], seen)
there = {name for name, _ in seen}
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
print(f"{len(there)} distributions")
'''

EXTRAS = {
    "": "agentkit,agentkit.testing,agentkit.runtime",
    "cli": "agentkit.cli.app,agentkit.cli.chat",
    "local": "agentkit.models.embedded",
    "mcp": "agentkit.mcp,agentkit.runtime.mcp_server",
    "tools": "agentkit_tools",
    "otel": "agentkit.trace.otel",
    "evals": "agentkit_evals,agentkit_evals.cli",
}


@pytest.mark.parametrize("extra", EXTRAS)
def test_each_extra_imports_alone(installed: Installed, extra: str, home: Path) -> None:
    file = home / "only.py"
    file.write_text(ONLY)
    code = f"import sys; sys.argv = ['only', {extra!r}, {EXTRAS[extra]!r}]\n{ONLY}"
    done = installed.script(code, home)
    assert done.code == 0, done.err
    assert done.out.endswith("distributions\n")


def test_without_the_command_lines_extra_the_command_says_how_to_get_it(
    installed: Installed, home: Path
) -> None:
    code = f"import sys; sys.argv = ['only', '', 'agentkit.cli']\n{ONLY}\n"
    done = installed.script(f"{code}from agentkit.cli import main\nmain()\n", home)
    assert done.code == 1
    assert "agentkit: the command line needs the extra `cli`: pip install " in done.err
    assert "Traceback" not in done.err


def test_the_wheel_holds_the_code_the_model_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    (about,) = [top for top in tops if top.endswith(".dist-info")]
    assert tops == {"agentkit", "agentkit_tools", "agentkit_evals", about}
    assert "agentkit/py.typed" in names
    assert "agentkit/models/tiny/model.safetensors" in names
    assert f"{about}/licenses/LICENSE" in names
    assert not [name for name in names if name.startswith("agentkit/") and "/test_" in name]


def test_it_answers_the_questions_of_the_demonstration(installed: Installed, home: Path) -> None:
    questions = (REPO / "examples" / "questions.txt").read_text().splitlines()
    for question in questions:
        done = installed.agentkit("run", question, "-p", REPO, "-m", "tiny", home=home)
        assert done.code == 0, done.err
        assert done.out.strip(), question
