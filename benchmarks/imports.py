"""What agentkit costs before it does anything: `python -m benchmarks.imports`.

CPU milliseconds of `import agentkit`, and from before the import to the first answer of an agent
with one tool, with the resident megabytes and the modules by then; each in fresh processes whose
files the disk has cached, the median of several. The answer comes from the server of
`benchmarks/model_server.py`; a process that imports nothing but httpx2 stands beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import statistics
import subprocess
import sys

from benchmarks.model_server import model_server
from soak.proof import ROOT, commit_here, write_record

_TOLD = """
import json, resource, sys, time
print(json.dumps({
    "cpu_ms": round(time.process_time() * 1_000, 1),
    "resident_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_000, 1),
    "modules": len(sys.modules),
}))
"""
PROGRAMS = {
    "python": "",
    "import httpx2": "import httpx2",
    "import agentkit": "import agentkit",
    "to the first answer": """
from agentkit import Agent, VLLMModel, tool
@tool(effect="pure")
def get_weather(city: str, days: int = 1) -> str:
    "Forecast for a city."
    return city
model = VLLMModel(sys.argv[1], "steps-10")
assert Agent(model, tools=[get_weather], observers=()).run_sync("Weather?").output
""",
}


def _once(program: str, root: str) -> dict[str, float]:
    command = [sys.executable, "-c", f"import sys\n{program}\n{_TOLD}", root]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    told: dict[str, float] = json.loads(done.stdout)
    return told


async def measure(processes: int) -> dict[str, dict[str, float]]:
    """The medians for each program."""
    table = {}
    async with model_server() as root:
        for name, program in PROGRAMS.items():
            runs = [await asyncio.to_thread(_once, program, root) for _ in range(processes)]
            table[name] = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    return table


def main() -> int:
    """Prints a table and keeps it in docs/proof/imports.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=9)
    parser.add_argument("--no-record", action="store_true", help="leave imports.json as it is")
    options = parser.parse_args()
    table = asyncio.run(measure(options.processes))
    for name, row in table.items():
        print(
            f"{name:22}{row['cpu_ms']:8.0f} ms CPU{row['resident_mb']:8.0f} MB"
            f"{row['modules']:7.0f} modules"
        )
    if not options.no_record:
        record = {
            "part": "imports",
            "commit": commit_here(),
            "processes": options.processes,
            "versions": {"python": platform.python_version()},
            "figures": table,
        }
        write_record("imports", record)
        print("written: docs/proof/imports.json")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
