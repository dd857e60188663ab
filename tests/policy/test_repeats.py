"""A loop is noticed while it is written, and honest text is not taken for one."""

from __future__ import annotations

import base64
import json
import random
import sys
import sysconfig
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from agentkit.events import ModelEvent, ReasoningDelta, TextDelta, ToolCallDelta
from agentkit.models.vllm import DEFAULT_MAX_TOKENS
from agentkit.policy.guard import Repeats, RepeatWatch
from agentkit.wire import Reply
from tests.context.driving import TOKENIZER
from tests.live.checkpoint import REPO

LEAST = 512


def noticed(symbols: Iterable[int], least: int = LEAST) -> int | None:
    """After how many symbols a loop is noticed."""
    repeats = Repeats(least)
    return next((n for n, symbol in enumerate(symbols, 1) if repeats.feed([symbol])), None)


def ids(text: str) -> list[int]:
    found: list[int] = TOKENIZER.encode(text, add_special_tokens=False).ids
    return found


@pytest.mark.parametrize("period", [1, 2, 3, 7, 40, 64, 65, 200])
def test_a_loop_is_noticed_when_it_has_gone_on_for_long_and_for_six_periods(period: int) -> None:
    rng = random.Random(period)
    start = [rng.randrange(10_000) for _ in range(500)]
    loop = [rng.randrange(10_000) for _ in range(period)]
    at = noticed([*start, *loop * (8_000 // period)])
    assert at == 500 + period + max(LEAST, 6 * period)  # the first period repeats nothing


@pytest.mark.parametrize("period", [600, 1_000, 1_500, 2_000])
def test_a_long_loop_is_noticed_before_a_reply_of_the_default_length_ends(period: int) -> None:
    rng = random.Random(period)
    page = [rng.randrange(10_000) for _ in range(period)]
    assert noticed((page * 20)[:DEFAULT_MAX_TOKENS]) is not None
    assert noticed([*page * 3, *(rng.randrange(10_000) for _ in range(500))]) is None


def test_a_period_that_holds_repeats_of_its_own_is_one() -> None:
    row = [*[7] * 60, 1, 2, *[8] * 60, 3, *[7] * 30, 4]
    at = noticed(row * 40)
    assert at is not None
    assert at <= 9 * len(row)


def test_a_loop_that_ends_is_forgiven() -> None:
    assert noticed([*[1, 2] * 150, *range(100, 1000), *[1, 2] * 150, *range(100, 1000)]) is None


def pieces_until_a_loop(pieces: Iterable[tuple[list[int], list[ModelEvent]]]) -> int | None:
    """After how many pieces of a reply its watch sees a loop; each brings token ids and events."""
    watch, reply = RepeatWatch(), Reply()
    for number, (token_ids, events) in enumerate(pieces, 1):
        reply.token_ids += token_ids
        if watch.sees_loop(reply, events):
            return number
    return None


def test_a_loop_of_tokens_is_seen_whatever_their_text_is() -> None:
    assert pieces_until_a_loop(([1, 2], [TextDelta(f"{n}")]) for n in range(1000)) == 257
    assert pieces_until_a_loop(([n], [TextDelta("a" * 100)]) for n in range(1000)) is None


def test_a_loop_is_seen_though_its_tokens_are_lost_on_the_way() -> None:
    first: tuple[list[int], list[ModelEvent]] = ([1, 2], [TextDelta("Well, ")])
    rest: list[tuple[list[int], list[ModelEvent]]] = [([], [TextDelta("la la la ")])] * 1000
    seen = pieces_until_a_loop([first, *rest])
    assert seen is not None
    assert seen < 300


@pytest.mark.parametrize(
    "event",
    [
        *(TextDelta("la la la "), ReasoningDelta("la la la ")),
        *(ToolCallDelta(0, "f", "la la la "), ToolCallDelta(0, "la la la ", "")),
    ],
)
def test_without_tokens_a_loop_is_seen_in_what_is_being_written(event: ModelEvent) -> None:
    seen = pieces_until_a_loop(([], [event]) for _ in range(1000))
    assert seen is not None
    assert 4 * LEAST <= seen * len("la la la ") <= 4 * LEAST + 30
    news = ([TextDelta(f"{n}."), event] for n in range(1000))
    assert pieces_until_a_loop(([], events) for events in news) is None


def regular_texts() -> dict[str, str]:
    """Texts that look like loops and say something new in each line."""
    rng = random.Random(3)
    rows = [(n, f"item {n}", rng.choice(["yes", "no"])) for n in range(300)]
    matrix = [["1" if a == b else "0" for a in range(40)] for b in range(40)]
    return {
        "a long list": "\n".join(f"- [ ] item {n}" for n in range(900)),
        "a table": "\n".join(f"| {a} | {b} | {c} | 0 | 0.00 | |" for a, b, c in rows),
        "JSON": json.dumps([{"id": a, "name": b, "on": c, "note": None} for a, b, c in rows]),
        "SQL": "\n".join(f"INSERT INTO t VALUES ({a}, '{b}', '{c}', NULL);" for a, b, c in rows),
        "base64": base64.b64encode(rng.randbytes(6_000)).decode(),
        "base64 of zeros": base64.b64encode(bytes(280)).decode(),
        "hex": rng.randbytes(4_000).hex(" "),
        "a matrix": "\n".join(map(" ".join, matrix)),
        "a rule under each heading": "\n".join(f"Part {n}\n{'=' * 78}\n" for n in range(60)),
        "an empty form": "\n".join(f"Name {n}: {'_' * 60}" for n in range(80)),
    }


@pytest.mark.parametrize("name", regular_texts())
def test_regular_text_is_no_loop(name: str) -> None:
    text = regular_texts()[name]
    assert noticed(ids(text)) is None
    assert noticed(map(ord, text), 4 * LEAST) is None


def real_files() -> list[Path]:
    """Source code, data and prose that is on every machine that runs these tests."""
    library = Path(sysconfig.get_paths()["stdlib"])
    mine = [p for kind in ("*.md", "*.py", "*.json") for p in sorted(REPO.glob(f"docs/**/{kind}"))]
    mine += sorted((REPO / "agentkit").glob("**/*.py"))[::5]
    theirs = [library / f"{name}.py" for name in sys.stdlib_module_names]
    return [*mine, *(path for path in sorted(theirs)[::4] if path.exists())]


@pytest.mark.slow
def test_no_real_file_is_taken_for_a_loop() -> None:
    files = real_files()
    assert len(files) > 60
    loops = [file.name for file in files if noticed_in(file.read_text(encoding="utf-8"))]
    assert loops == []


def noticed_in(text: str) -> bool:
    return noticed(ids(text[:12_000])) is not None


def test_a_step_costs_the_same_however_long_the_reply_is() -> None:
    def seconds(symbols: Sequence[int]) -> float:
        repeats = Repeats(1)
        start = time.process_time()
        repeats.feed(symbols)
        return time.process_time() - start

    rng = random.Random(1)
    # Ten times the symbols cost ten times as much, not a hundred times.
    few = [rng.randrange(50) for _ in range(20_000)]
    many = [rng.randrange(50) for _ in range(200_000)]
    seconds(few)
    assert seconds(many) < 40 * max(seconds(few), 1e-3), (
        "ten times the symbols, not a hundred times"
    )
