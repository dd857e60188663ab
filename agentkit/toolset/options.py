"""What a tool declares about itself beside its signature (`ToolOptions`), what it may know of the
run that it serves (`ToolContext`), and the programs that this process starts (`launched`).
"""

from __future__ import annotations

import difflib
import hashlib
import inspect
import json
import math
import os
import re
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Generic,
    Literal,
    TypeAlias,
    TypedDict,
    TypeVar,
    cast,
    get_args,
)

from agentkit.errors import ToolError, is_async
from agentkit.messages import JsonObject, Message, ModelSettings, ToolCall
from agentkit.redaction import get_logger

if TYPE_CHECKING:
    from structlog.stdlib import BoundLogger

Effect: TypeAlias = Literal["pure", "idempotent", "probed", "once"]
"""What running a tool twice would do: a `pure` tool changes nothing, an `idempotent` one has the
effect of one run, a `probed` one finds out beforehand, and `once`, the default, may do damage."""

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
        TypeError: They are no texts, or no collection of texts.
        ValueError: One of them is no label; the message names the one that was probably meant.
    """
    unchecked = cast("object", labels)
    if isinstance(unchecked, str) or not isinstance(unchecked, Iterable):
        raise TypeError(f"{labels!r} is no set of labels; give one, such as {{'writes'}}")
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
the checked arguments (True asks). `never` is for runs without a policy; it overrides no policy."""

LockKey: TypeAlias = bool | str | Callable[[Mapping[str, Any]], str | None]
"""Which calls must not run at the same time. False: none. True: all calls of the tool. The name of
a parameter: calls of any tool with the same value of it. A function: calls for which it returns the
same text; None locks nothing."""

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
"""Finds out whether a call that a crash interrupted took effect, from its checked arguments and its
`ToolContext`: returns `Happened`, or None if it did not and is to run. Whatever it raises, such as
a `ToolError`, leaves the outcome unknown."""


class ToolKeywords(TypedDict, total=False):
    """The keywords of `@tool` that make its `ToolOptions`, for type checkers and editors.

    Type checkers cannot take keywords from a dataclass; a test keeps the two equal.
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
        labels: What it can reach; an empty set says that it touches nothing. A tool that is given
            none counts under a policy as having every label.
        lock: Which calls must not run at the same time.
        approval: Whether a call needs a person.
        target: What a call would really touch, for the person who is asked.
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
    return (
        _problem_with_numbers(options)
        or _problem_with_choices(options)
        or _problem_with_bounds(options)
    )


def _problem_with_numbers(options: ToolOptions) -> str | None:
    for name in ("timeout", "retries", "output_cap"):
        value = getattr(options, name)
        if value is None and name != "retries":
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"{name} is {value!r}; give a number"
        if name != "timeout" and not isinstance(value, int):
            return f"{name} is {value!r}; give a whole number"
    return None


def _problem_with_choices(options: ToolOptions) -> str | None:
    if options.effect not in get_args(Effect):
        return f"effect is {options.effect!r}; choose one of {', '.join(get_args(Effect))}"
    if isinstance(options.labels, str):
        return f"labels is a text; write {{{options.labels!r}}}, a set"
    try:
        known_labels(options.labels)
    except (TypeError, ValueError) as error:
        return f"labels: {error}"
    if not callable(options.approval) and options.approval not in _APPROVALS:
        return f"approval is {options.approval!r}; choose one of {', '.join(_APPROVALS)}"
    lock, target = cast("object", options.lock), cast("object", options.target)
    if not callable(lock) and not isinstance(lock, str | bool):
        return f"lock is {lock!r}; give a parameter's name, True, or a function"
    if not callable(target) and not isinstance(target, str | None):
        return f"target is {target!r}; give a parameter's name, or a function"
    for name in ("approval", "lock", "target"):
        if is_async(getattr(options, name)):
            return f"{name} is an async function; give one that is not: nothing waits for it"
    if not callable(options.probe) and options.probe is not None:
        return f"probe is {options.probe!r}; give a function"
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
        f"{name!r} is no name a model can call; give one by name=…: "
        "a letter or _, then letters, digits, _ . or -, at most 64"
    )


_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
"""What both the OpenAI API (`name`: at most 64) and Gemma's `call:name{` syntax take."""

_APPROVALS: Final = ("policy", "always", "never")

_LEAST_CAP = 100
"""Characters: in less the note that something was left out would not fit."""


# --- what a tool may know of its run -------------------------------------------------------------

DepsT = TypeVar("DepsT")


@dataclass(frozen=True, slots=True)
class RunContext(Generic[DepsT]):
    """What instructions and dynamic toolsets may depend on.

    Attributes:
        deps: The `deps=` of this run.
        run_id: Names the run, its file and its journal.
    """

    deps: DepsT
    run_id: str


