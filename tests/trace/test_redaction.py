from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit import Agent, RunFiles, VLLMModel, tool
from agentkit.testing import ScriptedModel, call, say
from agentkit.trace import get_logger, keep_secret, secret_headers, without_secrets

SECRET = 'sk-/+"ünique€ key'

ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": lambda text: text,
    "json": json.dumps,
    "json as it is": lambda text: json.dumps(text, ensure_ascii=False),
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
