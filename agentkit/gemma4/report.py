"""What Gemma is shown of a tool, and what it is not: the loss report.

Every limit of the tool's JSON Schema ends in one of four ways. It is *shown* in the declaration, or
said in *words* in a description; and beside that a grammar may hold it while the model decodes. A
limit that is neither shown nor held is *lost*: the model can only learn it by being refused. What
a grammar does not hold, or holds in part, is left to the validation of the arguments.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from agentkit.gemma4.escape import Escape
from agentkit.gemma4.grammar import compile_tool
from agentkit.gemma4.render import render_declaration
from agentkit.messages import ToolDefinition
from agentkit.schema.lower import Fate, LoweredTool, lower


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit of the source and what became of it.

    Attributes:
        path: JSON pointer of the schema object that holds it.
        keyword: The keyword.
        value: Its value as short JSON; empty for keywords that hold schemas.
        fate: Whether the declaration shows it, a sentence says it, or nothing does.
        text: The sentence, if one does.
        enforced: Whether the grammar holds it while the model decodes.
        partly: How far the grammar holds it, in words, where it does so in part.
    """

    path: str
    keyword: str
    value: str
    fate: Fate
    text: str
    enforced: bool
    partly: str = ""

    @property
    def lost(self) -> bool:
        """Whether the model neither sees it nor is kept to it."""
        return self.fate == "hidden" and not self.enforced and not self.partly

    @property
    def place(self) -> str:
        """The path as a person would write it: `order.items[].price`."""
        return _place(self.path)


@dataclass(frozen=True, slots=True)
class ToolReport:
    """What Gemma sees of a tool.

    Attributes:
        name: The tool's name.
        declaration: What it sees, word for word, as the template prints it.
        limits: What became of each limit of the schema, by place.
        aliases: (name, name shown for it) of the parameters that are shown under another name.
    """

    name: str
    declaration: str
    limits: tuple[Limit, ...]
    aliases: tuple[tuple[str, str], ...] = ()

    @property
    def lost(self) -> tuple[Limit, ...]:
        """The limits that a model cannot know and a decoder does not hold."""
        return tuple(limit for limit in self.limits if limit.lost)

    @property
    def summary(self) -> str:
        """The counts in one line."""
        shown = sum(limit.fate == "shown" for limit in self.limits)
        words = sum(limit.fate == "words" for limit in self.limits)
        silent = sum(limit.fate == "hidden" and limit.enforced for limit in self.limits)
        held = sum(limit.enforced for limit in self.limits)
        partly = sum(bool(limit.partly) for limit in self.limits)
        rest = len(self.limits) - held - partly
        parts = [f"{shown} shown", f"{words} in words"]
        parts += [f"{silent} by the grammar only"] if silent else []
        parts += [f"{len(self.lost)} LOST"] if self.lost else []
        total = len(self.limits)
        limits = "1 limit" if total == 1 else f"{total} limits"
        fates = [f"{held} held while decoding"]
        fates += [f"{partly} in part"] if partly else []
        fates += [f"{rest} left to validation"] if rest else []
        return f"{limits}: {', '.join(parts)}; {', '.join(fates)}"

    def lines(self) -> Iterator[str]:
        """The report as text. The declaration is one long line: it is quoted word for word."""
        yield f"{self.name}  {self.summary}"
        yield f"  {self.declaration}"
        for name, alias in self.aliases:
            yield f"  {name} is shown as {alias}: Gemma's template or syntax has no place for it"
        # A type and a required name that are shown need no line of their own.
        notable = [
            limit for limit in self.limits if limit.fate != "shown" or limit.keyword in _TOLD
        ]
        width = max((len(limit.place) for limit in notable), default=0)
        for limit in notable:
            yield f"  {limit.place:{width}}  {_sentence(limit)}"


def report(tool: ToolDefinition | LoweredTool) -> ToolReport:
    """Says what Gemma 4 sees of a tool and what it does not."""
    lowered = lower(tool) if isinstance(tool, ToolDefinition) else tool
    grammar = compile_tool(lowered)
    limits = (
        Limit(
            loss.path,
            loss.keyword,
            _value(lowered.definition.parameters, loss.path, loss.keyword),
            loss.fate,
            loss.text,
            (loss.path, loss.keyword) in grammar.carried,
            grammar.nearly.get((loss.path, loss.keyword), ""),
        )
        for loss in lowered.losses
        if loss.limits
    )
    aliases = tuple(sorted(lowered.aliases.items()))
    return ToolReport(lowered.definition.name, declared(lowered), tuple(limits), aliases)


def declared(lowered: LoweredTool) -> str:
    """The declaration as every official template prints it, control tokens included."""
    shown = Escape().escape_tool(lowered.declaration)
    return render_declaration(
        {"name": shown.name, "description": shown.description, "parameters": shown.parameters}
    )


def _sentence(limit: Limit) -> str:
    what = f"{limit.keyword} {limit.value}".strip()
    if limit.lost:
        return f"{what}: LOST, neither told nor held while decoding; only validation knows it"
    held = "left to validation"
    if limit.enforced:
        held = "held while decoding"
    elif limit.partly:
        held = f"held while decoding {limit.partly}, the rest left to validation"
    if limit.fate == "hidden":
        return f"{what} is not told, but {held}"
    told = "shown" if limit.fate == "shown" else f"said as “{limit.text}”"
    return f"{what} {told}; {held}"


def _value(schema: object, path: str, keyword: str) -> str:
    """The keyword's value as short JSON, if it is not a schema itself."""
    found: object = schema
    for step in (*_steps(path), keyword):
        if isinstance(found, list) and step.isdigit() and int(step) < len(found):
            found = found[int(step)]
        elif isinstance(found, dict):
            found = found.get(step)
        else:
            return ""
    if isinstance(found, dict):
        return ""
    if isinstance(found, list) and any(isinstance(item, dict) for item in found):
        return ""
    text = json.dumps(found, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _steps(path: str) -> Iterable[str]:
    return (step.replace("~1", "/").replace("~0", "~") for step in path.split("/")[1:])


_TOLD = ("enum", "const", "anyOf", "oneOf")
_HOLDERS = {
    **dict.fromkeys(("properties", "patternProperties"), "."),
    **dict.fromkeys(("$defs", "definitions", "schemas", "components"), ""),
}
"""Keywords behind which a name comes → what stands between the path so far and the name."""
_INSIDE = {
    "items": "[]",
    "prefixItems": "[]",
    "additionalItems": "[]",
    "additionalProperties": ".*",
    "propertyNames": " keys",
}


def _place(path: str) -> str:
    """A pointer as a path of names; a branch of a union is given by its number."""
    text = ""
    is_name = False
    for step in _steps(path):
        if is_name:
            text += step
            is_name = False
        elif step in _HOLDERS:
            text += _HOLDERS[step] if text else ""
            is_name = step != "components"  # behind which `schemas` comes
        elif step in _INSIDE:
            text += _INSIDE[step]
        elif step.isdigit():
            text += f"[{step}]" if text.endswith("]") else f" {int(step) + 1}"
        elif step not in ("anyOf", "oneOf", "allOf"):
            text += f" {step}"
    return text.strip() or "(the whole)"
