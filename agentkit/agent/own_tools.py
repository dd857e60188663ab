"""The two tools that an agent gives its model beside those of the user: the answer and the plan.
`choice_of_step` says which calls a reply has to hold, since a required one is none of these two.

**The answer.** On vLLM a JSON schema for the whole reply (`response_format`) would keep the model
from calling tools at all (vllm#16313). So a typed answer is a call too: the model was trained for
calls, the grammar enforces them and the validator explains what is wrong with them.

**The plan.** A short list of steps that the model writes, shows and keeps up to date. The tool has
no state: each call gives all steps and how many of them are done. So the newest call is the whole
plan, also in a run that was paused, resumed, replayed or compacted, and the model reads it among
the newest results.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated, Any, Final, Literal, TypeAlias, get_args

from pydantic import Field
from pydantic_core import from_json

from agentkit.errors import ToolError
from agentkit.events import Event, PartialOutput, StepRestarted, ToolCallDelta
from agentkit.exact import InexactError, read_exact, unfenced
from agentkit.messages import JsonObject, ModelSettings, ToolCall, ToolChoice
from agentkit.schema.ladder import UNQUOTED
from agentkit.schema.nodes import same
from agentkit.schema.shape import ANYTHING, Shape
from agentkit.toolset import Tool, ToolContext, ToolOptions, Toolset, ValidatedCall, make_tool
from agentkit.wording import pluralize

_HARMLESS = ToolOptions(effect="pure", labels=frozenset())

# --- the answer ----------------------------------------------------------------------------------

OutputType: TypeAlias = Any
"""A type that pydantic knows, or a function whose parameters are the answer and whose return value
is the output. `str` is a plain answer."""

_CALL = {"name", "arguments"}
_ANSWER_DESCRIPTION = (
    "Give the final answer. Call this once, when you know it, instead of writing text."
)

FENCE: Final = re.compile(r"((?<!`)`{3,}+|(?<!~)~{3,}+)[\w-]*+[ \t]*+\n(.*?)\n?\1", re.DOTALL)
"""A fenced block of Markdown (CommonMark 0.31, section 4.5); its second group is what is inside."""


@dataclass(frozen=True, slots=True)
class AnswerTool:
    """The tool by which the model answers."""

    tool: Tool[..., Any]
    parameter: str | None = None
    """The one parameter that is the answer; None where all of them are."""

    def meant_by(self, call: ToolCall) -> ToolCall:
        """The call with its arguments as they must have been meant, if they do not fit as they are:
        the fields of the answer without the parameter around them, or the answer itself.
        """
        if call.malformed is None and isinstance(self.tool.validate(call), ValidatedCall):
            return call
        written: Any = call.arguments if call.malformed is None else call.malformed
        return self._only(call.id, self._readings(written)) or call

    def in_text(self, text: str, call_id: str) -> ToolCall | None:
        """The call that a text must have meant; None if it is no answer.

        The text, or its only code fence, is nothing but the answer or a call of this tool as JSON.
        """
        fences = [found[2] for found in FENCE.finditer(text)]
        inside = fences[0] if len(fences) == 1 else unfenced(text)
        return self._only(call_id, self._readings(inside))

    def _readings(self, written: Any) -> Iterator[JsonObject]:
        """What the arguments may be, by what was written instead of them."""
        values = [written]
        if isinstance(written, str):
            shape = Shape.of(self.tool.definition.parameters)
            shape = ANYTHING if self.parameter is None else shape.property(self.parameter)
            # If any text can be the answer, it is not certain that this one is meant as it.
            limited = shape.limited or shape.keyword("format") in UNQUOTED
            any_text = shape.allows("string") and not limited
            values = [] if any_text else [written.strip()]
            with suppress(InexactError):
                values.append(read_exact(written))
        for value in values:
            if self.parameter is not None:
                yield {self.parameter: value}
            if isinstance(value, dict):
                yield value
                if value.keys() == _CALL and value["name"] in (self.tool.name, self.parameter):
                    yield from self._readings(value["arguments"])

    def _only(self, call_id: str, readings: Iterable[JsonObject]) -> ToolCall | None:
        """The call with the one reading that fits; None if none fits, or two differ."""
        calls = {
            same(arguments): ToolCall(call_id, self.tool.name, arguments) for arguments in readings
        }
        checked = [self.tool.validate(call) for call in calls.values()]
        fitting = [each for each in checked if isinstance(each, ValidatedCall)]
        if not fitting or any(each.arguments != fitting[0].arguments for each in fitting):
            return None
        return fitting[0].call

    async def output(self, call: ValidatedCall, context: ToolContext[Any]) -> Any:
        """The output of a checked answer.

        Raises:
            Exception: What an output function raises; a `ToolError` is feedback for the model.
        """
        output = call.bind(context)()
        return await output if inspect.isawaitable(output) else output


def answer_tool(output_type: OutputType) -> AnswerTool | None:
    """The tool for a type of answer; None for plain text.

    Raises:
        ToolDefinitionError: The type cannot be described to a model.
    """
    if output_type is str:
        return None
    if inspect.isfunction(output_type) or inspect.ismethod(output_type):
        return AnswerTool(make_tool(output_type, options=_HARMLESS))

    def final_answer(answer: Any) -> Any:
        return answer

    final_answer.__annotations__ = {"answer": output_type, "return": output_type}
    final_answer.__doc__ = f"{_ANSWER_DESCRIPTION}\n\nArgs:\n    answer: The answer.\n"
    made = make_tool(final_answer, options=_HARMLESS, description=_ANSWER_DESCRIPTION)
    return AnswerTool(made, "answer")


def with_partial_output(
    answer: AnswerTool, emit: Callable[[Event], None]
) -> Callable[[Event], None]:
    """Passes events on, and after each piece of a typed answer what can be read of it so far.

    A server whose pieces are not JSON text gives none.
    """
    partial = _PartialAnswer(answer)

    def watch(event: Event) -> None:
        emit(event)
        if isinstance(event, StepRestarted):
            partial.begin(None)
        elif isinstance(event, ToolCallDelta) and (value := partial.add(event)) is not None:
            emit(PartialOutput(value, event.step))

    return watch


class _PartialAnswer:
    """The answer's call while it is written.

    A piece belongs to the call of its step and index. Its name does not say where a call begins:
    some servers send it with the first piece, others with each.
    """

    def __init__(self, answer: AnswerTool) -> None:
        self._answer = answer
        self.begin(None)

    def begin(self, call: tuple[int, int] | None) -> None:
        """Forgets what was written before; `call` is the step and the index of the answer's."""
        self._call = call
        self._text = ""
        self._value: Any = None
        self._read_at = 0

    def add(self, piece: ToolCallDelta) -> Any:
        """Takes in a piece. Returns what can be read now; None if that is nothing new."""
        call = piece.step, piece.index
        if call != self._call:
            if piece.name != self._answer.tool.name:
                return None
            self.begin(call)
        self._text += piece.arguments
        length = len(self._text)
        if length < self._read_at:
            return None
        if length > _LONG:  # reading all of it again at each piece would be quadratic
            self._read_at = length + length // 16
        value = _readable(self._text, self._answer.parameter)
        if value is None or value == self._value:
            return None
        self._value = value
        return value


