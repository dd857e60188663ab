"""Native calls, calls as JSON, and thoughts that a server delivered as plain text."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Final

from pydantic_core import from_json

from agentkit.gemma4.calls import ParsedCall, Schemas, free_character, read_call
from agentkit.gemma4.lexer import THOUGHT, Control
from agentkit.gemma4.tokens import (
    CALL_CLOSE,
    CALL_OPEN,
    CHANNEL_CLOSE,
    CHANNEL_OPEN,
    QUOTE,
)

__all__ = ["find_leaked_calls", "json_call", "split_thought", "unknown_names"]

_MAX_LEAKS: Final = 64
"""A text with more of them is not a set of calls but something else gone wrong."""


def find_leaked_calls(
    text: str, known_names: Collection[str], tools: Schemas | None = None
) -> list[ParsedCall]:
    """Native calls that arrived as plain text, because a server's parser missed their tokens.

    Only calls of known tools count, and only outside quotes and code, where a model talks *about*
    calls.

    Args:
        text: What the server delivered as the answer.
        known_names: Names of the tools on offer.
        tools: Schemas to type the arguments by.
    """
    names = "|".join(re.escape(name) for name in known_names)
    if not names or "call:" not in text:
        return []
    mark = free_character(text)
    flat = text.replace(QUOTE, mark)
    opening = re.compile(rf"(?:{re.escape(CALL_OPEN)}\s*)?call:(?:{names})\s*\{{")
    found: list[ParsedCall] = []
    for match in _limited(opening.finditer(flat)):
        if (found and match.start() < found[-1].end) or _is_quoted(flat, match.start()):
            continue
        call = _leaked(flat, mark, match.start(), tools or {})
        if call:
            found.append(call)
    return [_in_text(call, flat, mark) for call in found]


def _limited(matches: Iterator[re.Match[str]]) -> Iterator[re.Match[str]]:
    for _, match in zip(range(_MAX_LEAKS), matches, strict=False):
        yield match


def _leaked(flat: str, mark: str, start: int, tools: Schemas) -> ParsedCall | None:
    begin = start + (len(CALL_OPEN) if flat.startswith(CALL_OPEN, start) else 0)
    closing = flat.find(CALL_CLOSE, begin)
    pieces = [flat[begin:]]
    reading = read_call(_marked(pieces[0], mark), tools, closed=False)
    end = begin + reading.end
    if reading.arguments is None and closing >= 0:
        reading = read_call(_marked(flat[begin:closing], mark), tools, closed=True)
        end = closing
    if reading.arguments is None:
        return None
    if flat.startswith(CALL_CLOSE, end):
        end += len(CALL_CLOSE)
    return ParsedCall(reading.name, reading.arguments, flat[start:end], start, end)


def _marked(text: str, mark: str) -> Iterator[str]:
    """Pieces with the quote token as `Control` again."""
    for at, piece in enumerate(text.split(mark)):
        if at:
            yield Control(QUOTE)
        yield piece


def _in_text(call: ParsedCall, flat: str, mark: str) -> ParsedCall:
    """The call with positions of the text before its quote tokens became one character."""
    growth = len(QUOTE) - 1
    return replace(
        call,
        raw=call.raw.replace(mark, QUOTE),
        start=call.start + growth * flat.count(mark, 0, call.start),
        end=call.end + growth * flat.count(mark, 0, call.end),
    )


def unknown_names(text: str) -> frozenset[str]:
    """Names behind spelled-out call tokens, whoever offers such tools."""
    return frozenset(_NAMED.findall(text))


def json_call(text: str, known_names: Collection[str]) -> str | None:
    """The tool that a text calls in JSON, if it is nothing but such a call.

    Args:
        text: What the server delivered as the answer; one code fence around it is taken off.
        known_names: Names of the tools on offer.
    """
    body = _FENCE.sub(r"\1", text.strip())
    if not body.startswith("{"):
        return None
    try:
        value = from_json(body)
    except ValueError:
        return None
    name = value.get("name") or value.get("tool") or value.get("function")
    arguments = value.get("arguments", value.get("parameters"))
    is_call = isinstance(name, str) and isinstance(arguments, dict)
    return name if is_call and name in known_names else None


def split_thought(text: str) -> tuple[str, str]:
    """A text apart from the thoughts in it: (thoughts, rest). What stands in code is kept.

    vLLM leaves thoughts in the text after a tool's answer (vllm#39885), with their channel tokens
    or with no more than the word that follows them.
    """
    thoughts: list[str] = []

    def take(match: re.Match[str]) -> str:
        if _is_quoted(text, match.start()):
            return match[0]
        thoughts.append(match[1].strip())
        return ""

    rest = _LEAKED_THOUGHT.sub(take, text).removeprefix(THOUGHT)
    return "\n".join(filter(None, thoughts)), rest


_NAMED: Final = re.compile(rf"{re.escape(CALL_OPEN)}\s*call:([\w.:-]+)\s*\{{")
_FENCE: Final = re.compile(r"^```(?:json)?\s*(.*?)\s*```$", re.DOTALL)
_LEAKED_THOUGHT: Final = re.compile(
    rf"(?:{re.escape(CHANNEL_OPEN)}(?:{THOUGHT})?|\A{THOUGHT}(?=.*{re.escape(CHANNEL_CLOSE)}))"
    rf"(.*?)(?:{re.escape(CHANNEL_CLOSE)}|\Z)",
    re.DOTALL,
)


def _is_quoted(text: str, at: int) -> bool:
    if text.count("```", 0, at) % 2:
        return True
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return line.count("`") % 2 == 1 or line[-1:] in ('"', "'", "“", "«")
