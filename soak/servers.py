"""Agents on real servers: the same scenarios on each, and what each server can do.

    python -m soak.servers [NAME ...]        (all without a name; docs/servers.md is made anew)

The scenarios are those of `agentkit accept`, streamed and whole.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any, Final

import anyio
from agentkit_evals.acceptance.bench import Bench, play
from agentkit_evals.acceptance.scenarios import SCENARIOS

from agentkit.serving.doctor import Diagnosis, examine
from soak.proof import FOLDER, ROOT, commit_here, write_record
from tests.live.other_servers import SERVERS, OtherServer, serving_with

_PAGE: Final = ROOT / "docs" / "servers.md"
_PROOF: Final = FOLDER / "servers.json"
_DEADLINE: Final = 240.0  # seconds for one scenario on a busy machine


async def played(server: OtherServer, known: Diagnosis, *, stream: bool) -> dict[str, str]:
    """The verdict of every scenario on one server, asked in one way."""
    key = server.api_key or None
    bench = Bench.on_server(f"{server.url}/v1", known, api_key=key, stream=stream)
    came: dict[str, str] = {}
    for scenario in SCENARIOS:
        found = await play(scenario, bench, seconds=_DEADLINE)
        came[found.name] = found.verdict
        told = f"{found.verdict:7} {found.name:24} {found.seconds:5.1f} s {found.says}"
        print(f"  {told}", flush=True)
    return came


async def _examined(server: OtherServer) -> Diagnosis:
    key = server.api_key or None
    return await examine(f"{server.url}/v1", model=server.model, api_key=key)


async def _on(server: OtherServer) -> tuple[Diagnosis, dict[str, dict[str, str]]]:
    diagnosis = await _examined(server)
    ways = {"streamed": True, "whole": False}
    return diagnosis, {
        way: await played(server, diagnosis, stream=stream) for way, stream in ways.items()
    }


def on(name: str) -> dict[str, Any]:
    """All of it on one server."""
    with serving_with(name) as server:
        print(f"{name}: {server.url}", flush=True)
        diagnosis, scenarios = anyio.run(_on, server)
    findings = {found.probe: [found.verdict, found.says] for found in diagnosis.findings}
    return {
        "control": diagnosis.control,
        "window": diagnosis.window,
        "fingerprint": diagnosis.fingerprint,
        "doctor": findings,
        "scenarios": scenarios,
    }


def page(results: dict[str, Any]) -> str:
    """What is known of each server, as a page."""
    names = list(results)
    rows = [
        ["what calls are held to", *(results[n]["control"] for n in names)],
        ["window", *(f"{results[n]['window'] or 'not told'}" for n in names)],
    ]
    rows += [
        [probe, *(results[n]["doctor"].get(probe, ["not asked"])[0] for n in names)]
        for probe in results[names[0]]["doctor"]
    ]
    scenarios = [
        [name, *(_both(results[n]["scenarios"], name) for n in names)]
        for name in results[names[0]]["scenarios"]["streamed"]
    ]
    return "\n".join(
        [
            "# Servers that a Gemma 4 runs on, and what each can do",
            "",
            "Made by `make soak PART=servers`, which starts each of them with the demonstration",
            "checkpoint on the CPU. What the doctor says of it, and then scenarios of an agent:",
            "streamed / whole, `absent` where the server cannot and says so, `wrong` where it",
            "fails.",
            "",
            *_table(["", *names], rows),
            "",
            *_table(["scenario", *names], scenarios),
            "",
        ]
    )


def _both(scenarios: dict[str, dict[str, str]], name: str) -> str:
    return " / ".join(scenarios[way][name] for way in ("streamed", "whole"))


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(map(str, line))} |" for line in lines]


def _wrong(result: dict[str, Any]) -> int:
    """How many scenarios went wrong on a server, in either way."""
    return sum(list(way.values()).count("wrong") for way in result["scenarios"].values())


def main() -> int:
    """Runs the proof on the named servers; results of the others are kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(SERVERS))
    names: list[str] = parser.parse_args().names
    if unknown := set(names) - set(SERVERS):
        parser.error(f"no such server: {', '.join(sorted(unknown))}")
    known: dict[str, Any] = {}
    if names and _PROOF.is_file():
        known = json.loads(_PROOF.read_text(encoding="utf-8"))["servers"]
    for name in names or SERVERS:
        known[name] = on(name)
        print(f"{name}: {_wrong(known[name])} wrong", flush=True)
        proof = {"part": "servers", "commit": commit_here(), "servers": known}
        write_record("servers", proof)
        _PAGE.write_text(page(known), encoding="utf-8")
    return int(any(map(_wrong, known.values())))


if __name__ == "__main__":
    sys.exit(main())
