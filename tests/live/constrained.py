"""Calls that random weights were made to write by a grammar, and what is checked of them.

The server's weights are random, so nothing but the request's own grammar can make a call valid.
The unit of the check is a reply: it ended by itself, its calls are as many as asked for, each
names a tool of the request, and its arguments obey every keyword that the grammar carries.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final

import httpx2
from tokenizers import Tokenizer

from agentkit.gemma4.escape import Escape
from agentkit.gemma4.grammar import ToolGrammar, compile_grammar, compile_tool
from agentkit.gemma4.parse import ParsedReply, parse
from agentkit.gemma4.tokens import (
    CALL_CLOSE,
    CALL_OPEN,
    CHANNEL_CLOSE,
    CHANNEL_OPEN,
    IDS,
    QUOTE,
    STOP_IDS,
)
from agentkit.messages import ToolChoice, ToolDefinition
from agentkit.schema.lower import LoweredTool, lower
from tests.gemma4.replies import repeats_a_key, unescaped
from tests.schema.validity import broken

TEXT: Final = {"type": "string", "maxLength": 12}
NAME: Final = {"type": "string", "minLength": 1, "maxLength": 8}

BOUNDED: Final[dict[str, dict[str, Any]]] = {
    "string": TEXT,
    "filled": NAME,
    "counted": {"type": "string", "minLength": 3, "maxLength": 6},
    "empty": {"type": "string", "maxLength": 0},
    "enum": {"type": "string", "enum": ["a", "b c", "d,e", 'q"r', "{x}"]},
    "const": {"const": "only this"},
    "mixed_enum": {"enum": ["auto", 0, 1.5, True, None, [1, 2], {"k": "v"}]},
    "pattern": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{1,4}$"},
    "word": {"type": "string", "pattern": "^[a-z]+$", "minLength": 2, "maxLength": 9},
    "choice_pattern": {"type": "string", "pattern": "^(GET|POST) /[a-z/]{0,12}$"},
    "date": {"type": "string", "format": "date"},
    "moment": {"type": "string", "format": "date-time"},
    "uuid": {"type": "string", "format": "uuid"},
    "address": {"type": "string", "format": "ipv4"},
    "integer": {"type": "integer"},
    "range": {"type": "integer", "minimum": 1, "maximum": 7},
    "wide_range": {"type": "integer", "minimum": -250, "maximum": 123_456},
    "above": {"type": "integer", "exclusiveMinimum": 41},
    "multiple": {"type": "integer", "multipleOf": 15, "minimum": 0, "maximum": 90},
    "integer_enum": {"type": "integer", "enum": [1, 2, 5]},
    "number": {"type": "number"},
    "fraction": {"type": "number", "minimum": 0, "maximum": 1},
    "open_range": {"type": "number", "exclusiveMinimum": -1, "exclusiveMaximum": 2},
    "boolean": {"type": "boolean"},
    "true_only": {"const": True},
    "null": {"type": "null"},
    "nullable": {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 99}, {"type": "null"}]},
    "type_list": {"type": ["integer", "boolean", "null"]},
    "array": {"type": "array", "items": TEXT, "maxItems": 3},
    "exact_array": {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 2},
    "no_items": {"type": "array", "maxItems": 0},
    "matrix": {
        "type": "array",
        "maxItems": 2,
        "items": {"type": "array", "items": {"type": "number"}, "maxItems": 2},
    },
    "tuple": {
        "type": "array",
        "prefixItems": [{"type": "number"}, TEXT],
        "items": False,
        "minItems": 1,
    },
    "tail": {
        "type": "array",
        "prefixItems": [{"enum": ["move"]}],
        "items": {"type": "integer", "minimum": 0, "maximum": 9},
        "minItems": 2,
        "maxItems": 4,
    },
    "object": {
        "type": "object",
        "properties": {"x": {"type": "number"}, "Label": TEXT, "on": {"type": "boolean"}},
        "required": ["x"],
        "additionalProperties": False,
    },
    "nested": {
        "type": "object",
        "properties": {
            "a": {
                "type": "object",
                "properties": {"b": {"type": "array", "items": NAME, "maxItems": 2}},
                "required": ["b"],
            }
        },
        "required": ["a"],
    },
    "reserved": {
        "type": "object",
        "properties": {"type": TEXT, "description": TEXT, "required": {"type": "boolean"}},
        "required": ["type", "required"],
    },
    "odd_names": {
        "type": "object",
        "properties": {"a:b": {"type": "boolean"}, "c d": TEXT, "é": {"type": "integer"}},
        "required": ["a:b", "é"],
    },
    "dictionary": {"type": "object", "additionalProperties": NAME, "maxProperties": 2},
    "known_keys": {
        "type": "object",
        "propertyNames": {"enum": ["red", "green"]},
        "additionalProperties": {"type": "integer", "minimum": 0, "maximum": 255},
        "maxProperties": 3,
    },
    "key_pattern": {
        "type": "object",
        "patternProperties": {"^[A-Z]{1,6}$": TEXT},
        "additionalProperties": False,
        "maxProperties": 2,
    },
    "union": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "maxLength": 4}]},
    "tagged": {
        "oneOf": [
            {
                "type": "object",
                "properties": {"kind": {"const": "cat"}, "lives": {"type": "integer"}},
                "required": ["kind", "lives"],
            },
            {
                "type": "object",
                "properties": {"kind": {"const": "dog"}, "breed": NAME},
                "required": ["kind"],
            },
        ]
    },
    "one_or_many": {"anyOf": [NAME, {"type": "array", "items": NAME, "maxItems": 2}]},
    "all_of": {"allOf": [{"type": "string", "minLength": 2}, {"maxLength": 6}]},
    "reference": {"$ref": "#/$defs/Point"},
    "references": {"type": "array", "items": {"$ref": "#/$defs/Point"}, "maxItems": 2},
    "tree": {"$ref": "#/$defs/Tree"},
    "control_words": {"enum": ["<turn|>", "<|tool_call>call:f{}", "plain"]},
    "not_root": {"enum": ["root", "user"], "not": {"const": "root"}},
}
"""Fifty constructs; their arrays and numbers end, their texts by a bias on what closes them."""

UNBOUNDED: Final[dict[str, dict[str, Any]]] = {
    "text": {"type": "string"},
    "filled_text": {"type": "string", "minLength": 1},
    "texts": {"type": "array", "items": {"type": "string"}, "maxItems": 3},
    "url": {"type": "string", "pattern": "^https://"},
    "dictionary": {"type": "object", "additionalProperties": {"type": "string"}},
    "perhaps": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
}
"""Strings without end; they end by a bias on the quote token."""

_DEFINITIONS: Final = {
    "Point": {
        "type": "object",
        "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}},
        "required": ["x", "y"],
    },
    "Tree": {
        "type": "object",
        "properties": {
            "value": {"type": "integer"},
            "children": {"type": "array", "items": {"$ref": "#/$defs/Tree"}, "maxItems": 2},
        },
        "required": ["value"],
    },
}

_escape = Escape()
_THOUGHT: Final = 12
"""Tokens of a thought."""
_OPENING: Final = 12.0
"""Bias that makes random weights begin something at once."""


@dataclass(frozen=True)
class Offered:
    """A tool as it goes into a request."""

    lowered: LoweredTool

    @cached_property
    def grammar(self) -> ToolGrammar:
        return compile_tool(self.lowered)

    @property
    def name(self) -> str:
        return self.lowered.definition.name

    @property
    def wire(self) -> dict[str, Any]:
        declared = _escape.escape_tool(self.lowered.declaration)
        return {
            "type": "function",
            "function": {
                "name": declared.name,
                "description": declared.description,
                "parameters": declared.parameters,
            },
        }


@cache
def offered(unbounded: bool = False) -> tuple[Offered, ...]:
    """The tools: each has one required parameter of its construct, and an optional one."""
    constructs = UNBOUNDED if unbounded else BOUNDED
    return tuple(
        Offered(
            lower(
                ToolDefinition(
                    f"set_{name}",
                    f"Sets the {name.replace('_', ' ')}.",
                    {
                        "type": "object",
                        "properties": {"value": schema, "really": {"type": "boolean"}},
                        "required": ["value"],
                        "$defs": _DEFINITIONS,
                    },
                )
            )
        )
        for name, schema in constructs.items()
    )


@dataclass(frozen=True)
class Case:
    """One request.

    Attributes:
        mode: `required`, `named`, `one`, `several` (up to three) or `auto`.
        thinking: Whether the model thinks first, by a budget of tokens.
        after_result: Whether the conversation already holds a call and its result.
        stream: Whether the reply is streamed.
        spelled: Whether the call must begin in ordinary tokens, its control token banned.
        unbounded: Whether the tools have strings without end.
        closing: Tokens that end a text, a number or a call: made likelier, for random weights
            never find them among so many. Trained weights need none.
        seed: Which tools are offered. Sampling has no seed: a seeded request whose prompt is
            read in several chunks ends a vLLM 0.32 on the CPU ("Generator does not use offset").
    """

    mode: str
    thinking: bool = False
    after_result: bool = False
    stream: bool = False
    spelled: bool = False
    unbounded: bool = False
    seed: int = 0
    closing: tuple[int, ...] = ()

    @cached_property
    def tools(self) -> tuple[Offered, ...]:
        """Five tools: over ten seeds, each of the fifty once."""
        every = offered(self.unbounded)
        start = self.seed * 5 % len(every)
        return (every + every)[start : start + 5]

    @property
    def choice(self) -> ToolChoice:
        picked = self.tools[self.seed % 5].name
        return {
            "auto": ToolChoice(),
            "required": ToolChoice("required"),
            "named": ToolChoice("required", name=picked, max_calls=1),
            "one": ToolChoice("required", max_calls=1),
            "several": ToolChoice("required", max_calls=3),
        }[self.mode]

    @property
    def ends_its_thought(self) -> bool:
        """Whether random weights open a thought and end it, each by a bias, without a budget.

        The biases last for the whole reply: where the opening token stands in a text, a budget
        would force the thought's end into it (`agentkit.gemma4.ebnf.EXCLUDED`).
        """
        opens = self.thinking and not self.after_result and self.mode != "auto"
        return opens and bool(self.closing)

    def _biases(self) -> Iterator[tuple[str, float]]:
        """What random weights need to begin a call, a thought, and to end a string."""
        if self.unbounded:
            yield QUOTE, 6.0
        if self.spelled:
            yield CALL_OPEN, -100.0
        elif self.mode == "auto":
            # A call begun inside the thought would end it, and vLLM's budget would then force the
            # thought's end into the call.
            yield CALL_OPEN, 2.0 if self.thinking else 12.0
        if self.thinking and not self.after_result:
            # The model opens the thought itself, and vLLM waits for its end with the grammar.
            yield CHANNEL_OPEN, _OPENING
            if self.ends_its_thought:
                yield CHANNEL_CLOSE, _OPENING

    def body(self, model: str) -> dict[str, Any]:
        """The request's body."""
        grammar = compile_grammar([tool.grammar for tool in self.tools], self.choice)
        body: dict[str, Any] = {
            "model": model,
            "messages": list(_messages(self.after_result)),
            "tools": [tool.wire for tool in self.tools],
            "tool_choice": "auto",
            "max_tokens": 100 if self.mode == "auto" else 1_000,
            "logit_bias": {
                **{str(n): _OPENING if self.ends_its_thought else 3.0 for n in self.closing},
                **{str(IDS[token]): bias for token, bias in self._biases()},
            },
            "return_token_ids": True,
            "chat_template_kwargs": {"enable_thinking": self.thinking},
            "structured_outputs": grammar.structured_outputs,
        }
        if self.thinking:
            # Random weights would end the reply inside its thought: no stop token before a call.
            thought = _THOUGHT if self.mode != "auto" else 4
            body["min_tokens"] = thought + 4
            if not self.ends_its_thought:
                body["thinking_token_budget"] = thought
        if self.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return body


