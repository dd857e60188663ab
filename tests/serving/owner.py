"""Starts the fake server as `running_server` does and waits to be killed.

    python owner.py PORT PIDS_FILE

It prints the guard's process id when the server answers.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from agentkit.serving.process import running_server


def main(port: str, pids: Path) -> None:
    with running_server(
        [sys.executable, str(Path(__file__).with_name("fake_server.py")), port, str(pids)],
        url=f"http://127.0.0.1:{port}",
        log=pids.with_suffix(".log"),
        environment={},
        progress=lambda _: None,
        grace=0.3,
    ) as server:
        print(server.pid, flush=True)  # noqa: T201  how it tells the test
        signal.pause()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
