"""All parts of an acceptance on one server, one after the other.

A failure of a part is its outcome: no part ends the others, and each has its share of the time.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

import anyio

import agentkit
from agentkit import AgentKitError, ModelSettings, VLLMModel
from agentkit.errors import first_error
from agentkit.models import Timeouts
from agentkit.serving.doctor import PROBES, Diagnosis, Finding, examine
from agentkit_evals.acceptance.bench import Bench, Played, play
from agentkit_evals.acceptance.conversations import conversations_part, converse
from agentkit_evals.acceptance.parts import (
    TITLES,
    bfcl_part,
    doctor_part,
    grammar_part,
    not_run,
    scenarios_part,
)
from agentkit_evals.acceptance.record import (
    Acceptance,
    Discretion,
    Part,
    address_kind,
    is_demonstration,
)
from agentkit_evals.acceptance.scenarios import SCENARIOS
from agentkit_evals.bfcl import installed_folder
from agentkit_evals.core import TrialLimits
from agentkit_evals.manifest import planned
from agentkit_evals.report import report
from agentkit_evals.runner import Progress, run_local
from agentkit_evals.store import Store
from agentkit_evals.subject import Subject
from agentkit_evals.suites import load_suite

_SHARES: Final = {"doctor": 3, "scenarios": 4, "bfcl": 5, "grammar": 0, "conversations": 3}
"""Each part's share of the time; the grammar is measured by the doctor."""

_SUITE: Final = "bfcl:multi_turn_base"
_ORDER: Final = 0
"""Seed of the order in which cases are drawn: each acceptance plays the same ones."""

_SETTINGS: Final = ModelSettings(temperature=0.0, max_tokens=2048)
"""Settings of a step of BFCL: room for reasoning and a few calls, an end for a model in a loop."""


class NoServerError(AgentKitError):
    """No server answers, so there is nothing to examine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to play, and on which server.

    Attributes:
        url: The server's address, with or without `/v1`.
        model: The served name; default: the first that the server lists.
        api_key: The key for requests to the server.
        parts: The parts of `TITLES` to play. The examination is always made: it finds out what the
            others need to know about the server.
        bfcl_cases: Cases of BFCL.
        conversations: Conversations whose prompts are counted.
        minutes: Most minutes of all parts together; each has its share.
        runs: The store of the BFCL run: it holds the address, and is not for others.
    """

    url: str
    runs: Store
    model: str | None = None
    api_key: str | None = None
    parts: Collection[str] = tuple(TITLES)
    bfcl_cases: int = 20
    conversations: int = 10
    minutes: float = 15.0

    def seconds(self, part: str) -> float:
        """The seconds that a part may take."""
        return 60 * self.minutes * _SHARES[part] / sum(_SHARES.values())


async def accept(wanted: Wanted, tell: Callable[[str], object]) -> Acceptance:
    """Plays the wanted parts.

    Args:
        wanted: What to play, and on which server.
        tell: Called with a line of progress.

    Raises:
        NoServerError: No server answers.
        ServerNotReadyError: The address is not valid.
    """
    made = datetime.now(UTC).isoformat(timespec="seconds")
    discretion = Discretion(wanted.url, wanted.api_key)

    def say(line: str) -> None:
        tell(discretion.text(line))

    say(f"{TITLES['doctor']} …")
    diagnosis, examined = await _examined(wanted, say)
    parts = [examined]
    for name, run in _PARTS.items():
        if name not in wanted.parts:
            parts.append(not_run(name, "left out"))
            continue
        if not diagnosis.model:
            parts.append(not_run(name, "it is not known what the server serves"))
            continue
        say(f"{TITLES[name]} …")
        parts.append(await _guarded(name, run(wanted, diagnosis, say)))
        say(f"{name}: {parts[-1].outcome}, {parts[-1].says}")
    whole = {probe.name for probe in PROBES} <= {found.probe for found in diagnosis.findings}
    return Acceptance(
        model=diagnosis.model,
        server=f"{diagnosis.server} {diagnosis.version}".strip() or "does not say which",
        address=address_kind(wanted.url),
        agentkit=agentkit.__version__,
        made=made,
        window=diagnosis.window,
        control=diagnosis.control,
        template=diagnosis.template,
        fingerprint=diagnosis.fingerprint if whole else "",
        parts=tuple(map(discretion.part, parts)),
    )


async def _guarded(name: str, run: Awaitable[Part]) -> Part:
    """Plays a part; an exception becomes its outcome."""
    started = time.monotonic()
    try:
        return await run
    except Exception as error:  # noqa: BLE001 - one part must not end the report
        first = first_error(error)
        return Part(
            name=name,
            title=TITLES[name],
            outcome="failed",
            says=f"could not be finished: {type(first).__name__}: {first}",
            seconds=_since(started),
        )