@dataclass(frozen=True, slots=True)
class RunHandles:
    """What a tool can ask of its run, provided by the executor.

    Attributes:
        report: Shows a text to those who watch the run; callable from any thread.
        cancelled: Set when nobody waits for the result any more; an executor makes one for each
            attempt.
        ask: Puts a question to a person and returns the answer; None if nobody can be asked.
        generate: Has the run's model answer something else; None if there is no model.
    """

    report: Callable[[str], None] = lambda _text: None
    cancelled: threading.Event = field(default_factory=threading.Event)
    ask: Callable[[str], str | Awaitable[str]] | None = None
    generate: Callable[[Sequence[Message], ModelSettings], Awaitable[str]] | None = None


_NO_CALL = ToolCall("", "")
_NO_HANDLES = RunHandles()


@dataclass(frozen=True, slots=True)
class ToolContext(RunContext[DepsT]):
    """What a tool may know of the run it serves; ask for it by annotating a parameter with it.

    The parameter may stand anywhere in the signature and have any name; the model never sees it.

    Attributes:
        step: The step that asked for the call, from 1.
        call: The call being run.
        index: The call's place among the calls of its step, from 0.
        attempt: 1 at the first try, 2 at the first retry.
        handles: What `report`, `cancelled` and `ask` work on.
    """

    step: int = 0
    call: ToolCall = _NO_CALL
    index: int = 0
    attempt: int = 1
    handles: RunHandles = _NO_HANDLES

    @property
    def idempotency_key(self) -> str:
        """A key that is the same for every attempt at this call, also after a crash."""
        return idempotency_key(self.run_id, self.step, self.index, self.call)

    @property
    def cancelled(self) -> bool:
        """Whether the result is no longer wanted. A long sync tool polls this and returns."""
        return self.handles.cancelled.is_set()

    @property
    def logger(self) -> BoundLogger:
        """A structlog logger over `logging`'s `agentkit.tool`. Its lines name run, step, tool and
        call, and hold no registered secret.
        """
        logger: BoundLogger = get_logger("agentkit.tool").bind(
            run_id=self.run_id, step=self.step, tool=self.call.name, call_id=self.call.id
        )
        return logger

    def report(self, text: str) -> None:
        """Shows progress to those who watch the run; it does not reach the model."""
        self.handles.report(text)

    async def ask(self, question: str) -> str:
        """A person's answer. From a sync tool: `anyio.from_thread.run(context.ask, question)`.

        Raises:
            ToolError: Nobody can be asked in this run.
        """
        if self.handles.ask is None:
            raise ToolError(f"nobody can be asked in this run; the question was: {question}")
        answer = self.handles.ask(question)
        return await answer if inspect.isawaitable(answer) else answer

    async def generate(
        self, messages: Sequence[Message], settings: ModelSettings | None = None
    ) -> str:
        """What the run's own model writes on other messages, such as a summary of a long result.

        It sees nothing of the run and has no tools; its tokens count in the run's limits.

        Raises:
            ToolError: There is no model here, a limit is reached, or no whole text came of it.
        """
        if self.handles.generate is None:
            raise ToolError("no model can be asked here")
        return await self.handles.generate(messages, settings or ModelSettings())


def idempotency_key(run_id: str, step: int, index: int, call: ToolCall) -> str:
    """32 hex digits that name one call of one run, whatever id the model's server gave it.

    Equal for every attempt at the call and after a resumed crash, because it depends only on the
    run, the step, the call's place in it, the tool and the arguments in canonical JSON.
    """
    parts: list[Any] = [run_id, step, index, call.name, call.arguments]
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


# --- programs that this process starts -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Launch:
    """A program that this process starts outside of any sandbox, such as an MCP server.

    Code that starts one notes it (`note_launch`), and code that lets a model run commands keeps
    those commands from changing what is noted (`launched`).

    Attributes:
        command: The program, as a path or as a name on PATH, and its arguments.
        folder: The folder in which it runs.
    """

    command: tuple[str, ...]
    folder: str


_LAUNCHED: set[Launch] = set()


def note_launch(command: Sequence[str], folder: str | Path | None = None) -> None:
    """Notes that this process starts a program, now or later.

    Args:
        command: The program and its arguments.
        folder: The folder in which it runs; None for the working directory.
    """
    _LAUNCHED.add(Launch(tuple(command), os.path.abspath(folder or os.getcwd())))


def launched() -> tuple[Launch, ...]:
    """All programs that were noted since this process began."""
    return tuple(_LAUNCHED)
