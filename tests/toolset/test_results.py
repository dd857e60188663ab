from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import enum
import io
import json
import time
import uuid
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from agentkit.journal import CallDone, dump_entry, load_entry
from agentkit.messages import AudioPart, ImagePart, TextPart
from agentkit.toolset import (
    ToolOutput,
    audio_part,
    image_part,
    result_content,
    result_text,
    tool_result,
)
from agentkit.toolset.results import MAX_IN_HISTORY, MAX_RESULT, NO_RESULT, in_history, is_small


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


@dataclasses.dataclass
class Point:
    x: int
    tags: set[str]


class Receipt(BaseModel):
    total: Decimal
    at: dt.date
    points: list[Point] = []


class Pair(NamedTuple):
    left: int
    right: str


class Plain:
    def __init__(self) -> None:
        self.a = 1
        self._hidden = 2


class Worded:
    def __str__(self) -> str:
        return "in its own words"


class Array:
    """Like numpy's: turns into lists of plain numbers."""

    def tolist(self) -> list[list[float]]:
        return [[1.0, 2.0]]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("as it is\n", "as it is\n"),
        ("", ""),
        (None, "Done, no result."),
        (True, "true"),
        (7, "7"),
        (2.50, "2.5"),
        (float("nan"), "NaN"),
        (float("-inf"), "-Infinity"),
        (Decimal("1.50"), "1.50"),
        (1 + 2j, "1+2j"),
        (Colour.RED, "red"),
        (Level.LOW, "1"),
        (dt.date(2026, 1, 31), "2026-01-31"),
        (dt.timedelta(minutes=90), "PT1H30M"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Path("a/b"), "a/b"),
        (b"caf\xc3\xa9", "café"),
        (b"\xff\x00", "[2 bytes, base64] /wA="),
        (bytearray(b"a"), "a"),
        ([1, "a", None], '[1, "a", null]'),
        ([], "[]"),
        ((1, 2), "[1, 2]"),
        ({"é": float("nan")}, '{"é": NaN}'),
        ({3: 1, None: 2, (1, 2): 3, True: 4}, '{"3": 1, "null": 2, "[1, 2]": 3, "true": 4}'),
        ({3, 1, 10}, "[1, 3, 10]"),
        ({"b", "a", 1, None}, '[1, "a", "b", null]'),
        ({"x": {"b", "a"}}, '{"x": ["a", "b"]}'),
        (frozenset({Point}), None),
        (Point(1, {"b", "a"}), '{"x": 1, "tags": ["a", "b"]}'),
        (
            Receipt(total=Decimal("9.90"), at=dt.date(2026, 1, 31), points=[Point(1, set())]),
            '{"total": "9.90", "at": "2026-01-31", "points": [{"x": 1, "tags": []}]}',
        ),
        (Pair(1, "r"), '{"left": 1, "right": "r"}'),
        ({"a": 1}.keys(), '["a"]'),
        (range(3), "[0, 1, 2]"),
        (iter([1, 2]), "[1, 2]"),
        (Array(), "[[1.0, 2.0]]"),
        (ValueError("no such city"), "ValueError: no such city"),
        (io.StringIO("of a file"), "of a file"),
        (io.BytesIO(b"of a file"), "of a file"),
        (Plain(), '{"type": "Plain", "a": 1}'),
        (Worded(), "in its own words"),
        ("half \ud83d of a pair", "half ? of a pair"),
        (["\ud83d"], '["?"]'),
        (ToolOutput({"a": 1}, for_user="shown"), '{"a": 1}'),
    ],
)
def test_a_value_becomes_one_readable_text(value: object, text: str | None) -> None:
    content = result_content(value)
    assert isinstance(content, str)
    if text is not None:
        assert content == text
    assert "0x7f" not in content


def test_an_integer_too_long_for_python_to_print_is_hexadecimal() -> None:
    assert result_content([10**5000]) == f'["{hex(10**5000)}"]'


def test_a_value_that_contains_itself_ends() -> None:
    value: list[Any] = [1]
    value.append(value)
    assert result_content(value) == '[1, "[contains itself]"]'


def test_the_same_value_twice_is_not_a_loop() -> None:
    point = Point(1, set())
    assert result_content([point, point]) == '[{"x": 1, "tags": []}, {"x": 1, "tags": []}]'


def test_a_list_with_an_image_becomes_parts() -> None:
    image = ImagePart("data:image/png;base64,AA==")
    assert result_content(["a chart", image, {"n": 1}]) == (
        TextPart("a chart"),
        image,
        TextPart('{"n": 1}'),
    )
    assert result_content(image) == (image,)
    assert result_text([1, image]) == "1\n[image]"


PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)
URL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKm"
    "MIQAAAABJRU5ErkJggg=="
)


def test_an_image_says_its_own_format(tmp_path: Path) -> None:
    url = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    assert image_part(PNG) == ImagePart(url)
    (tmp_path / "a.dat").write_bytes(PNG)
    assert image_part(tmp_path / "a.dat") == ImagePart(url)
    with pytest.raises(ValueError, match="not a PNG"):
        image_part(b"RIFF....WAVE")


def test_a_sound_file_says_its_format_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(b"ID3")
    assert audio_part(tmp_path / "a.mp3") == AudioPart("SUQz", "mp3")
    assert audio_part(b"ID3") == AudioPart("SUQz", "wav")


