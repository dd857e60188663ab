"""Every exception that agentkit raises, and how a first mistake is refused with its remedy.

```
AgentKitError
├─ ModelError                 the server or the wire
│  ├─ ModelConnectionError    retried
│  ├─ ModelTimeoutError       retried
│  ├─ ModelStatusError        .status_code; 429 and 5xx retried, other 4xx not
│  ├─ ModelProtocolError      a stream without a finish reason, broken compression; retried
│  │  ├─ ModelUnreadableError        no chat completion, in the server's words; retried for a moment
│  │  └─ ModelResponseTooLargeError  more bytes than the client takes; not retried
│  └─ ContextWindowError      the newest exchange alone does not fit
├─ ToolDefinitionError        the programmer's mistake, raised where the tool is registered
├─ NoAnswerError              `RunResult.output` of a run that ended without an answer
├─ JournalError               an intent could not be made durable: the tool did not start
└─ ServerNotReadyError        with the sentence that says what to do
ToolError                     raised BY tools; never leaves the executor
```

What a model does wrong is data and never an exception: a call that cannot run (an unknown tool, bad
JSON, a schema violation) has a `ToolResult` with a kind; a reply that cannot be used, also at the
second try, and a limit that is reached end the run, as a `RunResult` with a stop reason.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import json
from collections.abc import Callable, Mapping
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar, cast

from agentkit.redaction import redacted

__all__ = [
    "AgentKitError",
    "ContextWindowError",
    "JournalError",
    "ModelConnectionError",
    "ModelError",
    "ModelProtocolError",
    "ModelResponseTooLargeError",
    "ModelStatusError",
    "ModelTimeoutError",
    "ModelUnreadableError",
    "NoAnswerError",
    "RunAtWorkError",
    "ServerNotReadyError",
    "ToolDefinitionError",
    "ToolError",
]


class AgentKitError(Exception):
    """Base of everything agentkit raises on purpose; its text holds no registered secret.

    Attributes:
        result: The `RunResult` of the run that this error ended, with all that was done before.
    """

    result: Any = None

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(redacted(a) if isinstance(a, str) else a for a in arguments))


class ModelError(AgentKitError):
    """The model server, or the wire to it, failed."""


class ModelConnectionError(ModelError):
    """No connection, or one that broke. Retried within the wall-time budget."""


class ModelTimeoutError(ModelError):
    """One of the four clocks (connect, first event, idle, total) ran out."""


class ModelStatusError(ModelError):
    """The server refused, with an HTTP status or with one that it names in the middle of a stream.

    Attributes:
        status_code: The HTTP status.
        retry_after: Seconds the server asked to wait, where it said so in a usable form.
    """

    def __init__(self, message: str, *, status_code: int, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[Callable[[str], ModelStatusError], tuple[str], dict[str, Any]]:
        """Pickles, which an exception with keyword arguments does not by itself."""
        make = partial(type(self), status_code=self.status_code, retry_after=self.retry_after)
        return make, (str(self),), self.__dict__


class ModelProtocolError(ModelError):
    """The reply is not what the protocol allows: bad SSE, bad JSON, or no finish reason."""


class ModelUnreadableError(ModelProtocolError):
    """What came is no chat completion; the message holds the server's own words.

    Most often the same question brings the same answer. It is asked again for a moment only, since
    a proxy may show a page of its own while it restarts.
    """


class ModelResponseTooLargeError(ModelProtocolError):
    """The server sent more than `max_response_bytes`. It is not retried: the same question would
    bring as much again.
    """


class ContextWindowError(ModelError):
    """The prompt does not fit the model's window and nothing more can be left out."""


