from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import agentkit

REPO = Path(__file__).parents[1]
# Not rich: structlog imports it by itself wherever it is installed.
EXTRAS = {"mcp", "typer", "click", "prompt_toolkit", "onnxruntime", "tokenizers", "numpy"}


def test_the_list_of_public_names_is_sorted_and_has_none_twice() -> None:
    assert list(agentkit.__all__) == sorted(set(agentkit.__all__))


def test_the_list_holds_what_the_package_exports_and_nothing_else() -> None:
    exported = {
        name
        for name, value in vars(agentkit).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert set(agentkit.__all__) == exported


@pytest.mark.parametrize("name", agentkit.__all__)
def test_every_public_class_and_function_is_documented(name: str) -> None:
    value = getattr(agentkit, name)
    if callable(value) and getattr(value, "__module__", "").startswith("agentkit"):
        assert (value.__doc__ or "").strip()


def test_each_module_that_lists_its_names_has_them() -> None:
    for found in pkgutil.walk_packages(agentkit.__path__, "agentkit."):
        if found.name.endswith("__main__"):
            continue
        module = importlib.import_module(found.name)
        for name in getattr(module, "__all__", ()):
            assert hasattr(module, name), f"{found.name}.{name}"


@pytest.mark.slow
def test_importing_agentkit_pulls_in_no_extra() -> None:
    code = "import agentkit, json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True
    )
    roots = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert not roots & (EXTRAS | {"torch", "vllm", "transformers", "pytest", "trio"})


def test_the_version_is_the_distributions() -> None:
    declared = [
        line
        for line in (REPO / "pyproject.toml").read_text().splitlines()
        if line.startswith("version = ")
    ]
    assert declared == [f'version = "{agentkit.__version__}"']


def test_the_types_are_published() -> None:
    for package in ("agentkit", "tools/agentkit_tools", "evals/agentkit_evals"):
        assert (REPO / package / "py.typed").is_file()
