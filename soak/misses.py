"""Keeps what a proof found wrong where somebody wants to look at it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path


def note_miss(miss: Mapping[str, object]) -> None:
    """Appends a line of JSON to the file that `AGENTKIT_SOAK_MISSES` names, if it names one."""
    if path := os.environ.get("AGENTKIT_SOAK_MISSES"):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(miss, ensure_ascii=False) + "\n")
