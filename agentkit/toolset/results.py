"""What the model reads of a tool's return value: one stable, readable text, or parts.

| value | text |
|---|---|
| `str` | itself |
| number, `bool`, `None` | as in JSON; `None` is `Done, no result.` |
| date, `UUID`, `Path`, `Decimal`, enum member | as a string in JSON, without the quotes |
| model, dataclass, dict, list, tuple, set | JSON on one line; sets sorted |
| `bytes` | the text if it is UTF-8, else base64 with the size |
| `TextPart`, `ImagePart`, `AudioPart`, `VideoPart`, lists that hold some | parts |
| `ToolOutput` | its `for_model` |

However much a tool returns, at most `MAX_RESULT` characters of its texts are read, and a note says
what is left out. That much goes into the run's record; history and prompt hold at most
`MAX_IN_HISTORY`.
"""

from __future__ import annotations

import base64
import dataclasses
import inspect
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, JsonValue
from pydantic_core import to_jsonable_python

from agentkit.exact import MAX_DEPTH
from agentkit.media import sound_parts
from agentkit.messages import AudioPart, Content, ImagePart, Part, TextPart, ToolResult, VideoPart
from agentkit.toolset.options import ToolContext

MAX_RESULT = 4_000_000
"""Characters of one result that are kept at all, in the record of the run."""

MAX_IN_HISTORY = 1_000_000
"""Characters of one result that a conversation holds: what a window of 256K tokens could."""

_MAX_MEDIA = 32_000_000
"""Characters of base64 of one image or sound: more than any server takes."""

_SMALL = 1_000
"""How many values are read in the event loop, each hundred characters of text counted as one more:
2 ms of CPU at most."""

_PARTS = (TextPart, ImagePart, AudioPart, VideoPart)

NO_RESULT = "Done, no result."
"""The words for `None`: true of a tool that only acts, and of a lookup that finds nothing."""


@dataclasses.dataclass(frozen=True, slots=True)
class ToolOutput:
    """A result with one side for the model and another for people and programs.

    Attributes:
        for_model: What the model reads: any value a tool may return.
        for_user: What a person is shown instead.
        data: What a program watching the run gets; must be JSON-like. Never sent to the model.
    """

    for_model: Any
    for_user: str | None = None
    data: Any = None


def tool_result(call_id: str, value: object, *, cap: int | None = None) -> ToolResult:
    """The result of a call that returned `value`.

    Args:
        call_id: The call's id.
        value: What the tool returned.
        cap: Most characters of text; see `ToolOptions.output_cap`.
    """
    if not isinstance(value, ToolOutput):
        return ToolResult(call_id, result_content(value, cap=cap))
    content = result_content(value.for_model, cap=cap)
    data = None if value.data is None else _plain(value.data, _Reading())
    shown = None if value.for_user is None else _capped(value.for_user, MAX_RESULT)
    return ToolResult(call_id, content, for_user=shown, data=data)


NOT_DECIDED: Final = "not run yet: a person has to decide on it"
NOT_DONE: Final = "the run ended before this call did"
"""What stands in a conversation for the result of a call that has none."""


def in_history(content: Content) -> Content:
    """The content as a conversation holds it; the record of the run has all of it.

    A sentence replaces an image, sound or video that no server takes (`agentkit.media`).
    """
    if isinstance(content, str):
        return _capped(content, MAX_IN_HISTORY)
    return tuple(_capped_parts(sound_parts(content), MAX_IN_HISTORY))


def is_small(value: object) -> bool:
    """Whether a value is certainly read quickly: it is made of few texts and numbers."""
    left, todo = _SMALL, [value]
    while todo:
        item = todo.pop()
        if isinstance(item, str | bytes):
            left -= 1 + len(item) // 100
        elif isinstance(item, dict) and len(item) <= left:
            todo += [*item.keys(), *item.values()]
            left -= 1
        elif isinstance(item, list | tuple) and len(item) <= left:
            todo += item
            left -= 1
        elif isinstance(item, int | float | None):
            left -= 1
        else:
            return False
        if left < 0:
            return False
    return True


def result_content(value: object, *, cap: int | None = None) -> Content:
    """What the model reads of a tool's return value: text, or parts if it holds any."""
    if isinstance(value, ToolOutput):
        return result_content(value.for_model, cap=cap)
    values = value if isinstance(value, list | tuple) else [value]
    if any(isinstance(item, _PARTS) for item in values):
        parts = _capped_parts([_part(item) for item in values], cap)
        return tuple(TextPart(_clean(p.text)) if isinstance(p, TextPart) else p for p in parts)
    return _clean(_capped(_text(value), cap))


def result_text(value: object) -> str:
    """The text of `result_content`; other parts appear as a word in brackets."""
    content = result_content(value)
    if isinstance(content, str):
        return content
    return "\n".join(p.text if isinstance(p, TextPart) else f"[{p.type}]" for p in content)


