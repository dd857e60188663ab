"""A call in another process: what travels there, what is done there, what comes back.

Both ways as JSON that pydantic checks; what came of a model is never unpickled.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

import anyio
from pydantic import TypeAdapter
from pydantic_core import to_jsonable_python

from agentkit.errors import ToolError
from agentkit.executors.outcome import failed
from agentkit.executors.reference import Reference, load, reference_to
from agentkit.messages import ToolCall, ToolResult
from agentkit.toolset import RunHandles, ToolContext, ValidatedCall


@dataclass(frozen=True, slots=True)
class RemoteCall:
    """All that a process must know to run a call.

    Attributes:
        tool: Where it is found.
        call: What to run; its arguments are checked again there, which gives them their types.
        run_id: Of the run.
        step: That asked for it.
        index: The call's place in the step.
        attempt: 1 at the first try.
        output_cap: Most characters of its result.
        has_deps: The run has dependencies, which stay where they are.
    """

    tool: Reference
    call: ToolCall
    run_id: str
    step: int
    index: int
    attempt: int
    output_cap: int | None
    has_deps: bool

    def to_json(self) -> bytes:
        """As one line of JSON."""
        return _dumped(self)


def remote_call(call: ValidatedCall, context: ToolContext[Any]) -> RemoteCall:
    """What is to travel.

    Raises:
        ToolDefinitionError: The tool cannot be found from another process.
    """
    return RemoteCall(
        tool=reference_to(call.tool),
        call=call.call,
        run_id=context.run_id,
        step=context.step,
        index=context.index,
        attempt=context.attempt,
        output_cap=call.tool.options.output_cap,
        has_deps=context.deps is not None,
    )


def perform(request: bytes, report: Callable[[str], None] = lambda _text: None) -> ToolResult:
    """Runs a call in this process, in this thread.

    Args:
        request: A `RemoteCall` as JSON.
        report: Takes the tool's progress.

    Raises:
        Exception: The tool cannot be found here.
    """
    wanted = _calls().validate_python(json.loads(request))
    found = load(wanted.tool)
    tool = replace(found, options=replace(found.options, output_cap=wanted.output_cap))
    checked = tool.validate(wanted.call)
    if isinstance(checked, ToolResult):
        return checked
    context: ToolContext[Any] = ToolContext(
        deps=_Unreachable() if wanted.has_deps else None,
        run_id=wanted.run_id,
        step=wanted.step,
        call=wanted.call,
        index=wanted.index,
        attempt=wanted.attempt,
        handles=RunHandles(report=report),
    )
    try:
        value = checked.bind(context)()
        return checked.result(anyio.run(_awaited, value) if inspect.isawaitable(value) else value)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return failed(checked, error)


async def _awaited(value: Awaitable[Any]) -> Any:
    return await value


class _Unreachable:
    """In place of a run's dependencies: live objects do not travel."""

    def __getattr__(self, name: str) -> Any:
        raise ToolError(
            f"the run's deps do not reach this process (deps.{name}); "
            "open what the tool needs inside the tool, or route it to a LocalExecutor"
        )


def dump_result(result: ToolResult) -> bytes:
    """A result as one line of JSON."""
    return _dumped(result)


def load_result(text: bytes) -> ToolResult:
    """What `dump_result` wrote.

    Raises:
        ValueError: The text is something else.
    """
    return _results().validate_python(json.loads(text))


def _dumped(value: RemoteCall | ToolResult) -> bytes:
    # Python's own JSON takes what strict JSON does not know: NaN, and halves of surrogate pairs.
    return json.dumps(to_jsonable_python(asdict(value), inf_nan_mode="constants")).encode()


@cache
def _calls() -> TypeAdapter[RemoteCall]:
    """Built at the first use, like the other: it costs more than importing this module."""
    return TypeAdapter(RemoteCall)


@cache
def _results() -> TypeAdapter[ToolResult]:
    return TypeAdapter(ToolResult)
