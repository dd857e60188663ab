"""Runs that are left to workers: what is kept of one, and who can go on with it.

In: an agent's parts. Out: what its runs depend on. Workers are in
`agentkit.runtime.worker`, the queue in `agentkit.journal.postgres.queue`.
"""

from __future__ import annotations

import hashlib
from typing import Any

from agentkit.agent.options import Instructions
from agentkit.agent.own_tools import AnswerTool
from agentkit.events.lines import as_json
from agentkit.toolset import Toolset, ToolSource


def fingerprint_of(
    instructions: Instructions[Any] | None, tools: ToolSource, answer: AnswerTool | None
) -> str:
    """Names what the record of a run depends on: instructions, tools and their effects, and what an
    answer is. Of tools that are made for each run only their kind is known.
    """
    told = instructions if isinstance(instructions, str | None) else _name(instructions)
    known = (
        [[tool.definition, tool.effect] for tool in tools]
        if isinstance(tools, Toolset)
        else _name(type(tools))
    )
    answered = None if answer is None else answer.tool.definition
    return hashlib.blake2b(as_json([told, known, answered]), digest_size=12).hexdigest()


def _name(thing: Any) -> str:
    kind = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{kind.__module__}.{kind.__qualname__}"
