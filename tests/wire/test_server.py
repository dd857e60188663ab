from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.errors import (
    AgentKitError,
    ContextWindowError,
    ModelProtocolError,
    ModelStatusError,
)
from agentkit.wire import (
    OPTIONAL,
    ServedModel,
    read_models,
    read_special_tokens,
    read_text,
    read_tokens,
    read_waiting,
    unknown_fields,
)
from agentkit.wire.server import ANY_SERVER

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


@pytest.mark.parametrize(
    "listed",
    [
        {"data": ["a"]},
        {"models": [{"name": "a"}]},
        {"models": [{"model": "a", "name": ""}]},
        {"data": None, "models": [{"id": "a"}]},
        {"data": [{"id": 5, "name": "a"}]},
    ],
)
def test_a_list_of_models_is_read_in_the_form_of_each_server(listed: dict[str, object]) -> None:
    assert [model.name for model in read_models(listed)] == ["a"]


@pytest.mark.parametrize(
    ("value", "window"),
    [
        (8192, 8192),
        (8192.0, 8192),
        ("8192", 8192),
        (0, None),
        (-1, None),
        (1.5, None),
        (True, None),
        ("much", None),
        (1e999, None),
        (10**30, None),
    ],
)
def test_a_window_is_a_length_however_it_is_written(value: object, window: int | None) -> None:
    (model,) = read_models({"data": [{"id": "a", "max_model_len": value}]})
    assert model.max_model_len == window


@pytest.mark.parametrize(
    "said", [{"error": {"message": "no way"}}, {"detail": "no way"}, {"message": "no way"}]
)
def test_why_no_model_is_listed_is_told_in_the_servers_words(said: dict[str, object]) -> None:
    with pytest.raises(AgentKitError, match="no way"):
        read_models(said)


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


@pytest.mark.parametrize(
    "words",
    [
        "Input is too long for requested model.",
        "max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)",
        "The prompt is longer than 8192 tokens",
        "Prompt length 9000 exceeds model maximum 8192",
        "Prompt length (9000) exceeds maximum input length (8192).",
        "Prompt length 9000 is greater than max_seq_len 8192",
        "The length of the prompt (9000) exceeds the max_input_len (8192).",
        "The input token length 9000 + max_new_tokens exceeds the session_len 8192",
        "Error: prompt token count (9000) cannot exceed 8192.",
        "Prompt exceeds the context limit of 8192 tokens",
        "The number of tokens to keep from the initial prompt is greater than the context length.",
        "Trying to keep the first 9000 tokens when context the overflows.",
        "Number of tokens in messages exceeds the model's context window",
        "Request too large for model: input tokens exceed the limit",
        "The prompt (total length 9000) is too long to fit into the model (context length 8192). "
        "Make sure that `max_model_len` is no smaller than the number of text tokens plus "
        "multimodal tokens.",
    ],
)
def test_a_prompt_that_is_too_long_is_known_in_the_words_of_each_server(words: str) -> None:
    assert isinstance(
        ANY_SERVER.error(json.dumps({"error": words}).encode(), 400), ContextWindowError
    )


@pytest.mark.parametrize(
    "words",
    [
        "Rate limit reached: your input tokens per minute exceed the limit of 10000",
        "Rate limit reached: too many tokens per minute",
        "The input image exceeds 20 MB",
        "max_tokens must be greater than 0",
        "The context is unknown",
        "Prompt injection detected",
    ],
)
def test_other_refusals_are_not_taken_for_a_prompt_that_is_too_long(words: str) -> None:
    error = ANY_SERVER.error(json.dumps({"error": words}).encode(), 400)
    assert isinstance(error, ModelStatusError)


def test_the_words_of_a_refusal_cannot_control_a_terminal() -> None:
    words = rb'{"error": {"message": "\u001b[2J\ud800 \u202egnp.exe\u0007 no"}}'
    assert "400: \ufffd[2J\ufffd \ufffdgnp.exe\ufffd no" in str(ANY_SERVER.error(words, 400))


def test_a_model_whose_name_no_request_can_hold_is_left_out() -> None:
    listed = {"data": [{"id": "gemma-4-\ud800"}, {"id": "gemma-4-e4b-it"}]}
    assert [model.name for model in read_models(listed)] == ["gemma-4-e4b-it"]


@pytest.mark.parametrize("tokens", [["a"], [1.0, 2.0], [None], [{"id": 1}], [-1], [True]])
def test_what_is_no_token_id_is_not_taken_for_one(tokens: list[object]) -> None:
    with pytest.raises(ModelProtocolError):
        read_tokens({"tokens": tokens, "count": len(tokens)})


@pytest.mark.parametrize(
    ("words", "refused"),
    [
        ("'return_token_ids' is not a valid field", {"return_token_ids"}),
        ("Invalid fields: logit_bias, stop_token_ids", {"logit_bias", "stop_token_ids"}),
        ("Field stop_token_ids does not exist", {"stop_token_ids"}),
        ("No such parameter: chat_template_kwargs", {"chat_template_kwargs"}),
        ("Feld 'return_token_ids' ist nicht erlaubt", {"return_token_ids"}),
        ("create() got an unexpected keyword argument 'top_k'", {"top_k"}),
        ("messages.2.assistant.reasoning: Extra inputs are not permitted", {"reasoning"}),
        ("response_format is not available for this model", {"response_format"}),
        # What is refused, and then what is not.
        (
            "unknown field `return_token_ids`, expected one of `messages`, `max_tokens`, `seed`",
            {"return_token_ids"},
        ),
        ("Unsupported field top_k; supported fields are: max_tokens, seed", {"top_k"}),
        ("Allowed parameters: seed, max_tokens. Unknown parameter: top_k", {"top_k"}),
        ('Unrecognized field "top_k" (2 known properties: "max_tokens", "seed")', {"top_k"}),
        ("Unknown parameter: 'return_token_ids'. Did you mean 'seed'?", {"return_token_ids"}),
        ("Unknown field top_k in {'model': 'g', 'max_tokens': 5, 'seed': 3}", {"top_k"}),
        # The field is known, and its value is refused.
        ("max_tokens=9000 is not allowed: at most 4096", set()),
        ("This model does not support max_tokens > 4096", set()),
        ("top_k must be -1 or more; unexpected value", set()),
        ("Value error, seed: unsupported type float", set()),
    ],
)
def test_the_fields_that_a_server_does_not_take_are_known_in_the_words_of_each(
    words: str, refused: set[str]
) -> None:
    assert unknown_fields(words, OPTIONAL.keys()) == refused
