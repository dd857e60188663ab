"""Tries out whether a sandbox keeps its promises on this machine, over a project made up for it.

A program that only ran commands, without any sandbox, would pass a test that just runs one. So the
command here tries to break out, and each promise is checked by itself.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agentkit_tools.paths import Root
from agentkit_tools.sandbox import Bounds, Sandbox, SandboxError

_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Promise:
    """One thing that a sandbox prevents a command from doing, or allows it.

    Attributes:
        name: Its subject, in a word or two.
        says: The promise, as a sentence.
        script: A shell script that succeeds if the promise holds. `$outside` is a folder outside
            with a file in it; `$net` and the like are the names of the namespaces outside.
    """

    name: str
    says: str
    script: str


def _own(namespace: str) -> str:
    return f'[ "$(readlink /proc/self/ns/{namespace})" != "${namespace}" ]'


PROMISES: Final = (
    Promise("changes", "a command writes in the project", "echo x > made && mkdir -p new/folder"),
    Promise("reading", "it sees nothing outside", '[ ! -e "$outside" ]'),
    Promise(
        "writing",
        "it writes nothing outside",
        "! { echo x > $outside/made; } && [ ! -w /usr/bin ] && [ ! -w /etc ]",
    ),
    Promise(
        "repositories",
        "git directories are read-only, wherever they lie",
        "! { echo x >> .git/config; } && ! { echo x >> deep/sub/.git/config; } && "
        "! { echo x >> bare/config; }",
    ),
    Promise(
        "environments",
        "virtual environments are read-only",
        "! { echo x > env/bin/python; } && ! { echo x > env/x.pth; }",
    ),
    Promise(
        "held in place",
        "no folder on the way to them can be moved",
        "! mv deep away && ! mv env away && ! mv deep/sub away",
    ),
    Promise("network", "it has a network of its own, a loopback", _own("net")),
    Promise(
        "processes",
        "it sees and reaches no process outside",
        f"{_own('pid')} && {_own('ipc')} && {_own('uts')} && [ ! -e /proc/$agent/root$outside ]",
    ),
    Promise(
        "privileges",
        "it has none and gets none",
        f"{_own('user')} && {_own('mnt')} && grep -Eq 'NoNewPrivs:\\s1$' /proc/self/status && "
        "grep -Eq 'CapEff:\\s0+$' /proc/self/status && ! unshare -U true",
    ),
    Promise("system calls", "they are filtered", "grep -Eq 'Seccomp:\\s2$' /proc/self/status"),
)
NEEDS: Final = (
    "needs user namespaces: see kernel.unprivileged_userns_clone, "
    "kernel.apparmor_restrict_unprivileged_userns and, in a container, its seccomp profile"
)
"""What a machine must offer for any sandbox, as the end of a sentence."""
_NAMESPACES = ("net", "pid", "ipc", "uts", "user", "mnt")


def check_sandbox(sandbox: Sandbox) -> str:
    """Makes sure that commands can run, in a sandbox that keeps its promises.

    Returns:
        The program that makes the sandbox.

    Raises:
        SandboxError: They cannot.
    """
    sandbox.check_project()
    bwrap = sandbox.bwrap()
    kept, why_not = kept_promises(bwrap)
    if not kept:
        raise SandboxError(
            f"no command is run: the sandbox does not work here ({bwrap}: {why_not}). It {NEEDS}"
        )
    for promise in PROMISES:
        if not kept.get(promise.name):
            raise SandboxError(
                f"no command is run: the sandbox of {bwrap} does not hold: not that {promise.says}"
            )
    return bwrap


_HELD: dict[str, Mapping[str, bool]] = {}


def kept_promises(bwrap: str) -> tuple[Mapping[str, bool], str]:
    """Tries out a program. Success is remembered if all promises are kept; a failure is not.

    Returns:
        Name of each promise → whether it was kept; empty if nothing ran, and then why not.
    """
    if bwrap in _HELD:
        return _HELD[bwrap], ""
    with tempfile.TemporaryDirectory() as folder:
        kept, why_not = _try_out(bwrap, Path(folder).resolve())
    if kept and all(kept.values()):
        _HELD[bwrap] = kept
    return kept, why_not


def _try_out(bwrap: str, folder: Path) -> tuple[dict[str, bool], str]:
    project, outside = folder / "project", folder / "outside"
    made = _made(project, outside)
    sandbox = Sandbox(Root(project), Bounds(seconds=_SECONDS), ())
    given = {"outside": str(outside), "agent": str(os.getpid())}
    given |= {name: os.readlink(f"/proc/self/ns/{name}") for name in _NAMESPACES}
    lines = [f"{name}='{value}'" for name, value in given.items()]
    for number, promise in enumerate(PROMISES):
        lines.append(f"if ( {promise.script} ) 2>/dev/null; then echo kept {number}; fi")
    with (
        open(os.devnull, "w") as nowhere,
        sandbox.command(
            bwrap, "\n".join([*lines, "echo end"]), nowhere.fileno(), sandbox.guarded()
        ) as (argv, passed),
    ):
        try:
            done = subprocess.run(  # noqa: S603 - our own arguments
                argv,
                pass_fds=passed,
                env=sandbox.environment(),
                cwd=project,  # so that nothing else is touched where there is no sandbox at all
                capture_output=True,
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return {}, f"it took longer than {_SECONDS:g} seconds"
        except OSError as error:
            return {}, f"it could not be started: {error.strerror}"
    printed = done.stdout.decode("utf-8", "replace").splitlines()
    if not printed or printed[-1] != "end":
        return {}, done.stderr.decode("utf-8", "replace").strip() or f"it ended, {done.returncode}"
    kept = {p.name: f"kept {number}" in printed for number, p in enumerate(PROMISES)}
    if any(path.read_text() != _CONTENT for path in made) or len(list(outside.iterdir())) != 1:
        kept["writing"] = False
    return kept, ""


_CONTENT = "as it was"


def _made(project: Path, outside: Path) -> list[Path]:
    files = [
        project / ".git" / "config",
        *(project / "deep" / "sub" / ".git" / name for name in ("config", "HEAD")),
        *(project / "bare" / name for name in ("config", "HEAD", "objects/x", "refs/x")),
        *(project / "env" / name for name in ("pyvenv.cfg", "bin/python")),
        outside / "precious",
    ]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(_CONTENT)
    return files
