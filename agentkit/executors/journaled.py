"""Calls that survive a crash: an intent before, a result after; a wrapper around any executor."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio

from agentkit.errors import ToolError
from agentkit.executors.base import Executor
from agentkit.executors.outcome import lost
from agentkit.journal import CallState, JournaledRun
from agentkit.messages import ToolResult
from agentkit.toolset import Effect, ToolContext, ValidatedCall


class JournaledExecutor:
    """Runs a call only after its intent is on the disk, and never again once it has a result.

    What a crash left half done is settled by the tool's effect (where it was another one then, by
    the graver of the two): `pure` and `idempotent` run again
    (with the same `ToolContext.idempotency_key`), `probed` asks the tool's probe, and `once` is
    told to the model as `unknown`.

    Args:
        inner: Runs what has to run.
        run: The run's record.
    """

    def __init__(self, inner: Executor, run: JournaledRun) -> None:
        self._inner = inner
        self._run = run

    async def execute(self, call: ValidatedCall, context: ToolContext[Any]) -> ToolResult:
        """Runs the call; see `Executor.execute`.

        Raises:
            JournalError: The intent could not be made durable, so the tool was not started; or
                the result could not be, so that its outcome counts as unknown.
        """
        key = context.idempotency_key
        state = self._run.call(key)
        if state is None:
            await self._run.intend(key, call.call, call.tool.effect)
        elif state.result is not None:
            return replace(state.result, call_id=call.call.id)
        result = await _settled(call, context, state)
        if result is None:
            await self._run.start(key)
            result = await self._inner.execute(call, context)
        with anyio.CancelScope(shield=True):  # a result that is there is never lost
            await self._run.done(key, result)
        return result


async def _settled(
    call: ValidatedCall, context: ToolContext[Any], state: CallState | None
) -> ToolResult | None:
    """The result of a call that a crash interrupted; None if it is to run."""
    if state is None or not state.may_have_started:
        return None
    effects: set[Effect] = {state.intent.effect, call.tool.effect}
    if effects <= {"pure", "idempotent"}:
        return None
    unknown = lost(call, "the process that ran this died")
    probe = call.tool.options.probe
    if "once" in effects or probe is None:
        return replace(unknown, retry=False)
    try:
        found = probe(call.arguments, context)
        happened = await found if inspect.isawaitable(found) else found
        return None if happened is None else call.result(happened.value)
    except ToolError as error:
        return replace(unknown, content=f"{unknown.content} {error}", retry=False)


if TYPE_CHECKING:
    _: type[Executor] = JournaledExecutor
