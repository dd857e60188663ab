"""A request's own decoding constraint: only valid native calls can be produced.

vLLM constrains no calls of Gemma 4 by itself: its parser declares `supports_required_and_named =
False` and has no structural tag (read in vLLM 0.32; vllm-project/vllm#45795). But a request may
bring its own structural tag, written in the native syntax, in the field `structured_outputs`; vLLM
starts it behind the reasoning, and its parser returns ordinary `tool_calls`.

    from agentkit.gemma4.grammar import compile_grammar
    body["structured_outputs"] = compile_grammar(tools, ToolChoice("required")).structured_outputs
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from agentkit.gemma4.constraints import Constraints
from agentkit.gemma4.ebnf import Rule, affordable, any_of, in_order, literal
from agentkit.gemma4.escape import Escape
from agentkit.gemma4.tokens import CALL_CLOSE, CALL_OPEN
from agentkit.messages import JsonObject, ToolChoice
from agentkit.schema.lower import LoweredTool

_escape: Final = Escape().escape


@dataclass(frozen=True, slots=True)
class ToolGrammar:
    """The grammar of one tool's calls.

    Attributes:
        name: The tool's name as the model is shown it.
        arguments: EBNF expression for the arguments, without the braces around them.
        rules: The rules it refers to, by name.
        carried: (JSON pointer, keyword) of the source's limits that it enforces.
        nearly: Those that it enforces in part → how far, in words; the rest is validation's.
    """

    name: str
    arguments: str
    rules: Mapping[str, Rule]
    carried: frozenset[tuple[str, str]]
    nearly: Mapping[tuple[str, str], str] = field(default_factory=dict)


Tags: TypeAlias = Callable[[Sequence[ToolGrammar]], list[JsonObject]]
"""Tools → the tags of a structural tag that their calls are."""


@dataclass(frozen=True, slots=True)
class Grammar:
    """What to send, and what it enforces.

    Attributes:
        structured_outputs: Value of the request field of that name (vLLM 0.24 or newer).
        ebnf: The grammar inside it: of what stands between `<|tool_call>call:` and
            `<tool_call|>`, or of the answer; empty where no call may be made.
        tools: The grammar of each tool that may be called.
    """

    structured_outputs: JsonObject
    ebnf: str = ""
    tools: tuple[ToolGrammar, ...] = ()


def compile_tool(tool: LoweredTool, *, escape: Callable[[str], str] = _escape) -> ToolGrammar:
    """The grammar of one tool's calls. Pure: worth keeping for as long as the tool.

    Args:
        tool: The lowered tool.
        escape: What is done to its declaration before it is sent: names and enum values in the
            grammar get the same.
    """
    constraints = Constraints(tool.aliases, escape)
    arguments = constraints.arguments(tool.root)
    rules, nearly = constraints.rules, constraints.nearly
    if not affordable(rules.values()):
        nearly = {key: how for key, how in nearly.items() if key[1] != "maxLength"}
    return ToolGrammar(escape(tool.definition.name), arguments, rules, constraints.carried, nearly)


def compile_grammar(
    tools: Sequence[ToolGrammar], choice: ToolChoice, *, tags: Tags | None = None
) -> Grammar:
    """The constraint for one request.

    Args:
        tools: The grammars of the tools in the request.
        choice: Which calls the reply may or must hold. `auto` leaves text free, but a call once
            begun is a valid one; `none` forbids calls; `required` allows nothing but calls.
        tags: How the compiler is given the calls of tools, where that is not our EBNF: the seam by
            which a style of xgrammar's own could take over. `make bench-grammar
            ARGS="--compare VERSION"` measures the two beside each other.

    Raises:
        ValueError: `choice` allows no tool of `tools` and forces a call.
    """
    named = tuple(tool for tool in tools if choice.allows(tool.name))
    if choice.mode == "none" or (choice.mode == "auto" and not named):
        return Grammar(_structural(_text()))
    if not named:
        wanted = choice.name or " or ".join(choice.among)
        raise ValueError(
            f"the tool choice asks for {wanted or 'a call'}, but the request's tools are "
            f"{[tool.name for tool in tools]}"
        )
    calls = any_of(in_order((literal(f"{tool.name}{{"), tool.arguments, '"}"')) for tool in named)
    # Rules that several tools share are in it once.
    rules = {name: rule for tool in named for name, rule in tool.rules.items()}
    bounded = affordable(rules.values())
    lines = (rule.line(bounded=bounded) for rule in rules.values())
    ebnf = "\n".join((f"root ::= {calls}", *lines, ""))
    # One tag for all tools: their grammars share rules, which is most of the cost.
    whole: JsonObject = {
        "type": "tag",
        "begin": f"{CALL_OPEN}call:",
        "content": {"type": "grammar", "grammar": ebnf},
        "end": CALL_CLOSE,
    }
    written = [whole] if tags is None else tags(named)
    call = written[0] if len(written) == 1 else {"type": "or", "elements": written}
    form = _calls(call, written, choice.max_calls, forced=choice.mode == "required")
    return Grammar(_structural(form), ebnf, named)


# --- xgrammar's structural tag -------------------------------------------------------------------
# Formats and their fields: xgrammar 0.2, `structural_tag.py`.


def _structural(form: dict[str, Any]) -> JsonObject:
    tag = {"type": "structural_tag", "format": form}
    return {"structural_tag": json.dumps(tag, ensure_ascii=False, separators=(",", ":"))}


def _text() -> dict[str, Any]:
    """Any text in which no call begins."""
    return {"type": "any_text", "excludes": [CALL_OPEN]}


def _calls(
    call: JsonObject, tags: list[JsonObject], most: int | None, *, forced: bool
) -> dict[str, Any]:
    if most is None and forced:
        return {"type": "plus", "content": call}
    if most in (None, 1):
        return {
            "type": "triggered_tags",
            "triggers": [CALL_OPEN],
            "tags": tags,
            "at_least_one": forced,
            "stop_after_first": most == 1,
        }
    calls = {"type": "repeat", "min": int(forced), "max": most, "content": call}
    return calls if forced else {"type": "sequence", "elements": [_text(), calls]}
