"""Builds the packages and installs them as users do: each extra alone, on each Python that is here.

In: the repository. Out: `dist/` with wheel and sdist, and a line for each Python and extra: that it
was installed from the package index into an empty environment, and that its modules import there. A
Python that is not here is named as untested. It needs the index, and some minutes for each Python.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from packaging.metadata import Metadata

REPO = Path(__file__).parents[1]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
EXTRAS = {
    "": ("agentkit", "agentkit.testing", "agentkit.runtime"),
    "cli": ("agentkit.cli.app", "agentkit.cli.chat"),
    "local": ("agentkit.models.embedded",),
    "mcp": ("agentkit.mcp", "agentkit.runtime.mcp_server"),
    "tools": ("agentkit_tools",),
    "otel": ("agentkit.trace.otel",),
    "evals": ("agentkit_evals", "agentkit_evals.cli"),
    "postgres": ("agentkit.journal.postgres", "psycopg"),
    "ray": ("agentkit.executors.ray", "ray"),
}
"""What must import where an extra is installed alone; "" is the core. vLLM, some gigabytes, is what
`make live` installs."""


def built(folder: Path) -> tuple[Path, Path]:
    """Builds both packages; returns the wheel and the sdist.

    Args:
        folder: Where to; what is there of earlier builds is removed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", folder],
        cwd=REPO,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, sdist


def metadata_of(wheel: Path) -> Metadata:
    """What a wheel says of itself.

    Raises:
        ExceptionGroup: An index would refuse it.
    """
    with zipfile.ZipFile(wheel) as files:
        (name,) = [name for name in files.namelist() if name.endswith(".dist-info/METADATA")]
        return Metadata.from_email(files.read(name), validate=True)


def interpreter(version: str) -> str | None:
    """A Python of this version, from the path or from pyenv."""
    root = Path(os.environ.get("PYENV_ROOT") or "~/.pyenv").expanduser()
    found = sorted(root.glob(f"versions/{version}.*/bin/python{version}"))
    for candidate in (shutil.which(f"python{version}"), *map(str, found)):
        # The shim of a version manager may stand for a Python that is not there.
        if candidate and not _run([candidate, "-c", ""]).returncode:
            return candidate
    return None


def problem_of(python: str, wheel: Path, extra: str) -> str:
    """Installs one extra into an empty environment; says what is wrong, or nothing."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = f"{wheel}[{extra}]" if extra else str(wheel)
        code = "".join(f"import {module}\n" for module in EXTRAS[extra])
        inside = str(Path(folder) / "bin" / "python")
        for command in (
            [python, "-m", "venv", folder],
            [inside, "-m", "pip", "install", "-q", "--disable-pip-version-check", wanted],
            [inside, "-m", "pip", "check"],
            [inside, "-c", code],
        ):
            done = _run(command, folder)
            if done.returncode:
                return (done.stderr or done.stdout).strip().splitlines()[-1]
    return ""


def _run(command: Sequence[str], folder: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)


def main(arguments: Sequence[str]) -> int:
    """Builds, installs and tells."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", action="append", help="a version; default: each that is here")
    parser.add_argument("--extra", action="append", choices=EXTRAS, help="default: each")
    given = parser.parse_args(arguments)
    wheel, sdist = built(REPO / "dist")
    about = metadata_of(wheel)
    print(f"{wheel.name}, {sdist.name}: {about.name} {about.version}", flush=True)
    failed = False
    for version in given.python or PYTHONS:
        python = interpreter(version)
        if python is None:
            print(f"Python {version}: not here, untested", flush=True)
            continue
        for extra in given.extra or EXTRAS:
            problem = problem_of(python, wheel, extra)
            failed |= bool(problem)
            name = f"extra {extra}" if extra else "core"
            print(f"Python {version}, {name}: {problem or 'installs and imports'}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
