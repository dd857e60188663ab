"""Secrets that no record of a run may hold: registered once, left out wherever something is kept.

A tool may print its environment, and a gateway may repeat a key. So registered values are replaced
before a line is written, in the forms in which text usually carries them: plain, as JSON, HTML or
Python write it, percent-encoded, base64 and hexadecimal.

Credentials are registered where they are given to agentkit. The name of a header, of a variable or
of a parameter in an address decides whether its value is one. Where the name does not tell, a value
that is handed to somebody else's program counts as secret.

agentkit's own log lines pass here too: structlog on the caller's side, plain `logging` underneath.
Importing agentkit configures nothing. A program that uses `logging` sees the lines of the logger
`agentkit` with their fields in the text; one that formats with structlog's `ProcessorFormatter`
finds the fields in `record.agentkit`.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import re
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

if TYPE_CHECKING:
    from structlog.stdlib import BoundLogger
    from structlog.typing import EventDict, WrappedLogger

HIDDEN = b"[secret]"
_SHORTEST = 8
"""Characters. A shorter value, such as vLLM's usual `EMPTY`, would also be found where it is just a
word, and no secret worth the name is so short."""

_SECRET_NAME = re.compile(
    r"auth|key|token|secret|cookie|passw|pwd|credential|session|signature|sig\b|bearer",
    re.IGNORECASE,
)

_PLAIN_HEADERS = frozenset(
    {"accept", "accept-encoding", "accept-language", "cache-control", "connection", "content-type"}
    | {"host", "mcp-protocol-version", "origin", "referer", "user-agent"}
)
_PLAIN_VARIABLES = re.compile(
    r"(HOME|LANG|LANGUAGE|LC_\w+|LOGNAME|LOG_LEVEL|NODE_ENV|NODE_PATH|PATH|PWD|PYTHON\w*|RUST_LOG"
    r"|SHELL|TEMP|TERM|TMP|TMPDIR|TZ|USER|VIRTUAL_ENV|XDG_\w+)"
)
"""Names of variables whose values are no secrets; the value of any other may be one."""


class _Secrets:
    """The registered values, and the forms in which text may carry them, the longest first."""

    def __init__(self) -> None:
        self.values: frozenset[str] = frozenset()
        self.forms: tuple[bytes, ...] = ()
        self._lock = threading.Lock()

    def add(self, values: frozenset[str]) -> None:
        """Registers the values; when this returns, all threads leave them out."""
        if values <= self.values:
            return
        with self._lock:
            new = values - self.values
            forms = {*self.forms, *(form for value in new for form in _forms(value))}
            self.forms = tuple(sorted(forms, key=len, reverse=True))
            self.values |= new


_SECRETS = _Secrets()


def keep_secret(*values: str | None) -> None:
    """From now on no run file, log line or span of this process holds these values.

    Args:
        values: Keys, passwords, tokens. None and values under 8 characters are left alone.
    """
    _SECRETS.add(frozenset(value for value in values if value and len(value) >= _SHORTEST))


def secret_headers(headers: Mapping[str, str], *, of_others: bool = False) -> Iterator[str]:
    """The secret values among HTTP headers, and the parts of these values.

    Args:
        headers: The values, by the header's name.
        of_others: The headers go to a server that may be anybody's, so all values are secret but
            those of HTTP's own headers. Otherwise the names decide.
    """
    for name, value in headers.items():
        plain = name.lower() in _PLAIN_HEADERS
        if (of_others and not plain) or _SECRET_NAME.search(name):
            yield from _credentials(value)


def _credentials(value: str) -> Iterator[str]:
    """A header's value, what follows a scheme such as `Bearer`, each cookie, and the password of
    Basic authentication.
    """
    yield value
    scheme, _, rest = value.partition(" ")
    if rest:
        yield rest
    yield value.rpartition(" ")[2]
    if ";" in value:
        for cookie in value.split(";"):
            yield cookie.partition("=")[2].strip()
    if scheme.strip().lower() == "basic":
        try:
            user_and_password = base64.b64decode(rest, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return
        yield user_and_password
        yield user_and_password.partition(":")[2]


def secret_in_address(address: str) -> Iterator[str]:
    """The password of a URL, or the user name if there is no password, and tokens in its query."""
    try:
        parts = urlsplit(address)
        user, password = parts.username, parts.password
    except ValueError:  # a bracket that is not closed: nobody can send anything there
        return
    if credential := password or user:
        yield credential
        yield unquote(credential)
    for name, value in parse_qsl(parts.query) + parse_qsl(parts.fragment):
        if _SECRET_NAME.search(name) or _looks_random(value):
            yield value


def public_address(address: str) -> str:
    """A URL as messages, logs and run files may show it: without user, password and query."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        return address
    authority, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    return f"{scheme}{separator}{authority.rpartition('@')[2]}{slash}{path}"


