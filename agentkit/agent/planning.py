"""A short plan that the model writes, shows and keeps up to date through a tool of its own.

The tool has no state: each call says all steps and how many of them are done. So the newest call
is the whole plan, for a run that was paused, resumed, replayed or compacted as well, and the model
reads it where it looks anyway, in the newest results.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import Field

from agentkit.errors import ToolError
from agentkit.messages import ModelSettings, ToolChoice
from agentkit.schema.phrases import many
from agentkit.toolset import Tool, ToolContext, ToolOptions, make_tool

Planning: TypeAlias = Literal["off", "auto", "always"]
"""`auto` offers the tool, `always` makes the first reply of each run a plan."""

PLAN = "plan"
"""Name of the tool."""

_TOLD = (
    "Write down the steps of longer work before you begin it, and call this again with a higher "
    "`done` when you have finished some. Not for work of one or two steps."
)
_MOST_STEPS = 10

Step = Annotated[str, Field(min_length=1, max_length=120)]
Steps = Annotated[list[Step], Field(min_length=1, max_length=_MOST_STEPS)]
Done = Annotated[int, Field(ge=0, le=_MOST_STEPS)]


def plan_tools(planning: Planning) -> list[Tool[..., Any]]:
    """The tool, unless it is off; whoever watches the run is shown each state of the plan.

    Raises:
        ValueError: `planning` is no such word.
    """
    if planning not in (known := get_args(Planning)):
        raise ValueError(f"planning is {planning!r}; it is one of {', '.join(known)}")
    if planning == "off":
        return []
    options = ToolOptions(effect="pure", labels=frozenset())
    return [make_tool(_plan, options=options, name=PLAN, description=_TOLD)]


def planned(planning: Planning, settings: ModelSettings) -> ModelSettings:
    """The settings of a run; with `always` its first reply is a plan, unless they say otherwise."""
    if planning != "always":
        return settings
    first = ToolChoice("required", name=PLAN, max_calls=1)
    return settings.over(ModelSettings(tool_choice=first))


async def _plan(context: ToolContext[Any], steps: Steps, done: Done = 0) -> str:
    """Shows the plan.

    Args:
        context: Of the run.
        steps: A few words for each step, in order.
        done: How many of them, from the first, are finished.
    """
    if done > len(steps):
        raise ToolError(f"done is {done}, but the plan has {many(len(steps), 'step')}")
    lines = [
        f"{number}. [{'x' if number <= done else ' '}] {step}"
        for number, step in enumerate(steps, 1)
    ]
    context.report("\n".join(lines))
    ahead = f"Next: {steps[done]}" if done < len(steps) else "All steps are done: answer now."
    return "\n".join([*lines, ahead])