def _since(started: float) -> float:
    return round(time.monotonic() - started, 1)


# --- the parts ---------------------------------------------------------------------------------


async def _examined(wanted: Wanted, say: Callable[[str], None]) -> tuple[Diagnosis, Part]:
    """The doctor's diagnosis of the server, as far as it is made in time."""
    started, seconds = time.monotonic(), wanted.seconds("doctor")
    findings: list[Finding] = []

    def note(found: Finding) -> None:
        findings.append(found)
        say(f"  {found.verdict:7} {found.probe:20} {found.says}")

    diagnosis: Diagnosis | None = None
    with anyio.move_on_after(seconds):
        diagnosis = await examine(wanted.url, model=wanted.model, api_key=wanted.api_key, tell=note)
    if diagnosis is not None and not diagnosis.reachable:
        raise NoServerError(f"{findings[0].says}: {findings[0].remedy}")
    late = "" if diagnosis is not None else f"not done after {seconds:.0f} seconds"
    diagnosis = diagnosis or Diagnosis(wanted.url, findings=tuple(findings))
    if not diagnosis.model:
        diagnosis = replace(diagnosis, model=await _served_name(wanted))
    return diagnosis, doctor_part(diagnosis, late, _since(started))


async def _served_name(wanted: Wanted) -> str:
    """The name of the served model; empty if the server does not say it soon."""
    clocks = Timeouts(first_event=10, total=10, retry=0)
    try:
        async with VLLMModel(
            wanted.url, wanted.model, api_key=wanted.api_key, timeouts=clocks
        ) as model:
            return (await model.served()).name
    except AgentKitError:
        return ""


async def _scenarios(wanted: Wanted, diagnosis: Diagnosis, say: Callable[[str], None]) -> Part:
    started, seconds = time.monotonic(), wanted.seconds("scenarios")
    bench = _bench(wanted, diagnosis)
    played: list[Played] = []
    for scenario in SCENARIOS:
        left = seconds - (time.monotonic() - started)
        if left <= 0:
            break
        played.append(await play(scenario, bench, seconds=min(left, seconds / 4)))
        found = played[-1]
        say(f"  {found.verdict:7} {found.name:24} {found.seconds:5.1f} s  {found.says}")
    return scenarios_part(played, len(SCENARIOS), _since(started))


async def _bfcl(wanted: Wanted, diagnosis: Diagnosis, say: Callable[[str], None]) -> Part:
    if installed_folder() is None:
        return not_run("bfcl", "bfcl-eval is not installed", "agentkit eval suites install bfcl")
    started, seconds = time.monotonic(), wanted.seconds("bfcl")
    subject = Subject(model=wanted.url, model_name=diagnosis.model, settings=_SETTINGS)
    store, limit, limits = wanted.runs, wanted.bfcl_cases, TrialLimits(seconds=seconds)
    async with aclosing(load_suite(_SUITE)) as suite:
        manifest = await planned(suite, _SUITE, subject, limit=limit, limits=limits, shuffle=_ORDER)
        floor = await planned(suite, _SUITE, Subject(model="empty"), limit=limit, shuffle=_ORDER)

    def watch(progress: Progress) -> None:
        say(f"  {progress.done} of {progress.total} cases, {progress.passed} passed")

    store.begin(manifest)
    await run_local(floor, store.floor())
    with anyio.move_on_after(seconds - (time.monotonic() - started)):
        await run_local(manifest, store, watcher=watch)
    found = store.results()
    results = [found[case, 0] for case in manifest.cases if (case, 0) in found]
    demonstration = is_demonstration(diagnosis.model)
    return bfcl_part(report(store), results, _since(started), demonstration=demonstration)


async def _grammar(_wanted: Wanted, diagnosis: Diagnosis, _say: Callable[[str], None]) -> Part:
    return grammar_part(diagnosis)


async def _conversations(wanted: Wanted, diagnosis: Diagnosis, say: Callable[[str], None]) -> Part:
    started, seconds = time.monotonic(), wanted.seconds("conversations")

    def tell(line: str) -> None:
        say(f"  {line}")

    played = await converse(_bench(wanted, diagnosis), wanted.conversations, seconds, tell)
    return conversations_part(played, wanted.conversations, _since(started))


def _bench(wanted: Wanted, diagnosis: Diagnosis) -> Bench:
    return Bench.on_server(wanted.url, diagnosis, api_key=wanted.api_key)


_Play = Callable[[Wanted, Diagnosis, Callable[[str], None]], Awaitable[Part]]

_PARTS: Final[dict[str, _Play]] = {
    "scenarios": _scenarios,
    "bfcl": _bfcl,
    "grammar": _grammar,
    "conversations": _conversations,
}
"""After the examination, in this order."""
