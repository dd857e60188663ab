"""Any JSON Schema → the subset that every one of Gemma 4's official templates prints.

The template prints descriptions, single types, enums of strings, `nullable`, named members, what
is required, and the items of an array one level deep; it drops or garbles the rest (read from the
templates of April and of 2026-07-09). So references are inlined, optional types become
`nullable`, unions of objects become one object, and what has no place moves into the description
as a sentence. Names that the April template leaves out are aliased, and so are names that would
break the native syntax.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from agentkit.messages import JsonObject, ToolDefinition
from agentkit.schema.folding import folded as fold
from agentkit.schema.folding import main_kind
from agentkit.schema.names import aliases_of, renamed, with_both_names
from agentkit.schema.nodes import (
    NULL_TYPE,
    Node,
    limits,
    walk,
)
from agentkit.schema.phrases import Phrase, humanised
from agentkit.schema.read import RECURSION_DEPTH, read
from agentkit.schema.words import MAX_SENTENCE, Speaker

SHOWN_DEPTH: Final = 1
"""How often a recursive definition is shown inside itself; deeper ones are described in words."""

Fate: TypeAlias = Literal["shown", "words", "hidden"]
"""Where a keyword went: into the declaration, into a description, or out of the model's sight."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What became of one keyword of the source.

    Attributes:
        path: JSON pointer of the schema object that holds it.
        keyword: The keyword.
        fate: Whether it is shown, said in words, or hidden from the model.
        text: The sentence that says it, when it is said in words.
        limits: Whether it limits the value; a default or an example does not.
    """

    path: str
    keyword: str
    fate: Fate
    text: str = ""
    limits: bool = True


@dataclass(frozen=True, slots=True)
class LoweredTool:
    """A tool as the model is told of it, and the way back.

    Attributes:
        definition: The tool as it was given; its schema stays the one to validate against.
        declaration: What to send: every node typed and described, nothing the template drops.
        aliases: Member names → the names shown for them, where these differ.
        losses: What became of each keyword, ordered by place.
        root: The schema taken apart; the grammar is made from it.
    """

    definition: ToolDefinition
    declaration: ToolDefinition
    aliases: Mapping[str, str]
    losses: tuple[Loss, ...]
    root: Node

    @property
    def hidden(self) -> tuple[Loss, ...]:
        """The limits that the model is not told of."""
        return tuple(loss for loss in self.losses if loss.fate == "hidden" and loss.limits)

    @property
    def native_schema(self) -> JsonObject:
        """The full schema under the names the model is shown and its own, since a model may write
        either: what a parser reads calls by.
        """
        schema: JsonObject = self.definition.parameters
        return with_both_names(schema, self.aliases) if self.aliases else schema

    def restore(self, arguments: JsonObject) -> JsonObject:
        """Arguments as the model wrote them → with the names of the original schema."""
        return self._renamed(arguments, {alias: name for name, alias in self.aliases.items()})

    def rename(self, arguments: JsonObject) -> JsonObject:
        """Arguments with the original names → as the model would have written them."""
        return self._renamed(arguments, self.aliases)

    def _renamed(self, arguments: JsonObject, names: Mapping[str, str]) -> JsonObject:
        if not names:
            return arguments
        changed: JsonObject = renamed(arguments, (self.root,), names, frozenset(self.aliases))
        return changed


def lower(definition: ToolDefinition, *, depth: int = RECURSION_DEPTH) -> LoweredTool:
    """Lowers a tool to what Gemma 4's templates print faithfully.

    Args:
        definition: The tool with its full JSON Schema. Not changed.
        depth: How often a recursive definition is followed inside itself, for the grammar; the
            declaration shows `SHOWN_DEPTH` of them.
    """
    root = read(definition.parameters, depth=depth)
    aliases = aliases_of(root)
    writer = _Writer(aliases)
    parameters = writer.parameters(root)
    text = definition.description.strip() or root.text("description")
    text = text or f"{humanised(definition.name)}."
    whole = writer.described(root, text, extra=writer.root_phrases)
    declaration = ToolDefinition(definition.name, whole, parameters)
    return LoweredTool(definition, declaration, aliases, writer.losses(root), root)


# --- the declaration ---------------------------------------------------------------------------


class _Writer:
    """Writes the declaration of one tool and remembers where each fact went."""

    def __init__(self, aliases: Mapping[str, str]) -> None:
        self._aliases = aliases
        self._speaker = Speaker(aliases)
        self._fates: dict[tuple[str, str], tuple[Fate, str]] = {}
        self.root_phrases: tuple[Phrase, ...] = ()

    def parameters(self, root: Node) -> JsonObject:
        """The schema of the arguments object."""
        folded, self.root_phrases = fold(root, self._speaker)
        self._show(folded, "type", "required")
        self._show_closed(folded)
        return {"type": "object", **self._object(folded, ())}

    def losses(self, root: Node) -> tuple[Loss, ...]:
        """Every fact of the schema with its fate."""
        losses: dict[tuple[str, str], Loss] = {}
        for node in walk(root):
            for fact in node.facts:
                place = (fact.path, fact.keyword)
                # What can never be given is not declared, and that says it all.
                fate, text = self._fates.get(place, ("shown" if node.never else "hidden", ""))
                losses[place] = Loss(*place, fate, text, limits(fact))
        return tuple(losses[place] for place in sorted(losses))

    def described(self, node: Node, text: str, *, extra: Iterable[Phrase] = ()) -> str:
        """A description, and behind it what the declaration has no place for."""
        shown = _shown_choices(node)
        phrases = [*extra, *self._speaker.sentences(replace(node, unions=()), choices_shown=shown)]
        said = [phrase for phrase in phrases if phrase.text]
        for phrase in said:
            if len(phrase.text) <= MAX_SENTENCE:
                for fact in phrase.facts:
                    self._fates.setdefault((fact.path, fact.keyword), ("words", phrase.text))
        sentences = [
            phrase.sentence()
            for phrase in said
            if len(phrase.text) <= MAX_SENTENCE and phrase.sentence() not in text
        ]
        if not sentences:
            return text
        return " ".join((text if text[-1] in ".!?:)" else f"{text}.", *sentences))

    def _show(self, node: Node, *keywords: str) -> None:
        for fact in node.facts:
            if fact.keyword in keywords:
                self._fates[fact.path, fact.keyword] = ("shown", "")

    def _show_closed(self, node: Node) -> None:
        """That nothing else is allowed shows: nothing else is listed."""
        if node.extra is not None and node.extra.never:
            self._show(node, "additionalProperties")
        for fact in node.all("unevaluatedProperties"):
            if isinstance(fact.value, Node) and fact.value.never:
                self._show(node, "unevaluatedProperties")

    def _object(self, node: Node, open_: tuple[str, ...]) -> JsonObject:
        """Members and what is required of an object."""
        members = node.members()
        properties = {
            self._speaker.name(name): self._declared(name, child, open_)
            for name, child in members.items()
        }
        required = [self._speaker.name(name) for name in members if name in node.required]
        return {"properties": properties, **({"required": required} if required else {})}

    def _declared(
        self, name: str, node: Node, open_: tuple[str, ...], *, inside: bool = False
    ) -> JsonObject:
        """One node; `inside` an array's items the template prints no array's items again."""
        folded, phrases = fold(node, self._speaker)
        deep = bool(node.definition) and open_.count(node.definition) > SHOWN_DEPTH
        if deep or node.cut:
            phrases = (Phrase(f"another {node.origin or 'value'}, of the same form"),)
            folded = replace(folded, properties={}, required=frozenset(), items=None, facts=())
        inner = (*open_, node.definition) if node.definition else open_
        kind = main_kind(folded)
        self._show(folded, "description", "title")
        text = folded.text("description") or _generic(name, folded, inside)
        out: JsonObject = {"type": kind}
        if folded.types == NULL_TYPE:
            phrases = (Phrase("always null", folded.all("type")),)
        elif not folded.kinds and not phrases:
            phrases = (Phrase("any JSON value"),)
        elif len(folded.kinds) > 1 and not phrases:
            bare = replace(folded, facts=folded.all("type"), types=folded.types - {"null"})
            phrases = (self._speaker.noun(bare),)
        elif kind == "array" and inside and folded.items is not None:
            phrases = (*phrases, self._speaker.kind(folded, "array"))
            self._show(folded, "type")
        else:
            self._show(folded, "type")
        out["description"] = self.described(folded, text, extra=phrases)
        out.update(self._details(name, folded, kind, inner, inside=inside))
        return out

    def _details(
        self, name: str, node: Node, kind: str, open_: tuple[str, ...], *, inside: bool
    ) -> JsonObject:
        out: JsonObject = {}
        if _shown_choices(node):
            out["enum"] = [value for value in node.choices or () if value is not None]
            self._show(node, "enum", "const", "anyOf", "oneOf")
        if kind == "array" and not inside and node.items is not None and not node.items.never:
            out["items"] = self._declared(name, node.items, open_, inside=True)
        if node.nullable:
            out["nullable"] = True
            self._show(node, "anyOf", "oneOf", "nullable")
        if kind == "object":
            self._show(node, "required")
            self._show_closed(node)
            out.update(self._object(node, open_))
        return out


def _generic(name: str, node: Node, inside: bool) -> str:
    """A description for a node that has none: true, and made from what is known."""
    title = node.text("title")
    if inside:
        return f"One item of {name}."
    if " " in title and humanised(title).lower() != humanised(name).lower():
        return f"{title}."
    return f"{humanised(name)}."


def _shown_choices(node: Node) -> bool:
    """Whether the choices are ones the template prints: texts, perhaps null."""
    values = [value for value in node.choices or () if value is not None]
    return bool(values) and all(isinstance(value, str) for value in values)