def image_part(source: bytes | Path) -> ImagePart:
    """An image for the model, from the bytes of a PNG, JPEG, GIF or WebP, or from such a file.

    Raises:
        ValueError: The bytes are none of these.
    """
    data = source.read_bytes() if isinstance(source, Path) else source
    for mime, magic in _IMAGES.items():
        if data.startswith(magic) and (mime != "webp" or data[8:12] == b"WEBP"):
            return ImagePart(f"data:image/{mime};base64,{base64.b64encode(data).decode()}")
    raise ValueError("not a PNG, JPEG, GIF or WebP image")


_IMAGES = {"png": b"\x89PNG\r\n\x1a\n", "jpeg": b"\xff\xd8\xff", "gif": b"GIF8", "webp": b"RIFF"}


def audio_part(source: bytes | Path, audio_format: str = "wav") -> AudioPart:
    """Sound for the model, from bytes or from a file, whose suffix then names the format."""
    if isinstance(source, Path):
        return AudioPart(
            base64.b64encode(source.read_bytes()).decode(), source.suffix.lstrip(".").lower()
        )
    return AudioPart(base64.b64encode(source).decode(), audio_format)


def _part(value: object) -> Part:
    if isinstance(value, TextPart):
        return value
    if not isinstance(value, _PARTS):
        return TextPart(_text(value))
    size = len(value.data if isinstance(value, AudioPart) else getattr(value, "url", ""))
    if size > _MAX_MEDIA:
        return TextPart(f"[{value.type} of {size:,} characters of base64, left out: too large]")
    return value


def _most(cap: int | None) -> int:
    return MAX_RESULT if cap is None else min(cap, MAX_RESULT)


def _capped(text: str, cap: int | None) -> str:
    """The beginning and the end of a text that is too long, two thirds from the beginning."""
    if len(text) <= _most(cap):
        return text
    [part] = _capped_parts([TextPart(text)], cap)
    assert isinstance(part, TextPart), "a text stays one"
    return part.text


def _capped_parts(parts: Sequence[Part], cap: int | None) -> Sequence[Part]:
    """The parts with the beginning and the end of their texts, which together are too long: what is
    left out is one piece, of one text or of several. All other parts stay.
    """
    most = _most(cap)
    total = sum(len(part.text) for part in parts if isinstance(part, TextPart))
    if total <= most:
        return parts
    note = f"\n[… {total - most} of {total} characters left out …]\n"
    room = max(most - len(note), 0)
    head = room * 2 // 3
    gap = range(head, total - (room - head))
    kept: list[Part] = []
    end = 0  # of the text of the parts so far
    for part in parts:
        if not isinstance(part, TextPart):
            kept.append(part)
            continue
        start, end = end, end + len(part.text)
        here = note if start <= gap.start < end else ""
        before, after = max(gap.start - start, 0), max(gap.stop - start, 0)
        if text := f"{part.text[:before]}{here}{part.text[after:]}":
            kept.append(TextPart(text))
    return kept