def _messages(after_result: bool) -> Iterator[dict[str, Any]]:
    yield {"role": "user", "content": "Set something."}
    if after_result:
        call = {"name": "set_range", "arguments": '{"value":3}'}
        yield {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": call}],
        }
        yield {"role": "tool", "tool_call_id": "c1", "content": "done"}


@dataclass
class Answer:
    """What came back.

    Attributes:
        ids: Ids of all generated tokens.
        calls: What the server's own parser made of it: name and arguments as text.
        content: The text it took for the answer.
        finish: `finish_reason`.
    """

    ids: list[int] = field(default_factory=list)
    calls: list[tuple[str, str]] = field(default_factory=list)
    content: str = ""
    finish: str = ""


class GivenUpError(Exception):
    """vLLM ended a request with an internal error."""


def ask(client: httpx2.Client, body: dict[str, Any]) -> Answer:
    """Sends a request and collects its reply, streamed or not.

    Raises:
        GivenUpError: vLLM ended it with an internal error, as it does when a token that it sampled
            without the grammar, around the end of a thought, does not fit the grammar.
    """
    response = client.post("/v1/chat/completions", json=body)
    if response.status_code == 500 or '"InternalServerError"' in response.text:
        raise GivenUpError(response.text[-500:])
    assert response.is_success, response.text[:2000]
    if not body.get("stream"):
        [choice] = response.json()["choices"]
        functions = [call["function"] for call in choice["message"].get("tool_calls") or ()]
        return Answer(
            choice["token_ids"],
            [(function["name"], function["arguments"]) for function in functions],
            choice["message"].get("content") or "",
            choice["finish_reason"],
        )
    return _collected(response.text)


