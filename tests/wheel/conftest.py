"""The wheel, built once and installed into an environment without the repository.

The environment sees the packages of the one that runs the tests, and neither its editable install
nor this folder; `test_extras.py` takes away what an extra does not bring.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]


@dataclass(frozen=True)
class Done:
    """What came of a process."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel.

    Attributes:
        wheel: Its file.
        python: The environment's interpreter.
        home: An empty folder to work in.
    """

    wheel: Path
    python: Path
    home: Path

    def environment(self, home: Path, **more: str) -> dict[str, str]:
        """Of a process that knows nothing of this one's."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        return {**kept, "HOME": str(home), "AGENTKIT_RUNS": str(home / "state" / "runs"), **more}

    def script(self, code: str, home: Path | None = None, **variables: str) -> Done:
        """Runs a program, which stands in a file as a reader's does."""
        folder = home or self.home
        file = folder / "program.py"
        file.write_text(code)
        return self._run([str(self.python), str(file)], folder, variables)

    def agentkit(
        self, *arguments: object, home: Path | None = None, typed: str = "", **variables: str
    ) -> Done:
        """Runs the command."""
        command = [str(self.python.parent / "agentkit"), *map(str, arguments)]
        return self._run(command, home or self.home, variables, typed)

    def _run(
        self, command: list[str], folder: Path, variables: Mapping[str, str], typed: str = ""
    ) -> Done:
        done = subprocess.run(
            command,
            cwd=folder,
            env=self.environment(folder, **variables),
            input=typed,
            capture_output=True,
            text=True,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = ["-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    subprocess.run([sys.executable, *build, str(REPO)], check=True)
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    packages = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    install = ["-m", "pip", "--python", str(python), "install", "-q", "--no-deps", str(wheel)]
    subprocess.run([sys.executable, *install], check=True)
    # A folder that is named in a `.pth` file is searched, but its own `.pth` files are not read.
    (Path(packages) / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return Installed(wheel, python, tmp_path_factory.mktemp("home"))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder of one's own for one test."""
    return tmp_path
