"""A server with the awkward habits of vLLM: workers, one in its own session, deaf to SIGTERM.

    python fake_server.py PORT PIDS_FILE

It writes the ids of all its processes to PIDS_FILE before it answers.
"""

from __future__ import annotations

import http.server
import os
import signal
import subprocess
import sys
from pathlib import Path

_DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1); signal.pause()"


def deaf_worker(*, own_session: bool) -> subprocess.Popen[bytes]:
    worker = subprocess.Popen(
        [sys.executable, "-uc", _DEAF], stdout=subprocess.PIPE, start_new_session=own_session
    )
    assert worker.stdout is not None
    worker.stdout.read(1)  # it is deaf from here on
    return worker


class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
        pass


def main(port: int, pids: Path) -> None:
    workers = [deaf_worker(own_session=False), deaf_worker(own_session=True)]
    server = http.server.HTTPServer(("127.0.0.1", port), Healthy)
    pids.write_text(" ".join(str(pid) for pid in [os.getpid(), *(w.pid for w in workers)]))
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
