"""Exports of runs, read back by the real inspect-ai in an environment of its own.

Runs are drawn at random: text of every kind, calls with awkward arguments, passes, failures, scores
between, trials without a verdict and trials not played. The generator knows what each log has to
say; Inspect's own reader says what it says.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from agentkit_evals.core import Grade, Timing, Transcript, TrialResult, TurnRecord
from agentkit_evals.export import inspect_log
from agentkit_evals.manifest import RunManifest
from agentkit_evals.store import Store, Writer
from agentkit_evals.subject import Subject

from agentkit import Usage
from agentkit.messages import (
    AssistantMessage,
    Message,
    SystemMessage,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from soak.proof import ROOT, prove
from soak.readers.environments import python_with

INSPECT: Final = ("inspect-ai==0.3.285",)

_RUNS: Final = 25
"""Of a batch: one process reads them all."""

_TEXTS: Final = (
    "",
    "plain",
    "two\nlines\t",
    "</script><b>",
    "日本語 🙂 é",
    "\x00\x1b[31m\u2028",
    "\u202etxt",
    '{"json": [1]}',
    "\ud83d half",
)
_VALUES: Final[tuple[Any, ...]] = (0, -1, 10**30, 1.5, True, None, "x", [1, [2]], {"a": {"b": []}})


def batch(number: int, runs: int = _RUNS) -> dict[str, int]:
    """So many runs.

    Raises:
        AssertionError: Inspect reads something else than was written.
    """
    chance = random.Random(number)
    with tempfile.TemporaryDirectory() as folder:
        stores = [_run(Store(Path(folder) / f"run{n}"), chance) for n in range(runs)]
        files = []
        for store in stores:
            log = inspect_log(store)
            file = store.folder / log.name
            file.write_text(log.text, "utf-8", "replace")
            files.append(str(file))
        read = _read([folder, *files])
        counts: Counter[str] = Counter(runs=runs)
        for store, said in zip(stores, read, strict=True):
            counts += _compared(store, said)
    return dict(counts)


def _read(files: Sequence[str]) -> list[dict[str, Any]]:
    """What Inspect says of files, the first of which is the folder in which it is to find them."""
    python = python_with("inspect", INSPECT, print)
    command = [str(python), str(ROOT / "soak" / "readers" / "with_inspect.py"), *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def _compared(store: Store, said: Mapping[str, Any]) -> Counter[str]:
    manifest, results = store.manifest(), store.results()
    assert (said["task"], said["model"]) == (manifest.suite, manifest.subject.model)
    missing = len(manifest.cases) * manifest.trials - len(results)
    assert said["status"] == ("started" if missing else "success")
    counts: Counter[str] = Counter()
    samples = {(sample["id"], sample["epoch"] - 1): sample for sample in said["samples"]}
    assert samples.keys() == results.keys()
    for key, result in results.items():
        sample = samples[key]
        graded = result.status == "graded"
        assert sample["passed"] == (float(result.passed) if graded else None), key
        assert (sample["error"] is None) == graded
        messages = result.transcript.messages
        wanted = [[message.role, _shown(message)] for message in messages]
        assert sample["messages"] == wanted, (key, sample["messages"], wanted)
        made = [m for m in messages if isinstance(m, AssistantMessage)]
        calls = [[call.name, call.arguments] for m in made for call in m.tool_calls]
        assert sample["calls"] == calls, (key, sample["calls"], calls)
        usage = result.transcript.usage
        assert sample["tokens"] == usage.input_tokens + usage.output_tokens
        counts.update(trials=1, messages=len(messages), calls=len(calls), graded=int(graded))
    return counts


def _shown(message: Message) -> str:
    content = message.content if isinstance(message.content, str) else ""
    return content.replace("\ud83d", "?")  # what no file in UTF-8 can hold


# --- runs --------------------------------------------------------------------------------------


def _run(store: Store, chance: random.Random) -> Store:
    cases = tuple(f"case {n} {chance.choice(_TEXTS[1:5])}" for n in range(chance.randint(1, 6)))
    trials = chance.randint(1, 3)
    store.begin(
        RunManifest(
            suite="drawn",
            about={"v": "1"},
            subject=Subject(model="gold"),
            cases=cases,
            trials=trials,
            tags={cases[0]: ("a", "b")},
        )
    )
    writer = Writer(store)
    for case in cases:
        for trial in range(trials):
            if chance.random() > 0.1:
                writer.append(_result(case, trial, chance))
    writer.close()
    return store


def _result(case: str, trial: int, chance: random.Random) -> TrialResult:
    transcript = _transcript(chance)
    times = Timing((0.1, chance.random()), chance.random())
    if chance.random() < 0.2:
        failure = f"server:ModelTimeoutError: {chance.choice(_TEXTS[:5])}"
        return TrialResult(
            case, trial, "infrastructure", failure=failure, transcript=transcript, timing=times
        )
    passed = chance.random() < 0.5
    grade = Grade(passed, None if passed else "wrong", chance.choice((None, 0.5)), details=[1])
    return TrialResult(case, trial, "graded", grade, None, transcript, 1.5, "w", times)


def _transcript(chance: random.Random) -> Transcript:
    def text() -> str:
        return chance.choice(_TEXTS)

    messages: list[Message] = [SystemMessage(text()), UserMessage(text())]
    for number in range(chance.randint(0, 4)):
        arguments = {chance.choice("abc"): chance.choice(_VALUES) for _ in range(2)}
        call = ToolCall(f"call_{number}", "work", arguments)
        messages.append(AssistantMessage(text(), tool_calls=(call,), reasoning=text() or None))
        messages.append(ToolMessage(call.id, "work", text()))
    messages.append(AssistantMessage(text()))
    usage = Usage(chance.randrange(1000) + 100, chance.randrange(100), chance.randrange(100), 3)
    return Transcript((TurnRecord("answer", text(), 1, usage),), tuple(messages))


if __name__ == "__main__":
    sys.exit(prove("inspect_logs", 40, batch))
