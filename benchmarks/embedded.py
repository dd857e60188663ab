"""What the embedded model costs: `python -m benchmarks.embedded`.

Start-up (import and loading), tokens per second of reading a prompt and of writing a reply, and
memory, each in a fresh process of its own so that nothing is warm but the disk.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

REPO = Path(__file__).parents[1]
PROMPT_TOKENS, REPLY_TOKENS = 1000, 200


def measure() -> dict[str, float]:
    """Seconds, tokens per second and megabytes, in this process."""
    before = _megabytes()
    start = time.perf_counter()
    # What is measured begins with this import.
    from agentkit.models.embedded import Decoder  # noqa: PLC0415 - its time is a result

    imported = time.perf_counter()
    decoder = Decoder()
    loaded = time.perf_counter()
    ids = (decoder.encode("Where is the definition of parse_header? " * 200))[:PROMPT_TOKENS]
    prefix, logits = decoder.extend(decoder.nothing, ids)
    while len(prefix.ids) < len(ids):
        prefix, logits = decoder.extend(prefix, ids[len(prefix.ids) :])
    read = time.perf_counter()
    for _ in range(REPLY_TOKENS):
        prefix, logits = decoder.extend(prefix, [int(logits.argmax())])
    written = time.perf_counter()
    return {
        "import (s)": imported - start,
        "load (s)": loaded - imported,
        "reading (tokens/s)": PROMPT_TOKENS / (read - loaded),
        "writing (tokens/s)": REPLY_TOKENS / (written - read),
        "memory (MB)": _megabytes(),
        "of which Python before (MB)": before,
    }


def _megabytes() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def _in_fresh_process() -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.embedded", "--once"]
    done = subprocess.run(command, cwd=REPO, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def main() -> int:
    """Prints the best of several processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--once", action="store_true", help="one measurement, as JSON")
    parser.add_argument("--processes", type=int, default=5)
    options = parser.parse_args()
    if options.once:
        print(json.dumps(measure()))
        return 0
    results = [_in_fresh_process() for _ in range(options.processes)]
    best: dict[str, Any] = {
        name: (max if "tokens" in name else min)(result[name] for result in results)
        for name in results[0]
    }
    machine = f"{platform.machine()}, {os.cpu_count()} processors"
    print(f"{machine}, Python {platform.python_version()}")
    print(f"best of {options.processes} processes; {PROMPT_TOKENS} tokens in, {REPLY_TOKENS} out")
    for name, value in best.items():
        print(f"  {name:30}{value:10.2f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
