"""`RayExecutor`: tools on a Ray cluster (extra `ray`)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from agentkit.errors import install
from agentkit.executors.base import Executor, failed, in_own_thread, log_failure, lost, timed_out
from agentkit.executors.process import dump_result, load_result, perform, remote_call
from agentkit.messages import ToolResult
from agentkit.toolset import ToolContext, ValidatedCall


class RayExecutor:
    """Runs each call as a Ray task, on whichever machine of the cluster has room.

    Ray never runs a task again by itself (`max_retries=0`), since the tool declares its retries. A
    timeout or a cancellation kills the Ray worker; Ray then ends the processes that the tool
    started (`RAY_kill_child_processes_on_worker_exit`), which may outlive the call for a moment.
    The tool's time includes the wait for a free place. Tools must be functions at the top of a
    module that the cluster can import (see Ray's `runtime_env`), arguments and results travel as
    JSON, and `ToolContext.deps`, `ask` and `report` are not there.

    Args:
        resources: What each call needs, in Ray's names: `num_cpus` (default 1), `num_gpus`,
            `memory` in bytes, or one of the cluster's own.

    Raises:
        ModuleNotFoundError: The extra is not installed.
    """

    def __init__(self, resources: Mapping[str, float] | None = None) -> None:
        try:
            import ray  # noqa: PLC0415 - an optional extra
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"RayExecutor needs the extra `ray`: {install('ray')}", name=error.name
            ) from None
        self._ray: Any = ray
        self._task: Any = ray.remote(_perform).options(max_retries=0, **options_of(resources))

    async def execute(self, call: ValidatedCall, context: ToolContext[Any]) -> ToolResult:
        """Runs the call; see `Executor.execute`.

        Raises:
            ToolDefinitionError: The tool is not to be found from another process.
        """
        request = remote_call(call, context).to_json()
        started = time.monotonic()
        result: ToolResult | None = None
        task = self._task.remote(request)
        try:
            with anyio.move_on_after(call.tool.timeout):
                result = await self._result(call, task)
        finally:
            if result is None:
                self._ray.cancel(task, force=True)
        result = result or timed_out(call, ended=True)
        log_failure(result, context)
        return replace(result, seconds=round(time.monotonic() - started, 6))

    async def _result(self, call: ValidatedCall, task: Any) -> ToolResult:
        errors = self._ray.exceptions
        try:
            answer: bytes = await in_own_thread(partial(self._ray.get, task))
        except errors.RayTaskError as error:  # the tool could not even be found there
            return failed(call, error.cause or error)
        except errors.RayError as error:
            return lost(call, f"its Ray worker ended ({type(error).__name__})")
        return load_result(answer)


_RAYS_OWN = ("num_cpus", "num_gpus", "memory")


def options_of(resources: Mapping[str, float] | None) -> dict[str, Any]:
    """Resources as the options of a Ray task or actor, of which some have options of their own."""
    named = dict(resources or {})
    own: dict[str, Any] = {name: named.pop(name) for name in _RAYS_OWN if name in named}
    return {**own, "resources": named}


def _perform(request: bytes) -> bytes:
    return dump_result(perform(request))


if TYPE_CHECKING:
    _: type[Executor] = RayExecutor
