"""A server that fails at random, in all the ways that a server and a proxy before it can fail."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import httpx2

from agentkit.serving.doctor import examine
from tests.serving.doctor.good import good
from tests.virtual import run_virtual

Json = dict[str, Any]


def _garbled(chance: random.Random, answer: Any) -> Any:
    """JSON with one of its values, wherever it stands, made something else."""
    if isinstance(answer, dict) and answer and chance.random() < 0.9:
        name = chance.choice(list(answer))
        return answer | {name: _garbled(chance, answer[name])}
    if isinstance(answer, list) and answer and chance.random() < 0.9:
        place = chance.randrange(len(answer))
        return [*answer[:place], _garbled(chance, answer[place]), *answer[place + 1 :]]
    return chance.choice([None, [], {}, "", "x", -1, 1e30, True, ["x"], {"x": 1}])


def _refused(status: int, text: str) -> Callable[[], httpx2.Response]:
    return lambda: httpx2.Response(status, text=text)


_REFUSALS = (
    _refused(500, '{"error": {"message": "engine died"}}'),
    _refused(503, "queue is full"),
    _refused(429, "{}"),
    _refused(404, '{"detail": "Not Found"}'),
    _refused(422, '{"detail": [{"loc": ["body", "top_k"], "msg": "no"}]}'),
    _refused(200, "<html>Sign in</html>"),
    _refused(200, '{"error": "out of memory"}'),
    _refused(200, "data: {}\n\n"),
    _refused(200, ""),
    _refused(302, ""),
)


def examined_at_random(seed: int) -> int:
    """The exit code of an examination; each request fails with a chance that the seed decides."""
    chance = random.Random(seed)
    rate = chance.choice([0.02, 0.1, 0.3, 0.7])
    state: Json = {}

    def handle(request: httpx2.Request) -> httpx2.Response:
        path, body = request.url.path, json.loads(request.content or b"{}")
        status, answer = good(path, body, state)
        fails = chance.random() < rate
        if fails and chance.random() < 0.5:
            if chance.random() < 0.2:
                raise httpx2.ReadError("reset", request=request)
            return chance.choice(_REFUSALS)()
        pieces = answer if isinstance(answer, list) else [json.dumps(answer).encode()]
        if fails and not body.get("stream"):
            pieces = [json.dumps(_garbled(chance, json.loads(pieces[0]))).encode()]
        elif fails:
            del pieces[chance.randrange(len(pieces)) :]
        return httpx2.Response(status, content=b"".join(pieces))

    async def main() -> int:
        async with httpx2.AsyncClient(transport=httpx2.MockTransport(handle)) as client:
            return (await examine("http://server:8000/v1", http_client=client)).exit_code

    return run_virtual(main)
