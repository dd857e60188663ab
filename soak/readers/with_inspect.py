"""Reads logs with the real inspect-ai, in its own environment, and says what it read.

python with_inspect.py FOLDER LOG.json… → one JSON line a log on standard output

The folder is where Inspect's own listing has to find all of them.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import inspect_ai.log  # type: ignore[import-not-found,unused-ignore] # pyright: ignore[reportMissingImports] - in its own environment
import inspect_ai.scorer  # type: ignore[import-not-found,unused-ignore] # pyright: ignore[reportMissingImports] - in its own environment


def told(path: str) -> dict[str, Any]:
    """What stands in a log, in words of its own types."""
    head = inspect_ai.log.read_eval_log(path, header_only=True)  # as its viewer's list does
    log = inspect_ai.log.read_eval_log(path)
    if head.results != log.results:
        sys.exit(f"{path}: the head says {head.results}, the log {log.results}")
    number = inspect_ai.scorer.value_to_float()
    samples = []
    for sample in log.samples or []:
        score = (sample.scores or {}).get("passed")
        usage = sum(each.total_tokens for each in sample.model_usage.values())
        samples.append(
            {
                "id": sample.id,
                "epoch": sample.epoch,
                "passed": None if score is None else number(score.value),
                "error": None if sample.error is None else sample.error.message,
                "messages": [[message.role, message.text] for message in sample.messages],
                "calls": [
                    [call.function, call.arguments]
                    for message in sample.messages
                    if message.role == "assistant"
                    for call in message.tool_calls or []
                ],
                "tokens": usage,
            }
        )
    metrics = log.results.scores[0].metrics if log.results and log.results.scores else {}
    return {
        "task": log.eval.task,
        "model": log.eval.model,
        "status": log.status,
        "accuracy": metrics["accuracy"].value if metrics else None,
        "samples": samples,
    }


if __name__ == "__main__":
    folder, *logs = sys.argv[1:]
    listed = len(inspect_ai.log.list_eval_logs(folder))
    if listed != len(logs):
        sys.exit(f"Inspect finds {listed} of {len(logs)} logs in {folder}")
    for log in logs:
        print(json.dumps(told(log)))
