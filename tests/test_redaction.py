from __future__ import annotations

import base64
import json
import logging
import threading
from collections.abc import Callable
from html import escape
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit import Agent, AgentKitError, JournalError, RunFiles, ToolError, VLLMModel, tool
from agentkit.redaction import (
    get_logger,
    keep_secret,
    public_address,
    redacted,
    secret_arguments,
    secret_headers,
    secret_in_address,
    secret_variables,
    without_secrets,
)
from agentkit.testing import ScriptedModel, call, say

SECRET = "sk-/+&\"ünique€ 'key"

ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": lambda text: text,
    "json": json.dumps,
    "json as it is": lambda text: json.dumps(text, ensure_ascii=False),
    "json of PHP": lambda text: json.dumps(text).replace("/", "\\/"),
    "json of Go": lambda text: json.dumps(json.dumps(text).replace("&", "\\u0026")),
    "bytes": lambda text: repr(text.encode()),
    "html": escape,
    "html without quotes": lambda text: escape(text, quote=False),
    "percent": lambda text: quote(text, safe=""),
    "hex": lambda text: text.encode().hex(),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 in the middle": lambda text: base64.b64encode(f"user:{text}\n".encode()).decode(),
    "base64 for addresses": lambda text: base64.urlsafe_b64encode(f"u:{text}".encode()).decode(),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_secret_is_left_out_in_the_forms_that_text_carries(encoding: str) -> None:
    keep_secret(SECRET)
    text = f"before {ENCODINGS[encoding](SECRET)} after"
    hidden = without_secrets(text.encode()).decode()
    assert "[secret]" in hidden
    assert hidden.startswith("before ")
    assert hidden.endswith(" after")
    for plain in ("ünique", "nique€", quote("ünique"), b"nique".hex()):
        assert plain not in hidden


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_base64_hides_it_at_every_place(before: bytes, after: bytes) -> None:
    keep_secret("correct-horse-battery")
    whole = base64.b64encode(before + b"correct-horse-battery" + after)
    assert b"[secret]" in without_secrets(whole)


def test_short_values_and_none_are_left_alone() -> None:
    keep_secret("EMPTY", None, "")
    assert without_secrets(b"EMPTY and more") == b"EMPTY and more"


def test_headers_that_say_so_are_secret() -> None:
    headers = {"Authorization": "Bearer abcdefgh", "Accept": "application/json", "X-Api-Key": "k1"}
    assert set(secret_headers(headers)) == {"Bearer abcdefgh", "abcdefgh", "k1"}


@pytest.mark.anyio
async def test_a_tool_that_prints_the_key_does_not_bring_it_into_the_run_file(
    tmp_path: Path,
) -> None:
    VLLMModel(
        "http://user:pass-word-9@localhost:8000",
        api_key="sk-of-the-server",
        headers={"x-token": "token-of-the-gateway"},
    )

    @tool(effect="pure")
    def environment() -> str:
        """Show the environment."""
        return "KEY=sk-of-the-server PASSWORD=pass-word-9 TOKEN=token-of-the-gateway"

    model = ScriptedModel([call("environment"), say("It says sk-of-the-server.")])
    result = await Agent(model, tools=[environment], observers=[RunFiles(tmp_path)]).run("go")
    assert result.output == "It says sk-of-the-server."  # only what is kept is redacted
    text = RunFiles(tmp_path).path(result.run_id).read_text()
    assert "KEY=[secret] PASSWORD=[secret] TOKEN=[secret]" in text
    for secret in ("sk-of-the-server", "pass-word-9", "token-of-the-gateway"):
        assert secret not in text


def test_log_lines_hold_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    keep_secret("a-secret-to-log")
    with caplog.at_level(logging.INFO, logger="agentkit"):
        get_logger().info("it is a-secret-to-log", value="a-secret-to-log", number=3)
    (record,) = caplog.records
    assert record.getMessage() == "it is [secret] value='[secret]' number=3"
    assert "a-secret" not in str(record.__dict__)


def test_a_log_line_may_have_fields_of_any_shape(caplog: pytest.LogCaptureFixture) -> None:
    keep_secret("a-secret-in-a-set")
    fields = {("a", 1): [frozenset({"a-secret-in-a-set"})], "b": {("a-secret-in-a-set",)}}
    with caplog.at_level(logging.INFO, logger="agentkit"):
        get_logger().info("it is", fields=fields)
    (record,) = caplog.records
    hidden = {("a", 1): [frozenset({"[secret]"})], "b": {("[secret]",)}}
    assert record.getMessage() == f"it is fields={hidden}"


