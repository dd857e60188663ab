from __future__ import annotations

from agentkit_evals.bfcl.schema import definition_of

from agentkit.schema.foreign import why_unusable

DOCUMENT = {
    "name": "math.total",
    "description": "Adds.",
    "parameters": {
        "type": "dict",
        "properties": {
            "parts": {"type": "array", "description": "All.", "items": {"type": "float"}},
            "rate": {"type": "float", "description": "How much.", "default": 1.5},
            "pair": {"type": "tuple", "description": "Two.", "items": {"type": "any"}},
            "more": {
                "type": "dict",
                "description": "More.",
                "properties": {"deep": {"type": "float", "description": "Deep."}},
            },
        },
        "required": ["parts"],
    },
}


def test_a_document_becomes_json_schema() -> None:
    definition = definition_of(DOCUMENT)
    assert definition.name == "math_total"
    assert why_unusable(definition.parameters) is None
    properties = definition.parameters["properties"]
    assert definition.parameters["type"] == "object"
    assert definition.parameters["required"] == ["parts"]
    assert properties["parts"]["items"] == {"type": "number"}
    assert properties["rate"]["type"] == "number"
    assert properties["rate"]["default"] == 1.5
    assert properties["rate"]["description"] == "How much. This is a float type value."
    assert properties["pair"]["type"] == "array"
    assert properties["more"]["properties"]["deep"]["type"] == "number"


def test_the_document_itself_is_not_changed() -> None:
    definition_of(DOCUMENT)
    assert DOCUMENT["name"] == "math.total"
    assert "'type': 'dict'" in repr(DOCUMENT)
