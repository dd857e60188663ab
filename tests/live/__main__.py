"""`make live`: real vLLMs, each started once, and the live tests against each of them.

    python -m tests.live [--checkpoint tiny|real-size|random|random:SEED|PATH]… [pytest arguments]

By default the trained checkpoint alone. `real-size` has random weights, a real Gemma's vocabulary
of 262,144 tokens and a window of 32K, and skips what only trained weights can do; it takes far
longer than a test run should. Several may be given. With AGENTKIT_LIVE_URL (and AGENTKIT_LIVE_KEY,
AGENTKIT_LIVE_CHECKPOINT) set, the server at that address is used instead.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence

from agentkit.errors import ServerNotReadyError
from tests.live.checkpoint import REPO
from tests.live.server import checkpoint_folder, live_server, window_of


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the live tests; returns pytest's first bad exit code, or 2 where no server starts."""
    parser = argparse.ArgumentParser(prog="python -m tests.live", description=__doc__)
    parser.add_argument("--checkpoint", action="append")
    options, pytest_arguments = parser.parse_known_args(arguments)
    if os.environ.get("AGENTKIT_LIVE_URL"):
        return _pytest(pytest_arguments, {})
    try:
        codes = [
            _with_own_server(checkpoint, pytest_arguments)
            for checkpoint in options.checkpoint or ("tiny",)
        ]
    except ServerNotReadyError as error:
        _say(str(error))
        return 2
    except KeyboardInterrupt:
        _say("stopped; vLLM and its workers are gone")
        return 130
    return next(filter(None, codes), 0)


def _with_own_server(checkpoint: str, pytest_arguments: Sequence[str]) -> int:
    with live_server(checkpoint_folder(checkpoint), window=window_of(checkpoint)) as server:
        seconds = server.process.seconds
        _say(f"{checkpoint}: vLLM answers after {seconds:.0f} s; its log: {server.process.log}")
        started = time.monotonic()
        code = _pytest(
            pytest_arguments,
            {
                "AGENTKIT_LIVE_URL": server.url,
                "AGENTKIT_LIVE_KEY": server.api_key,
                "AGENTKIT_LIVE_CHECKPOINT": checkpoint,
                "AGENTKIT_LIVE_LOG": str(server.process.log),
            },
        )
        _say(f"{checkpoint}: tests took {time.monotonic() - started:.0f} s; stopping vLLM")
    _say("vLLM and its workers are gone")
    return code


def _pytest(arguments: Sequence[str], environment: dict[str, str]) -> int:
    """pytest in a process of its own: whatever it dies of, the server is stopped here."""
    named = any(argument.startswith("tests/") for argument in arguments)
    where = [] if named else ["tests/live"]
    command = [sys.executable, "-m", "pytest", "-m", "live", *where, *arguments]
    return subprocess.run(
        command, cwd=REPO, env={**os.environ, **environment}, check=False
    ).returncode


def _say(sentence: str) -> None:
    sys.stderr.write(f"\n{sentence}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
