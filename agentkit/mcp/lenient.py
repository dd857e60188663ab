"""What a server sends, changed so that one bad part of it costs that part and no more.

The MCP package checks each answer as a whole: one tool with a broken schema, and the whole list is
lost; one block that it does not know, and the result of a call that has acted is an error. So the
messages pass through here before the package sees them:

```
server ── line ── read (surrogates mended) ── tools/list: each tool by itself  ── MCP package
                                              tools/call: each block by itself        │
                                              progress: so many a call, others dropped│
                  tool's result ◄── every part shown, or a sentence in its place ◄────┘
```

Schemas and structured content, which the package would check and we do not, travel past it in
`_meta`, under `RAW`.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import anyio
import mcp_types
from mcp.shared.message import SessionMessage
from pydantic import TypeAdapter, ValidationError

from agentkit.errors import ToolError
from agentkit.messages import AudioPart, JsonObject, Part, TextPart
from agentkit.redaction import get_logger
from agentkit.schema.foreign import misfit
from agentkit.toolset import ToolOutput, image_part

RAW: Final = "agentkit/raw"
"""The key in `_meta` of what the server sent, as JSON text: the package could not nest so deep."""

MOST_TOOLS: Final = 1_000
"""Tools of one server; the largest public ones offer some 200."""

_MOST_PROGRESS = 1_000  # reports of one call that are shown
_MOST_BLOCKS = 1_000  # parts of one result

_BLOCK: TypeAdapter[mcp_types.ContentBlock] = TypeAdapter(mcp_types.ContentBlock)


@asynccontextmanager
async def lenient(
    transport: AbstractAsyncContextManager[Any], changed: Callable[[], None]
) -> AsyncGenerator[Any, None]:
    """A transport whose messages the MCP package can take.

    Args:
        transport: The one that speaks to the server.
        changed: Called when the server says that its list of tools has changed.
    """
    async with transport as (read, write):
        to_session, received = anyio.create_memory_object_stream[SessionMessage | Exception]()
        to_server, sent = anyio.create_memory_object_stream[SessionMessage]()
        seen = _Seen(changed)

        async def inwards() -> None:
            async with to_session, read:
                async for item in read:
                    message = seen.received(item)
                    if message is not None:
                        await to_session.send(message)

        async def outwards() -> None:
            async with write, sent:
                async for item in sent:
                    seen.sent(item)
                    await write.send(item)

        async def quietly(work: Callable[[], Any]) -> None:
            try:
                await work()
            except (anyio.ClosedResourceError, anyio.BrokenResourceError):
                await to_session.aclose()  # so that no request waits for an answer any more

        async with anyio.create_task_group() as group:
            group.start_soon(quietly, inwards)
            group.start_soon(quietly, outwards)
            try:
                yield received, to_server
            finally:
                received.close()
                to_server.close()
                group.cancel_scope.cancel()


class _Seen:
    """The messages of one connection: requests that wait for an answer, and their progress."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._asked: dict[Any, str] = {}
        self._reports: dict[Any, int] = {}

    def sent(self, item: SessionMessage) -> None:
        message = item.message
        if isinstance(message, mcp_types.JSONRPCRequest):
            self._asked[message.id] = message.method

    def received(self, item: SessionMessage | Exception) -> SessionMessage | None:
        """The message as the package can take it; None for one that is dropped."""
        if isinstance(item, ValidationError):  # a line that another transport could not read
            line = item.errors(include_url=False, include_context=False)[0].get("input")
            item = parsed(line) if isinstance(line, str) else item
        if isinstance(item, Exception):  # servers write all sorts of lines
            get_logger().debug("mcp_line_passed_over", why=str(item)[:200])
            return None
        message = item.message
        if isinstance(message, mcp_types.JSONRPCNotification):
            return item if self._wanted(message) else None
        if isinstance(message, mcp_types.JSONRPCResponse):
            method = self._asked.pop(message.id, "")
            self._reports.pop(message.id, None)
            taken = {"tools/list": _tools, "tools/call": lenient_result}.get(method)
            if taken is not None:
                result = taken(message.result)
                return SessionMessage(message.model_copy(update={"result": result}), item.metadata)
        elif isinstance(message, mcp_types.JSONRPCError):
            self._asked.pop(message.id, None)
        return item

    def _wanted(self, message: mcp_types.JSONRPCNotification) -> bool:
        if message.method == "notifications/tools/list_changed":
            self._changed()
            return False
        if message.method == "notifications/progress":
            token = (message.params or {}).get("progressToken")
            if not isinstance(token, str | int) or token not in self._asked:
                return False
            self._reports[token] = self._reports.get(token, 0) + 1
            return self._reports[token] <= _MOST_PROGRESS
        return message.method != "notifications/message"