class NoAnswerError(AgentKitError):
    """A run of an agent with an `output_type` ended without an answer, and it was asked for.

    Attributes:
        stop_reason: Why the run ended.
    """

    def __init__(self, stop_reason: str, explanation: str = "") -> None:
        why = f": {explanation}" if explanation else ""
        super().__init__(
            f"the run has no output, it ended by {stop_reason!r}{why}. Look at "
            "RunResult.stop_reason before .output; .said is what there is of a text"
        )
        self.stop_reason = stop_reason
        self._given = (stop_reason, explanation)

    def __reduce__(self) -> tuple[type[NoAnswerError], tuple[str, str], dict[str, Any]]:
        """Pickles by what it was made of, not by its text."""
        return type(self), self._given, self.__dict__


class ToolDefinitionError(AgentKitError):
    """A function cannot become a tool; the message names it, the parameter and the remedy."""


class JournalError(AgentKitError):
    """An intent could not be made durable, so the tool was not started."""


class RunAtWorkError(JournalError):
    """A run cannot be taken over: its owner is alive, as far as can be known."""


class ServerNotReadyError(AgentKitError):
    """The server cannot do what the run needs; the message says what to change."""


class ToolError(AgentKitError):
    """Raise this in a tool to tell the model what went wrong.

    Args:
        message: What the model reads. Say what to do instead, if you know.
        retry: True when the same call may succeed if tried again at once; the executor then
            uses the tool's own retries before it tells the model.
    """

    def __init__(self, message: str, *, retry: bool = False) -> None:
        super().__init__(message)
        self.retry = retry


def first_error(errors: BaseException) -> BaseException:
    """The first exception in a group of any depth, so that callers catch it by its own type; any
    other exception is returned unchanged.
    """
    while isinstance(errors, BaseExceptionGroup):
        errors = errors.exceptions[0]
    return errors


# --- first mistakes ------------------------------------------------------------------------------
# People who come from another framework type its names first. A function or a class is decorated
# with a table of such names and of what to write instead, so that a wrong name is refused where it
# is written. The signature stays the same for type checkers, and right calls pass untouched.

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=type[Any])

DISTRIBUTION: Final = "agentkit-gemma"
"""The name on package indexes."""


def explains(
    name: str, instead: Mapping[str, str], options: type | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorates a function so that arguments it does not have are refused with a remedy.

    Args:
        name: What the function is called in messages: `Agent`.
        instead: What to write here, by the name that other frameworks use.
        options: The `TypedDict` of a function that takes `**options: Unpack[...]`. Its keys are
            arguments like the others, and Python does not check them itself.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = _spelled_out(inspect.signature(function), options)
        parameters = signature.parameters.values()
        by_name = (p.name for p in parameters if p.kind is not p.POSITIONAL_ONLY)
        known = dict.fromkeys(name for name in by_name if name != "self")

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def later(*args: P.args, **kwargs: P.kwargs) -> Any:
                _refuse_unknown(name, known, kwargs, instead)
                return await cast("Any", function(*args, **kwargs))

            wrapper: Any = later
        else:

            @functools.wraps(function)
            def now(*args: P.args, **kwargs: P.kwargs) -> R:
                _refuse_unknown(name, known, kwargs, instead)
                return function(*args, **kwargs)

            wrapper = now
        wrapper.__signature__ = signature
        return cast("Callable[P, R]", wrapper)

    return decorate


def explains_init(name: str, instead: Mapping[str, str]) -> Callable[[C], C]:
    """Decorates a class like `explains` so that its constructor refuses wrong arguments."""

    def decorate(kind: C) -> C:
        kind.__init__ = explains(name, instead)(kind.__init__)
        return kind

    return decorate


def explains_attributes(name: str, instead: Mapping[str, str]) -> Callable[[C], C]:
    """Decorates a class so that an attribute it does not have is refused with a remedy.

    Args:
        name: What the class is called in messages.
        instead: What to write here, by the name that other frameworks use.
    """

    def missing(self: object, attribute: str) -> Any:
        remedy = f"; {instead[attribute]}" if attribute in instead else ""
        raise AttributeError(f"{name} has no {attribute}{remedy}", name=attribute, obj=self)

    def decorate(kind: C) -> C:
        kind.__getattr__ = missing
        return kind

    return decorate


def _spelled_out(signature: inspect.Signature, options: type | None) -> inspect.Signature:
    """The signature with each option in the place of `**options`; `...` stands for its default."""
    if options is None:
        return signature
    kept = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    for key, hint in options.__annotations__.items():
        annotation = getattr(hint, "__forward_arg__", hint)
        kept.append(
            inspect.Parameter(
                key, inspect.Parameter.KEYWORD_ONLY, default=..., annotation=annotation
            )
        )
    return signature.replace(parameters=kept)


def _refuse_unknown(
    name: str, known: Mapping[str, None], given: Mapping[str, object], instead: Mapping[str, str]
) -> None:
    for argument in given:
        if argument in known:
            continue
        remedy = instead.get(argument)
        if remedy is None:
            close = difflib.get_close_matches(argument, known, 1)
            remedy = f"did you mean {close[0]}=?" if close else f"there are {', '.join(known)}"
        raise TypeError(f"{name} has no argument {argument}=; {remedy}")


def wrong_value(
    name: str, value: object, remedy: str, kind: type[Exception] = TypeError
) -> Exception:
    """The exception for an argument whose value is of a wrong kind.

    Args:
        name: The argument's name.
        value: The wrong value; a long one is named by its type.
        remedy: What to write instead.
        kind: The exception's type.
    """
    shown = repr(value)
    if len(shown) > _LONGEST_SHOWN:
        shown = f"a {type(value).__name__}"
    return kind(f"{name} is {shown}; {remedy}")


_LONGEST_SHOWN: Final = 60  # characters of a wrong value


def is_async(function: object) -> bool:
    """Whether what a function or an object returns when it is called has to be awaited."""
    called = getattr(type(function), "__call__", None)  # noqa: B004 - the method itself is looked at
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)