_LONG = 10_000
"""Characters of an answer from which on it is read only at every sixteenth that it grows by."""


def _readable(text: str, parameter: str | None) -> Any:
    try:
        value = from_json(text, allow_partial="trailing-strings")
    except ValueError:
        return None
    if not isinstance(value, dict):
        return None
    return value.get(parameter) if parameter else value


# --- the plan ------------------------------------------------------------------------------------

Planning: TypeAlias = Literal["off", "auto", "always"]
"""`auto` offers the tool, `always` makes the first reply of each run a plan."""

PLAN = "plan"
"""The name of the tool."""

_PLAN_DESCRIPTION = (
    "Write down the steps of longer work before you begin it, and call this again with a higher "
    "`done` when you have finished some. Not for work of one or two steps."
)
_MOST_STEPS = 10

Step = Annotated[str, Field(min_length=1, max_length=120)]
Steps = Annotated[list[Step], Field(min_length=1, max_length=_MOST_STEPS)]
Done = Annotated[int, Field(ge=0, le=_MOST_STEPS)]


def plan_tools(planning: Planning) -> list[Tool[..., Any]]:
    """The tool, unless it is off. Observers of the run see each state of the plan.

    Raises:
        ValueError: `planning` is no such word.
    """
    if planning not in (known := get_args(Planning)):
        raise ValueError(f"planning is {planning!r}; it is one of {', '.join(known)}")
    return [] if planning == "off" else [plan_tool()]


@cache
def plan_tool() -> Tool[..., Any]:
    """The tool, the same object each time, since a user's tool may have its name."""
    return make_tool(_plan, options=_HARMLESS, name=PLAN, description=_PLAN_DESCRIPTION)


def planned(planning: Planning, settings: ModelSettings) -> ModelSettings:
    """The settings of a run. With `always` its first reply is a plan, unless they say otherwise."""
    if planning != "always":
        return settings
    first = ToolChoice("required", name=PLAN, max_calls=1)
    return settings.over(ModelSettings(tool_choice=first))


async def _plan(context: ToolContext[Any], steps: Steps, done: Done = 0) -> str:
    """Shows the plan.

    Args:
        context: The run in which the plan is shown.
        steps: A few words for each step, in order.
        done: How many of them, from the first, are finished.
    """
    if done > len(steps):
        raise ToolError(f"done is {done}, but the plan has {pluralize(len(steps), 'step')}")
    lines = [
        f"{number}. [{'x' if number <= done else ' '}] {step}"
        for number, step in enumerate(steps, 1)
    ]
    context.report("\n".join(lines))
    ahead = f"Next: {steps[done]}" if done < len(steps) else "All steps are done: answer now."
    return "\n".join([*lines, ahead])


# --- the choice ----------------------------------------------------------------------------------

_FREE: Final = ToolChoice()


def choice_of_step(
    step: int, chosen: ToolChoice | None, tools: Toolset, own: Collection[str]
) -> ToolChoice:
    """Which calls a step's reply may or must hold.

    Only the first reply may have to hold one, or the model could never answer. A call that must be
    of some tool is not met with one of the agent's own, while there are others.

    Args:
        step: The step's number, from 1.
        chosen: What the settings say.
        tools: All tools of the run.
        own: The names of the agent's own.

    Raises:
        ValueError: A call is required, and there is no tool that it may be of.
    """
    choice = chosen or _FREE
    if step > 1:
        most = choice.max_calls if choice.mode == "auto" else None
        return _FREE if most is None else ToolChoice(max_calls=most)
    if choice.mode != "required":
        return choice
    names = [tool.name for tool in tools]
    if choice.name is None and not choice.among:
        others = tuple(name for name in names if name not in own)
        choice = replace(choice, among=others or tuple(names))
    if not any(map(choice.allows, names)):
        wanted = choice.name or " or ".join(choice.among) or "a tool"
        offered = f"the tools are: {', '.join(names)}" if names else "there are no tools"
        raise ValueError(f"tool_choice requires a call of {wanted}, and {offered}")
    return choice