def parsed(text: str) -> SessionMessage | Exception:
    """The message in a line, halves of surrogate pairs replaced; else what is wrong with it.

    An answer that cannot be read becomes an error answer to its request, which then ends.
    """
    try:
        return SessionMessage(mcp_types.jsonrpc_message_adapter.validate_json(text, by_name=False))
    except ValueError as error:
        problem = error
    number = value = None
    try:
        value = _loaded(text.lstrip("\ufeff"))
        if "\\ud" in text.lower():
            value = _without_halves(value)
        if isinstance(value, dict):
            number = value.get("id")
            if isinstance(number, float) and number.is_integer():
                value["id"] = number = int(number)
        return SessionMessage(
            mcp_types.jsonrpc_message_adapter.validate_python(value, by_name=False)
        )
    except ValueError:
        pass
    asks = not isinstance(value, dict) or "method" in value
    if isinstance(number, int | str) and not isinstance(number, bool) and not asks:
        why = mcp_types.ErrorData(
            code=mcp_types.INTERNAL_ERROR, message="the server gave an answer that cannot be read"
        )
        return SessionMessage(mcp_types.JSONRPCError(jsonrpc="2.0", id=number, error=why))
    return problem


TOO_DEEP: Final = "[left out: nested too deeply]"
"""The text in the place of a value that is nested more deeply than Python reads."""

_DEEPEST: Final = 500  # levels; Python's reader of JSON ends at some 900, its caller's included
_MARK: Final = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)


def _loaded(text: str) -> Any:
    """The JSON in a text, without what is nested too deeply to be read.

    Raises:
        ValueError: It is no JSON.
    """
    try:
        return json.loads(text, strict=False)
    except RecursionError:
        return json.loads(_cut(text), strict=False)


def _cut(text: str) -> str:
    """The text of a JSON value with `TOO_DEEP` in the place of each object and array beyond
    `_DEEPEST` levels.
    """
    kept: list[str] = []
    depth = begin = 0
    for mark in _MARK.finditer(text):
        if mark[0] in "[{":
            depth += 1
            if depth == _DEEPEST + 1:
                kept += [text[begin : mark.start()], json.dumps(TOO_DEEP)]
        elif mark[0] in "]}":
            if depth == _DEEPEST + 1:
                begin = mark.end()
            depth -= 1
    return "".join([*kept, text[begin:]])


def _without_halves(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_without_halves(each) for each in value]
    if isinstance(value, dict):
        return {_without_halves(key): _without_halves(each) for key, each in value.items()}
    return value


# --- lists of tools ------------------------------------------------------------------------------


def _tools(result: JsonObject) -> JsonObject:
    listed = result.get("tools")
    listed = listed if isinstance(listed, list) else []
    if len(listed) > MOST_TOOLS:
        get_logger().warning("mcp_tools_left_out", tools=len(listed), most=MOST_TOOLS)
    made = [tool for each in listed[: MOST_TOOLS + 1] if (tool := _tool(each)) is not None]
    cursor = result.get("nextCursor")
    kept = {k: v for k, v in result.items() if k not in ("tools", "nextCursor")}
    return {**kept, "tools": made, **({"nextCursor": cursor} if isinstance(cursor, str) else {})}


def _tool(entry: object) -> JsonObject | None:
    """The parts of a tool that the package needs, and the whole tool as it came."""
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or not entry["name"]:
        get_logger().warning("mcp_tool_skipped", reason=f"no name: {str(entry)[:200]}")
        return None
    hints = entry.get("annotations")
    hints = hints if isinstance(hints, dict) else {}
    return {
        "name": entry["name"],
        "inputSchema": {"type": "object", "properties": _headers(entry.get("inputSchema"))},
        "annotations": {key: value for key, value in hints.items() if isinstance(value, bool)},
        "_meta": {RAW: json.dumps(entry)},
    }


def _headers(schema: object) -> JsonObject:
    """The properties that the package sends as headers: their schemas say so."""
    properties = schema.get("properties") if isinstance(schema, dict) else None
    return {
        name: value
        for name, value in (properties.items() if isinstance(properties, dict) else ())
        if isinstance(value, dict) and "x-mcp-header" in value
    }


# --- results -------------------------------------------------------------------------------------


def lenient_result(result: JsonObject) -> JsonObject:
    """A call's result as the package takes it, whatever form its parts have."""
    if "inputRequests" in result:  # not a result yet: the server asks something first
        return result
    content = result.get("content")
    blocks = content if isinstance(content, list) else [] if content is None else [content]
    made = [_block(block) for block in blocks[:_MOST_BLOCKS]]
    rest = {key: value for key, value in result.items() if key not in _OF_RESULTS}
    if rest and content is None and result.get("structuredContent") is None:
        made.append(_text(json.dumps(rest, ensure_ascii=False)))  # such as an older `toolResult`
    if len(blocks) > _MOST_BLOCKS:
        made.append(_text(f"[{len(blocks) - _MOST_BLOCKS:,} further parts are left out]"))
    meta = result.get("_meta")
    kept = {k: v for k, v in result.items() if k == "resultType"}
    return {
        **kept,
        "content": made,
        "isError": result.get("isError") is True,
        "_meta": {
            **(meta if isinstance(meta, dict) else {}),
            RAW: json.dumps(result.get("structuredContent")),
        },
    }