def _clean(text: str) -> str:
    """The text with `?` for halves of surrogate pairs, which no UTF-8 can carry."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


# --- values as text ------------------------------------------------------------------------------


def _text(value: object) -> str:
    if isinstance(value, str) and not isinstance(value, Enum):
        return value
    if value is None:
        return NO_RESULT
    plain = _plain(value, _Reading())
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


@dataclasses.dataclass(slots=True)
class _Room:
    """How many characters may still be read."""

    left: int = MAX_RESULT


@dataclasses.dataclass(frozen=True, slots=True)
class _Reading:
    """A place in a value that is being read, and how much may still be read.

    Attributes:
        outer: The ids of the containers around the place.
        room: Shared by all places of one value.
    """

    outer: tuple[int, ...] = ()
    room: _Room = dataclasses.field(default_factory=_Room)

    def items(self, values: Iterable[Any]) -> Iterator[Any]:
        """As many of the values as there is room for."""
        for value in values:
            self.room.left -= _ITEM
            if self.room.left < 0:
                return
            yield value


_ITEM = 4  # characters that an item takes beside its text: a digit, a comma, a space or a quote

_LEFT_OUT = "[… the rest is left out: too long …]"


def _plain(value: Any, reading: _Reading) -> JsonValue:
    """The value as `json.dumps` takes it, in an order that is the same in every process."""
    if isinstance(value, str | int | float | None) and not isinstance(value, Enum):
        return _scalar(value, reading.room)
    if id(value) in reading.outer:
        return "[contains itself]"
    if len(reading.outer) >= MAX_DEPTH:
        return f"[nested more than {MAX_DEPTH} deep]"
    inner = _Reading((*reading.outer, id(value)), reading.room)
    if isinstance(value, bytes | bytearray | memoryview):
        return _scalar(_bytes_text(bytes(value)), reading.room)
    if isinstance(value, Mapping):
        return _object(value, inner)
    if (fields := _fields(value)) is not None:
        return _object(fields, inner)
    if isinstance(value, AbstractSet):
        return sorted(_list(value, inner), key=_sort_key)
    if isinstance(value, io.IOBase) and value.readable():
        return _plain(value.read(), inner)  # pyright: ignore[reportAttributeAccessIssue] # readable
    own = type(value).__module__ in ("builtins", "collections")  # a view, a deque, a range
    if isinstance(value, list | tuple | Iterator) or (own and isinstance(value, Iterable)):
        return _list(value, inner)
    return _other(value, inner)


def _object(value: Mapping[Any, Any], inner: _Reading) -> JsonValue:
    made = {_key(k, inner): _plain(v, inner) for k, v in inner.items(value.items())}
    return made if inner.room.left >= 0 else {**made, "…": _LEFT_OUT}


def _list(value: Iterable[Any], inner: _Reading) -> list[JsonValue]:
    made = [_plain(item, inner) for item in inner.items(value)]
    return made if inner.room.left >= 0 else [*made, _LEFT_OUT]


def _scalar(value: Any, room: _Room) -> JsonValue:
    if isinstance(value, str):
        value = value[: max(room.left, 0) + _ITEM]  # the least that can be cut to the right size
        room.left -= len(value)
    # Subclasses (`np.float64`, `StrSubclass`) as the plain type; integers too long for Python's
    # conversion limit as hexadecimal.
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > _LONG_INT:
        return hex(value)
    return value  # type: ignore[no-any-return] # checked by the caller


_LONG_INT = 14_000
"""Bits: 4,300 decimal digits, where Python refuses to convert (`sys.set_int_max_str_digits`)."""


def _key(value: Any, reading: _Reading) -> str:
    plain = _plain(value, reading)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def _sort_key(value: JsonValue) -> tuple[bool, float, str]:
    """Numbers by size and ahead of everything else, which is sorted by its JSON."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value == value:
        try:
            return (False, float(value), "")
        except OverflowError:
            pass
    return (True, 0.0, value if isinstance(value, str) else json.dumps(value, sort_keys=True))


def _fields(value: Any) -> Mapping[str, Any] | None:
    """The named fields of a model, dataclass or named tuple."""
    if isinstance(value, BaseModel):
        return value.model_dump()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return value._asdict()  # type: ignore[no-any-return] # the API of every named tuple
    return None


def _other(value: Any, reading: _Reading) -> JsonValue:
    if isinstance(value, Enum):
        return _plain(value.value, reading)
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {value}"
    if callable(arrays := getattr(value, "tolist", None)) and not isinstance(value, type):
        return _plain(arrays(), reading)
    try:
        return to_jsonable_python(value)  # type: ignore[no-any-return] # JSON by contract
    except ValueError:
        return _object_text(value, reading)


def _object_text(value: Any, reading: _Reading) -> JsonValue:
    """An object's own text, or its public attributes if it has none: an address says nothing."""
    kind = type(value)
    if any("__str__" in vars(k) or "__repr__" in vars(k) for k in kind.__mro__[:-1]):
        return str(value)
    public = {k: v for k, v in getattr(value, "__dict__", {}).items() if not k.startswith("_")}
    return _plain({"type": kind.__name__, **public}, reading)


def _bytes_text(data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        return f"[{len(data)} bytes, base64] {base64.b64encode(data[:MAX_RESULT]).decode()}"
    return text


# --- run to its end ------------------------------------------------------------------------------


def finish(function: Callable[[], Any], context: ToolContext[Any]) -> Any:
    """The value of a sync callable; an awaitable where it turns out to be async after all."""
    value = function()
    if inspect.isasyncgen(value) or inspect.isawaitable(value):
        return finish_async(lambda: value, context)
    if not inspect.isgenerator(value):
        return value
    parts: list[Any] = []
    while not context.cancelled:
        try:
            part = next(value)
        except StopIteration as end:
            return _joined(parts) if end.value is None else end.value
        parts.append(part)
        context.report(result_text(part))
    value.close()
    return _joined(parts)


async def finish_async(function: Callable[[], Any], context: ToolContext[Any]) -> Any:
    """The value of an async callable: awaited, also where it forgot to, or its parts joined."""
    value = function()
    while inspect.isawaitable(value):
        value = await value
    if not inspect.isasyncgen(value):
        return value
    parts: list[Any] = []
    async for part in value:
        parts.append(part)
        context.report(result_text(part))
    return _joined(parts)


def _joined(parts: list[Any]) -> Any:
    """The parts joined where all are texts; else the list of them."""
    return "".join(parts) if all(isinstance(part, str) for part in parts) else parts
