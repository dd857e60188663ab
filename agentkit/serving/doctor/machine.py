"""This machine rather than a server: whether agentkit, and a vLLM, can do their work on it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Final

from agentkit.serving.doctor.subject import Finding, passed, warned
from agentkit.serving.environment import cache_folder
from agentkit.serving.plan import TESTED_VLLM

_GIB: Final = 1 << 30
_ROOM: Final = 8
"""GiB: vLLM's environment for the CPU takes 3.5, and twice that while it is made."""

_PORT: Final = 8000
_PATIENCE: Final = 10.0  # seconds for `nvidia-smi`


def examine_machine() -> Iterator[Finding]:
    """Each finding about this machine, as it is made. None of them fails: what is missing is
    missing for some uses only, and the finding says for which.
    """
    yield _named("python", passed(f"Python {sys.version.split()[0]} on {sys.platform}"))
    yield _named("extras", _extras())
    yield _named("vllm", _vllm())
    yield _named("gpu", _gpu())
    yield _named("disk", _disk())
    yield _named("port", _port())


def _named(probe: str, found: Finding) -> Finding:
    return replace(found, probe=probe)


def _extras() -> Finding:
    """Which of agentkit's optional parts are installed."""
    wanted: dict[str, list[str]] = {}
    for line in requires("agentkit-gemma") or ():
        requirement, _, marker = line.partition(";")
        if "extra ==" in marker and "vllm" not in requirement:
            extra = marker.split("extra ==")[1].strip().strip("\"' )")
            name = requirement.split("[")[0]
            for sign in "<>=!~ (":
                name = name.split(sign)[0]
            wanted.setdefault(extra, []).append(name.strip())
    missing = {extra: [n for n in names if not _installed(n)] for extra, names in wanted.items()}
    there = sorted(extra for extra, lacks in missing.items() if not lacks)
    absent = [f"{extra} ({', '.join(lacks)})" for extra, lacks in sorted(missing.items()) if lacks]
    says = f"installed: {', '.join(there) or 'none'}"
    if not absent:
        return passed(says)
    return passed(f"{says}; not installed: {'; '.join(absent)}")


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def _vllm() -> Finding:
    if (found := shutil.which("vllm")) is not None:
        return passed(f"vLLM is at {found}")
    return warned(
        "no vLLM on the path: a model for a GPU cannot be served from here",
        f"pip install vllm=={TESTED_VLLM} in an environment of its own; agentkit serve tiny needs "
        "none",
    )


def _gpu() -> Finding:
    program = shutil.which("nvidia-smi")
    if program is None:
        return warned(
            "no NVIDIA driver: models run on the CPU here, which is for demonstrations",
            "a GPU and its driver; see agentkit serve MODEL --dry-run for how much memory",
        )
    query = "--query-gpu=name,memory.total,driver_version"
    try:
        asked = subprocess.run(  # noqa: S603  found on the path, fixed arguments
            [program, query, "--format=csv,noheader"],
            check=False,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return warned(f"the NVIDIA driver does not answer: {error}", "restart it")
    if asked.returncode or not asked.stdout.strip():
        said = (asked.stderr or asked.stdout).strip()[:200]
        return warned(f"the NVIDIA driver tells of no GPU: {said}", "look at nvidia-smi")
    return passed("; ".join(asked.stdout.strip().splitlines()))


def gpu_memory() -> float | None:
    """GB of the smallest GPU of this machine; None without one, or without its driver."""
    if (program := shutil.which("nvidia-smi")) is None:
        return None
    try:
        asked = subprocess.run(  # noqa: S603  found on the path, fixed arguments
            [program, "--query-gpu=memory.total", "--format=csv,noheader,nounits"],
            check=False,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
        )
        return min(float(line) / 1000 for line in asked.stdout.split())
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def _disk() -> Finding:
    folder = cache_folder()
    there = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(there).free / _GIB
    says = f"{free:.0f} GiB free for {folder}"
    if free < _ROOM:
        return warned(f"{says}: vLLM for the CPU needs {_ROOM}", "AGENTKIT_CACHE=FOLDER elsewhere")
    return passed(says)


def _port() -> Finding:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", _PORT))
        except OSError as error:
            return warned(
                f"port {_PORT} is taken ({error.strerror}): a server may be there already",
                f"agentkit doctor http://localhost:{_PORT}/v1, or agentkit serve MODEL --port N",
            )
    return passed(f"port {_PORT} is free")
