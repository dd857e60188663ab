"""The package `bfcl-eval`, in a folder of its own.

It declares 150 dependencies with versions that conflict with vLLM's; the parts that are used here
need four small ones. So it is installed without dependencies and imported in child processes only.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from agentkit.serving.process import cache_folder, made_once
from agentkit_evals.core import EvalError

VERSION: Final = "2026.3.23"
_REQUIREMENTS: Final = Path(__file__).with_name("requirements.txt")


def installed_folder() -> Path | None:
    """The package's folder if it is installed, or None."""
    folder = _folder()
    return folder if (folder / "complete.json").exists() else None


def install(progress: Callable[[str], None]) -> Path:
    """Installs the package, unless that was done before; returns its folder.

    Raises:
        EvalError: pip failed; the message holds its last words.
    """

    def make(folder: Path) -> None:
        progress(f"installing bfcl-eval {VERSION} into {folder}")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        command += ["--disable-pip-version-check", "--require-hashes", "--only-binary=:all:"]
        command += ["--target", str(folder), "-r", str(_REQUIREMENTS)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - a fixed command
        if done.returncode != 0:
            words = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise EvalError(f"bfcl-eval {VERSION} could not be installed by pip: {words}")

    made_once(_folder(), make, progress)
    return _folder()


def _folder() -> Path:
    """The package's folder, with a hash of the requirements in its name."""
    digest = hashlib.sha256(_REQUIREMENTS.read_bytes()).hexdigest()[:8]
    return cache_folder() / "suites" / f"bfcl-eval-{VERSION}-{digest}"
