from __future__ import annotations

import time
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit.errors import ModelProtocolError
from agentkit.stream import MAX_EVENT_BYTES, EventDecoder, Pieces, read_json

_lines = st.sampled_from(
    [
        b"data: a",
        b"data:b",
        b"data:  c",
        b"data:",
        b"data",
        b'data: {"x": "\xc3\xa9"}',
        b"data: \xef\xbb\xbfx",
        b"datax: no",
        b": ping",
        b":",
        b"event: message",
        b"id: 7",
        b"retry: 10",
        b"",
        b"",
    ]
)
_ends = st.sampled_from([b"\n", b"\r", b"\r\n"])


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    lines = draw(st.lists(st.tuples(_lines, _ends), max_size=12))
    head = draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    return head + b"".join(line + end for line, end in lines)


def decode(*chunks: bytes, max_event_bytes: int = MAX_EVENT_BYTES) -> list[bytes]:
    decoder = EventDecoder(max_event_bytes)
    return [payload for chunk in chunks for payload in decoder.feed(chunk)]


@settings(max_examples=100, deadline=None)
@given(streams(), st.data())
def test_any_split_gives_the_same_payloads(stream: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert decode(*pieces) == decode(stream)
    assert decode(*(stream[i : i + 1] for i in range(len(stream)))) == decode(stream)


@settings(max_examples=100, deadline=None)
@given(streams())
def test_the_payloads_are_those_of_a_line_by_line_reading_of_the_standard(stream: bytes) -> None:
    assert decode(stream) == by_the_standard(stream)


def by_the_standard(stream: bytes) -> list[bytes]:
    """WHATWG HTML 9.2.6, whole lines at once and nothing clever."""
    text = stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    *lines, _unfinished = text.split(b"\n")
    events: list[bytes] = []
    data: list[bytes] = []
    for line in lines:
        if not line:
            if data:
                events.append(b"\n".join(data))
            data = []
            continue
        name, _, value = line.partition(b":")
        if name == b"data":
            data.append(value.removeprefix(b" "))
    return events


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=50))
def test_arbitrary_bytes_never_raise(one: bytes, two: bytes) -> None:
    decode(one, two)


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_each_line_end_ends_a_line(end: bytes) -> None:
    assert decode(b"data: a" + end + b"data: b" + end + end) == [b"a\nb"]


def test_a_line_feed_after_a_cut_carriage_return_is_no_line_of_its_own() -> None:
    assert decode(b"data: a\r", b"\ndata: b\r", b"\n\r", b"\n") == [b"a\nb"]


def test_a_carriage_return_alone_gives_the_event_without_waiting_for_more() -> None:
    assert decode(b"data: a\r\r") == [b"a"]


def test_comments_and_other_fields_yield_nothing() -> None:
    assert decode(b": ping\n\n", b"event: x\nid: 1\nretry: 5\n\n", b":\n\n") == []


def test_a_byte_order_mark_cut_in_the_middle_is_dropped() -> None:
    assert decode(b"\xef", b"\xbb\xbfdata: a\n\n") == [b"a"]


def test_a_character_cut_in_the_middle_arrives_whole() -> None:
    first, second = "data: é\n\n".encode()[:7], "data: é\n\n".encode()[7:]
    assert decode(first, second) == ["é".encode()]


def test_an_event_that_no_blank_line_ended_is_dropped() -> None:
    assert decode(b"data: a\n\ndata: half\n") == [b"a"]


@pytest.mark.parametrize(
    "flood",
    [
        [b"data: " + b"x" * 2000],
        [b"data: " + b"x" * 50 + b"\n"] * 40,
        [b"data\n"] * 2000,
        [b": " + b"x" * 500] * 4,
        [b"x"] * 2000,
    ],
    ids=["one line", "many lines", "empty lines", "a comment without end", "byte by byte"],
)
def test_an_event_above_the_bound_is_refused(flood: list[bytes]) -> None:
    with pytest.raises(ModelProtocolError, match="more than 1,000 bytes"):
        decode(*flood, max_event_bytes=1000)


def test_events_within_the_bound_may_go_on_for_ever() -> None:
    decoder = EventDecoder(max_event_bytes=100)
    assert sum(len(decoder.feed(b"data: " + b"x" * 90 + b"\n\n")) for _ in range(1000)) == 1000


def test_a_long_line_in_small_pieces_takes_linear_time() -> None:
    decoder = EventDecoder()
    started = time.process_time()
    for _ in range(200_000):
        decoder.feed(b"x" * 16)
    # Joining what is pending at each piece would copy 320 GB here: minutes, not a second.
    assert time.process_time() - started < 10


@pytest.mark.parametrize(
    "line",
    [b'{"error": {"message": "out of memory"}}', b'error: {"message": "out of memory"}'],
)
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n\r\n"])
def test_an_error_in_a_line_of_its_own_is_a_payload(line: bytes, end: bytes) -> None:
    decoder = EventDecoder()
    payloads = [*decoder.feed(b'data: {"a": 1}\n\n'), *decoder.feed(line + end), *decoder.rest()]
    assert [read_json(payload) for payload in payloads] == [
        {"a": 1},
        {"error": {"message": "out of memory"}},
    ]


def test_many_small_pieces_take_little_more_memory_than_their_text() -> None:
    text = Pieces()
    tracemalloc.start()
    for n in range(50_000):
        text.add(str(n % 90 + 10))
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert text.size == 100_000
    assert taken < 600_000  # as 50,000 texts of their own they would take 2.5 million bytes


@given(st.text(), st.data())
def test_a_text_is_the_same_wherever_it_is_cut_into_pieces(text: str, data: st.DataObject) -> None:
    units = text.encode("utf-16-le")
    cuts = sorted(data.draw(st.sets(st.integers(0, len(units) // 2), max_size=4)))
    pieces = Pieces()
    for begin, end in pairwise([0, *cuts, len(units) // 2]):
        piece = units[2 * begin : 2 * end].decode("utf-16-le", "surrogatepass")
        pieces.add(pieces.joined(piece))
    pieces.end()
    assert str(pieces) == text
    assert pieces.size == len(text)


def test_half_of_a_surrogate_pair_that_stays_alone_is_replaced() -> None:
    pieces = Pieces()
    for piece in ("a\ud83d", "b\ud83d"):
        pieces.add(pieces.joined(piece))
    pieces.end()
    assert str(pieces) == "a\ufffdb\ufffd"
