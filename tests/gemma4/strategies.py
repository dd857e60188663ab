"""Random conversations, tools and texts, rich in what could break a prompt."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from agentkit.gemma4.escape import MARK
from agentkit.gemma4.render import Generation
from agentkit.gemma4.tokens import CONTROL_LITERALS
from agentkit.messages import (
    AssistantMessage,
    AudioPart,
    Content,
    ImagePart,
    Message,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolMessage,
    UserMessage,
    VideoPart,
)

_fragments = st.one_of(
    st.sampled_from(CONTROL_LITERALS),
    st.sampled_from(CONTROL_LITERALS).flatmap(
        lambda literal: st.integers(1, len(literal)).map(lambda cut: literal[:cut])
    ),
    st.sampled_from(CONTROL_LITERALS).flatmap(
        lambda literal: st.integers(0, len(literal) - 1).map(lambda cut: literal[cut:])
    ),
    st.sampled_from([MARK, "<", "|", ">", " ", "\n", "\t", '"', "{", "}", ":", ",", "thought\n"]),
    st.text(max_size=6),
)
texts = st.one_of(
    st.text(max_size=12),
    st.lists(_fragments, max_size=8).map("".join),
)
"""Unicode, control literals, pieces of them, and our own mark."""

names = st.one_of(
    st.text("abcXYZ_-.09", min_size=1, max_size=6),
    st.sampled_from(["type", "Type", "description", "properties", "required", "nullable", "items"]),
)

json_values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        texts,
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(names, texts), inner, max_size=3)
    ),
    max_leaves=6,
)
argument_objects = st.dictionaries(names, json_values, max_size=4)

_media = st.sampled_from([ImagePart("data:,"), AudioPart(""), VideoPart("data:,")])
contents: st.SearchStrategy[Content] = st.one_of(
    texts, st.lists(st.one_of(texts.map(TextPart), _media), max_size=4).map(tuple)
)


# --- tools -------------------------------------------------------------------------------------

_described = st.fixed_dictionaries(
    {}, optional={"description": texts, "nullable": st.booleans(), "default": json_values}
)


def _schema_of(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    arrays = st.fixed_dictionaries({"type": st.just("array")}, optional={"items": inner})
    objects = st.fixed_dictionaries(
        {"type": st.just("object")},
        optional={
            "properties": st.dictionaries(names, inner, max_size=3),
            "required": st.lists(names, max_size=3),
            "additionalProperties": st.booleans(),
        },
    )
    return st.builds(lambda base, extra: {**extra, **base}, st.one_of(arrays, objects), _described)


_scalars = st.builds(
    lambda kind, extra: {**extra, **kind},
    st.one_of(
        st.fixed_dictionaries(
            {"type": st.just("string")}, optional={"enum": st.lists(texts, max_size=3)}
        ),
        st.fixed_dictionaries({"type": st.sampled_from(["integer", "number", "boolean", "null"])}),
        st.fixed_dictionaries({"type": st.just(["string", "null"])}),
        st.just({}),
    ),
    _described,
)
schemas: st.SearchStrategy[dict[str, Any]] = st.recursive(_scalars, _schema_of, max_leaves=5)
parameter_schemas = st.fixed_dictionaries(
    {},
    optional={
        "type": st.just("object"),
        "properties": st.dictionaries(names, schemas, max_size=4),
        "required": st.lists(names, max_size=3),
    },
)
declarations: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"name": st.one_of(names, texts)},
    optional={
        "description": st.one_of(st.none(), texts),
        "parameters": st.one_of(st.none(), parameter_schemas),
    },
)


# --- conversations -----------------------------------------------------------------------------

_ids = st.sampled_from(["a", "b", "c"])
_calls = st.builds(ToolCall, id=_ids, name=st.one_of(names, texts), arguments=argument_objects)
_assistants = st.builds(
    AssistantMessage,
    content=st.one_of(st.none(), texts),
    tool_calls=st.one_of(st.just(()), st.lists(_calls, max_size=3).map(tuple)),
    reasoning=st.one_of(st.none(), texts),
)
_messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(UserMessage, contents),
    _assistants,
    _assistants,
    st.builds(ToolMessage, _ids, st.one_of(st.just(""), names), contents),
    st.builds(ToolMessage, _ids, st.one_of(st.just(""), names), contents),
    st.builds(SystemMessage, texts),
)
conversations = st.builds(
    lambda first, rest: [*first, *rest],
    st.one_of(st.just([]), st.lists(st.builds(SystemMessage, texts), min_size=1, max_size=1)),
    st.lists(_messages, max_size=7),
)
generations = st.builds(
    Generation,
    thinking=st.booleans(),
    preserve_thinking=st.booleans(),
    prompt=st.booleans(),
    variant=st.sampled_from(["large", "small"]),
)
