"""What the sandbox can promise on this machine and over a project: `agentkit doctor sandbox`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from agentkit.serving.doctor.subject import Finding
from agentkit_tools.beneath import has_openat2
from agentkit_tools.cgroup import capped
from agentkit_tools.helpers import BUBBLEWRAP, RIPGREP, candidates, found
from agentkit_tools.paths import Root
from agentkit_tools.relied import trail
from agentkit_tools.sandbox import COUNTS_INSIDE, Bounds, Sandbox, SandboxError
from agentkit_tools.tryout import NEEDS, PROMISES, kept_promises


def examine_sandbox(project: Path) -> Iterator[Finding]:
    """Tries out the sandbox, and yields what commands could and could not do over a project.

    Args:
        project: The directory that commands would work on.

    Raises:
        NotADirectoryError: There is no such directory.
    """
    root = Root(project)
    sandbox = Sandbox(root, Bounds(), ())
    try:
        sandbox.check_project()
        yield Finding("pass", f"commands may work on {root.path}", probe="project")
        bwrap = sandbox.bwrap()
    except SandboxError as error:
        yield Finding("fail", str(error), _refused(root.path), "bwrap")
    else:
        yield Finding("pass", f"{bwrap} makes it", probe="bwrap")
        yield from _promises(bwrap)
    yield _bound_of_processes()
    yield _ripgrep(root)
    yield _paths(root)
    yield from _closed(sandbox)
    yield from _on_path(root)


def start_notices(project: Path) -> Iterator[str]:
    """What a person is told before an agent runs commands over a project."""
    closed = Sandbox(Root(project), Bounds(), ()).guarded().named()
    if closed:
        yield f"read-only to commands: {_listed(closed)}"


def _promises(bwrap: str) -> Iterator[Finding]:
    kept, why_not = kept_promises(bwrap)
    if not kept:
        yield Finding("fail", f"{bwrap} makes no sandbox here: {why_not}", f"it {NEEDS}", "sandbox")
    for promise in PROMISES if kept else ():
        if kept.get(promise.name):
            yield Finding("pass", promise.says, probe=promise.name)
        else:
            remedy = "no command runs until it does: install bubblewrap anew, from your system"
            yield Finding("fail", f"it does not hold that {promise.says}", remedy, promise.name)


def _refused(project: Path) -> str:
    """The remedy, with the reason why each bwrap that was found is refused."""
    problems = [problem for _, problem in candidates(BUBBLEWRAP, project) if problem]
    return "; ".join(["apt install bubblewrap", *problems])


def _bound_of_processes() -> Finding:
    probe = "fork bombs"
    if os.geteuid() != 0:
        if COUNTS_INSIDE:
            return Finding("pass", "the kernel caps the processes of a command", probe=probe)
        return Finding("warn", "only counted, not capped", "a kernel from 5.14 on caps them", probe)
    with capped(Bounds().processes) as joining:
        if joining:
            return Finding("pass", "a control group caps the processes of a command", probe=probe)
    remedy = "run it as a plain user, or let it make control groups"
    return Finding("warn", "processes are counted, not capped: root has no limit", remedy, probe)


def _ripgrep(root: Root) -> Finding:
    probe = "ripgrep"
    if (path := found(RIPGREP, root.path)) is not None:
        return Finding("pass", f"{path} searches", probe=probe)
    refused = [problem for _, problem in candidates(RIPGREP, root.path) if problem]
    said = "; ".join(refused) or "there is none"
    return Finding("warn", f"Python searches, slowly: {said}", "install ripgrep", probe)


def _paths(root: Root) -> Finding:
    if has_openat2(root.descriptor):
        return Finding("pass", "the kernel keeps paths beneath the project", probe="paths")
    remedy = "a kernel from 5.6 on, or a container that allows openat2, does it in one call"
    return Finding("warn", "paths are opened one component at a time", remedy, "paths")


def _closed(sandbox: Sandbox) -> Iterator[Finding]:
    closed = sandbox.guarded()
    said = _listed(closed.named()) or "nothing; all of it is writable"
    yield Finding("pass", f"read-only to commands: {said}", probe="closed")
    if "." in closed.sealed:
        yield Finding(
            "warn",
            f"commands make no file right in the project's folder: {closed.sealed['.']}",
            "start with `agentkit`, not `python -m agentkit`; keep code that is installed for "
            "editing in a folder of its own, such as src",
            "closed",
        )


def _on_path(root: Root) -> Iterator[Finding]:
    for folder in os.get_exec_path():
        _, end = trail(folder)
        if Path(end).is_relative_to(root.path) and not os.path.isdir(end):
            yield Finding(
                "warn",
                f"PATH names {folder}, where commands could leave programs that you start",
                "take it out of PATH",
                "PATH",
            )


_MOST_SHOWN = 12  # paths


def _listed(closed: dict[str, str]) -> str:
    shown = [f"{path} ({why})" for path, why in list(closed.items())[:_MOST_SHOWN]]
    more = len(closed) - len(shown)
    return ", ".join([*shown, *([f"and {more} more"] if more else [])])
