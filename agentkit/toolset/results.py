"""What the model reads of a tool's return value: one stable, readable text, or parts.

| value | text |
|---|---|
| `str` | itself |
| number, `bool`, `None` | as in JSON; `None` is `Done, no result.` |
| date, `UUID`, `Path`, `Decimal`, enum member | as a string in JSON, without the quotes |
| model, dataclass, dict, list, tuple, set | JSON on one line; sets sorted |
| `bytes` | the text if it is UTF-8, else base64 with the size |
| `ImagePart`, `AudioPart`, lists that hold some | parts |
| `ToolOutput` | its `for_model` |
"""

from __future__ import annotations

import base64
import dataclasses
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from agentkit.messages import (
    AudioPart,
    Content,
    ImagePart,
    JsonValue,
    Part,
    TextPart,
    ToolResult,
    VideoPart,
)

__all__ = ["ToolOutput", "audio_part", "image_part", "result_content", "result_text", "tool_result"]

_PARTS = (TextPart, ImagePart, AudioPart, VideoPart)

NO_RESULT = "Done, no result."
"""True both of a tool that only acts and of a lookup that finds nothing."""


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
        value: Whatever the tool returned.
        cap: Most characters of text; see `ToolOptions.output_cap`.
    """
    if not isinstance(value, ToolOutput):
        return ToolResult(call_id, result_content(value, cap=cap))
    content = result_content(value.for_model, cap=cap)
    data = None if value.data is None else _plain(value.data, ())
    return ToolResult(call_id, content, for_user=value.for_user, data=data)


def result_content(value: object, *, cap: int | None = None) -> Content:
    """What the model reads of a tool's return value: text, or parts if it holds any."""
    if isinstance(value, ToolOutput):
        return result_content(value.for_model, cap=cap)
    if isinstance(value, _PARTS):
        return (value,)
    if isinstance(value, list | tuple) and any(isinstance(item, _PARTS) for item in value):
        return tuple(_part(item, cap) for item in value)
    return _capped(_clean(_text(value)), cap)


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


def _part(value: object, cap: int | None) -> Part:
    return value if isinstance(value, _PARTS) else TextPart(_capped(_clean(_text(value)), cap))


def _capped(text: str, cap: int | None) -> str:
    """The beginning and the end of a text that is too long; most of the room to the beginning."""
    if cap is None or len(text) <= cap:
        return text
    note = f"\n[… {len(text) - cap} of {len(text)} characters left out …]\n"
    room = cap - len(note)
    head = room * 2 // 3
    return f"{text[:head]}{note}{text[len(text) - (room - head) :]}"


def _clean(text: str) -> str:
    """The text with `?` for halves of surrogate pairs, which no UTF-8 can carry."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


# --- values as text ----------------------------------------------------------------------------


def _text(value: object) -> str:
    if isinstance(value, str) and not isinstance(value, Enum):
        return value
    if value is None:
        return NO_RESULT
    plain = _plain(value, ())
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def _plain(value: Any, outer: tuple[int, ...]) -> JsonValue:
    """The value as `json.dumps` takes it, in an order that is the same in every process."""
    if _is_scalar(value):
        return _scalar(value)
    if id(value) in outer:
        return "[contains itself]"
    inner = (*outer, id(value))
    if isinstance(value, bytes | bytearray | memoryview):
        return _bytes_text(bytes(value))
    if isinstance(value, Mapping):
        return {_key(k, inner): _plain(v, inner) for k, v in value.items()}
    if (fields := _fields(value)) is not None:
        return {name: _plain(item, inner) for name, item in fields.items()}
    if isinstance(value, AbstractSet):
        return sorted((_plain(item, inner) for item in value), key=_sort_key)
    if isinstance(value, io.IOBase) and value.readable():
        return _plain(value.read(), inner)  # pyright: ignore[reportAttributeAccessIssue] # readable
    if isinstance(value, list | tuple | Iterator) or _is_view(value):
        return [_plain(item, inner) for item in value]
    return _other(value, inner)


def _is_scalar(value: object) -> bool:
    return isinstance(value, str | int | float | None) and not isinstance(value, Enum)


def _scalar(value: Any) -> JsonValue:
    # Subclasses (`np.float64`, `StrSubclass`) as the plain type; integers too long for Python's
    # conversion limit as hexadecimal.
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > _LONG_INT:
        return hex(value)
    return value  # type: ignore[no-any-return] # checked by the caller


_LONG_INT = 14_000
"""Bits: 4,300 decimal digits, where Python refuses to convert (`sys.set_int_max_str_digits`)."""


def _key(value: Any, outer: tuple[int, ...]) -> str:
    plain = _plain(value, outer)
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


def _is_view(value: object) -> bool:
    return isinstance(value, Iterable) and type(value).__module__ in ("builtins", "collections")


def _other(value: Any, outer: tuple[int, ...]) -> JsonValue:
    if isinstance(value, Enum):
        return _plain(value.value, outer)
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {value}"
    if callable(arrays := getattr(value, "tolist", None)) and not isinstance(value, type):
        return _plain(arrays(), outer)
    try:
        return to_jsonable_python(value)  # type: ignore[no-any-return] # JSON by contract
    except ValueError:
        return _object_text(value, outer)


def _object_text(value: Any, outer: tuple[int, ...]) -> JsonValue:
    """An object's own words; its public attributes where it has none (an address tells nothing)."""
    kind = type(value)
    if any("__str__" in vars(k) or "__repr__" in vars(k) for k in kind.__mro__[:-1]):
        return str(value)
    public = {k: v for k, v in getattr(value, "__dict__", {}).items() if not k.startswith("_")}
    return _plain({"type": kind.__name__, **public}, outer)


def _bytes_text(data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        return f"[{len(data)} bytes, base64] {base64.b64encode(data).decode()}"
    return text
