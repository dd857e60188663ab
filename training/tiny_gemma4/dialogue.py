"""What a dialogue is made of, and what of it is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agentkit.gemma4.render import Generation, render, render_call
from agentkit.gemma4.tokens import CHANNEL_CLOSE, CHANNEL_OPEN, RESPONSE_OPEN, TURN_CLOSE
from agentkit.messages import (
    AssistantMessage,
    Message,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from training.tiny_gemma4.draw import joined
from training.tiny_gemma4.skills import Skill

Call = tuple[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Step:
    """Calls made at once and the text each returned."""

    calls: tuple[Call, ...]
    results: tuple[str, ...]


def step(tool: str, result: str, **arguments: Any) -> Step:
    """One call."""
    return Step(((tool, arguments),), (result,))


@dataclass(frozen=True, slots=True)
class Topic:
    """What an exchange was about, for the question after it.

    Attributes:
        what: `definition`, `search`, `folder`, `file` or the name of another tool.
        name: The name, text, folder or path.
        path: A file that it found.
        names: What it listed.
        lines: The lines of the file that it read.
        skill: The other tool.
    """

    what: str
    name: str = ""
    path: str = ""
    names: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    skill: Skill | None = None


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question, the steps it takes, the answer.

    Attributes:
        question: What is asked.
        steps: What is called, one after the other.
        answer: What is said in the end.
        topic: What a question after it can refer to.
        skills: Other tools than the project's that it needs.
        kind: Filled in by the table of kinds.
        bare: It must not be asked where a tool might do it.
    """

    question: str
    steps: tuple[Step, ...]
    answer: str
    topic: Topic | None = None
    skills: tuple[Skill, ...] = ()
    kind: str = ""
    bare: bool = False

    @property
    def needs(self) -> list[str]:
        """The tools it calls."""
        return [name for step in self.steps for name, _ in step.calls]

    @property
    def beyond_all_tools(self) -> bool:
        """Whether it asks for what no tool can do, so that no everyday tool may be on offer."""
        return self.bare and self.kind in ("beyond", "write", "say")


@dataclass(frozen=True, slots=True)
class Dialogue:
    """One conversation with its tools; the messages end with the final answer.

    Attributes:
        kind: Of its last question.
        tools: What is declared.
        messages: All of them.
        thinking: Whether the model thinks before it speaks.
    """

    kind: str
    tools: tuple[dict[str, Any], ...]
    messages: tuple[Message, ...]
    thinking: bool

    def model_calls(self) -> list[int]:
        """Where the model speaks: the indexes of the assistant's messages."""
        return [at for at, m in enumerate(self.messages) if isinstance(m, AssistantMessage)]


def _thought(step: Step | None, before: Step | None) -> str:
    if step is None:
        return "The result has the answer." if before else "No tool is needed."
    names = joined(dict.fromkeys(name for name, _ in step.calls))
    if before and any(result.startswith("Error: ") for result in before.results):
        return f"That was not there. I try {names}."
    return f"{'Next I' if before else 'I'} call {names}."


def messages_of(exchange: Exchange, start: int, *, thinking: bool) -> list[Message]:
    """The messages of an exchange; its calls are numbered from `start` on."""
    messages: list[Message] = [UserMessage(exchange.question)]
    before: Step | None = None
    steps: Sequence[Step | None] = (*exchange.steps, None)
    for each in steps:
        thought = _thought(each, before) if thinking else None
        if each is None:
            messages.append(AssistantMessage(exchange.answer, reasoning=thought))
            break
        calls = tuple(
            ToolCall(f"call_{start + len(messages)}_{at}", name, arguments)
            for at, (name, arguments) in enumerate(each.calls)
        )
        messages.append(AssistantMessage(tool_calls=calls, reasoning=thought))
        messages += [
            ToolMessage(call.id, call.name, result)
            for call, result in zip(calls, each.results, strict=True)
        ]
        before = each
    return messages


# --- what is trained on -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sample:
    """A prompt as the server sends it and what the model should write, stop token included."""

    prompt: str
    completion: str
    thinking: bool


def prompt(made: Dialogue, at: int) -> str:
    """The prompt of the model call that writes message `at`."""
    return render(made.messages[:at], made.tools, Generation(thinking=made.thinking))


def completion(made: Dialogue, at: int) -> str:
    """What the model should write as message `at`."""
    message = made.messages[at]
    assert isinstance(message, AssistantMessage)
    cued = isinstance(made.messages[at - 1], ToolMessage)
    thought = ""
    if made.thinking:
        opening = "" if cued else f"{CHANNEL_OPEN}thought\n"
        thought = f"{opening}{message.reasoning}\n{CHANNEL_CLOSE}"
    if message.tool_calls:
        calls = "".join(render_call(call.name, call.arguments) for call in message.tool_calls)
        return f"{thought}{calls}{RESPONSE_OPEN}"
    return f"{thought}{message.content}{TURN_CLOSE}"
