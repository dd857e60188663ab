"""A good server passes; each planted fault is found, by the probe that is about it and no other."""

from __future__ import annotations

import random
from collections.abc import Callable

import anyio
import httpx2
import pytest

from agentkit.serving.doctor import PROBES, Diagnosis, examine
from agentkit.wire import OPTIONAL
from tests.serving.doctor.failing import examined_at_random
from tests.serving.doctor.further import FURTHER
from tests.serving.doctor.good import client_of
from tests.serving.doctor.planted import CHAT, PLANTED, Json, Planted
from tests.virtual import run_virtual

URL = "http://server:8000/v1"


def examined(planted: Planted | None = None) -> Diagnosis:
    async def main() -> Diagnosis:
        async with client_of(planted) as client:
            return await examine(URL, http_client=client)

    return run_virtual(main)


def test_a_good_server_passes_every_probe() -> None:
    diagnosis = examined()
    assert [f"{f.probe}: {f.says}" for f in diagnosis.findings if f.verdict != "pass"] == []
    assert [f.probe for f in diagnosis.findings] == ["reachable", *(p.name for p in PROBES)]
    assert diagnosis.exit_code == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "planted", [pytest.param(planted, id=planted.name) for planted in (*PLANTED, *FURTHER)]
)
def test_a_planted_fault_is_found_by_the_probes_that_are_about_it(planted: Planted) -> None:
    diagnosis = examined(planted)
    failed = [found for found in diagnosis.findings if found.verdict == "fail"]
    assert {found.probe for found in failed} == planted.found_by, failed
    warned = [found for found in diagnosis.findings if found.verdict == "warn"]
    assert planted.warned_by <= {found.probe for found in warned}, warned
    about = failed + warned
    assert any(planted.told in f"{found.says} {found.remedy}" for found in about), about
    assert diagnosis.exit_code == bool(failed)


def test_a_gateway_that_answers_from_a_cache_of_replies_is_named() -> None:
    kept: dict[bytes, httpx2.Response] = {}

    async def main() -> Diagnosis:
        async with client_of() as inner:

            async def handle(request: httpx2.Request) -> httpx2.Response:
                key = request.url.raw_path + request.content
                if key not in kept:
                    answer = await inner.send(request, stream=True)
                    kept[key] = httpx2.Response(answer.status_code, content=await answer.aread())
                return httpx2.Response(kept[key].status_code, content=kept[key].content)

            async with httpx2.AsyncClient(transport=httpx2.MockTransport(handle)) as client:
                return await examine(URL, http_client=client)

    [cached] = [f for f in run_virtual(main).findings if f.probe == "prefix cache"]
    assert cached.verdict == "fail"
    assert "no cache of replies" in cached.remedy


def findings_where(pause: Callable[[Json], float]) -> dict[str, str]:
    """What is said of a good server whose streams pause so long between two events."""

    async def main() -> Diagnosis:
        async with client_of(pause=pause) as client:
            return await examine(URL, http_client=client)

    return {f.probe: f.says for f in run_virtual(main).findings if f.verdict != "pass"}


def test_a_grammar_that_makes_each_token_dear_is_named() -> None:
    said = findings_where(lambda body: 0.06 if "structured_outputs" in body else 0.02)
    assert set(said) == {"grammar cost"}
    assert said["grammar cost"].startswith("17.5 ms a token with the grammar, 5.8 without")


@pytest.mark.parametrize("seed", range(5))
def test_a_machine_that_is_busy_now_and_then_is_not_taken_for_a_dear_grammar(seed: int) -> None:
    busy = random.Random(seed)
    assert findings_where(lambda _: busy.choice([0.01, 0.01, 0.2])) == {}


def test_a_connection_that_breaks_while_the_version_is_asked_for_ends_no_examination() -> None:
    async def main() -> Diagnosis:
        async with client_of() as inner:

            async def handle(request: httpx2.Request) -> httpx2.Response:
                if request.url.path == "/version":
                    raise httpx2.ReadError("reset")
                return await inner.send(request, stream=True)

            async with httpx2.AsyncClient(transport=httpx2.MockTransport(handle)) as client:
                return await examine(URL, http_client=client)

    diagnosis = run_virtual(main)
    assert {found.probe for found in diagnosis.findings if found.verdict != "pass"} == {"version"}


def test_a_server_that_refuses_each_field_by_itself_is_asked_without_all_of_them() -> None:
    def refusal(_path: str, body: Json) -> str | None:
        unknown = next((name for name in OPTIONAL if name in body), None)
        return None if unknown is None else f"Unexpected fields in the request: {{'{unknown}'}}"

    def bounded(_path: str, body: Json) -> Json:
        return body | {"max_tokens": body.get("max_completion_tokens")}

    picky = Planted("one field", frozenset(), "", refuses=refusal, request=bounded)
    findings = {found.probe: found.says for found in examined(picky).findings}
    assert [says for says in findings.values() if "could not be made sense of" in says] == []
    assert all(name in findings["fields"] for name in ("logit_bias", "structured_outputs"))


@pytest.mark.parametrize("every", [1, 2])
def test_a_server_that_stays_silent_is_soon_asked_no_more(every: int) -> None:
    asked = 0

    async def main() -> tuple[Diagnosis, float]:
        async with client_of() as inner:

            async def handle(request: httpx2.Request) -> httpx2.Response:
                nonlocal asked
                if request.url.path == CHAT:
                    asked += 1
                    if asked % every == 0:
                        await anyio.sleep_forever()
                return await inner.send(request, stream=True)

            started = anyio.current_time()
            async with httpx2.AsyncClient(transport=httpx2.MockTransport(handle)) as client:
                return await examine(URL, http_client=client), anyio.current_time() - started

    diagnosis, seconds = run_virtual(main)
    assert any("not asked: 3 requests before got no answer" in f.says for f in diagnosis.findings)
    assert seconds < 400, "a minute for each of them"


@pytest.mark.parametrize("seed", range(6))
def test_a_server_that_fails_at_random_ends_no_examination(seed: int) -> None:
    assert examined_at_random(seed) in (0, 1, 3)
