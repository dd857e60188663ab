"""A run for other programs: a table of its trials, and a log that Inspect's viewer opens.

The format of the log is Inspect's `EvalLog` (inspect-ai 0.3.285, version 2 of the log, as JSON).
Numbers that it has no field for (invalid calls, repairs) are in the metadata of each sample. A
trial without a verdict is a sample with an error, which Inspect counts in no score either.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from typing import Any, Final

from pydantic_core import to_jsonable_python

from agentkit.messages import (
    AssistantMessage,
    JsonObject,
    Message,
    ToolMessage,
    Usage,
    UserMessage,
    text_of,
)
from agentkit.policy import Prices
from agentkit_evals.core import TrialResult
from agentkit_evals.report import error_of
from agentkit_evals.seen import Seen
from agentkit_evals.store import Store

# --- CSV ---------------------------------------------------------------------------------------


def csv_of(store: Store, prices: Prices | None = None) -> str:
    """The trials as CSV (RFC 4180): a line of column names, and a line for each trial, sorted.

    Text that a spreadsheet would take for a formula gets an apostrophe in front.

    Args:
        store: The run.
        prices: What tokens cost.

    Raises:
        EvalError: There is no such run.
    """
    seen = Seen.of(store)
    file = io.StringIO()
    writer = csv.DictWriter(file, list(_row(seen, _NO_TRIAL, prices)))
    writer.writeheader()
    writer.writerows(_row(seen, result, prices) for result in seen)
    return file.getvalue()


_NO_TRIAL: Final = TrialResult("", 0, "infrastructure")
"""Its row gives the names of the columns, which a run without any result has too."""


def _row(seen: Seen, result: TrialResult, prices: Prices | None) -> dict[str, object]:
    transcript, usage = result.transcript, result.transcript.usage
    calls, first = transcript.calls, result.timing.first_tokens
    row: dict[str, object] = {
        "run": seen.name,
        "case": result.case,
        "trial": result.trial + 1,
        "tags": " ".join(seen.manifest.tags.get(result.case, ())),
        "status": result.status,
        "passed": int(result.passed) if result.status == "graded" else None,
        "score": result.grade.score if result.grade else None,
        "error": None if result.passed else error_of(result),
        "failure": result.failure,
        "stop_reason": transcript.turns[-1].stop_reason if transcript.turns else None,
        "turns": len(transcript.turns),
        "steps": transcript.steps,
        "calls": len(calls),
        "invalid_calls": sum(call.invalid for call in calls),
        "repairs": sum(turn.repairs for turn in transcript.turns),
        "retries": sum(turn.retries for turn in transcript.turns),
        "input_tokens": usage.input_tokens,
        "cached_input_tokens": usage.cached_input_tokens,
        "output_tokens": usage.output_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "seconds": result.seconds,
        "model_seconds": result.timing.model,
        "first_token_seconds": round(mean(first), 4) if first else None,
        "cost": None if prices is None else prices.of(usage),
    }
    return {name: _safe(value) for name, value in row.items()}


def _safe(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value[:1] in _FORMULA else value


_FORMULA = ("=", "+", "-", "@", "\t", "\r")


# --- Inspect -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class InspectLog:
    """A log file of Inspect.

    Attributes:
        name: Name of the file. It begins with a time, by which Inspect finds it.
        text: An `EvalLog` as JSON.
    """

    name: str
    text: str


def inspect_log(store: Store) -> InspectLog:
    """The run as a log of Inspect.

    Raises:
        EvalError: There is no such run.
    """
    seen = Seen.of(store)
    manifest, found = seen.manifest, seen.report
    began = _changed(store.folder / "manifest.json")
    ended = max((_changed(file) for file in store.folder.glob("trials/*.jsonl")), default=began)
    used = sum((result.transcript.usage for result in seen), Usage())  # as Inspect: of all samples
    about = {**manifest.about, **manifest.made_of, "agentkit": manifest.agentkit}
    body: JsonObject = {
        "version": 2,
        "status": "started" if found.missing else "success",
        "eval": {
            "eval_id": seen.name,
            "run_id": seen.name,
            "task_id": manifest.suite,
            "created": began.isoformat(timespec="seconds"),
            "task": manifest.suite,
            "dataset": {
                "name": manifest.suite,
                "samples": len(manifest.cases),
                "sample_ids": list(manifest.cases),
            },
            "model": found.model,
            "model_base_url": manifest.subject.model,
            "config": {"epochs": manifest.trials},
            "packages": {"agentkit": manifest.agentkit},
            "metadata": {"made_of": about, "subject": manifest.subject, "seed": manifest.seed},
        },
        "plan": {"name": "plan", "steps": [], "config": {}},
        "results": {
            "total_samples": len(manifest.cases) * manifest.trials,
            "completed_samples": found.graded,
            "scores": [_score(seen)] if found.score is not None else [],
        },
        "stats": {
            "started_at": began.isoformat(timespec="seconds"),
            "completed_at": max(began, ended).isoformat(timespec="seconds"),
            "model_usage": {found.model: _usage(used)},
        },
        "samples": [_sample(seen, result) for result in seen],
    }
    plain = to_jsonable_python(body, inf_nan_mode="strings")
    time = began.strftime("%Y-%m-%dT%H-%M-%S+00-00")
    name = f"{time}_{re.sub(_UNNAMED, '-', manifest.suite)}_{seen.name}.json"
    return InspectLog(name, json.dumps(plain, ensure_ascii=False, indent=1) + "\n")


_UNNAMED = r"[^0-9A-Za-z-]+"
"""Characters that are replaced in the name of a task: Inspect splits time, task and id at `_`."""


def _changed(file: Path) -> datetime:
    """The time at which a file was last written."""
    return datetime.fromtimestamp(file.stat().st_mtime, UTC)


def _score(seen: Seen) -> JsonObject:
    found = seen.report
    assert found.score is not None, "only a run with a score gets here"
    values = {"accuracy": found.score.value, "low": found.score.low, "high": found.score.high}
    return {
        "name": "passed",
        "scorer": "passed",
        "reducer": "mean",
        "scored_samples": found.graded,
        "unscored_samples": sum(found.infrastructure.values()),
        "metrics": {name: {"name": name, "value": value} for name, value in values.items()},
        "metadata": {"interval": "95 %", "floor": found.floor},
    }


def _sample(seen: Seen, result: TrialResult) -> JsonObject:
    transcript = result.transcript
    messages = list(_messages(transcript.messages))
    replies = [message for message in messages if message["role"] == "assistant"]
    first = next((m for m in transcript.messages if isinstance(m, UserMessage)), None)
    model = seen.report.model
    sample: JsonObject = {
        "id": result.case,
        "epoch": result.trial + 1,
        "input": text_of(first.content) if first is not None else "",
        "target": "",
        "messages": messages,
        "output": {
            "model": model,
            "choices": [{"message": message, "stop_reason": "stop"} for message in replies[-1:]],
            "completion": transcript.turns[-1].output if transcript.turns else "",
            "usage": _usage(transcript.usage),
        },
        "model_usage": {model: _usage(transcript.usage)},
        "total_time": result.seconds,
        "working_time": result.seconds,
        "metadata": {
            "tags": list(seen.manifest.tags.get(result.case, ())),
            "stop_reasons": [turn.stop_reason for turn in transcript.turns],
            "steps": transcript.steps,
            "calls": len(transcript.calls),
            "invalid_calls": sum(call.invalid for call in transcript.calls),
            "repairs": sum(turn.repairs for turn in transcript.turns),
            "retries": sum(turn.retries for turn in transcript.turns),
            "first_tokens": list(result.timing.first_tokens),
        },
    }
    if result.status != "graded":
        text = result.failure or "no verdict"
        sample["error"] = {"message": text, "traceback": text, "traceback_ansi": text}
        return sample
    grade = result.grade
    sample["scores"] = {
        "passed": {
            "value": "C" if result.passed else "I",
            "answer": sample["output"]["completion"],
            "explanation": None if result.passed else error_of(result),
            "metadata": {"score": grade.score, "details": grade.details} if grade else {},
        }
    }
    return sample


def _messages(messages: Sequence[Message]) -> Iterator[JsonObject]:
    for number, message in enumerate(messages):
        made: dict[str, Any] = {"id": f"m{number}", "role": message.role}
        if isinstance(message, AssistantMessage):
            made["content"] = [{"type": "text", "text": message.content or ""}]
            if message.reasoning:
                made["content"].insert(0, {"type": "reasoning", "reasoning": message.reasoning})
            made["tool_calls"] = [
                {
                    "id": call.id,
                    "function": call.name,
                    "arguments": call.arguments,
                    "parse_error": call.malformed,
                }
                for call in message.tool_calls
            ]
        elif isinstance(message, ToolMessage):
            made |= {"content": text_of(message.content), "tool_call_id": message.call_id}
            made["function"] = message.name
        else:
            made["content"] = text_of(message.content)
        yield made


def _usage(usage: Usage) -> JsonObject:
    return {
        "input_tokens": usage.input_tokens - usage.cached_input_tokens,
        "input_tokens_cache_read": usage.cached_input_tokens,
        "output_tokens": usage.output_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