def secret_variables(variables: Mapping[str, str]) -> Iterator[str]:
    """The values of all environment variables but the harmless ones."""
    for name, value in variables.items():
        if not _PLAIN_VARIABLES.fullmatch(name):
            yield value
            yield from secret_in_address(value)


_ASSIGNED = re.compile(r"-{0,2}([\w.-]+)\s*[=:]\s*(\S.*)", re.DOTALL)
"""`--token=abc`, `TOKEN=abc`, `Authorization: Bearer abc`."""


def secret_arguments(arguments: Iterable[str]) -> Iterator[str]:
    """The secrets in a command line: values of options with a secret's name, and of addresses."""
    value_follows = False  # the argument before is such an option, and this one its value
    for argument in arguments:
        if value_follows:
            yield from _credentials(argument)
        value_follows = False
        yield from secret_in_address(argument)
        if assigned := _ASSIGNED.fullmatch(argument):
            yield from secret_in_address(assigned[2])
            if _SECRET_NAME.search(assigned[1]):
                yield from _credentials(assigned[2])
        elif argument.startswith("-"):
            value_follows = bool(_SECRET_NAME.search(argument))


def _looks_random(value: str) -> bool:
    """Whether a value is long and made of digits and letters, as keys are."""
    mixed = any(c.isdigit() for c in value) and any(c.isalpha() for c in value)
    return mixed and len(value) >= _RANDOM


_RANDOM = 20
"""Characters; shorter ones are dates and versions."""


def without_secrets(text: bytes) -> bytes:
    """The text with every registered value replaced."""
    # Looking for one form after the other is some twenty times faster than one pattern of hundreds.
    found = [form for form in _SECRETS.forms if form in text]
    return re.sub(b"|".join(map(re.escape, found)), HIDDEN, text) if found else text


def secret_places(text: bytes) -> list[tuple[int, int]]:
    """Where registered values stand in a text: the beginning and the end of each, in bytes.

    A record that has to keep its bytes notes these places, since a process that shows it later has
    not registered the values.
    """
    found = [form for form in _SECRETS.forms if form in text]
    if not found:
        return []
    return [place.span() for place in re.finditer(b"|".join(map(re.escape, found)), text)]


def hiding(secrets: Iterable[bytes]) -> Callable[[bytes], bytes] | None:
    """A function that replaces these values and the registered ones; None if there are none."""
    longest_first = sorted(filter(None, secrets), key=len, reverse=True)
    if not longest_first:
        return without_secrets if _SECRETS.forms else None
    pattern = re.compile(b"|".join(map(re.escape, longest_first)))
    return lambda text: without_secrets(pattern.sub(HIDDEN, text))


def redacted(text: str) -> str:
    """The text with every registered value replaced, and nothing that UTF-8 cannot hold."""
    return without_secrets(text.encode("utf-8", "replace")).decode()


_DEEPEST = 4
"""How deep JSON texts may stand within JSON texts: a tool's answer in JSON, quoted by the model, in
the record of a call that was repaired, in a line of a file."""


_AS_PHP = str.maketrans({"/": "\\/"})
_AS_GO = str.maketrans({c: f"\\u{ord(c):04x}" for c in "&<>"})
"""Characters that PHP and Go escape in JSON though they need not."""


