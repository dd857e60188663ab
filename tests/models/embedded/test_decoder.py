from __future__ import annotations

import json
import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from agentkit.models.embedded.decoder import BUNDLED, Decoder, Logits, Prefix, read_weights

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
