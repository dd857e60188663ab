"""The other end of a `ProcessExecutor`: serves calls from a socket, one at a time."""

from __future__ import annotations

import json
import socket
import sys
import threading

from agentkit.executors.remote import dump_result, perform
from agentkit.executors.supervisor import adopt_orphans, end_descendants

READY, RESULT, PROGRESS, UNABLE = b"H", b"R", b"P", b"U"
"""How a line begins: the worker is ready, a result, progress, why a call cannot run here."""


def serve(channel: int) -> None:
    """Runs calls until the socket closes. A call is over when all of its processes are.

    Args:
        channel: Number of the open socket: a line of JSON for each call.
    """
    adopt_orphans()
    lock = threading.Lock()
    with socket.socket(fileno=channel) as connection, connection.makefile("rb") as lines:

        def send(kind: bytes, line: bytes) -> None:
            with lock:
                connection.sendall(kind + line + b"\n")

        def report(text: str) -> None:
            send(PROGRESS, json.dumps(text).encode())

        send(READY, b"")
        for request in lines:
            try:
                kind, answer = RESULT, dump_result(perform(request, report))
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                kind, answer = UNABLE, json.dumps(f"{type(error).__name__}: {error}").encode()
            if sys.platform == "linux":  # elsewhere they are not to be found
                end_descendants()
            send(kind, answer)
