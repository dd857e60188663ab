"""What is sent in place of a result: its beginning and end, or a line that says it is gone."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Final

from agentkit.messages import (
    Content,
    JsonObject,
    TextPart,
    ToolDefinition,
    ToolMessage,
    UserMessage,
    text_of,
)

_LEAST = 40
"""Characters of a result that a preview shows at least, however little room there is."""


_ANY_TOOL: Final = "Ask for a smaller part of it if you need what is missing."


def preview(message: ToolMessage, characters: int, remedy: str = _ANY_TOOL) -> ToolMessage:
    """A result with the middle of its text left out, which it says.

    Args:
        message: The whole result.
        characters: Of its text that are kept, about: two thirds from the beginning, the rest from
            the end, cut between lines where one ends nearby.
        remedy: How to ask for what is left out; see `ask_for_less`.
    """
    content = message.content
    if isinstance(content, str):
        return replace(message, content=_cut(content, characters, remedy))
    whole = max(len(text_of(content)), 1)
    parts = (
        TextPart(_cut(part.text, characters * len(part.text) // whole, remedy))
        if isinstance(part, TextPart)
        else part
        for part in content
    )
    return replace(message, content=tuple(parts))


def _cut(text: str, characters: int, remedy: str) -> str:
    characters = max(characters, _LEAST)
    if len(text) <= characters:
        return text
    head = _line_end(text, characters * 2 // 3)
    tail = _line_start(text, len(text) - (characters - characters * 2 // 3))
    if tail <= head:
        return text
    note = (
        f"[… {tail - head} of {len(text)} characters are left out here: the result is too long to "
        f"be read at once. {remedy} …]"
    )
    return f"{text[:head]}\n{note}\n{text[tail:]}"


def ask_for_less(tool: ToolDefinition | None) -> str:
    """How the rest of a long result can be asked for, by the parameters that its tool has.

    Args:
        tool: As the model is told of it; None where it is not offered any more.
    """
    if tool is None:
        return _ANY_TOOL
    properties: JsonObject = tool.parameters.get("properties") or {}
    ranges = [name for name, schema in properties.items() if _is_range(name, schema)]
    if ranges:
        return f"Call {tool.name} again with {' and '.join(ranges)} set to what is missing."
    if properties:
        names = " or ".join(properties)
        return f"If you need what is missing, call {tool.name} for less at once, by its {names}."
    return f"{tool.name} takes no arguments: what is missing cannot be asked for."


_RANGE_WORDS: Final = re.compile(
    r"begin|chunk|count|cursor|end|first|from|head|index|last|length|limit|lines?|max|n|number"
    r"|offset|page|part|position|range|size|skip|start|tail|to|top"
)


def _is_range(name: str, schema: Any) -> bool:
    """Whether a parameter chooses a part of something: a number with such a name."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().split("_")
    numeric = isinstance(schema, dict) and re.search(r"'(integer|number)'", str(schema)[:1_000])
    return bool(numeric) and any(_RANGE_WORDS.fullmatch(word) for word in words)


def _line_end(text: str, position: int) -> int:
    """The end of the last line before a position, if it is near."""
    found = text.rfind("\n", position - position // 8, position)
    return position if found < 0 else found


def _line_start(text: str, position: int) -> int:
    """The beginning of the first line after a position, if it is near."""
    found = text.find("\n", position, position + (len(text) - position) // 8)
    return position if found < 0 else found + 1


def stub(message: ToolMessage, tokens: int, *, repeatable: bool) -> ToolMessage:
    """A line in place of an old result: what it was, and how to have it again.

    Args:
        message: The result.
        tokens: It takes so many.
        repeatable: Whether the call may simply be made again.
    """
    again = (
        f"Call {message.name} again with the same arguments if you need it."
        if repeatable
        else "The call itself was carried out: do not repeat it only to read this again."
    )
    failed = " It was an error." if message.is_error else ""
    text = f"[This old result of {message.name}, {tokens} tokens, is left out.{failed} {again}]"
    return replace(message, content=text)


def with_note(message: UserMessage, dropped: int) -> UserMessage:
    """The task, with the remark that messages after it are left out."""
    note = f"[{dropped} older messages that followed this one are left out to save space.]"
    content: Content = message.content
    if isinstance(content, str):
        return replace(message, content=f"{content}\n\n{note}")
    return replace(message, content=(*content, TextPart(f"\n\n{note}")))
