"""Whether an image, sound or video is whole and of a kind that servers take, before it is sent.

A server refuses a request that holds a broken one, and each later request of the conversation. So
what a tool returns is checked where it enters the conversation (`sound_parts`), and a sentence
takes the place of what cannot be sent. What a user sends is refused at once (`check_parts`).

The bytes are walked, not decoded: only signatures, sizes and check sums of their containers are
read. What lies behind an `https:` URL is not checked.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeAlias

from agentkit.messages import (
    AudioPart,
    ImagePart,
    Message,
    Part,
    TextPart,
    ToolMessage,
    UserMessage,
    VideoPart,
)


def check_parts(parts: Sequence[Part]) -> None:
    """Checks what a user is about to send.

    Raises:
        ValueError: One of the parts cannot be sent.
    """
    for number, part in enumerate(parts, 1):
        _, problem = _examined(part)
        if problem:
            raise ValueError(f"part {number} of the message, {_NAMES[part.type]}, {problem}")


def sound_parts(parts: Sequence[Part]) -> tuple[Part, ...]:
    """The parts, with a sentence in place of each image, sound or video that cannot be sent.

    One whose declared kind is wrong is sent under the right kind, and a sentence says so.
    """
    made: list[Part] = []
    for part in parts:
        mended, problem = _examined(part)
        if mended is not None:
            made.append(mended)
        if problem:
            fate = "left out" if mended is None else "sent all the same"
            made.append(TextPart(f"[{part.type} {fate}: it {problem}]"))
    return tuple(made)


def sound_messages(messages: Sequence[Message]) -> list[Message]:
    """The conversation with a sentence in place of what cannot be sent; see `sound_parts`."""
    return [_with_parts(message, sound_parts) for message in messages]


def without_media(messages: Sequence[Message], why: str) -> list[Message]:
    """The conversation with a sentence in place of each image, sound or video of a tool.

    Args:
        messages: The conversation.
        why: The server's words.
    """

    def text_only(parts: Sequence[Part]) -> tuple[Part, ...]:
        return tuple(
            part
            if isinstance(part, TextPart)
            else TextPart(f"[{part.type} left out: the server refused it: {why}]")
            for part in parts
        )

    return [_with_parts(m, text_only) if isinstance(m, ToolMessage) else m for m in messages]


def _with_parts(message: Message, change: Callable[[Sequence[Part]], tuple[Part, ...]]) -> Message:
    """The message with its parts changed; a message that holds text alone stays as it is."""
    if not isinstance(message, UserMessage | ToolMessage) or isinstance(message.content, str):
        return message
    changed = change(message.content)
    return message if changed == message.content else replace(message, content=changed)


_NAMES: Final = {"text": "a text", "image": "an image", "audio": "a sound", "video": "a video"}


# --- one part ------------------------------------------------------------------------------------


def _examined(part: Part) -> tuple[Part | None, str]:
    """The part as it can be sent, or None, and what is wrong, to end a sentence."""
    match part:
        case TextPart():
            return part, ""
        case AudioPart():
            return _sound(part)
        case ImagePart(url=url) | VideoPart(url=url):
            if url.startswith(("https:", "http:")):
                return part, ""
            return _from_url(part, url)


def _sound(part: AudioPart) -> tuple[Part | None, str]:
    content, problem = _bytes_of(part.data)
    if problem:
        return None, problem
    kind, problem = _checked(content, "audio")
    if problem:
        return None, problem
    if part.format.lower() in _SOUND_NAMES.get(kind, (kind,)):
        return part, ""
    return replace(part, format=kind), f"says {part.format!r} and is {kind}"


_SOUND_NAMES: Final = {
    "wav": ("wav", "wave", "x-wav", "vnd.wave"),
    "mp3": ("mp3", "mpeg", "mpga"),
    "ogg": ("ogg", "opus", "oga"),
    "mp4": ("mp4", "m4a", "aac"),
    "webm": ("webm", "weba"),
}


def _from_url(part: ImagePart | VideoPart, url: str) -> tuple[Part | None, str]:
    found = _DATA_URL.match(url)
    if found is None:
        return None, f"is no data: URL in base64 and no https: URL, but {url[:40]!r}"
    declared = found["mime"].lower()
    if declared == "video/jpeg":  # frames, as vLLM takes them
        for frame in url[found.end() :].split(","):
            content, problem = _bytes_of(frame)
            if problem := problem or _checked(content, "image")[1]:
                return None, f"has a frame that {problem}"
        return part, ""
    content, problem = _bytes_of(url[found.end() :])
    if problem:
        return None, problem
    kind, problem = _checked(content, part.type)
    if problem:
        return None, problem
    right = f"{part.type}/{_SUBTYPES.get(kind, kind)}"
    if declared in (right, *_OTHER_NAMES.get(right, ())):
        return part, ""
    mended = f"data:{right};base64,{url[found.end() :]}"
    return replace(part, url=mended), f"says {declared or 'no kind'!r} and is {right}"


_DATA_URL = re.compile(r"data:(?P<mime>[^;,]*)(?:;[^;,]*)*;base64,", re.IGNORECASE)
_SUBTYPES: Final = {"mov": "quicktime", "avi": "x-msvideo", "mkv": "x-matroska"}
_OTHER_NAMES: Final = {
    "image/jpeg": ("image/jpg", "image/pjpeg"),
    "image/png": ("image/x-png", "image/apng"),
    "image/bmp": ("image/x-bmp", "image/x-ms-bmp"),
    "video/mp4": ("video/quicktime", "video/x-m4v"),
    "video/webm": ("video/x-matroska",),
    "video/x-msvideo": ("video/avi", "video/msvideo"),
}


def _bytes_of(data: str) -> tuple[bytes, str]:
    """The bytes of some base64, and what is wrong with it."""
    try:
        content = base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError):
        return b"", "is no valid base64"
    return content, "" if content else "is empty"


def media_kind(content: bytes) -> str:
    """The kind of some bytes, by the first ones: `png`, `wav`, `html`; `data` if it is unknown."""
    for kind, magic in _MAGIC:
        if re.match(magic, content[:_HEAD], re.DOTALL):
            return kind
    return "data"


_HEAD = 1_024  # bytes
_XML_HEAD = rb"(?i)(?:\xef\xbb\xbf)?\s*(?:<\?xml.*?\?>\s*)?(?:<!--.*?-->\s*)*"
_MAGIC: Final = (
    ("png", rb"\x89PNG\r\n\x1a\n"),
    ("jpeg", rb"\xff\xd8\xff"),
    ("gif", rb"GIF8[79]a"),
    ("webp", rb"RIFF....WEBP"),
    ("bmp", rb"BM.{4}\0\0\0\0"),
    ("tiff", rb"II\*\0|MM\0\*"),
    ("wav", rb"RIFF....WAVE"),
    ("avi", rb"RIFF....AVI "),
    ("flac", rb"fLaC"),
    ("ogg", rb"OggS"),
    ("mp3", rb"ID3|\xff[\xe2-\xe7\xea-\xef\xf2-\xf7\xfa-\xff]"),
    ("mp4", rb"....ftyp"),
    ("webm", rb"\x1a\x45\xdf\xa3"),
    ("pdf", rb"%PDF"),
    ("svg", _XML_HEAD + rb"(?:<!doctype svg.*?>\s*)?<svg"),
    ("html", _XML_HEAD + rb"<(?:!doctype html|html|head|body)"),
    ("json", rb"\s*[{\[]"),
)
"""First bytes of what is sent, and of what is sent by mistake (see `file(1)`)."""


def _checked(content: bytes, wanted: str) -> tuple[str, str]:
    """The kind of some bytes, and why they cannot be sent as the kind of part that is wanted."""
    kind = media_kind(content)
    check = _CHECKS[wanted].get(kind)
    if check is None:
        taken = ", ".join(_CHECKS[wanted])
        what = _WORDS.get(kind, kind.upper())
        return kind, f"is {what}; taken are {taken}"
    return kind, check(content)


_WORDS: Final = {"data": "of no known kind", "html": "an HTML page", "svg": "an SVG drawing"}


# --- containers ----------------------------------------------------------------------------------

_CUT = "is broken: it ends too early"
_BROKEN = "is broken"


def _png(content: bytes) -> str:
    """Chunks with their check sums, and the compressed pixels (PNG, "Chunk layout")."""
    at, packed = 8, bytearray()
    while at + 12 <= len(content):
        size, name = struct.unpack_from(">I4s", content, at)
        body = content[at + 8 : at + 8 + size]
        if at + 12 + size > len(content):
            return _CUT
        if zlib.crc32(name + body) != struct.unpack_from(">I", content, at + 8 + size)[0]:
            return f"{_BROKEN}: a check sum is wrong"
        is_header = name == b"IHDR" and size == 13
        if at == 8 and not (is_header and all(struct.unpack_from(">II", body))):
            return f"{_BROKEN}: it has no size"
        if name == b"IDAT":
            packed += body
        if name == b"IEND":
            return _unpacked(bytes(packed))
        at += 12 + size
    return _CUT


def _unpacked(packed: bytes) -> str:
    reader, left = zlib.decompressobj(), packed
    try:
        for _ in range(_MOST_PIECES):
            made, left = reader.decompress(left, _PIECE), reader.unconsumed_tail
            if reader.eof:
                return ""
            if not made and not left:
                return _CUT
    except zlib.error:
        return f"{_BROKEN}: its pixels cannot be unpacked"
    return "is larger than any server takes"


_PIECE = 1 << 20  # bytes that are unpacked at a time
_MOST_PIECES = 512


def _jpeg(content: bytes) -> str:
    """Segments up to the picture, then its end (ITU T.81, annex B)."""
    at, has_size = 2, False
    while at + 4 <= len(content):
        if content[at] != 0xFF:
            return _BROKEN
        marker = content[at + 1]
        if marker == 0xFF or 0xD0 <= marker <= 0xD8:  # a filler, or a marker without a segment
            at += 1 if marker == 0xFF else 2
            continue
        if marker == 0xD9:
            return f"{_BROKEN}: it has no picture"
        size = int.from_bytes(content[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            has_size = content[at + 5 : at + 9] > b"\0\0\0\0" and len(content) > at + 9
        if marker == 0xDA:
            if not has_size:
                return f"{_BROKEN}: it has no size"
            return "" if content.find(b"\xff\xd9", at + 2 + size) >= 0 else _CUT
        at += 2 + size
    return _CUT


def _gif(content: bytes) -> str:
    if len(content) < 13 or 0 in struct.unpack_from("<HH", content, 6):
        return _CUT if len(content) < 13 else f"{_BROKEN}: it has no size"
    return "" if content.rstrip(b"\0").endswith(b";") else _CUT


def _riff(content: bytes) -> str:
    size = int.from_bytes(content[4:8], "little")
    return _CUT if size + 8 > len(content) or len(content) < 20 else ""


def _bmp(content: bytes) -> str:
    size = int.from_bytes(content[2:6], "little")
    return _CUT if size > len(content) or len(content) < 54 else ""


def _wav(content: bytes) -> str:
    """Format and samples of a WAV file (RIFF); a streaming recorder does not write their size."""
    at, has_format = 12, False
    while at + 8 <= len(content):
        name, size = struct.unpack_from("<4sI", content, at)
        there = len(content) - at - 8
        if name == b"data":
            if not has_format:
                return f"{_BROKEN}: it does not say its format"
            if not there or not size:
                return "is empty: it has no samples"
            return "" if size <= there or size >= _STREAMED else _CUT
        has_format = has_format or (name == b"fmt " and 16 <= size <= there)
        at += 8 + size + size % 2
    return _CUT


_STREAMED = 0x7FFFFF00  # bytes; programs write at least this where they do not know the size


def _mp3(content: bytes) -> str:
    at = 0
    if content.startswith(b"ID3"):
        if len(content) < 10:
            return _CUT
        size = 0
        for byte in content[6:10]:  # seven bits of each (ID3v2, "synchsafe integers")
            size = size << 7 | byte & 0x7F
        at = 10 + size
    return "" if re.search(rb"\xff[\xe2-\xff]", content[at:]) else _CUT


def _long_enough(content: bytes) -> str:
    return "" if len(content) > 42 else _CUT  # the headers of FLAC, Ogg and WebM are as long


def _mp4(content: bytes) -> str:
    """Boxes that end within the file, one of them with the index (ISO 14496-12, 4.2)."""
    at, has_index = 0, False
    while at + 8 <= len(content):
        size, name = struct.unpack_from(">I4s", content, at)
        if size == 1 and at + 16 <= len(content):
            size = int.from_bytes(content[at + 8 : at + 16], "big")
        size = size or len(content) - at
        if size < 8 or at + size > len(content):
            return _CUT
        has_index = has_index or name in (b"moov", b"moof")
        at += size
    if at < len(content):
        return _CUT
    return "" if has_index else f"{_BROKEN}: it has no index"


_Check: TypeAlias = Callable[[bytes], str]
_CHECKS: Final[dict[str, dict[str, _Check]]] = {
    "image": {"png": _png, "jpeg": _jpeg, "gif": _gif, "webp": _riff, "bmp": _bmp},
    "audio": {
        "wav": _wav,
        "mp3": _mp3,
        "flac": _long_enough,
        "ogg": _long_enough,
        "mp4": _mp4,
        "webm": _long_enough,
    },
    "video": {"mp4": _mp4, "webm": _long_enough, "avi": _riff},
}
"""The kinds that vLLM's readers (Pillow, soundfile, OpenCV) and other servers take."""


