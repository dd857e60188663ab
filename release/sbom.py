"""The bill of materials: what an installation with all extras brings, as CycloneDX 1.6.

In: the environment that `make` installs, from which the tools of development are left out. Out: a
JSON file with each package, its version, licence and what it needs, written by `cyclonedx-py`. The
extra `vllm` is left out: vLLM lives in an environment of its own.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib.metadata import distribution
from pathlib import Path

from agentkit.mistakes import DISTRIBUTION
from release.closure import brought

PROJECT = Path(__file__).parents[1] / "pyproject.toml"


def write(file: Path) -> list[str]:
    """Writes the bill; returns the names of the packages in it.

    Args:
        file: Where to.
    """
    names = brought(DISTRIBUTION, distribution(DISTRIBUTION).metadata.get_all("Provides-Extra", ()))
    names.remove(DISTRIBUTION)  # it is what the bill is of
    with tempfile.TemporaryDirectory() as folder:
        python = _environment_of_names(Path(folder), names)
        command = ["environment", "--pyproject", str(PROJECT), "--mc-type", "library"]
        command += ["--output-reproducible", "--of", "JSON", "-o", str(file), str(python)]
        subprocess.run([sys.executable, "-m", "cyclonedx_py", *command], check=True)
    return sorted(names)


def _environment_of_names(folder: Path, names: set[str]) -> Path:
    """An environment with the metadata of these packages, and nothing else of them."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    for name in names:
        (metadata,) = (  # setuptools brings copies of others, deeper within
            file
            for file in distribution(name).files or ()
            if file.name == "METADATA" and len(file.parts) == 2
        )
        about = Path(str(metadata.locate())).parent
        (packages / about.name).symlink_to(about)
    return folder / "bin" / "python"


def main() -> None:
    """Writes the bill to the file that is named."""
    file = Path(sys.argv[1])
    file.parent.mkdir(parents=True, exist_ok=True)
    names = write(file)
    sys.stdout.write(f"{len(names)} packages in {file}\n")


if __name__ == "__main__":
    main()
