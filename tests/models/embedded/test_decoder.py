from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit.models.embedded import (
    BUNDLED,
    Decoder,
    Logits,
    Pieces,
    Prefix,
    Sampler,
    Sampling,
    read_weights,
    token_bytes,
)

TEXT = "<bos><|turn>user\nWhere is RunFile defined?<turn|>\n<|turn>model\n" * 60


def read(decoder: Decoder, ids: list[int], *cuts: int) -> tuple[Prefix, Logits]:
    prefix, logits = decoder.extend(decoder.nothing, ids[: cuts[0]])
    for first, last in pairwise(cuts):
        prefix, logits = decoder.extend(prefix, ids[first:last])
    return prefix, logits


def test_a_text_read_in_pieces_is_the_text_read_at_once() -> None:
    decoder = Decoder()
    ids = decoder.encode(TEXT)[:400]
    whole, expected = read(decoder, ids, 400)
    pieces, logits = read(decoder, ids, 1, 2, 130, 399, 400)
    assert np.abs(logits - expected).max() < 1e-3
    assert np.abs(pieces.memory - whole.memory).max() < 1e-3
    assert pieces.ids == whole.ids == tuple(ids)


def test_a_long_text_is_read_512_tokens_at_a_time() -> None:
    decoder = Decoder()
    ids = (decoder.encode(TEXT) * 4)[:700]
    prefix, _ = decoder.extend(decoder.nothing, ids)
    assert len(prefix.ids) == 512
    prefix, _ = decoder.extend(prefix, ids[512:])
    assert prefix.ids == tuple(ids)


def test_a_cut_prefix_goes_on_as_if_no_more_had_been_read() -> None:
    decoder = Decoder()
    ids = decoder.encode(TEXT)[:60]
    long, _ = read(decoder, ids, 60)
    _, expected = read(decoder, ids, 30, 31)
    _, logits = decoder.extend(long.cut(30), ids[30:31])
    assert np.abs(logits - expected).max() < 1e-4
    assert long.common([*ids[:30], -1]) == 30
    assert long.common(ids[:10]) == 10


def test_reading_changes_nothing_that_was_read_before() -> None:
    decoder = Decoder()
    ids = decoder.encode(TEXT)[:40]
    prefix, _ = read(decoder, ids, 20)
    before = prefix.memory.copy()
    decoder.extend(prefix, ids[20:])
    assert (prefix.memory == before).all()


def test_the_stop_set_is_the_checkpoints() -> None:
    assert Decoder().stop_ids == {1, 50, 106}


def test_a_folder_without_a_checkpoint_is_an_error_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=tmp_path.name):
        Decoder(tmp_path)


