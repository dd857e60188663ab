"""Who may say yes to a call: rules, decisions, and a run that waits for a person.

An approval is bound to what it was given for, by a hash over the tool, the canonical arguments and
the resolved target, and it is used once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Literal, TypeAlias

from pydantic import TypeAdapter

from agentkit.exact import why_inexact
from agentkit.messages import JsonObject, Message, ToolCall, ToolResult, Usage
from agentkit.toolset import Label, ValidatedCall

__all__ = [
    "Approval",
    "Approve",
    "Decision",
    "Deny",
    "Edit",
    "PausedRun",
    "Policy",
    "Rule",
    "Verdict",
]

Verdict: TypeAlias = Literal["allow", "ask", "deny"]
Rule: TypeAlias = Callable[[ValidatedCall], Verdict | None]
"""An opinion on a call; None leaves it to the next rule."""


@dataclass(frozen=True, slots=True)
class Approve:
    """Run it as it is."""

    type: Literal["approve"] = "approve"


@dataclass(frozen=True, slots=True)
class Deny:
    """Don't run it; the reason reaches the model."""

    reason: str = ""
    type: Literal["deny"] = "deny"


@dataclass(frozen=True, slots=True)
class Edit:
    """Run it with these arguments instead; they are checked like the model's.

    Raises:
        ValueError: The arguments cannot be kept exactly (`agentkit.exact`), so a record of the
            decision would be of another one.
    """

    arguments: JsonObject = field(default_factory=dict)
    type: Literal["edit"] = "edit"

    def __post_init__(self) -> None:
        """Refuses what no record can hold."""
        if (why := why_inexact(self.arguments)) is not None:
            raise ValueError(f"these arguments cannot be kept: {why}")


Decision: TypeAlias = Approve | Deny | Edit


@dataclass(frozen=True, slots=True)
class Approval:
    """A call that waits for a decision.

    Attributes:
        id: Hash of tool, canonical arguments and target; a decision names it.
        call: What the model asked for.
        target: What the call would really touch, where its tool or the policy says.
    """

    id: str
    call: ToolCall
    target: str = ""


@dataclass(frozen=True, slots=True)
class PausedRun:
    """A run that waits, as plain data: JSON that another process can resume.

    Attributes:
        run_id: Of the run.
        messages: The history, up to and with the reply that holds the calls.
        done: Results of that reply's other calls.
        waiting: The calls that need a decision.
        usage: Tokens so far.
        steps: Model calls so far.
    """

    run_id: str
    messages: tuple[Message, ...]
    done: tuple[ToolResult, ...]
    waiting: tuple[Approval, ...]
    usage: Usage
    steps: int

    def to_json(self) -> str:
        """As JSON text."""
        return _adapter().dump_json(self).decode()

    @staticmethod
    def from_json(text: str | bytes) -> PausedRun:
        """What `to_json` wrote.

        Raises:
            pydantic.ValidationError: The text is not a paused run.
        """
        return _adapter().validate_json(text)


@cache
def _adapter() -> TypeAdapter[PausedRun]:
    """Built at the first use: it costs more than importing this module."""
    return TypeAdapter(PausedRun)


class Policy:
    """Which calls run, which need a person, which never run.

    A tool's own approval rule comes first; then the rules in order; a call without any opinion
    runs.

    Args:
        rules: The first opinion counts.
        target: What a call would really touch, for people to read and for the hash; by default
            what the tool declares.
    """

    def __init__(
        self, *rules: Rule, target: Callable[[ValidatedCall], str] = lambda call: call.target
    ) -> None:
        self._rules = rules
        self._target = target

    @classmethod
    def ask(cls, *labels: Label) -> Policy:
        """A person decides on every call of a tool with one of these labels."""
        wanted = frozenset(labels)
        return cls(lambda call: "ask" if wanted & call.tool.options.labels else None)

    @classmethod
    def deny(cls, *labels: Label) -> Policy:
        """No tool with one of these labels runs."""
        unwanted = frozenset(labels)
        return cls(lambda call: "deny" if unwanted & call.tool.options.labels else None)

    def __add__(self, other: Policy) -> Policy:
        """The rules of both, these first."""
        return Policy(*self._rules, *other._rules, target=self._target)

    def verdict(self, call: ValidatedCall) -> Verdict:
        """What is to happen with a call."""
        if call.approval == "always":
            return "ask"
        if call.approval == "never":
            return "allow"
        for rule in self._rules:
            if (opinion := rule(call)) is not None:
                return opinion
        return "allow"

    def approval(self, call: ValidatedCall) -> Approval:
        """The question that a person is asked."""
        target = self._target(call)
        bound = json.dumps([call.tool.name, call.call.arguments, target], sort_keys=True)
        return Approval(hashlib.sha256(bound.encode()).hexdigest()[:32], call.call, target)
