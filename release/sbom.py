"""The bill of materials: what an installation with all extras brings, as CycloneDX 1.6.

In: the environment that `make` installs, from which the tools of development are left out. Out: a
JSON file with each package, its version, licence and what it needs; no time and no serial number,
so that the same environment gives the same file. The extra `vllm` is left out: vLLM lives in an
environment of its own.
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from agentkit.errors import DISTRIBUTION
from release.closure import needs


def write(file: Path) -> list[str]:
    """Writes the bill; returns the names of the packages in it.

    Args:
        file: Where to.
    """
    extras = distribution(DISTRIBUTION).metadata.get_all("Provides-Extra", ())
    graph = needs(DISTRIBUTION, extras)
    names = sorted(graph.keys() - {DISTRIBUTION})
    bill = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": _component(DISTRIBUTION)},
        "components": [_component(name) for name in names],
        "dependencies": [
            {"ref": _ref(name), "dependsOn": [_ref(each) for each in sorted(graph[name])]}
            for name in (DISTRIBUTION, *names)
        ],
    }
    file.write_text(json.dumps(bill, indent=2) + "\n")
    return names


def _ref(name: str) -> str:
    return f"pkg:pypi/{name}@{distribution(name).version}"


def _component(name: str) -> dict[str, Any]:
    about = distribution(name).metadata.json
    return {
        "type": "library",
        "bom-ref": _ref(name),
        "name": name,
        "version": about["version"],
        "description": about.get("summary", ""),
        "licenses": _licenses(about),
        "purl": _ref(name),
    }


def _licenses(about: dict[str, Any]) -> list[dict[str, Any]]:
    """What a package says of its licence: what SPDX has a name for, or its own words."""
    said = about.get("license_expression") or about.get("license") or ""
    try:
        expression = canonicalize_license_expression(said)
    except InvalidLicenseExpression:
        classified = [
            entry.rpartition(" :: ")[2]
            for entry in about.get("classifier", ())
            if entry.startswith("License :: OSI Approved :: ")
        ]
        own = [said] if said and "\n" not in said else []
        return [{"license": {"name": name}} for name in classified or own]
    if " " in expression:
        return [{"expression": expression}]
    return [{"license": {"id": expression}}]


def main() -> None:
    """Writes the bill to the file that is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="to write, JSON")
    file: Path = parser.parse_args().file
    file.parent.mkdir(parents=True, exist_ok=True)
    names = write(file)
    sys.stdout.write(f"{len(names)} packages in {file}\n")


if __name__ == "__main__":
    main()
