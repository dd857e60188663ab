"""Runs of the small suites, in few words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agentkit_evals.core import Trial, TrialResult, Turn
from agentkit_evals.manifest import RunManifest, planned
from agentkit_evals.runner import run_local
from agentkit_evals.store import Store
from agentkit_evals.subject import AgentMaker, Subject
from agentkit_evals.suites import load_suite

from agentkit import Agent, Model
from agentkit.testing import Reply, ScriptedModel


async def plan(
    target: str = "project",
    model: str = "gold",
    *,
    trials: int = 1,
    limit: int | None = None,
    only: Sequence[str] = (),
    tags: Sequence[str] = (),
    shuffle: int | None = None,
) -> RunManifest:
    suite = load_suite(target)
    try:
        return await planned(
            suite,
            target,
            Subject(model=model),
            trials=trials,
            limit=limit,
            only=only,
            tags=tags,
            shuffle=shuffle,
        )
    finally:
        await suite.aclose()


async def ran(
    store: Store,
    target: str = "project",
    model: str = "gold",
    *,
    trials: int = 1,
    limit: int | None = None,
    only: Sequence[str] = (),
) -> list[TrialResult]:
    manifest = await plan(target, model, trials=trials, limit=limit, only=only)
    await run_local(manifest, store, concurrency=2)
    return [result for _, result in sorted(store.results().items())]


def scripted(*script: Reply | Exception) -> AgentMaker:
    """Agents that say this in their first turn, and must not be asked a second time."""
    return given(ScriptedModel(script))


def given(model: Model) -> AgentMaker:
    def make(_trial: Trial, _number: int, turn: Turn) -> Agent[Any, Any]:
        return Agent(model, toolsets=[turn.tools], observers=())

    return make
