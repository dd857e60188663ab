"""Secrets that no record of a run may hold: registered once, left out wherever something is kept.

A tool that prints its environment, a gateway that repeats a key: what a run says can hold what
nobody meant to write down. Registered values are replaced before a line is written, in the forms
in which text usually carries them: plain, as JSON, percent-encoded, base64 and hexadecimal.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from urllib.parse import quote

__all__ = [
    "HIDDEN",
    "hiding",
    "keep_secret",
    "redacted",
    "secret_headers",
    "secret_places",
    "without_secrets",
]

HIDDEN = b"[secret]"
_SHORTEST = 8
"""Characters. A shorter value, such as vLLM's usual `EMPTY`, would also be found where it is just a
word, and no secret worth the name is so short."""

_TELLING = re.compile(r"auth|key|token|secret|cookie|password", re.IGNORECASE)


class _Secrets:
    """The registered values and one pattern that finds them all."""

    def __init__(self) -> None:
        self.values: frozenset[str] = frozenset()
        self.pattern: re.Pattern[bytes] | None = None

    def add(self, values: frozenset[str]) -> None:
        if values <= self.values:
            return
        self.values |= values
        forms = {form for value in self.values for form in _forms(value)}
        longest_first = sorted(forms, key=len, reverse=True)
        self.pattern = re.compile(b"|".join(map(re.escape, longest_first)))


_SECRETS = _Secrets()


def keep_secret(*values: str | None) -> None:
    """From now on no run file, log line or span of this process holds these values.

    Args:
        values: Keys, passwords, tokens. None and values under 8 characters are left alone.
    """
    _SECRETS.add(frozenset(value for value in values if value and len(value) >= _SHORTEST))


def secret_headers(headers: Mapping[str, str]) -> Iterator[str]:
    """The values of those HTTP headers whose names say that they are secret.

    Of a value such as `Bearer abc` the part after the scheme as well.
    """
    for name, value in headers.items():
        if _TELLING.search(name):
            yield value
            yield value.rpartition(" ")[2]


def without_secrets(text: bytes) -> bytes:
    """The text with every registered value replaced."""
    pattern = _SECRETS.pattern
    return text if pattern is None else pattern.sub(HIDDEN, text)


def secret_places(text: bytes) -> list[tuple[int, int]]:
    """Where registered values stand in a text: the beginning and the end of each, in bytes.

    For a record that has to keep them: whoever shows it later has not registered them.
    """
    pattern = _SECRETS.pattern
    return [] if pattern is None else [found.span() for found in pattern.finditer(text)]


def hiding(secrets: Iterable[bytes]) -> Callable[[bytes], bytes] | None:
    """Replaces these values and those that are registered; None where there are none."""
    longest_first = sorted(filter(None, secrets), key=len, reverse=True)
    if not longest_first:
        return None if _SECRETS.pattern is None else without_secrets
    pattern = re.compile(b"|".join(map(re.escape, longest_first)))
    return lambda text: without_secrets(pattern.sub(HIDDEN, text))


def redacted(text: str) -> str:
    """The text with every registered value replaced, and nothing that UTF-8 cannot hold."""
    return without_secrets(text.encode("utf-8", "replace")).decode()


def _forms(value: str) -> Iterator[bytes]:
    data = value.encode("utf-8", "replace")
    yield data
    for ascii_only in (True, False):
        yield json.dumps(value, ensure_ascii=ascii_only)[1:-1].encode("utf-8", "replace")
    yield quote(value, safe="").encode()
    yield data.hex().encode()
    yield data.hex().upper().encode()
    for shift in range(3):
        for encoded in (base64.b64encode, base64.urlsafe_b64encode):
            # Only the digits that no neighbour of the value has a part in.
            digits = encoded(bytes(shift) + data).rstrip(b"=")
            whole = (shift + len(data)) * 8 // 6
            yield digits[(0, 2, 3)[shift] : whole]
