from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.wire import (
    ServedModel,
    read_models,
    read_special_tokens,
    read_text,
    read_waiting,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
OBJECTS = st.dictionaries(
    st.sampled_from(["data", "prompt", "added_tokens_decoder", "x"]), JSON, max_size=3
)


def test_models_are_read_in_order_with_their_window_where_it_is_given() -> None:
    listed = {"data": [{"id": "a", "max_model_len": 8192}, {"id": "lora"}, {"id": 5}, None]}
    assert read_models(listed) == [ServedModel("a", 8192), ServedModel("lora", None)]


def test_an_adapter_has_the_roots_of_its_base_too() -> None:
    base = {"id": "base", "root": "/models/base"}
    lora = {"id": "lora", "root": "/adapters/x", "parent": "base"}
    assert [model.roots for model in read_models({"data": [base, lora]})] == [
        ("/models/base",),
        ("/adapters/x", "/models/base"),
    ]


def test_only_special_tokens_are_control_tokens() -> None:
    added = {
        "106": {"content": "<turn|>", "special": True},
        "300": {"content": "  ", "special": False},
    }
    assert read_special_tokens({"added_tokens_decoder": added}) == ["<turn|>"]


def test_where_only_texts_of_added_tokens_are_told_the_spelling_decides() -> None:
    texts = ["<eos>", "<|tool_call>", "<tool|>", "<start_of_turn>", "<|mine|>"]
    added = dict(enumerate([*texts, "\n\n", "</footer>", "<table>", "<unused7>", "[multimodal]"]))
    assert read_special_tokens({"added_tokens_decoder": added}) == texts


def test_text_of_tokens_is_text_or_nothing() -> None:
    assert read_text({"prompt": "hi"}) == "hi"
    assert read_text({"prompt": 5}) is None


@pytest.mark.slow
@given(OBJECTS)
def test_whatever_a_server_answers_nothing_is_raised(answer: dict[str, object]) -> None:
    read_models(answer)
    read_special_tokens(answer)
    read_text(answer)


ENGINES = b"""\
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="gemma"} 3.0
vllm:num_requests_waiting{engine="1",model_name="gemma"} 4.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="gemma",reason="capacity"} 9.0
vllm:num_requests_running{engine="0",model_name="gemma"} 20.0
"""


@pytest.mark.parametrize(
    ("metrics", "waiting"),
    [
        (ENGINES, 7),
        (b"vllm:num_requests_waiting 0\n", 0),
        (b"vllm:num_requests_waiting NaN\n", None),
        (b"vllm:num_requests_waiting +Inf\n", None),
        (b'{"detail": "Not Found"}', None),
        (b"", None),
    ],
)
def test_how_many_requests_wait_is_the_sum_over_engines_or_unknown(
    metrics: bytes, waiting: int | None
) -> None:
    assert read_waiting(metrics) == waiting