# --- sizes ---------------------------------------------------------------------------------------


def image_size(part: ImagePart) -> tuple[int, int] | None:
    """Width and height of an image in pixels; None if its bytes are not here or do not tell."""
    found = _DATA_URL.match(part.url)
    if found is None:
        return None
    content = _beginning(part.url, found.end())
    read = _SIZES.get(media_kind(content))
    try:
        size = read(content) if read is not None else None
    except (struct.error, IndexError):
        return None
    return size if size is not None and min(size) > 0 else None


def _beginning(data: str, start: int = 0) -> bytes:
    """The first bytes of a text in base64: a file's size in pixels stands at its beginning."""
    text = "".join(data[start : start + _BEGINNING].split())
    try:
        return base64.b64decode(text[: len(text) // 4 * 4])
    except binascii.Error:
        return b""


_BEGINNING: Final = 512 * 1024  # characters; a JPEG may begin with a preview of itself


def _jpeg_size(content: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xFF or 0xD0 <= marker <= 0xD8:
            at += 1 if marker == 0xFF else 2
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", content, at + 5)
            return width, height
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return None


def _bmp_size(content: bytes) -> tuple[int, int]:
    """The size, from the header that has this length. A negative height means that the rows stand
    from the top down.
    """
    if content[14:18] == b"\x0c\0\0\0":
        width, height = struct.unpack_from("<HH", content, 18)
        return width, height
    width, height = struct.unpack_from("<ii", content, 18)
    return width, abs(height)


def _webp_size(content: bytes) -> tuple[int, int] | None:
    """The size, which each of the three forms of the first chunk writes otherwise (RFC 9649)."""
    form = content[12:16]
    if form == b"VP8X":
        width, height = (int.from_bytes(content[at : at + 3], "little") for at in (24, 27))
        return width + 1, height + 1
    if form == b"VP8L":
        bits = int.from_bytes(content[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if form == b"VP8 ":
        width, height = struct.unpack_from("<HH", content, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


_SIZES: Final[Mapping[str, Callable[[bytes], tuple[int, int] | None]]] = {
    "png": lambda content: struct.unpack_from(">II", content, 16),
    "gif": lambda content: struct.unpack_from("<HH", content, 6),
    "bmp": _bmp_size,
    "jpeg": _jpeg_size,
    "webp": _webp_size,
}


def sound_length(part: AudioPart) -> tuple[int, int] | None:
    """Samples of each channel of a WAV file, and samples a second; None if unknown."""
    content, total = _beginning(part.data), len(part.data) * 3 // 4 - part.data[-2:].count("=")
    if media_kind(content) != "wav":
        return None
    at, rate, frame = 12, 0, 0
    while at + 8 <= len(content):
        name, size = struct.unpack_from("<4sI", content, at)
        if name == b"fmt " and at + 24 <= len(content):
            rate, frame = struct.unpack_from("<I4xH", content, at + 12)
        if name == b"data":
            known = 0 < size <= total - at - 8
            return (size // frame, rate) if known and frame and rate else None
        at += 8 + size + size % 2
    return None
