"""What a tool declares about itself beside its signature."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, TypedDict, cast, get_args

from agentkit.messages import JsonObject

Effect: TypeAlias = Literal["pure", "idempotent", "probed", "once"]
"""What running a tool twice would do: nothing ever (`pure`), the same as once (`idempotent`),
something the tool can find out beforehand (`probed`), or damage (`once`, what we assume)."""

Label: TypeAlias = Literal["reads_private", "reads_untrusted", "writes", "egress", "exec"]
"""What a tool can reach. A policy decides from these what runs and what needs a person."""

LABELS: Final[frozenset[Label]] = frozenset(get_args(Label))
"""Every label that there is."""


class Unlabelled(frozenset[Label]):
    """The labels of a tool that was given none: an empty set, but no promise of harmlessness.

    `set()` says that a tool touches nothing. This says nothing, and counts as all labels.
    """


UNLABELLED: Final = Unlabelled()


def known_labels(labels: Iterable[str]) -> frozenset[Label]:
    """The labels as a set.

    Raises:
        TypeError: One of them is no text.
        ValueError: One of them is no label; the message names the one that was probably meant.
    """
    listed: list[object] = list(labels)
    for each in listed:
        if not isinstance(each, str):
            raise TypeError(f"{each!r} is no label; give labels one by one, as texts")
    given = set(map(str, listed))
    for unknown in sorted(given - LABELS):
        close = difflib.get_close_matches(unknown, sorted(LABELS), 1, 0.5)
        guess = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"there is no label {unknown!r}.{guess} There are {', '.join(get_args(Label))}."
        )
    return cast("frozenset[Label]", frozenset(given))


ApprovalRule: TypeAlias = Literal["policy", "always", "never"] | Callable[[Mapping[str, Any]], bool]
"""Who decides whether a call needs a person: the run's policy, a person always, or a function of
the checked arguments (True asks). `never` is for runs without a policy: it overrides none."""

LockKey: TypeAlias = bool | str | Callable[[Mapping[str, Any]], str | None]
"""Which calls must not run at the same time. False: none. True: all calls of the tool. The name of
a parameter: those with the same value of it, of whatever tool. A function: those for which it
returns the same text; None locks nothing."""

TargetOf: TypeAlias = str | Callable[[Mapping[str, Any]], str] | None
"""What a call would really touch: the name of the parameter that says it, or a function of the
checked arguments. A person who is asked reads it, and an approval is bound to it."""


@dataclass(frozen=True, slots=True)
class Happened:
    """What a probe returns for a call that took effect before the crash.

    Attributes:
        value: What the call would have returned.
    """

    value: Any


Probe: TypeAlias = Callable[[Mapping[str, Any], Any], Happened | Awaitable[Happened | None] | None]
"""Finds out what came of a call that a crash interrupted, from its checked arguments and its
`ToolContext`: `Happened`, or None if it did not and is to run. A `ToolError` says that it cannot
be known."""


class ToolKeywords(TypedDict, total=False):
    """The keywords of `@tool` that make its `ToolOptions`, for type checkers and editors.

    A type checker reads no keywords out of a dataclass; a test holds the two equal.
    """

    effect: Effect
    timeout: float | None
    retries: int
    labels: AbstractSet[Label]
    lock: LockKey
    approval: ApprovalRule
    target: TargetOf
    output_cap: int | None
    examples: tuple[JsonObject, ...]
    strict: bool
    probe: Probe | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolOptions:
    """What a tool declares about itself.

    Attributes:
        effect: What a second run would do; decides retries and recovery after a crash.
        timeout: Seconds for one attempt; None waits as long as it takes.
        retries: Further attempts after a failure that may pass. Not with `effect="once"`.
        labels: What it can reach; an empty set says that it touches nothing. Without any, a
            policy counts it as having every label.
        lock: Which calls must not run at the same time.
        approval: Whether a call needs a person.
        target: What a call would really touch, for whoever is asked.
        output_cap: Most characters of a result that the model reads; the middle of a longer one
            is left out. None: all of it.
        examples: Arguments of good calls; each must fit the signature.
        strict: A parameter without annotation is an error; otherwise it takes any JSON.
        probe: Finds out, with `effect="probed"`, what came of a call. Without one, what a crash
            interrupted stays unknown, as with `once`.
    """

    effect: Effect = "once"
    timeout: float | None = None
    retries: int = 0
    labels: AbstractSet[Label] = UNLABELLED
    lock: LockKey = False
    approval: ApprovalRule = "policy"
    target: TargetOf = None
    output_cap: int | None = None
    examples: tuple[JsonObject, ...] = ()
    strict: bool = True
    probe: Probe | None = None


def problem_with(options: ToolOptions) -> str | None:
    """What is wrong with the options, with the remedy; None if nothing is."""
    for name in ("timeout", "retries", "output_cap"):
        value = getattr(options, name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            return f"{name} is {value!r}; give a number"
    return _problem_with_declared(options) or _problem_with_bounds(options)


def _problem_with_declared(options: ToolOptions) -> str | None:
    if options.effect not in get_args(Effect):
        return f"effect is {options.effect!r}; choose one of {', '.join(get_args(Effect))}"
    if isinstance(options.labels, str):
        return f"labels is a text; write {{{options.labels!r}}}, a set"
    try:
        known_labels(options.labels)
    except ValueError as error:
        return f"labels: {error}"
    if not callable(options.approval) and options.approval not in _APPROVALS:
        return f"approval is {options.approval!r}; choose one of {', '.join(_APPROVALS)}"
    return None


def _problem_with_bounds(options: ToolOptions) -> str | None:
    if options.retries < 0:
        return f"retries is {options.retries}; 0 means one attempt"
    if options.effect == "once" and options.retries:
        return (
            'effect "once" (the default) and retries contradict each other: a retry would start '
            'it twice; declare effect="idempotent" if that is safe, or drop the retries'
        )
    if options.probe is not None and options.effect != "probed":
        return f'a probe is asked only with effect="probed"; this tool is {options.effect!r}'
    if options.timeout is not None and not (0 < options.timeout < math.inf):
        return f"timeout is {options.timeout}; give seconds above 0, or None for no timeout"
    if options.output_cap is not None and options.output_cap < _LEAST_CAP:
        return f"output_cap is {options.output_cap}; give at least {_LEAST_CAP} characters"
    return None


def problem_with_name(name: str) -> str | None:
    """Why no model can call a tool of that name; None if it can."""
    if _NAME.fullmatch(name):
        return None
    return (
        f"{name!r} is no name a model can call; give one with @tool(name=…): "
        "a letter or _, then letters, digits, _ . or -, at most 64"
    )


_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
"""What both the OpenAI API (`name`: at most 64) and Gemma's `call:name{` syntax take."""

_APPROVALS: Final = ("policy", "always", "never")

_LEAST_CAP = 100
"""Characters: in less the note that something was left out would not fit."""