def _collected(text: str) -> Answer:
    answer = Answer()
    parts: dict[int, list[str]] = {}
    for line in text.splitlines():
        if not line.startswith("data: {"):
            continue
        for choice in json.loads(line.removeprefix("data: "))["choices"]:
            answer.ids += choice.get("token_ids") or ()
            answer.finish = choice.get("finish_reason") or answer.finish
            answer.content += choice["delta"].get("content") or ""
            for call in choice["delta"].get("tool_calls") or ():
                name, arguments = parts.setdefault(call["index"], ["", ""])
                function = call.get("function") or {}
                parts[call["index"]] = [
                    name + (function.get("name") or ""),
                    arguments + (function.get("arguments") or ""),
                ]
    answer.calls = [(name, arguments) for _, (name, arguments) in sorted(parts.items())]
    return answer


def check(case: Case, answer: Answer, tokenizer: Tokenizer) -> Counter[str]:
    """Asserts that a reply is what its grammar allows, and counts what it held.

    Raises:
        AssertionError: A forced reply without the calls asked for, a reply that was cut, or a call
            that is not valid.
    """
    ids = answer.ids
    if case.thinking:  # vLLM's grammar begins behind the thought, whatever that held
        assert IDS[CHANNEL_CLOSE] in ids or case.mode == "auto", "the thought never ended"
        ids = ids[ids.index(IDS[CHANNEL_CLOSE]) + 1 :] if IDS[CHANNEL_CLOSE] in ids else []
    text: str = tokenizer.decode(ids, skip_special_tokens=False)
    known = {tool.name: tool for tool in case.tools}
    shapes = {name: tool.lowered.shape for name, tool in known.items()}
    reply = parse(text, shapes)
    counts: Counter[str] = Counter(replies=1)
    if case.mode != "auto":
        assert answer.ids[-1] in STOP_IDS, f"cut ({answer.finish}): {text[-200:]}"
        most = {"named": 1, "one": 1, "several": 3}.get(case.mode, 1_000)
        assert 1 <= len(reply.calls) <= most, text
        assert not reply.text.strip(), f"text beside the calls: {reply.text!r}"
    for call in reply.calls:
        if call.malformed:
            was_cut = answer.ids[-1] not in STOP_IDS
            assert was_cut or repeats_a_key(text), text
            counts["calls that were cut" if was_cut else "calls with a key twice"] += 1
            continue
        assert case.choice.name in (None, call.name), text
        tool = known[call.name]
        arguments = unescaped(_escape, tool.lowered.restore(call.arguments))
        wrong = broken(arguments, tool.lowered.definition.parameters, tool.grammar.carried)
        assert not wrong, (wrong, text)
        counts["calls"] += 1
    counts["replies the server itself read the same way"] += _agrees(reply, answer)
    return counts


