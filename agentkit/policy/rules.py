"""Which calls run, which need a person, and which never run: decided here and nowhere else. Also
what a person is asked and may answer.

```
 a call ── labels of its tool ────► rules of the policy, the first opinion ─┐
        ── wish of its tool ──────► "always" asks                           ├─ the strictest
        ── what the run has read ─► could it send that out?                 │  counts
        ── runs above this one ───► the same for each of them ──────────────┘
```

A tool without labels counts as having them all. Reading is remembered: once a run has read private
data and text of strangers, whoever wrote that text may be the one who speaks through the model, so
a call that sends something out needs a person, whatever other rules say (the "lethal trifecta",
https://simonwillison.net/2025/Jun/16/the-lethal-trifecta/).

A person's decision is for one call of one step of one run: it is used once, and it dies with the
call. What is to hold for further calls is no decision but a rule, a `Grant`, and is kept as one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, Final, Literal, TypeAlias, cast, get_args
from urllib.parse import unquote

from pydantic import TypeAdapter

from agentkit.errors import is_async, refuse_async, wrong_value
from agentkit.exact import why_inexact
from agentkit.messages import JsonObject, Message, ToolCall, ToolResult, Usage
from agentkit.toolset import LABELS, Label, Tool, ValidatedCall, known_labels
from agentkit.wording import normalized

# --- what a person is asked ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Grant:
    """A broader permission: calls of a tool about which nobody is asked any more.

    It is a rule: a person gives one with `Approve(grant=...)` for the rest of the run, a program
    writes one into its policy, `Policy(Grant("write_file", "docs/*")) + preset("ask")`. A person's
    grant lifts what the policy would ask, but nothing that it refuses, nothing that the tool itself
    always asks, and no question that is due because of what the run has read.

    Attributes:
        tool: Name of the tool.
        target: What calls may touch: a text, in which `*` stands for any characters, `/` included.
            For a tool that executes, only the exact text or `*` alone: a command that begins
            harmlessly need not end so. The same holds for a target with `..` in it, which may lead
            out of a folder again.

    Raises:
        TypeError: The tool or the target is not a text.
    """

    tool: str
    target: str = "*"

    def __post_init__(self) -> None:
        """Refuses a tool or a target that no call could have."""
        texts: dict[str, object] = {"tool": self.tool, "target": self.target}
        for name, given in texts.items():
            if not isinstance(given, str):
                raise TypeError(f"{name} is {given!r}; give a text: the tool's name, a pattern")

    def __call__(self, call: ValidatedCall) -> Literal["allow"] | None:
        """The grant as a rule of a policy."""
        return "allow" if self.covers(call, call.target) else None

    def covers(self, call: ValidatedCall, target: str) -> bool:
        """Whether the grant permits a call that would touch that target."""
        return self.fits(call.tool.name, call.tool.labels, target)

    def fits(self, tool: str, labels: Collection[Label], target: str) -> bool:
        """Whether the grant permits a call of a tool with that name and those labels, which would
        touch that target.
        """
        if tool != self.tool:
            return False
        if "exec" in labels or _may_lead_out(target):
            return self.target in ("*", target)
        return fnmatchcase(target, self.target.replace("[", "[[]").replace("?", "[?]"))


def _may_lead_out(target: str) -> bool:
    """Whether a target has a part that some program reads as `..`.

    Readers of addresses drop tabs and line ends (WHATWG URL, 4.4) and parameters behind a `;`, some
    decode twice, and some fold wide characters.
    """
    for _ in range(_DECODED):
        target = unquote(_DROPPED.sub("", target))
    parts = re.split(r"[/\\]", normalized("NFKC", target))
    return any(part.partition(";")[0] == ".." for part in parts)


_DECODED: Final = 3
_DROPPED: Final = re.compile(r"[\x00-\x20\x7f]")


@dataclass(frozen=True, slots=True)
class Approve:
    """Run it as it is.

    Attributes:
        grant: Further calls that may run without a question for the rest of the run.

    Raises:
        TypeError: `grant` is not a `Grant`.
    """

    grant: Grant | None = None
    type: Literal["approve"] = "approve"

    def __post_init__(self) -> None:
        """Refuses what a record could not hold."""
        if not isinstance(cast("object", self.grant), Grant | None):
            raise wrong_value("grant", self.grant, "give Grant(tool, target)")


@dataclass(frozen=True, slots=True)
class Deny:
    """Don't run it; the reason reaches the model.

    Raises:
        TypeError: The reason is no text.
    """

    reason: str = ""
    type: Literal["deny"] = "deny"

    def __post_init__(self) -> None:
        """Refuses what a record could not hold."""
        if not isinstance(cast("object", self.reason), str):
            raise wrong_value("reason", self.reason, "give a text")


@dataclass(frozen=True, slots=True)
class Edit:
    """Run it with these arguments instead; they are checked like the model's.

    Raises:
        TypeError: The arguments are not a dict.
        ValueError: The arguments cannot be kept exactly (`agentkit.exact`), so a record would hold
            another decision.
    """

    arguments: JsonObject = field(default_factory=dict)
    type: Literal["edit"] = "edit"

    def __post_init__(self) -> None:
        """Refuses arguments that a record could not hold."""
        if not isinstance(cast("object", self.arguments), dict):
            raise wrong_value("arguments", self.arguments, "give a dict of all arguments by name")
        if (why := why_inexact(self.arguments)) is not None:
            raise ValueError(f"these arguments cannot be kept: {why}")


Decision: TypeAlias = Approve | Deny | Edit


@dataclass(frozen=True, slots=True)
class Approval:
    """A call that waits for a decision.

    Attributes:
        id: Names this call of this step of this run, and what it would touch; no other call has it.
        call: The call that the model made.
        target: What the call would really touch, if its tool or the policy says so.
        why: What a person should know beside the call itself; may be empty.
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
        taint: What the run has read so far; None if an older version wrote this.
        grants: Broader permissions that people gave in this run.
        tool_calls: Tool calls so far.
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
    tool_calls: int = 0

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


