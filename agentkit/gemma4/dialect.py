"""Everything between agentkit's data and Gemma's words, for one set of tools.

Out: declarations that Gemma really sees, messages that cannot forge control tokens, a grammar that
allows nothing but valid calls. Back: a reply's own text as calls with the original parameter
names, typed by the tool's schema. Pure; build one for each set of tools and keep it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from operator import is_
from typing import Any

from agentkit.gemma4.escape import Escape
from agentkit.gemma4.grammar import ToolGrammar, compile_grammar, compile_tool
from agentkit.gemma4.parse import ParsedReply, Parser, parse, parse_tokens
from agentkit.gemma4.render import render_call
from agentkit.gemma4.wrong_forms import resolve_name
from agentkit.messages import (
    AssistantMessage,
    JsonObject,
    Message,
    ToolCall,
    ToolChoice,
    ToolDefinition,
)
from agentkit.schema.lower import lower
from agentkit.schema.shape import Shape

_KEPT = 4096  # messages whose escaped form is kept


class Dialect:
    """The language of one conversation.

    Args:
        tools: What the model may call, in the order in which it is shown them.
        escape: Keeps outside text apart from control tokens.
    """

    def __init__(self, tools: Sequence[ToolDefinition], escape: Escape) -> None:
        self._escape = escape
        self._lowered = {tool.name: lower(tool) for tool in tools}
        self.declarations: list[JsonObject] = [
            escape.escape_tool(lowered.declaration).declaration
            for lowered in self._lowered.values()
        ]
        self._shapes = {name: each.shape for name, each in self._lowered.items()}
        self._grammars: dict[ToolChoice, JsonObject] = {}
        # By identity, and with the message itself, so that its identity is not used again.
        self._outgoing: dict[int, tuple[Message, Message]] = {}

    def outgoing(self, message: Message) -> Message:
        """A message as the model may see it; it is counted and sent, but made once."""
        if (known := self._outgoing.get(id(message))) is not None:
            return known[1]
        if len(self._outgoing) >= _KEPT:
            self._outgoing.clear()
        made = message
        if isinstance(message, AssistantMessage):
            made = _with_calls(message, self._aliased)
        made = self._escape.escape_message(made)
        self._outgoing[id(message)] = (message, made)
        return made

    def incoming(self, message: AssistantMessage) -> AssistantMessage:
        """A reply as tools and people should see it."""
        return _with_calls(self._escape.unescape_message(message), self._restored)

    def read(self, text: str, *, in_reasoning: bool) -> ParsedReply:
        """A reply's own text; its control tokens are known by their spelling.

        Args:
            text: What the model produced.
            in_reasoning: The prompt ended inside open reasoning.
        """
        return parse(text, self._shapes, in_reasoning=in_reasoning)

    def read_tokens(
        self, ids: Sequence[int], pieces: Sequence[str], *, in_reasoning: bool, constrained: bool
    ) -> ParsedReply:
        """A reply's own tokens: its control tokens are known by their ids.

        Args:
            ids: What the model produced.
            pieces: The text of each token, as many as ids.
            in_reasoning: The prompt ended inside open reasoning.
            constrained: A grammar held the calls.
        """
        return parse_tokens(
            ids, pieces, self._shapes, in_reasoning=in_reasoning, constrained=constrained
        )

    def parser(self, *, in_reasoning: bool) -> Parser:
        """What `read` does, for a reply that comes in pieces."""
        return Parser(self._shapes, in_reasoning=in_reasoning)

    def grammar(self, choice: ToolChoice) -> JsonObject | None:
        """The value of vLLM's request field `structured_outputs`; None without tools."""
        if not self._lowered:
            return None
        if choice not in self._grammars:
            self._grammars[choice] = compile_grammar(self._tool_grammars, choice).structured_outputs
        return self._grammars[choice]

    @cached_property
    def _tool_grammars(self) -> list[ToolGrammar]:
        """Made at the first use: a server that takes no grammar needs none."""
        escape = self._escape.escape
        return [compile_tool(lowered, escape=escape) for lowered in self._lowered.values()]

    def fits(self, name: str, arguments: JsonObject) -> bool:
        """Whether arguments, under the names the model is shown, fit the tool of that name."""
        lowered = self._lowered.get(resolve_name(name, self._lowered) or "")
        if lowered is None:
            return False
        schema = Shape.of(lowered.definition.parameters)
        return not schema.misfit(lowered.restore(arguments))

    def with_nulls(self, name: str, arguments: JsonObject) -> JsonObject:
        """Arguments in which the text `null` is null wherever the tool of that name takes it."""
        shape = self._shapes.get(resolve_name(name, self._shapes) or "")
        nulled: JsonObject = arguments if shape is None else _with_nulls(arguments, shape)
        return nulled

    def _aliased(self, call: ToolCall) -> ToolCall:
        lowered = self._lowered.get(call.name)
        if lowered is None or not lowered.aliases:
            return call
        return replace(call, arguments=lowered.rename(call.arguments))

    def _restored(self, call: ToolCall) -> ToolCall:
        lowered = self._lowered.get(resolve_name(call.name, self._lowered) or call.name)
        if lowered is None or not lowered.aliases:
            return call
        restored = lowered.restore(call.arguments)
        if len(restored) < len(call.arguments):  # given under both of its names
            return replace(call, arguments={}, malformed=render_call(call.name, call.arguments))
        return replace(call, arguments=restored)


def _with_calls(
    message: AssistantMessage, change: Callable[[ToolCall], ToolCall]
) -> AssistantMessage:
    """The message with each call changed; the same object if none was."""
    calls = tuple(map(change, message.tool_calls))
    same = all(map(is_, calls, message.tool_calls))
    return message if same else replace(message, tool_calls=calls)


def _with_nulls(value: Any, shape: Shape) -> Any:
    if isinstance(value, dict):
        return {key: _with_nulls(item, shape.property(key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_nulls(item, shape.item(at)) for at, item in enumerate(value)]
    nullable = shape.types is not None and "null" in shape.types and not shape.lists("null")
    return None if value == "null" and nullable else value
