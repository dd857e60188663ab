from __future__ import annotations

import httpx2
import pytest

from agentkit.gemma4.escape import Escape
from tests.live.client import KEY, URL, live
from tests.live.forging import Tokenizer, check_slots

pytestmark = live


def client() -> httpx2.Client:
    headers = {"authorization": f"Bearer {KEY}"}
    return httpx2.Client(base_url=URL, headers=headers, trust_env=False, timeout=100.0)


def test_no_text_in_any_slot_becomes_a_control_token_of_the_served_tokenizer() -> None:
    with client() as opened:
        counts = check_slots(Tokenizer(opened), seed=1, texts=60)
    assert counts["prompts without a forged token"] > 60


def test_without_the_escape_the_same_texts_do() -> None:
    with client() as opened:
        tokenizer = Tokenizer(opened)
        tokenizer.escape = Escape(["<absent>"])
        with pytest.raises(AssertionError, match="turn"):
            check_slots(tokenizer, seed=1, texts=60)