# --- which calls run -----------------------------------------------------------------------------

Verdict: TypeAlias = Literal["allow", "ask", "deny"]
Rule: TypeAlias = Callable[[ValidatedCall], Verdict | None]
"""A function that gives a verdict on a call, or None to leave it to the next rule."""

_STRICTNESS: Final[tuple[Verdict, ...]] = get_args(Verdict)

READS: Final[frozenset[Label]] = frozenset({"reads_private", "reads_untrusted"})
"""The labels whose use a run remembers."""

_LEAK: Final = (
    "it can send data out, and this run has read text of strangers, who may speak through the "
    "model, and can reach private data"
)


def _strictest(verdicts: Iterable[Verdict]) -> Verdict:
    return max(verdicts, key=_STRICTNESS.index)


def _could_leak(tool: Tool[..., Any], taint: AbstractSet[Label]) -> bool:
    """Whether a call can send private data out at the wish of a stranger.

    What the call itself reads of strangers does not count: its arguments are written before.
    """
    reach = tool.labels
    return "egress" in reach and "reads_untrusted" in taint and "reads_private" in (reach | taint)


@dataclass(frozen=True, slots=True)
class _ByLabel:
    """One verdict for each label; the strictest of a tool's labels is the opinion."""

    verdicts: Mapping[Label, Verdict]

    def __call__(self, call: ValidatedCall) -> Verdict | None:
        return self.of(call.tool)

    def of(self, tool: Tool[..., Any]) -> Verdict | None:
        judged = self.verdicts.keys() & tool.labels
        return _strictest(self.verdicts[label] for label in judged) if judged else None


