from __future__ import annotations

from agentkit.events import PromptTokens
from agentkit.messages import (
    AssistantMessage,
    ModelRequest,
    SystemMessage,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from soak.context_live import warm, whole


def test_what_blocks_allow_is_asked_of_requests_that_only_add_to_the_one_before() -> None:
    counted = [(1_000, 0), (1_500, 896), (2_000, 1_280), (2_100, 128), (2_300, 1_920)]
    counted += [(2_310, 2_176), (2_400, 384)]  # 2,310 ends six tokens behind a block
    prompts = [
        PromptTokens(step, tokens, exact=True, counted=tokens, cached=cached)
        for step, (tokens, cached) in enumerate(counted, 1)
    ]
    said = [UserMessage(str(number)) for number in range(7)]
    sent = [ModelRequest(said[: 1 + step]) for step in range(3)]
    sent += [ModelRequest([said[0], *said[2:end]]) for end in (4, 5, 6, 7)]
    assert list(warm(prompts, sent, 128)) == [
        (896, 768),
        (1_280, 1_280),
        (1_920, 1_920),
        (2_176, 2_048),
    ]


def test_what_was_left_out_of_a_conversation_is_there_again_where_it_is_sent_naively() -> None:
    system, first, second = SystemMessage("s"), UserMessage("1"), UserMessage("2")
    asked = AssistantMessage(None, (ToolCall("call_0", "read", {}),))
    came, stub = ToolMessage("call_0", "read", "long"), ToolMessage("call_0", "read", "left out")
    said = AssistantMessage("Done.")
    sent = [
        ModelRequest((system, first)),
        ModelRequest((system, first, asked, came)),
        ModelRequest((system, first, asked, stub, said, second)),
    ]
    assert list(whole(sent)) == [
        (system, first),
        (system, first, asked, came),
        (system, first, asked, came, said, second),
    ]
