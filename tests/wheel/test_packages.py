"""The packages of a release: both hold the same code, and the bill names what they bring."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.model.bom import Bom
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from release import sbom
from release.check import EXTRAS, built, metadata_of
from tests.wheel.conftest import REPO

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PROJECT: dict[str, Any] = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]


def names(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(text).name) for text in requirements}


def test_an_unpacked_sdist_builds_the_very_wheel(tmp_path: Path) -> None:
    wheel, sdist = built(tmp_path / "dist")
    with tarfile.open(sdist) as files:
        files.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.glob("agentkit_gemma-*")
    again = tmp_path / "again"
    command = ["-m", "hatchling", "build", "-t", "wheel", "-d", str(again)]
    subprocess.run([sys.executable, *command], cwd=unpacked, check=True, capture_output=True)
    (other,) = again.glob("*.whl")

    def held(file: Path) -> dict[str, int]:
        return {each.filename: each.CRC for each in zipfile.ZipFile(file).infolist()}

    assert held(other) == held(wheel)
    about = metadata_of(wheel)
    assert (about.name, str(about.version)) == (PROJECT["name"], PROJECT["version"])
    assert about.provides_extra is not None
    assert set(about.provides_extra) == set(PROJECT["optional-dependencies"])


def test_every_extra_but_vllm_is_installed_alone_by_the_check_of_a_release() -> None:
    assert set(EXTRAS) == {"", *PROJECT["optional-dependencies"]} - {"vllm"}


def test_the_bill_of_materials_names_what_pyproject_asks_for_and_no_tool_of_development(
    tmp_path: Path,
) -> None:
    file = tmp_path / "sbom.json"
    sbom.write(file)
    bill = json.loads(file.read_text())
    root = bill["metadata"]["component"]
    assert (bill["bomFormat"], root["name"]) == ("CycloneDX", PROJECT["name"])
    there = {canonicalize_name(part["name"]): part for part in bill["components"]}
    read: Any = Bom.from_json(bill)  # type: ignore[attr-defined]  # a decorator adds it
    assert {part.name: part.version for part in read.components} == {
        part["name"]: part["version"] for part in bill["components"]
    }
    extras = {**PROJECT["optional-dependencies"], "vllm": []}  # in an environment of its own
    asked = names(PROJECT["dependencies"]).union(*map(names, extras.values()))
    assert asked <= set(there)
    assert not {"pytest", "mypy", "ruff", "sphinx", "hypothesis"} & set(there)
    assert all(part["version"] and part["purl"] for part in there.values())
    needs = {entry["ref"]: entry.get("dependsOn", []) for entry in bill["dependencies"]}
    direct = {part["name"] for part in there.values() if part["bom-ref"] in needs[root["bom-ref"]]}
    assert direct == asked