class Policy:
    """Which calls run, which need a person, which never run.

    The rules are asked in order and the first opinion counts; a call without any runs. On top of it
    a tool that always wants a person gets one, and what could send private data out at the wish of
    a stranger is handled as `tainted` says. The strictest of these counts, and it covers every tool
    of a run and of the runs that it starts.

    Args:
        rules: Functions of a checked call, or `Grant`s.
        target: A function that says what a call would really touch, for people to read; by default
            what the tool says.
        tainted: The verdict on a call that can send data out, once the run has read text of
            strangers and can reach private data. None, the default, asks; but an agent for which
            nothing else would stop such a call is then refused from the start.
    """

    def __init__(
        self,
        *rules: Rule,
        target: Callable[[ValidatedCall], str] | None = None,
        tainted: Verdict | None = None,
    ) -> None:
        for rule in rules:
            if isinstance(rule, Policy):
                raise TypeError("a policy is no rule of another; add the two: one + other")
            given: object = rule
            if isinstance(given, type) or not callable(given) or is_async(given):
                raise TypeError(
                    f"the rule {rule!r} is no plain function of a call; write Policy.ask(...), "
                    'preset("ask"), a Grant(...) or a function, not async, that returns a verdict'
                )
        if tainted is not None and tainted not in _STRICTNESS:
            raise ValueError(f"tainted is {tainted!r}; it is one of {', '.join(_STRICTNESS)}")
        refuse_async("target", target)
        self._rules = rules
        self._target = target
        self._tainted: Verdict | None = tainted

    @classmethod
    def ask(cls, *labels: Label) -> Policy:
        """A person decides on every call of a tool with one of these labels.

        Raises:
            ValueError: There is no such label, or none is named.
        """
        return cls(_one_verdict("ask", labels))

    @classmethod
    def deny(cls, *labels: Label) -> Policy:
        """No tool with one of these labels runs.

        Raises:
            ValueError: There is no such label, or none is named.
        """
        return cls(_one_verdict("deny", labels))

    def __add__(self, other: Policy) -> Policy:
        """The rules of both, these first; `target` and `tainted` of the first that gives them."""
        if not isinstance(cast("object", other), Policy):
            return NotImplemented
        return Policy(
            *self._rules,
            *other._rules,
            target=self._target or other._target,
            tainted=self._tainted or other._tainted,
        )

    def verdict(self, call: ValidatedCall, taint: AbstractSet[Label] = frozenset()) -> Verdict:
        """What is to happen with a call.

        Args:
            call: The call.
            taint: What its run has read so far: labels out of `READS`.
        """
        return Authority(self).ruling(call, taint).verdict

    def target(self, call: ValidatedCall) -> str:
        """What the call would really touch, as this policy sees it."""
        return call.target if self._target is None else self._target(call)

    def judge(
        self, call: ValidatedCall, taint: AbstractSet[Label], grants: Sequence[Grant] = ()
    ) -> Verdict:
        """The verdict of the rules and of what the run has read, without the tool's own wish.

        Args:
            call: The call.
            taint: What its run has read so far.
            grants: Permissions that lift what the rules would ask.

        Raises:
            ValueError: A rule returns something that is not a verdict.
        """
        opinion = self._opinion(call)
        if opinion == "ask" and any(grant.covers(call, self.target(call)) for grant in grants):
            opinion = "allow"
        if not _could_leak(call.tool, taint):
            return opinion
        return _strictest([opinion, self._tainted or "ask"])

    def _opinion(self, call: ValidatedCall) -> Verdict:
        for rule in self._rules:
            opinion = rule(call)
            if opinion is None:
                continue
            if opinion not in _STRICTNESS:
                raise ValueError(
                    f"the rule {rule!r} says {opinion!r} of {call.tool.name}; "
                    f"a rule returns {', '.join(_STRICTNESS)} or None"
                )
            return opinion
        return "allow"

    def problem_with(self, tools: Iterable[Tool[..., Any]]) -> str | None:
        """What this policy must still say about these tools; None if nothing is open."""
        tools = list(tools)
        reach = frozenset[Label]().union(*(tool.labels for tool in tools))
        if self._tainted is not None or not reach >= READS | {"egress"}:
            return None
        free = [t.name for t in tools if "egress" in t.labels and self._foreseen(t) == "allow"]
        if not free:
            return None
        return (
            f"the tools can read private data and text of strangers, and {', '.join(free)} can "
            "send it out without anybody's yes. Label them with what they can reach "
            '(@tool(labels=...)), add Policy.ask("egress") or Policy.deny("egress"), or say '
            'Policy(tainted="ask"), "deny" or "allow"'
        )

    def _foreseen(self, tool: Tool[..., Any]) -> Verdict | None:
        """The verdict on the calls of a tool if it is the same for all of them, else None."""
        if tool.options.approval == "always":
            return "ask"
        for rule in self._rules:
            if not isinstance(rule, _ByLabel):
                return None
            if (opinion := rule.of(tool)) is not None:
                return opinion
        return "allow"


