"""The OpenAI chat-completions wire as vLLM speaks it: the bodies of requests, and answers read.

No I/O, no retries, no decisions about what to run. Field names and their meanings are vLLM 0.32's
(`vllm/entrypoints/openai/chat_completion/protocol.py`). The fields that hold a reply to calls are
handed in: `agentkit.models.calls` chooses them.
"""

from agentkit.wire.replies import Reply, ReplyDecoder, read_call
from agentkit.wire.requests import (
    OPTIONAL,
    MessageEncoder,
    constrains_itself,
    encode_detokenize,
    encode_request,
    encode_tokenize,
    forced,
    read_declarations,
    read_messages,
    session_header,
)
from agentkit.wire.server import (
    WINDOWS,
    ServedModel,
    names_server,
    read_models,
    read_special_tokens,
    read_text,
    read_tokens,
    read_waiting,
    unknown_fields,
)

__all__ = [
    "OPTIONAL",
    "WINDOWS",
    "MessageEncoder",
    "Reply",
    "ReplyDecoder",
    "ServedModel",
    "constrains_itself",
    "encode_detokenize",
    "encode_request",
    "encode_tokenize",
    "forced",
    "names_server",
    "read_call",
    "read_declarations",
    "read_messages",
    "read_models",
    "read_special_tokens",
    "read_text",
    "read_tokens",
    "read_waiting",
    "session_header",
    "unknown_fields",
]
