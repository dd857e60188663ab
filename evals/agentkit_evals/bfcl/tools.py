"""BFCL's functions as tools that accept all arguments that a model writes."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from agentkit import Tool
from agentkit.messages import JsonObject
from agentkit.schema.feedback import Problem
from agentkit.toolset import Arguments, ToolOptions
from agentkit_evals.bfcl.schema import definition_of


def tool_of(document: JsonObject, call: Callable[..., Awaitable[str]]) -> Tool[..., Any]:
    """The tool of one function.

    Args:
        document: BFCL's description of the function.
        call: Calls it with arguments by name.
    """
    return replace(_read(json.dumps(document)), function=call)


@lru_cache(maxsize=4096)
def _read(text: str) -> Tool[..., Any]:
    """A tool with a function's definition that does nothing. Cached, since reading a schema takes
    milliseconds, and each trial has dozens of tools.
    """
    document: JsonObject = json.loads(text)
    definition = definition_of(document)
    made = Tool.from_schema(
        definition.name,
        definition.description,
        definition.parameters,
        _nothing,
        # Calls of one reply act on one world: in the order of the reply, one after another.
        options=ToolOptions(lock=_one_world),
        place=f"{document['name']!r} of BFCL",
    )
    return replace(made, signature=_Lenient(made.signature))


async def _nothing(**_: Any) -> str:
    return ""


def _one_world(arguments: Mapping[str, Any]) -> str:  # noqa: ARG001 - the same for all
    return "world"


@dataclass(frozen=True, slots=True)
class _Lenient:
    """Makes certain repairs and accepts all other arguments as they are: what a function answers to
    wrong arguments is part of the world, as it is upstream (one gold call passes text for an
    integer).
    """

    strict: Arguments

    def check(self, arguments: JsonObject) -> dict[str, Any] | list[Problem]:
        """The arguments, repaired or as they are."""
        checked = self.strict.check(arguments)
        return dict(arguments) if isinstance(checked, list) else checked

    def call_arguments(
        self, values: Mapping[str, Any], injected: object
    ) -> tuple[list[Any], dict[str, Any]]:
        return self.strict.call_arguments(values, injected)