def _one_verdict(verdict: Verdict, labels: Sequence[Label]) -> _ByLabel:
    if not labels:
        raise ValueError(f"Policy.{verdict} needs the labels that it is about")
    return _ByLabel(dict.fromkeys(known_labels(labels), verdict))


# --- presets -------------------------------------------------------------------------------------

Preset: TypeAlias = Literal["read-only", "ask", "auto-edit", "full"]
"""`read-only` runs what only reads; `ask` lets a person decide on the rest; `auto-edit` asks only
before something is executed or sent; `full` asks only before private data could leak."""

PRESETS: Final[Mapping[Preset, Mapping[Label | Literal["tainted"], Verdict]]] = {
    "read-only": {
        "reads_private": "allow",
        "reads_untrusted": "allow",
        "writes": "deny",
        "exec": "deny",
        "egress": "deny",
        "tainted": "deny",
    },
    "ask": {
        "reads_private": "allow",
        "reads_untrusted": "allow",
        "writes": "ask",
        "exec": "ask",
        "egress": "ask",
        "tainted": "ask",
    },
    "auto-edit": {
        "reads_private": "allow",
        "reads_untrusted": "allow",
        "writes": "allow",
        "exec": "ask",
        "egress": "ask",
        "tainted": "ask",
    },
    "full": {
        "reads_private": "allow",
        "reads_untrusted": "allow",
        "writes": "allow",
        "exec": "allow",
        "egress": "allow",
        "tainted": "ask",
    },
}
"""The verdict of each preset on each label. A tool gets the strictest verdict of its labels; a tool
without labels counts as having all of them."""


def preset(name: Preset, *, tainted: Verdict | None = None) -> Policy:
    """The policy of that name.

    Args:
        name: The name of the preset.
        tainted: The verdict on calls that could leak, instead of the table's; see `Policy`.

    Raises:
        ValueError: There is no preset of that name.
    """
    if name not in PRESETS:
        raise ValueError(f"there is no preset {name!r}; there are {', '.join(PRESETS)}")
    row = PRESETS[name]
    by_label: dict[Label, Verdict] = {label: row[label] for label in LABELS}
    return Policy(_ByLabel(by_label), tainted=tainted or row["tainted"])


# --- the runs above a run ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ruling:
    """What is to happen with a call.

    Attributes:
        verdict: The strictest of all levels.
        asked_by: The levels that want a person, from the run itself upwards.
        why: What a person should know beside the call; may be empty.
    """

    verdict: Verdict
    asked_by: tuple[Authority, ...] = ()
    why: str = ""


@dataclass(frozen=True, slots=True)
class Authority:
    """Who governs a run: its own policy, and those of the runs whose calls it serves.

    Attributes:
        policy: The policy; None for an agent without one: only the tools' own wishes count.
        approver: Asks the person of this level; None if there is nobody to ask.
        above: The authority of the run that this one serves.
        grants: What people have permitted at this level since the run began.
    """

    policy: Policy | None = None
    approver: Callable[[Approval], Any] | None = None
    above: Authority | None = None
    grants: list[Grant] = field(default_factory=list)

    def ruling(self, call: ValidatedCall, taint: AbstractSet[Label]) -> Ruling:
        """What is to happen with a call of this run, by the labels of what the run has read."""
        verdicts: list[Verdict] = ["allow"]
        asking: list[Authority] = []
        for level in self.levels():
            verdict: Verdict = "allow"
            if level.policy is not None:
                verdict = level.policy.judge(call, taint, level.grants)
            if level is self and call.approval == "always":
                verdict = _strictest([verdict, "ask"])
            verdicts.append(verdict)
            if verdict == "ask":
                asking.append(level)
        why = _LEAK if _could_leak(call.tool, taint) else ""
        return Ruling(_strictest(verdicts), tuple(asking), why)

    def levels(self) -> list[Authority]:
        """This run's own level first, then the levels above it."""
        return [self, *(self.above.levels() if self.above is not None else [])]

    def target(self, call: ValidatedCall) -> str:
        """What the call would really touch, as the nearest policy sees it."""
        policies = [level.policy for level in self.levels() if level.policy is not None]
        return policies[0].target(call) if policies else call.target
