"""A TCP relay to the real server that stops half-way through a reply, so that a test can too."""

from __future__ import annotations

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(slots=True)
class Relay:
    """A relay that listens.

    Attributes:
        url: Its address, to be used as the server's.
        holding: Set once the first piece of an event stream has gone through; no more will.
        gone: Set once the client has left a stream that was held.
    """

    url: str
    upstream: tuple[str, int]
    holding: threading.Event = field(default_factory=threading.Event)
    gone: threading.Event = field(default_factory=threading.Event)

    def serve(self, listener: socket.socket) -> None:
        """Relay connections until the listener is closed."""
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection(self.upstream)
            for target, args in ((self._up, (client, server)), (self._down, (server, client))):
                threading.Thread(target=target, args=args, daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        with client, server:
            while piece := _receive(client):
                server.sendall(piece)
            server.shutdown(socket.SHUT_RDWR)  # the server aborts what it was generating
        if self.holding.is_set():
            self.gone.set()

    def _down(self, server: socket.socket, client: socket.socket) -> None:
        while piece := _receive(server):
            client.sendall(piece)
            if b"data: {" in piece:
                self.holding.set()
                return


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except OSError:  # closed by the other direction
        return b""


@contextmanager
def relay(url: str) -> Generator[Relay]:
    """A relay to the server at `url`, for the length of a `with` block."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        made = Relay(f"http://127.0.0.1:{port}", (parts.hostname, parts.port))
        thread = threading.Thread(target=made.serve, args=(listener,), daemon=True)
        thread.start()
        yield made
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)