def _forms(value: str) -> Iterator[bytes]:
    data = value.encode("utf-8", "replace")
    yield data
    yield repr(value)[1:-1].encode("utf-8", "replace")
    yield repr(data)[2:-1].encode()
    for apostrophe in ("'", "&#x27;", "&#39;"):  # as the web pages of gateways have it
        yield escape(value, quote=False).replace("'", apostrophe).encode("utf-8", "replace")
        quoted = escape(value).replace("&#x27;", apostrophe)
        yield quoted.encode("utf-8", "replace")
        yield quoted.replace("&quot;", "&#34;").encode("utf-8", "replace")
    for ascii_only in (True, False):
        first = json.dumps(value, ensure_ascii=ascii_only)[1:-1]
        for text in {first, first.translate(_AS_PHP), first.translate(_AS_GO)}:
            for _ in range(_DEEPEST):  # JSON within JSON: a call's arguments in a line of a file
                yield text.encode("utf-8", "replace")
                yield repr(text)[1:-1].encode("utf-8", "replace")
                text = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
    for safe in ("", "/", "/:@!$&'()*+,;=~"):
        percent = quote(value, safe=safe, errors="replace")
        yield percent.encode()
        yield re.sub("%..", lambda found: found[0].lower(), percent).encode()
    yield quote_plus(value, errors="replace").encode()
    yield data.hex().encode()
    yield data.hex().upper().encode()
    for shift in range(3):
        for encoded in (base64.b64encode, base64.urlsafe_b64encode):
            # Only the digits that hold no bit of a neighbour of the value.
            digits = encoded(bytes(shift) + data).rstrip(b"=")
            whole = (shift + len(data)) * 8 // 6
            yield digits[(0, 2, 3)[shift] : whole]


# --- log lines -----------------------------------------------------------------------------------


@cache
def get_logger(name: str = "agentkit") -> BoundLogger:
    """The logger of this library, whatever structlog itself is configured to do.

    Args:
        name: The name of the `logging` logger: `agentkit`, or one below it.
    """
    import structlog  # noqa: PLC0415 - a sixth of agentkit's import, and no line may ever be logged

    logger: BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[structlog.stdlib.filter_by_level, _to_record],
        wrapper_class=structlog.stdlib.BoundLogger,
        context_class=dict,
        cache_logger_on_first_use=True,
    )
    return logger


def _to_record(
    _logger: WrappedLogger, _method: str, event: EventDict
) -> tuple[tuple[str], dict[str, Any]]:
    """Event and fields as the arguments of a `logging` call."""
    text = redacted(str(event.pop("event", "")))
    exc_info, written = event.pop("exc_info", None), str(event.pop("exception", "")).rstrip()
    event = {key: _hidden(value) for key, value in event.items()}
    line = " ".join([text, *(f"{key}={value!r}" for key, value in event.items())])
    if exc_info and (trace := _traceback(exc_info)) != redacted(trace):
        line, exc_info = f"{line}\n{redacted(trace)}", None
    if written:  # of an exception that was raised elsewhere
        line = f"{line}\n{written}"
    return (redacted(line),), {
        "exc_info": exc_info,
        "extra": {"agentkit": {"event": text, **event}},
    }


def _hidden(value: Any) -> Any:
    """The value without secrets; any other object becomes its `repr` if that holds one."""
    match value:
        case str():
            return redacted(value)
        case bytes():
            return without_secrets(value)
        case dict():
            return {_hidden(key): _hidden(inner) for key, inner in value.items()}
        case list():
            return [_hidden(inner) for inner in value]
        case tuple():
            return tuple(_hidden(inner) for inner in value)
        case frozenset():
            return frozenset(_hidden(inner) for inner in value)
        case set():
            return {_hidden(inner) for inner in value}
        case _:
            shown = repr(value)
            hidden = redacted(shown)
            return value if shown == hidden else hidden


def _traceback(exc_info: Any) -> str:
    """The traceback that `logging` would write."""
    error = sys.exc_info()[1] if exc_info is True else exc_info
    error = error[1] if isinstance(error, tuple) else error
    try:
        return "" if error is None else "".join(traceback.format_exception(error))
    except Exception as broken:  # noqa: BLE001 - an exception's own text may raise
        return f"(a traceback that cannot be written: {type(broken).__name__})"