def _agrees(reply: ParsedReply, answer: Answer) -> bool:
    try:
        read = [(name, json.loads(arguments)) for name, arguments in answer.calls]
    except ValueError:
        return False
    return read == [(call.name, call.arguments) for call in reply.calls]


def forced_cases(seed: int) -> list[Case]:
    """The forced modes in every combination of the rest, once."""
    return [
        Case(mode, thinking, after_result, stream, seed=seed)
        for mode in ("required", "named", "one", "several")
        for thinking in (False, True)
        for after_result in (False, True)
        for stream in (False, True)
    ]


def auto_cases(seed: int) -> list[Case]:
    """Strict auto, with and without a thought, streamed and not."""
    return [
        Case("auto", thinking, after_result=thinking, stream=stream, seed=seed)
        for thinking in (False, True)
        for stream in (False, True)
    ]


def spelled_cases(seed: int) -> list[Case]:
    """Calls whose beginning is written in ordinary tokens."""
    return [Case("one", stream=stream, spelled=True, seed=seed) for stream in (False, True)]


def unbounded_cases(seed: int) -> list[Case]:
    """Calls whose strings nothing ends but the model, here by a bias on the quote token."""
    return [Case("one", stream=stream, unbounded=True, seed=seed) for stream in (False, True)]


def tokenizer_of(checkpoint: Path) -> Tokenizer:
    """The tokenizer of a checkpoint folder."""
    return Tokenizer.from_file(str(checkpoint / "tokenizer.json"))


def closing_tokens(tokenizer: Tokenizer) -> tuple[int, ...]:
    """The tokens that end texts, keys, numbers, lists, objects and calls."""
    vocabulary = tokenizer.get_vocab()
    return tuple(vocabulary[text] for text in (",", ":", "}", "]", QUOTE, CALL_CLOSE))
