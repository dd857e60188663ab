"""The vLLM that a proof asks: the one that the environment names, or one that is started for it.

AGENTKIT_LIVE_URL, AGENTKIT_LIVE_KEY, AGENTKIT_LIVE_CHECKPOINT and AGENTKIT_LIVE_LOG (its log file)
say which; a proof's processes inherit them.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache

import httpx2
from tokenizers import Tokenizer

from tests.live.constrained import Case, GivenUpError, ask, check, tokenizer_of
from tests.live.server import MODEL, WINDOW, checkpoint_folder, live_server

_GIVE_UP = 5
"""Times that a case may end in an internal error of vLLM. While requests with a budget of reasoning
tokens run beside it, 0.32 was seen to force the end of a thought into requests without one, where
the grammar rejects it."""


@contextmanager
def asked_server(checkpoint: str, *, window: int = WINDOW) -> Generator[None]:
    """A server of a checkpoint, as the variables say it, for the length of a block."""
    os.environ.setdefault("AGENTKIT_LIVE_CHECKPOINT", checkpoint)
    if os.environ.get("AGENTKIT_LIVE_URL"):
        yield
        return
    with live_server(checkpoint_folder(checkpoint), window=window) as server:
        found = {
            "AGENTKIT_LIVE_URL": server.url,
            "AGENTKIT_LIVE_KEY": server.api_key,
            "AGENTKIT_LIVE_LOG": str(server.process.log),
        }
        os.environ |= found
        try:
            yield
        finally:
            for name in found:
                del os.environ[name]


def client() -> httpx2.Client:
    """A client of the server, to be closed."""
    key = os.environ.get("AGENTKIT_LIVE_KEY")
    headers = {"authorization": f"Bearer {key}"} if key else {}
    url = os.environ["AGENTKIT_LIVE_URL"]
    return httpx2.Client(base_url=url, headers=headers, trust_env=False, timeout=300.0)


@cache
def tokenizer() -> Tokenizer:
    """The tokenizer of the server's checkpoint."""
    return tokenizer_of(checkpoint_folder(os.environ["AGENTKIT_LIVE_CHECKPOINT"]))


def checked(asking: httpx2.Client, case: Case) -> Counter[str]:
    """What a case came to.

    Raises:
        AssertionError: It is not as it should be; the case is named.
    """
    given_up: Counter[str] = Counter()
    while True:
        try:
            return given_up + check(case, ask(asking, case.body(MODEL)), tokenizer())
        except GivenUpError as error:
            given_up["replies that vLLM gave up with status 500, asked again"] += 1
            if given_up.total() > _GIVE_UP:
                raise AssertionError(f"{case}: {error}") from None
        except AssertionError as error:
            raise AssertionError(f"{case}: {error}") from None
