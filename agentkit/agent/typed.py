"""What a type checker reads of an agent: what its tools and instructions ask of `deps`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, Final, Generic, Protocol, TypeAlias

from typing_extensions import TypedDict, TypeVar

from agentkit.agent.approvals import Approver
from agentkit.agent.planning import Planning
from agentkit.agent.surroundings import Instructions, Observer
from agentkit.context import Context
from agentkit.executors import Executor
from agentkit.messages import ModelSettings
from agentkit.policy import Limits, Policy, Preset
from agentkit.toolset import Tool, ToolSource

DepsT = TypeVar("DepsT", default=Any)
"""What the tools and instructions of an agent ask of `deps`; anything, where none of them says."""

NO_DEPS: Final[Any] = None
"""What `deps` is in a run that was given none."""


class Function(Protocol):
    """A function, not a `Tool`: what its context asks for is not checked before it runs."""

    @property
    def __name__(self) -> str: ...

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...


AnyTool: TypeAlias = Tool[..., Any, DepsT] | Function | partial[Any]


class Given(TypedDict, Generic[DepsT], total=False):
    """The options of an `Agent` beside its `output_type`, of which there are two kinds."""

    instructions: Instructions[DepsT] | None
    tools: Iterable[AnyTool[DepsT]]
    toolsets: Iterable[ToolSource]
    planning: Planning
    settings: ModelSettings | None
    limits: Limits | None
    context: Context | None
    policy: Policy | Preset | None
    approve: Approver | None
    ask: Callable[[str], Awaitable[str]] | None
    executor: Executor | None
    observers: Iterable[Observer] | None
