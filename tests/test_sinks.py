"""No place that keeps what a run says holds a secret, however it was given and is written."""

from __future__ import annotations

import base64
import json
import random
from urllib.parse import quote

import anyio
import pytest

from tests.sinks import GIVERS, holds, leaks, random_secret


@pytest.mark.slow
@pytest.mark.parametrize("way", GIVERS)
def test_a_secret_is_registered_where_it_is_given_and_no_sink_holds_it(way: str) -> None:
    secret = random_secret(random.Random(way), way)
    GIVERS[way](secret)
    assert anyio.run(leaks, secret) == []


@pytest.mark.slow
@pytest.mark.parametrize("secret", ['quo"te back\\slash', "x:\"{u{P'+7\\"])
def test_quotes_and_backslashes_in_a_secret_do_not_hide_it(secret: str) -> None:
    GIVERS["MCP bearer"](secret)
    assert anyio.run(leaks, secret) == []


@pytest.mark.slow
def test_a_value_that_nobody_registered_is_found_in_every_sink() -> None:
    secret = 'never "registered" value €'
    found = anyio.run(leaks, secret)
    sinks = {where.split(":")[0] for where in found}
    assert sinks == {"run file", "page", "terminal", "spans", "log", "errors", "replay"}


def test_the_judge_reads_what_is_written_in_usual_ways() -> None:
    secret = 'a"b\\c/d é & <k>'
    for kept in (
        secret,
        json.dumps(secret),
        json.dumps(json.dumps(secret)),
        quote(secret),
        base64.b64encode(f"u:{secret}".encode()).decode(),
        secret.encode().hex(),
    ):
        assert holds(f"before {kept} after".encode(), secret), kept
    assert not holds(b"something else", secret)
