"""The sources of agentkit as they were, for benchmarks that compare with them."""

from __future__ import annotations

import io
import subprocess
import tarfile
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from soak.proof import ROOT


@contextmanager
def agentkit_at(revision: str) -> Generator[Path]:
    """A folder with the package `agentkit` of a revision, for the length of a block.

    Raises:
        subprocess.CalledProcessError: git knows no such revision.
    """
    asked = ["git", "archive", revision, "agentkit"]
    packed = subprocess.run(asked, cwd=ROOT, check=True, capture_output=True).stdout
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(folder, filter="data")
        yield Path(folder)