def test_a_cap_keeps_the_beginning_and_the_end_and_says_so() -> None:
    text = "".join(f"{n:07d}\n" for n in range(1_000))
    content = result_content(text, cap=500)
    assert isinstance(content, str)
    assert len(content) <= 500
    assert content.startswith("0000000\n")
    assert content.endswith("0000999\n")
    assert "7500 of 8000 characters left out" in content
    assert result_content("short", cap=500) == "short"


def test_a_cap_holds_for_all_texts_of_a_result_together_and_leaves_images() -> None:
    image = ImagePart("data:image/png;base64,AA==")
    pages = [f"page {n:03d} " * 20 for n in range(100)]
    content = result_content([*pages[:50], image, *pages[50:]], cap=500)
    assert isinstance(content, tuple)
    assert image in content
    texts = [part.text for part in content if isinstance(part, TextPart)]
    shown = "".join(texts)
    assert 490 <= len(shown) <= 500
    assert shown.startswith("page 000 page 000 ")
    assert shown.endswith("page 099 page 099 ")
    assert shown.count("of 18000 characters left out") == 1
    assert result_content(["a", image, "b"], cap=100) == (TextPart("a"), image, TextPart("b"))
    parts = [TextPart(text) for text in pages]
    assert result_content([*parts, image], cap=18_000) == (*parts, image)


def test_a_large_result_is_not_slow() -> None:
    text = "é" * 2_000_000
    rows = [{"id": n, "name": f"row {n}"} for n in range(50_000)]
    started = time.process_time()
    assert result_content(text) == text
    assert len(result_content(rows)) > 1_500_000
    assert time.process_time() - started < 2.0


def test_the_sides_for_people_and_programs_stay_apart() -> None:
    result = tool_result(
        "c1", ToolOutput("3 rows", for_user="| a | b |", data=Point(1, {"b", "a"}))
    )
    assert result.content == "3 rows"
    assert result.for_user == "| a | b |"
    assert result.data == {"x": 1, "tags": ["a", "b"]}


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
        max_leaves=10,
    )
)
def test_any_value_gives_utf8_text(value: object) -> None:
    content = result_content(value)
    assert isinstance(content, str)
    assert content.encode().decode() == content


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@settings(deadline=None)
@given(JSON_VALUES)
def test_a_value_of_json_can_be_read_back_from_its_text(value: object) -> None:
    content = str(result_content(value))
    if value is None:
        assert content == NO_RESULT
    else:
        assert (content if isinstance(value, str) else json.loads(content)) == value


# --- size --------------------------------------------------------------------------------------


def test_a_hundred_megabytes_of_text_are_cut_to_what_a_record_takes() -> None:
    text = str(result_content("x" * 100_000_000 + "the end"))
    assert len(text) == MAX_RESULT
    assert text.endswith("the end")
    assert "of 100000007 characters left out" in text


@pytest.mark.slow
@pytest.mark.parametrize(
    "value",
    [
        dict.fromkeys(range(100000), "x" * 1000),
        [["y" * 10_000_000]] * 100,
        (n for n in count()),
        b"\xff" * 50_000_000,
    ],
    ids=["dict", "texts", "endless", "bytes"],
)
def test_any_value_is_read_up_to_the_bound_and_says_that_more_was_there(value: object) -> None:
    text = str(result_content(value))
    assert MAX_RESULT * 0.4 < len(text) <= MAX_RESULT
    assert "left out" in text


def test_data_for_programs_is_bounded_too_and_comes_back_from_a_record() -> None:
    deep: Any = 1
    for _ in range(5_000):
        deep = [deep]
    result = tool_result("c", ToolOutput("ok", data={"deep": deep, "long": ["x" * 10_000_000]}))
    assert len(json.dumps(result.data)) <= 2 * MAX_RESULT
    entry = load_entry(dump_entry(CallDone("k", result, 1)))
    assert isinstance(entry, CallDone)
    assert entry.result.data == result.data


def test_a_conversation_holds_less_than_the_record() -> None:
    content = in_history("x" * 2_000_000)
    assert len(content) == MAX_IN_HISTORY
    assert in_history("short") == "short"
    parts = in_history((TextPart("x" * 900_000), ImagePart(URL), TextPart("y" * 900_000)))
    assert [type(part) for part in parts] == [TextPart, ImagePart, TextPart]
    assert sum(len(part.text) for part in parts if isinstance(part, TextPart)) == MAX_IN_HISTORY


def test_an_image_that_no_server_would_take_is_named_instead() -> None:
    content = result_content(ImagePart("data:image/png;base64," + "A" * 40_000_000))
    assert content == (TextPart("[image of 40,000,022 characters of base64, left out: too large]"),)


@pytest.mark.parametrize(
    ("value", "small"),
    [
        ("x", True),
        ({"a": [1, None, "x"] * 10}, True),
        ("x" * 200_000, False),
        (["x"] * 2_000, False),
        ([["x" * 900] * 50] * 10, False),
        (object(), False),
    ],
)
def test_what_is_read_in_no_time_is_told_apart(value: object, *, small: bool) -> None:
    assert is_small(value) is small


def test_where_not_even_the_note_has_room_the_note_is_what_is_left() -> None:
    note = "\n[… 990 of 1000 characters left out …]\n"
    assert result_content("x" * 1000, cap=10) == note
    assert result_content([TextPart("x" * 600), TextPart("y" * 400)], cap=10) == (TextPart(note),)
