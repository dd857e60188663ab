"""The attempts without the sandbox, on a machine that can be thrown away: so each is a real one.

    python -m tests.tools.bare          as root; prints the names of those that got through, as JSON

The machine is this one with a file system that keeps no change (an overlay over memory) and with
namespaces of its own: whatever is ended, mounted or written there is gone afterwards. Attempts that
use something up are not made.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.tools.attempts import ATTEMPTS
from tests.tools.escaping import World, filled, world

_REPO = Path(__file__).parents[2]
_SECONDS = 20
_SETUP = """
set -e
T=$1; shift
mount --make-rprivate /
mount -t tmpfs none "$T"
mkdir "$T/upper" "$T/work" "$T/top"
mount -t overlay overlay -o "lowerdir=/,upperdir=$T/upper,workdir=$T/work" "$T/top"
mount -t proc proc "$T/top/proc"
mount --rbind /sys "$T/top/sys"
mount --rbind /dev "$T/top/dev"
ip link set lo up && ip address add 192.0.2.1 dev lo || true
cd "$T/top" && mkdir old && pivot_root . old && umount -l old
exec "$@"
"""


def effective_attempts() -> list[str]:
    """Names of the attempts that get through where nothing holds them back.

    Raises:
        AssertionError: There is no such machine to be had.
    """
    unshare = shutil.which("unshare")
    assert unshare is not None, "a program of util-linux"
    with tempfile.TemporaryDirectory(prefix="agentkit-bare-") as folder:
        done = subprocess.run(
            [
                *(unshare, "--mount", "--pid", "--net", "--ipc", "--uts", "--fork"),
                *("--kill-child", "/bin/sh", "-c", _SETUP, "sh", folder),
                *(sys.executable, "-m", "tests.tools.bare"),
            ],
            env={**os.environ, "PYTHONPATH": f"{_REPO}:{_REPO / 'tools'}"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def _gets_through(there: World, commands: tuple[str, ...]) -> bool:
    os.chdir(there.project)
    handle = os.open(".", os.O_RDONLY)
    out = ""
    try:
        for command in commands:
            done = subprocess.run(
                ["bash", "-c", filled(there, command)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_SECONDS,
                pass_fds=(handle,),
                check=False,
            )
            out += (done.stdout + done.stderr).decode(errors="replace")
        with contextlib.suppress(subprocess.TimeoutExpired):
            there.victim.wait(0.1 if "kill" in commands[0] else 0)
        return bool(there.got_through(out))
    except subprocess.TimeoutExpired:
        return False
    finally:
        os.close(handle)
        os.chdir("/")


def main() -> None:
    """As the first process of that machine."""
    shown: list[str] = []
    with socket.socket() as elsewhere:
        with contextlib.suppress(OSError):  # no `ip` to give the address to a device
            elsewhere.bind(("192.0.2.1", 80))
            elsewhere.listen(99)
        for number, attempt in enumerate(ATTEMPTS):
            with world(Path(f"/tmp/bare-{number}")) as there:
                if _gets_through(there, attempt.commands):
                    shown.append(attempt.name)
    sys.stdout.write(json.dumps(shown))


if __name__ == "__main__":
    main()
