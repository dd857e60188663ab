"""Calls as a model writes them, and the ways in which it is seen to write them wrong.

A unit is what stands between one pair of call tokens: mostly one call. Each damage is one that was
reported in public from Gemma 4. What was meant is kept beside what was written.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias

from tests.reading.schemas import JsonObject, SchemaTool
from tests.reading.tokens import CLOSE, OPEN, QUOTE

Kind: TypeAlias = Literal[
    "opening quote",
    "closing quote",
    "single quotes",
    "kwargs",
    "comma",
    "brace",
    "several in one pair",
    "namespace",
    "foreign namespace",
    "JSON quotes",
    "raw newlines",
    "whole JSON",
    "constants",
    "no call",
    "undeclared",
]
KINDS: Final[tuple[Kind, ...]] = Kind.__args__  # type: ignore[attr-defined]  # typeshed knows no such attribute of a Literal

GENERIC_NAMESPACES: Final = ("default_api.", "functions.", "tools.", "tool:", "default_api:")
"""Prefixes that name no set of tools: models put them before any name."""
FOREIGN_NAMESPACES: Final = ("calendar.", "github/", "shop:", "os.")
"""Prefixes that may well name another set of tools, so that the tool meant is not ours."""


@dataclass(frozen=True)
class Meant:
    """A call as it was meant."""

    name: str
    arguments: JsonObject

    @property
    def key(self) -> str:
        """The same for equal calls; numbers are equal by value, nothing else across types."""
        return f"{self.name} {canonical(self.arguments)}"


def canonical(value: Any) -> str:
    """JSON text in which 1.0 is 1 and the order of members does not count."""
    return json.dumps(_plain(value), sort_keys=True, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


@dataclass(frozen=True)
class Unit:
    """What a model wrote between one pair of call tokens, these included.

    Attributes:
        written: With private characters for control tokens.
        meant: The calls that were meant; none where another server's tool was.
        also: A call that is as right: with an undeclared argument that an open schema lets pass.
        damages: Their kinds; none for a call that is as it should be.
    """

    written: str
    meant: tuple[Meant, ...]
    damages: tuple[Kind, ...] = ()
    also: tuple[Meant, ...] = ()


# --- pieces ------------------------------------------------------------------------------------

Role: TypeAlias = Literal[
    "fixed", "key", "oquote", "text", "cquote", "comma", "scalar", "opener", "closer", "end"
]


@dataclass(frozen=True)
class _Piece:
    role: Role
    text: str


@dataclass(frozen=True)
class _Style:
    """How a whole call is written."""

    quote: str = QUOTE
    encode: Callable[[str], str] = str
    whole_json: bool = False
    separator: str = ":"
    opener: str = "{"
    closer: str = "}"
    prefix: str = "call:"
    namespace: str = ""
    constants: tuple[str, str, str] = ("null", "true", "false")
    comma: str = ","
    arguments_name: str = "arguments"


def _call_pieces(call: Meant, style: _Style) -> list[_Piece]:
    name = style.namespace + call.name
    if style.whole_json:
        quote = style.quote
        head = f"{{{quote}name{quote}: {quote}{name}{quote}, {quote}{style.arguments_name}{quote}: "
        inner = [*_object(call.arguments, style, top=False)]
        return [_Piece("fixed", head), *inner, _Piece("end", "}")]
    head = f"{style.prefix}{name}{style.opener}"
    members = _members(call.arguments, style, style.separator)
    return [_Piece("fixed", head), *members, _Piece("end", style.closer)]


def _object(value: JsonObject, style: _Style, *, top: bool) -> list[_Piece]:
    members = _members(value, style, style.separator if top else ":")
    return [_Piece("opener", "{"), *members, _Piece("closer", "}")]


def _members(value: JsonObject, style: _Style, separator: str) -> list[_Piece]:
    pieces: list[_Piece] = []
    for key, item in value.items():
        if pieces:
            pieces.append(_Piece("comma", style.comma))
        if style.whole_json:
            key, separator = f"{style.quote}{key}{style.quote}", ": "
        pieces += [_Piece("key", key), _Piece("fixed", separator), *_value(item, style)]
    return pieces


def _value(value: Any, style: _Style) -> list[_Piece]:
    if isinstance(value, str):
        text = _Piece("text", style.encode(value))
        return [_Piece("oquote", style.quote), text, _Piece("cquote", style.quote)]
    if isinstance(value, dict):
        return _object(value, style, top=False)
    if isinstance(value, list):
        pieces = [_Piece("opener", "[")]
        for item in value:
            if len(pieces) > 1:
                pieces.append(_Piece("comma", style.comma))
            pieces += _value(item, style)
        return [*pieces, _Piece("closer", "]")]
    null, true, false = style.constants
    words = {None: null, True: true, False: false}
    scalar = words[value] if value is None or isinstance(value, bool) else json.dumps(value)
    return [_Piece("scalar", scalar)]


# --- damages -----------------------------------------------------------------------------------


def _single(source: random.Random) -> Callable[[str], str]:
    """Between single quotes, as it stands or as Python would write it."""
    if source.random() < 0.5:
        return str
    return lambda text: text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")


def _json_text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _json_text_on_lines(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _styled(style: _Style, kind: Kind, source: random.Random) -> _Style:
    """The style with one habit more."""
    pick = source.choice
    match kind:
        case "single quotes":
            return replace(style, quote="'", encode=_single(source))
        case "JSON quotes":
            return replace(style, quote='"', encode=_json_text)
        case "raw newlines":
            lines = pick((",\n  ", ",\n"))
            return replace(style, quote='"', encode=_json_text_on_lines, comma=lines)
        case "kwargs":
            opener, closer, separator = pick(("()=", "()=", "()=", "():", "{}="))
            return replace(style, opener=opener, closer=closer, separator=separator, comma=", ")
        case "whole JSON":
            single = style.quote == "'"
            quote, encode = ("'", style.encode) if single else ('"', _json_text)
            named = pick(("arguments", "arguments", "parameters"))
            return replace(
                style, whole_json=True, quote=quote, encode=encode, comma=", ", arguments_name=named
            )
        case "namespace":
            return replace(style, namespace=pick(GENERIC_NAMESPACES))
        case "foreign namespace":
            return replace(style, namespace=pick(FOREIGN_NAMESPACES))
        case "constants":
            return replace(style, constants=("None", "True", "False"))
        case "no call":
            return replace(style, prefix=pick(("", ":")))
        case _:
            return style


_LOCAL: Final[dict[Kind, tuple[Role, ...]]] = {
    "opening quote": ("oquote",),
    "closing quote": ("cquote",),
    "comma": ("comma",),
    "brace": ("end",),
}


def _without(pieces: list[_Piece], kind: Kind, source: random.Random) -> list[_Piece] | None:
    """The pieces with one of them gone; None where there is none of that role."""
    roles = _LOCAL[kind]
    if kind == "brace" and source.random() < 0.3:
        roles = ("closer", "end")
    places = [n for n, piece in enumerate(pieces) if piece.role in roles]
    if kind == "comma":
        places = [n for n in places if not _joins_numbers(pieces, n)]
    if not places:
        return None
    gone = source.choice(places)
    return [*pieces[:gone], *pieces[gone + 1 :]]


def _joins_numbers(pieces: list[_Piece], at: int) -> bool:
    """Whether two numbers would become one, so that nobody could see what is missing."""
    return pieces[at - 1].role == pieces[at + 1].role == "scalar"


_APART: Final = (
    {"single quotes", "JSON quotes", "raw newlines"},
    {"whole JSON", "JSON quotes", "raw newlines"},
    {"whole JSON", "kwargs", "no call"},
    {"namespace", "foreign namespace"},
)
"""Damages of which one call has one at most."""


def possible(kinds: Sequence[Kind]) -> bool:
    """Whether a call can have all of these."""
    styles = [kind for kind in kinds if kind not in _LOCAL]
    if len(set(styles)) < len(styles):
        return False
    return not any(len(apart.intersection(kinds)) > 1 for apart in _APART)


def whole(call: Meant) -> Unit:
    """A call as it should be."""
    pieces = _call_pieces(call, _Style())
    return Unit(OPEN + "".join(piece.text for piece in pieces) + CLOSE, (call,))


def damaged(
    tool: SchemaTool,
    others: Sequence[SchemaTool],
    kinds: tuple[Kind, ...],
    source: random.Random,
) -> Unit | None:
    """A damaged call of a tool; None where such a damage leaves no mark on what was drawn.

    Args:
        tool: Whose call it is.
        others: Tools of further calls in the same pair of tokens.
        kinds: The damages.
        source: Of everything random.
    """
    style = _Style()
    for kind in sorted(kinds, key=lambda kind: kind == "whole JSON"):
        style = _styled(style, kind, source)
    meant = [Meant(tool.name, tool.arguments(source))]
    if "several in one pair" in kinds:
        meant += [Meant(other.name, other.arguments(source)) for other in others]
    shown, also = meant, tuple(meant)
    if "undeclared" in kinds:
        shown = [Meant(call.name, _with_stranger(call.arguments, source)) for call in meant]
        also = tuple(shown)
    join = _Piece("fixed", source.choice(("", "", "\n")))
    pieces = [piece for call in shown for piece in (join, *_call_pieces(call, style))]
    for kind in kinds:
        if kind in _LOCAL:
            lost = _without(pieces, kind, source)
            if lost is None:
                return None
            pieces = lost
    if not all(_shows(kind, shown, style) for kind in kinds):
        return None
    written = OPEN + "".join(piece.text for piece in pieces[1:]) + CLOSE
    nobody = "foreign namespace" in kinds
    return Unit(written, () if nobody else tuple(meant), kinds, () if nobody else also)


def _shows(kind: Kind, calls: Sequence[Meant], style: _Style) -> bool:
    """Whether a habit of a style changes anything in these calls."""
    plain = [_value(call.arguments, _Style()) for call in calls]
    pieces = [piece for call in plain for piece in call]
    match kind:
        case "single quotes" | "JSON quotes":
            return any(piece.role == "text" for piece in pieces)
        case "raw newlines":
            return any(piece.role == "text" and "\n" in piece.text for piece in pieces)
        case "constants":
            constants = {"null", "true", "false"}
            return any(piece.role == "scalar" and piece.text in constants for piece in pieces)
        case "kwargs":
            return bool(calls[0].arguments) or style.opener == "("
        case _:
            return True


_STRANGERS: Final[tuple[tuple[str, Any], ...]] = (
    ("urgency_level", "high"),
    ("explanation", "because the user asked, see above"),
    ("verbose_output", True),
    ("max_retries", 3),
    ("extra", ["a", "b"]),
)


def _with_stranger(arguments: JsonObject, source: random.Random) -> JsonObject:
    """With an argument that no tool declares, at any place."""
    items = list(arguments.items())
    items.insert(source.randint(0, len(items)), source.choice(_STRANGERS))
    return dict(items)