def refuse_async(name: str, function: object) -> None:
    """Refuses an async function where a plain one is called: nobody would wait for its result.

    Raises:
        TypeError: It is async.
    """
    if is_async(function):
        raise wrong_value(name, function, "give a function that is not async: nothing waits for it")


def check_kinds(
    given: Mapping[str, object], kinds: Mapping[str, tuple[tuple[type, ...], str]]
) -> None:
    """Refuses values of a wrong type; None is right for every argument.

    Args:
        given: Values, by the argument's name.
        kinds: The types that an argument takes, and what to write. True and False are numbers only
            where `bool` is among the types.

    Raises:
        TypeError: A value is of a wrong type.
    """
    for name, (types, remedy) in kinds.items():
        value = given.get(name)
        if value is None:
            continue
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise wrong_value(name, value, remedy)


def check_counts(**given: int) -> None:
    """Refuses what is no whole number of 1 or more.

    Args:
        given: Values, by the argument's name.

    Raises:
        TypeError: A value is no whole number.
        ValueError: A value is below 1.
    """
    for name, value in given.items():
        if not isinstance(cast("object", value), int) or isinstance(value, bool):
            raise wrong_value(name, value, _A_COUNT)
        if value < 1:
            raise wrong_value(name, value, _A_COUNT, ValueError)


_A_COUNT: Final = "give a whole number of 1 or more"


def install(extra: str) -> str:
    """The command that installs an extra's packages, by the way in which agentkit is installed."""
    root = Path(__file__).parents[1]
    if (root / "pyproject.toml").is_file() and (root / "agentkit").is_dir():
        return f"pip install -e '{root}[{extra}]'"
    try:
        found = json.loads(metadata.distribution(DISTRIBUTION).read_text("direct_url.json") or "{}")
    except (metadata.PackageNotFoundError, ValueError):
        found = {}
    url = found.get("url", "")
    if not url or "dir_info" in found:
        return f"pip install '{DISTRIBUTION}[{extra}]'"
    return f"pip install '{DISTRIBUTION}[{extra}] @ {url}'"
