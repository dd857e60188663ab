"""What a person is asked, what they may answer, and a run that waits for them.

A decision is for one call of one step of one run: it is used once, and it dies with the call. What
is to hold for further calls is no decision but a rule, a `Grant`, and is kept as one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from typing import Literal, TypeAlias

from pydantic import TypeAdapter

from agentkit.exact import why_inexact
from agentkit.messages import JsonObject, Message, ToolCall, ToolResult, Usage
from agentkit.toolset import Label, ValidatedCall


@dataclass(frozen=True, slots=True)
class Grant:
    """A broader permission: calls of a tool that need not be asked about any more.

    It is a rule: a person gives one with `Approve(grant=...)` for the rest of the run, a program
    writes one into its policy, `Policy(Grant("write_file", "docs/*")) + preset("ask")`. Given by a
    person it lifts what the policy would ask, never what it refuses, never what the tool itself
    always asks, and never the question that is due because of what the run has read.

    Attributes:
        tool: Name of the tool.
        target: What calls may touch: a text, with `*` for any characters, `/` among them. Of a tool
            that executes only the very text, or `*` alone: a command that begins harmlessly need
            not end so.
    """

    tool: str
    target: str = "*"

    def __call__(self, call: ValidatedCall) -> Literal["allow"] | None:
        """The grant as a rule of a policy."""
        return "allow" if self.covers(call, call.target) else None

    def covers(self, call: ValidatedCall, target: str) -> bool:
        """Whether a call that would touch that target is one of those meant."""
        return self.fits(call.tool.name, call.tool.labels, target)

    def fits(self, tool: str, labels: Collection[Label], target: str) -> bool:
        """Whether a call of a tool with that name and those labels, which would touch that target,
        is one of those meant.
        """
        if tool != self.tool:
            return False
        if "exec" in labels:
            return self.target in ("*", target)
        return fnmatchcase(target, self.target.replace("[", "[[]").replace("?", "[?]"))


@dataclass(frozen=True, slots=True)
class Approve:
    """Run it as it is.

    Attributes:
        grant: Calls that are not to be asked about for the rest of the run.
    """

    grant: Grant | None = None
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
        id: Names this call of this step of this run, and what it would touch; no other call has it.
        call: What the model asked for.
        target: What the call would really touch, where its tool or the policy says.
        why: What is to be known beside the call itself; empty where there is nothing.
        labels: What its tool can reach.
    """

    id: str
    call: ToolCall
    target: str = ""
    why: str = ""
    labels: tuple[Label, ...] = ()


def approval_id(run_id: str, step: int, index: int, call: ToolCall, target: str) -> str:
    """32 hex digits for one call of one step of one run, with its arguments and its target."""
    bound = json.dumps([run_id, step, index, call.name, call.arguments, target], sort_keys=True)
    return hashlib.sha256(bound.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class PausedRun:
    """A run that waits, as plain data: JSON that another process can resume.

    Attributes:
        run_id: Names the run.
        messages: The history, up to and with the reply that holds the calls.
        done: Results of that reply's other calls.
        waiting: The calls that need a decision.
        usage: Tokens so far.
        steps: Model calls so far.
        step: Number of the step that waits.
        taint: What the run has read so far; None where an older version wrote it.
        grants: Broader permissions that people gave in this run.
    """

    run_id: str
    messages: tuple[Message, ...]
    done: tuple[ToolResult, ...]
    waiting: tuple[Approval, ...]
    usage: Usage
    steps: int
    step: int | None = None
    taint: frozenset[Label] | None = None
    grants: tuple[Grant, ...] = ()

    def to_json(self) -> str:
        return _adapter().dump_json(self).decode()

    @staticmethod
    def from_json(text: str | bytes) -> PausedRun:
        """The paused run that `to_json` wrote.

        Raises:
            pydantic.ValidationError: The text is not a paused run.
        """
        return _adapter().validate_json(text)


@cache
def _adapter() -> TypeAdapter[PausedRun]:
    """Built at the first use: it costs more than importing this module."""
    return TypeAdapter(PausedRun)
