"""Reads logs with the real inspect-ai, in its own environment, and says what it read.

python with_inspect.py LOG.json… → one JSON line a log on standard output
"""

from __future__ import annotations

import json
import sys
from typing import Any

from inspect_ai.log import (  # pyright: ignore[reportMissingImports] - in its own environment
    read_eval_log,
)
from inspect_ai.scorer import (  # pyright: ignore[reportMissingImports] - in its own environment
    value_to_float,
)


def told(path: str) -> dict[str, Any]:
    """What stands in a log, in words of its own types."""
    log = read_eval_log(path)
    number = value_to_float()
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
    for argument in sys.argv[1:]:
        print(json.dumps(told(argument)))