def test_bfloat16_is_widened_exactly(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    numbers = np.array([[1.0, -2.5], [0.0, 3.140625]], np.float32)
    data = (numbers.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    tensor = {"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, len(data)]}
    header = json.dumps({"__metadata__": {"format": "pt"}, "w": tensor}).encode()
    file.write_bytes(struct.pack("<Q", len(header)) + header + data)
    assert (read_weights(file)["w"] == numbers).all()


def test_weights_of_another_type_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    file.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(ValueError, match="F32"):
        read_weights(file)


def test_the_weights_are_one_file_of_at_most_12_megabytes() -> None:
    files = list(BUNDLED.glob("*.safetensors"))
    assert [file.name for file in files] == ["model.safetensors"]
    assert files[0].stat().st_size <= 12_000_000
    assert (BUNDLED / "graph.onnx").stat().st_size < 500_000


# --- text to pieces ----------------------------------------------------------------------------


@cache
def decoder() -> Decoder:
    return Decoder()


@cache
def table() -> tuple[bytes, ...]:
    return token_bytes(decoder())


def shown(text: str, stops: tuple[str, ...] = ()) -> tuple[list[str], bool]:
    pieces = Pieces(table(), stops)
    texts: list[str] = []
    for token in decoder().encode(text):
        texts += pieces.take(token)[1]
        if pieces.stopped:
            return texts, True
    return texts + pieces.rest()[1], False


@settings(deadline=None)  # a busy machine is no failure
@given(st.text())
def test_the_pieces_of_a_text_are_the_text(text: str) -> None:
    assert "".join(shown(text)[0]) == text


def test_a_character_of_several_tokens_comes_in_one_piece() -> None:
    texts, _ = shown("a→😀b")
    assert texts == ["a", "→", "😀", "b"]


def test_a_control_token_stands_alone() -> None:
    assert shown("ab<turn|>c")[0][-2:] == ["<turn|>", "c"]


def test_broken_bytes_are_replaced_and_not_raised() -> None:
    pieces = Pieces(table(), ())
    half = decoder().encode("😀")[:-1]
    assert [pieces.take(token)[1] for token in half] == [[]] * len(half)
    assert pieces.rest()[1] == ["\ufffd"]


@pytest.mark.parametrize(
    ("text", "stops", "expected"),
    [
        ("one. two", (". ",), "one"),
        ("one. two", ("three",), "one. two"),
        ("one", ("e",), "on"),
        ("aaab", ("aab",), "a"),
        ("a b c", ("c", "b"), "a "),
        ("", ("x",), ""),
    ],
)
def test_a_stop_text_ends_the_reply_and_is_not_shown(
    text: str, stops: tuple[str, ...], expected: str
) -> None:
    texts, stopped = shown(text, stops)
    assert "".join(texts) == expected
    assert stopped == (expected != text)


@settings(deadline=None)  # a busy machine is no failure
@given(st.text("ab. ", max_size=30), st.lists(st.text("ab. ", min_size=1, max_size=4), max_size=3))
def test_whatever_is_shown_ends_before_the_first_stop_text(text: str, stops: list[str]) -> None:
    texts, stopped = shown(text, tuple(stops))
    assert not any(stop in "".join(texts) for stop in stops)
    assert stopped == any(stop in text for stop in stops)
    assert text.startswith("".join(texts))


# --- choosing a token --------------------------------------------------------------------------


LOGITS = np.array([0.0, 3.0, 1.0, 2.0], np.float32)


def draws(sampling: Sampling, seed: int, count: int = 200) -> list[int]:
    sampler = Sampler(sampling, seed)
    return [sampler.next(LOGITS) for _ in range(count)]


def test_temperature_zero_takes_the_likeliest() -> None:
    assert set(draws(Sampling(temperature=0), 1)) == {1}


def test_the_same_seed_draws_the_same_tokens() -> None:
    assert draws(Sampling(), 5) == draws(Sampling(), 5)
    assert draws(Sampling(), 5) != draws(Sampling(), 6)


@pytest.mark.parametrize(
    ("sampling", "possible"),
    [
        (Sampling(), {0, 1, 2, 3}),
        (Sampling(top_k=2), {1, 3}),
        (Sampling(top_p=0.5), {1}),
        (Sampling(top_p=0.7), {1, 3}),
        (Sampling(temperature=0.1, top_p=0.999), {1}),
        (Sampling(top_k=3, top_p=1.0), {1, 2, 3}),
    ],
)
def test_only_tokens_of_the_top_are_drawn(sampling: Sampling, possible: set[int]) -> None:
    assert set(draws(sampling, 3, 3000)) == possible


def test_tokens_are_drawn_about_as_often_as_they_are_likely() -> None:
    drawn = draws(Sampling(), 8, 20_000)
    weights = np.exp(LOGITS) / np.exp(LOGITS).sum()
    shares = [drawn.count(token) / len(drawn) for token in range(4)]
    assert np.abs(np.array(shares) - weights).max() < 0.02


@settings(deadline=None)  # a busy machine is no failure
@given(
    st.lists(st.floats(-50, 50, width=32), min_size=2, max_size=20),
    st.floats(0, 5),
    st.integers(-1, 25),
    st.floats(0.01, 1),
    st.integers(0, 2**32),
)
def test_a_forbidden_token_is_never_drawn_and_the_logits_stay_as_they_were(
    logits: list[float], temperature: float, top_k: int, top_p: float, seed: int
) -> None:
    given_ = np.array(logits, np.float32)
    before = given_.copy()
    sampler = Sampler(Sampling(temperature, top_k, top_p), seed)
    assert 1 <= sampler.next(given_, forbidden=0) < len(logits)
    assert (given_ == before).all()


def test_the_runtime_keeps_and_sends_nothing_of_the_machine(tmp_path: Path) -> None:
    """onnxruntime's events begin with an identifier of the machine that it keeps in the home."""
    code = "from agentkit.models.embedded import BUNDLED, Decoder; Decoder(BUNDLED)"
    # What may stop the events elsewhere, such as CI, is not there.
    home = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    subprocess.run([sys.executable, "-c", code], env=home, check=True)
    assert list(tmp_path.rglob("*")) == []