_OF_RESULTS: Final = frozenset({"_meta", "content", "isError", "resultType", "structuredContent"})
_SHOWN_WHOLE = 2_000  # characters of JSON


def _block(block: object) -> JsonObject:
    """A part of a result, or words in its place."""
    if isinstance(block, str):
        return _text(block)
    if isinstance(block, dict) and block.get("type") in ("image", "audio"):
        named = block.get("mimeType", block.get("mime_type"))  # may be missing: the bytes tell it
        block = {**block, "mimeType": named if isinstance(named, str) else ""}
    try:
        _BLOCK.validate_python(block, by_name=False)
    except ValidationError:
        kind = block.get("type") if isinstance(block, dict) else None
        text = block.get("text") if isinstance(block, dict) else None
        if text is not None:
            return _text(text if isinstance(text, str) else json.dumps(text, ensure_ascii=False))
        whole = json.dumps(block, ensure_ascii=False)
        if block is not None and kind not in ("image", "audio") and len(whole) <= _SHOWN_WHOLE:
            return _text(whole)
        return _text(f"[a part of the kind {str(kind)[:40]!r} that cannot be read]")
    assert isinstance(block, dict), "a block is an object"
    return {key: value for key, value in block.items() if key not in ("annotations", "_meta")}


def _text(text: str) -> JsonObject:
    return {"type": "text", "text": text}


_MOST_MEDIA = 32_000_000
"""Characters of base64 of one image or sound that are decoded: more than any model takes."""


def output_of(
    result: mcp_types.CallToolResult, structured: Any, promised: object, name: str
) -> ToolOutput:
    """A result for the model, for people and for programs.

    Args:
        result: The parts that the server sent.
        structured: Its structured content, as it came.
        promised: The tool's output schema; None if it has none.
        name: The tool's name.

    Raises:
        ToolError: The server says that the call failed; with the server's text.
    """
    parts = [_part(block) for block in result.content]
    texts = [part.text for part in parts if isinstance(part, TextPart)]
    if result.is_error:
        raise ToolError("\n".join(texts) or f"{name} failed and said nothing")
    if structured is not None and not _in_texts(structured, texts):
        parts.append(TextPart(json.dumps(structured, ensure_ascii=False)))
    if promised is not None and structured is None:
        note = "(The tool promises structured content, and the server sent none.)"
        parts.append(TextPart(note))
    elif promised is not None and (why := misfit(promised, structured)):
        note = f"(The structured content is not what the tool promises: {why}.)"
        parts.append(TextPart(note))
    shown: Any = parts
    if all(isinstance(part, TextPart) for part in parts):
        shown = "\n".join(part.text for part in parts if isinstance(part, TextPart)) or None
    return ToolOutput(shown, data=structured)


def _in_texts(structured: Any, texts: list[str]) -> bool:
    """Whether the texts repeat the structured content, as the specification asks of servers."""
    wanted = [structured]
    if isinstance(structured, dict) and structured.keys() == {"result"}:
        wanted.append(structured["result"])  # servers wrap a value that is not an object so
    read = [_json_or_text(text) for text in texts]
    return any(want == each for want in wanted for each in read) or read in wanted


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _part(block: mcp_types.ContentBlock) -> Part:
    match block:
        case mcp_types.TextContent():
            return TextPart(block.text)
        case mcp_types.ImageContent():
            return _image(block.data, block.mime_type)
        case mcp_types.AudioContent():
            return _sound(block.data, block.mime_type)
        case mcp_types.ResourceLink():
            about = f" ({block.description})" if block.description else ""
            return TextPart(f"[{block.name}: {block.uri}{about}]")
        case mcp_types.EmbeddedResource(resource=mcp_types.TextResourceContents() as resource):
            return TextPart(f"[{resource.uri}]\n{resource.text}")
        case mcp_types.EmbeddedResource(resource=mcp_types.BlobResourceContents() as resource):
            if (resource.mime_type or "").startswith("image/"):
                return _image(resource.blob, resource.mime_type or "")
            return TextPart(f"[{resource.uri}: {len(resource.blob)} characters of base64]")
        case _:
            return TextPart(f"[a {block.type} that cannot be shown]")


def _image(data: str, kind: str) -> Part:
    """The picture, if its bytes are of a kind that models take; else a sentence."""
    try:
        return image_part(_decoded(data) or b"")
    except ValueError as error:
        size = f"{len(data):,} characters of base64"
        return TextPart(f"[an image that cannot be shown: {kind[:60]}, {size}: {error}]")


def _sound(data: str, kind: str) -> Part:
    decoded = _decoded(data)
    if not decoded:
        return TextPart(f"[a sound that cannot be played: {kind[:60]}, no base64 or too large]")
    data = base64.b64encode(decoded).decode()
    return AudioPart(data, kind.rpartition("/")[2].removeprefix("x-"))


def _decoded(data: str) -> bytes | None:
    """The bytes of a picture or a sound, also of a `data:` address or in lines."""
    if len(data) > _MOST_MEDIA:
        return None
    if data.startswith("data:"):
        data = data.partition(",")[2]
    try:
        return base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError):
        return None
