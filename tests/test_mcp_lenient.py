"""What servers send in other forms than the protocol's is shown, or told, and never lost."""

from __future__ import annotations

import json
from typing import Any

import mcp_types
import pytest
from mcp.shared.message import SessionMessage

from agentkit.mcp.lenient import RAW, lenient_result, output_of, parsed
from agentkit.messages import ImagePart

PNG = "iVBORw0KGgo="


def shown(result: dict[str, Any]) -> Any:
    """What the model reads of a result."""
    made = lenient_result(result)
    read = mcp_types.CallToolResult.model_validate(made, by_name=False)
    return output_of(read, json.loads(made["_meta"][RAW]), None, "look").for_model


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ({"content": [{"type": "text", "text": 5}]}, "5"),
        ({"content": [{"type": "text", "text": {"a": 1}}]}, '{"a": 1}'),
        ({"content": [{"type": "json", "json": [1]}]}, '{"type": "json", "json": [1]}'),
        ({"toolResult": {"a": 1}}, '{"toolResult": {"a": 1}}'),
        ({"content": []}, None),
    ],
)
def test_parts_of_other_kinds_are_shown_as_they_are(
    result: dict[str, Any], text: str | None
) -> None:
    assert shown(result) == text


@pytest.mark.parametrize(
    "block",
    [
        {"data": f"data:image/png;base64,{PNG}", "mimeType": "image/png"},
        {"data": f"{PNG[:4]}\n{PNG[4:]}\n", "mimeType": "image/png"},
        {"data": PNG},
        {"data": PNG, "mime_type": "image/png"},
    ],
)
def test_a_picture_is_known_by_its_bytes(block: dict[str, str]) -> None:
    expected = [ImagePart(f"data:image/png;base64,{PNG}")]
    assert shown({"content": [{"type": "image", **block}]}) == expected


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ('{"jsonrpc":"2.0","id":1,"result":"method"}', mcp_types.JSONRPCError),
        ('{"jsonrpc":"2.0","id":1.0,"result":{}}', mcp_types.JSONRPCResponse),
        ('\ufeff{"jsonrpc":"2.0","id":1,"result":{}}', mcp_types.JSONRPCResponse),
        ('{"jsonrpc":"2.0","id":1,"result":{"a":"x\ty"}}', mcp_types.JSONRPCResponse),
    ],
)
def test_an_answer_is_never_passed_over_so_that_somebody_waits(line: str, kind: type) -> None:
    message = parsed(line)
    assert isinstance(message, SessionMessage)
    assert isinstance(message.message, kind)