class SlowText(str):
    """A text that is slow to encode the first time."""

    __slots__ = ()
    begun, other_is_there = threading.Event(), threading.Event()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        if not self.begun.is_set():
            self.begun.set()
            self.other_is_there.wait(0.3)
        return super().encode(encoding, errors)


def test_secrets_that_two_threads_register_at_once_are_both_kept() -> None:
    slow = threading.Thread(target=keep_secret, args=[SlowText("the-secret-of-one")])
    slow.start()
    SlowText.begun.wait()
    keep_secret("the-secret-of-two")
    SlowText.other_is_there.set()
    slow.join()
    assert redacted("the-secret-of-one the-secret-of-two") == "[secret] [secret]"


# --- where secrets come from -------------------------------------------------------------------

TOKEN = "tok-1234567890"


@pytest.mark.parametrize(
    ("address", "secrets"),
    [
        ("http://user:p%40ss-word@h:8000/v1", {"p%40ss-word", "p@ss-word"}),
        (f"https://{TOKEN}@github.example/x", {TOKEN}),
        (f"https://h/mcp?api_key={TOKEN}&page=2", {TOKEN}),
        ("https://h/mcp?v=2025-01-01&x=abcdefghij0123456789", {"abcdefghij0123456789"}),
        (f"https://h/mcp#access_token={TOKEN}", {TOKEN}),
        ("https://h/v1", set()),
        ("http://[::1/", set()),
    ],
)
def test_an_address_gives_away_its_password_and_the_tokens_in_its_query(
    address: str, secrets: set[str]
) -> None:
    assert set(secret_in_address(address)) == secrets
    assert not any(secret in public_address(address) for secret in secrets)


@pytest.mark.parametrize(
    ("arguments", "secret"),
    [
        (["server", "--token", TOKEN], TOKEN),
        (["server", f"--api-key={TOKEN}"], TOKEN),
        (["server", "postgresql://user:pass-word-1@db/shop"], "pass-word-1"),
        (["docker", "run", "-e", f"GITHUB_TOKEN={TOKEN}", "image"], TOKEN),
        (
            ["npx", "mcp-remote", "https://h/mcp", "--header", f"Authorization: Bearer {TOKEN}"],
            TOKEN,
        ),
        (["server", f"--url=https://h/?key={TOKEN}"], TOKEN),
    ],
)
def test_a_command_line_gives_away_what_stands_behind_telling_names(
    arguments: list[str], secret: str
) -> None:
    assert secret in set(secret_arguments(arguments))
    assert not {"server", "npx", "run", "image"} & set(secret_arguments(arguments))


def test_of_what_a_stranger_is_given_all_but_the_harmless_is_secret() -> None:
    headers = {
        "Accept": "application/json",
        "X-Team": "the blue team",
        "Cookie": "a=1; sid=abcdefgh",
    }
    given = set(secret_headers(headers, of_others=True))
    assert {"the blue team", "abcdefgh"} <= given
    assert "application/json" not in given
    basic = base64.b64encode(b"ada:pass-word-7").decode()
    assert {"pass-word-7", basic} <= set(secret_headers({"Authorization": f"Basic {basic}"}))
    variables = {"PATH": "/usr/bin", "LC_ALL": "C.UTF-8", "SHOP": "anything at all"}
    assert set(secret_variables(variables)) == {"anything at all"}


def test_a_traceback_in_the_log_holds_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    keep_secret("a-secret-to-raise")
    with caplog.at_level(logging.INFO, logger="agentkit"):
        try:
            raise LookupError("no a-secret-to-raise here")
        except LookupError:
            get_logger().exception("it failed", held={"deep": ["a-secret-to-raise"]})
    assert "LookupError: no [secret] here" in caplog.text
    assert "a-secret" not in caplog.text + str(caplog.records[0].__dict__)


def test_an_error_of_ours_holds_no_secret() -> None:
    keep_secret("a-secret-in-an-error")
    for made in (AgentKitError, ToolError, JournalError):
        assert str(made("it is a-secret-in-an-error")) == "it is [secret]"
