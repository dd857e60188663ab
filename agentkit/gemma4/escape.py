"""Keep text from outside apart from the control tokens that structure a prompt.

A tokenizer turns `<turn|>` into the real control token wherever it stands, in a web page that a
tool fetched as much as in the template (ggml-org/llama.cpp#24382), and a server of chat requests
has no switch against it (vllm-project/vllm#11691). So every text that the template did not write
gets an invisible U+2060 WORD JOINER behind the first character of each control literal, and loses
it again where the model's copy comes back.

Whether a place gets a mark depends on the text *without* its word joiners, and a mark is one
joiner more in a run that may be there already. So marking never changes which places are marked,
and `unescape(escape(text)) == text` holds for every text, marked ones included.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property, lru_cache, partial
from operator import is_
from typing import TypeAlias, TypeVar

from agentkit.gemma4.tokens import CONTROL_LITERALS
from agentkit.messages import (
    AssistantMessage,
    Content,
    JsonObject,
    Message,
    Part,
    TextPart,
    ToolCall,
    ToolDefinition,
    ToolMessage,
    UserMessage,
)

MARK = "\u2060"
"""The word joiner: invisible, no white space, and absent from every control literal."""

_T = TypeVar("_T")
_Change: TypeAlias = Callable[[str], str]
_Marking: TypeAlias = tuple[re.Pattern[str], re.Pattern[str]]


class Escape:
    """Neutralises control literals in outside text, reversibly.

    Args:
        literals: What the tokenizer would turn into control tokens: the known list of Gemma 4,
            or better the special tokens of the served tokenizer.

    Raises:
        ValueError: A literal has fewer than two characters, or holds a word joiner.
    """

    def __init__(self, literals: Iterable[str] = CONTROL_LITERALS) -> None:
        self.literals: tuple[str, ...] = tuple(sorted(set(literals)))
        for literal in self.literals:
            if len(literal) < 2 or MARK in literal:
                raise ValueError(
                    f"{literal!r} cannot be a control literal: it needs two characters or more to "
                    "put a word joiner between, and none of its own"
                )
        self._heads = tuple({literal[0] for literal in self.literals})

    # Compiling takes longer than all else here, and most texts hold no beginning of a literal.

    @cached_property
    def _find(self) -> re.Pattern[str]:
        return re.compile("|".join(map(re.escape, sorted(self.literals, key=len)[::-1])))

    @cached_property
    def _whole(self) -> _Marking:
        return _marking(self.literals, open_end=False)

    @cached_property
    def _open(self) -> _Marking:
        return _marking(self.literals, open_end=True)

    def _is_plain(self, text: str) -> bool:
        """Whether no literal can begin in a text."""
        for head in self._heads:  # noqa: SIM110 - a generator would cost more than the search
            if head in text:
                return False
        return True

    # --- text ------------------------------------------------------------------------------------

    def escape(self, text: str, *, open_end: bool = False) -> str:
        """The text with every control literal broken up.

        Args:
            text: Anything; marks of its own are kept apart from ours.
            open_end: More outside text may follow with nothing in between, as between the text
                parts of one message, so a *beginning* of a literal at the end is broken up too.
        """
        if self._is_plain(text):
            return text
        add, _ = self._open if open_end else self._whole
        return add.sub(lambda found: found[0] + MARK, text)

    def unescape(self, text: str, *, open_end: bool = False) -> str:
        """The text before `escape` with the same `open_end`."""
        if self._is_plain(text):
            return text
        _, remove = self._open if open_end else self._whole
        return remove.sub(lambda found: found[0][:-1], text)

    def count(self, prompt: str) -> int:
        """How many control literals a tokenizer would find in a rendered prompt."""
        return sum(1 for _ in self._find.finditer(prompt))

    # --- JSON ------------------------------------------------------------------------------------

    def escape_json(self, value: _T) -> _T:
        """A JSON value with every string in it escaped, the keys of objects too."""
        return _over_json(value, self.escape)

    # --- messages and tools ----------------------------------------------------------------------

    def escape_message(self, message: Message) -> Message:
        """A message whose every text is safe to render; the same object if it was already."""
        if isinstance(message, UserMessage):
            return _with_content(message, self._content(message.content))
        if isinstance(message, ToolMessage):
            name = self.escape(message.name)
            return _with_content(
                message if name == message.name else replace(message, name=name),
                self._content(message.content),
            )
        if isinstance(message, AssistantMessage):
            # The next model message may follow without a separator, hence the open end.
            return _map_assistant(message, partial(self.escape, open_end=True), self.escape)
        return _with_content(message, self.escape(message.content))

    def unescape_message(self, message: AssistantMessage) -> AssistantMessage:
        """A reply as the tools and the person should see it."""
        return _map_assistant(message, partial(self.unescape, open_end=True), self.unescape)

    def escape_tool(self, tool: ToolDefinition) -> ToolDefinition:
        """A definition whose name, description, keys and values are all safe to render."""
        return ToolDefinition(
            name=self.escape(tool.name),
            description=self.escape(tool.description),
            parameters=self.escape_json(tool.parameters),
        )

    def _content(self, content: Content) -> Content:
        if isinstance(content, str):
            return self.escape(content)
        last = len(content) - 1
        return tuple(self._part(part, open_end=at < last) for at, part in enumerate(content))

    def _part(self, part: Part, *, open_end: bool) -> Part:
        if not isinstance(part, TextPart):
            return part
        return TextPart(self.escape(part.text, open_end=open_end))


# --- applying a change to data -------------------------------------------------------------------


def _over_json(value: _T, change: _Change) -> _T:
    result: object = value
    if isinstance(value, str):
        result = change(value)
    elif isinstance(value, dict):
        result = {
            change(key) if isinstance(key, str) else key: _over_json(item, change)
            for key, item in value.items()
        }
    elif isinstance(value, list):
        result = [_over_json(item, change) for item in value]
    return result  # type: ignore[return-value] # the shape of JSON stays what it was


_M = TypeVar("_M", bound=Message)


def _with_content(message: _M, content: Content) -> _M:
    if content == message.content:
        return message
    return replace(message, content=content)  # type: ignore[arg-type] # text stays text


def _map_assistant(message: AssistantMessage, content: _Change, other: _Change) -> AssistantMessage:
    said = None if message.content is None else content(message.content)
    reasoning = None if message.reasoning is None else other(message.reasoning)
    calls = tuple([_map_call(call, other) for call in message.tool_calls])
    same = said == message.content and reasoning == message.reasoning
    if same and all(map(is_, calls, message.tool_calls)):
        return message
    return AssistantMessage(said, calls, reasoning)


def _map_call(call: ToolCall, change: _Change) -> ToolCall:
    arguments: JsonObject = _over_json(call.arguments, change)
    name = change(call.name)
    if name == call.name and arguments == call.arguments:
        return call
    return replace(call, name=name, arguments=arguments)


# --- finding the places --------------------------------------------------------------------------


@lru_cache(maxsize=16)  # each model makes its own, nearly always of the same literals
def _marking(literals: tuple[str, ...], *, open_end: bool) -> _Marking:
    """Two patterns for the first character of each literal and its run of marks.

    Both look ahead through a trie of the literals in which marks may stand anywhere, so they see
    the text without its marks and stay linear however many literals there are.
    """
    heads: dict[str, list[str]] = {}
    for literal in literals:
        heads.setdefault(literal[0], []).append(literal[1:])
    ahead = [(re.escape(head), f"(?={_trie(rest, open_end)})") for head, rest in heads.items()]
    if not ahead:
        return re.compile(r"(?!)"), re.compile(r"(?!)")
    add = "|".join(f"{head}{MARK}*+{rest}" for head, rest in ahead)
    remove = "|".join(f"{head}{MARK}++{rest}" for head, rest in ahead)
    return re.compile(add), re.compile(remove)


def _trie(rests: list[str], open_end: bool) -> str:
    """A pattern for any of these texts, marks allowed; with `open_end` cut texts as well."""
    if "" in rests:
        return ""  # a whole literal stands here: what follows it does not matter
    branches: dict[str, list[str]] = {}
    for rest in rests:
        branches.setdefault(rest[0], []).append(rest[1:])
    options = [re.escape(head) + _trie(more, open_end) for head, more in branches.items()]
    if open_end:
        # The template trims, so white space behind a beginning does not protect it.
        options.append(rf"[\s{MARK}]*+\Z")
    return f"{MARK}*+(?:{'|'.join(options)})"
