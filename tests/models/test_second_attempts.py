from __future__ import annotations

from contextlib import aclosing
from itertools import pairwise
from typing import Any

import anyio
import httpx2
import pytest

from agentkit.errors import (
    ContextWindowError,
    ModelConnectionError,
    ModelProtocolError,
    ModelStatusError,
    ModelTimeoutError,
    ServerNotReadyError,
)
from agentkit.events import ModelEvent, ModelFinished, StepRestarted, TextDelta
from agentkit.messages import ModelRequest, ModelResponse, ToolDefinition, UserMessage
from agentkit.models import Timeouts, VLLMModel
from tests.models.asking import REQUEST, answers, events_of, model_on, response_of
from tests.models.cancelling import cancel_then_call
from tests.servers import chunk, cuts, fails, says, serving, stalls
from tests.virtual import (
    Replies,
    Script,
    breaks,
    event,
    refuses,
    replies_fresh,
    run_virtual,
    stream_of,
)

READ = ToolDefinition("read", "Read a file.", {"type": "object"})


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_a_failure_that_may_pass_is_tried_again(status: int) -> None:
    async def main() -> list[ModelEvent]:
        async with Replies(refuses(status), refuses(status), answers("Hi.")).client() as client:
            return await events_of(model_on(client))

    events = run_virtual(main)
    restarts = [event for event in events if isinstance(event, StepRestarted)]
    assert [restart.attempt for restart in restarts] == [2, 3]
    assert all(str(status) in restart.reason for restart in restarts)
    assert isinstance(events[-1], ModelFinished)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_failure_that_stays_is_not_tried_again(status: int) -> None:
    async def main() -> int:
        replies = Replies(refuses(status), answers("Hi."))
        async with replies.client() as client:
            with pytest.raises(ModelStatusError):
                await events_of(model_on(client))
        return len(replies.requests)

    assert run_virtual(main) == 1


UNKNOWN_FIELD = {
    "error": {"message": "return_token_ids: Extra inputs are not permitted", "code": 400}
}


@pytest.mark.parametrize(
    ("end", "why"), [([], "cut"), ([UNKNOWN_FIELD], "Extra inputs")], ids=["cut", "refused"]
)
def test_what_a_stream_had_shown_is_taken_back_where_it_is_cut_or_refused(
    end: list[Any], why: str
) -> None:
    async def main() -> list[ModelEvent]:
        half = replies_fresh(lambda: stream_of([chunk({"content": "Half an "}), *end]))
        async with Replies(half, answers("Whole.")).client() as client:
            return await events_of(model_on(client))

    shown, restart, *rest = run_virtual(main)
    assert shown == TextDelta("Half an ")
    assert isinstance(restart, StepRestarted)
    assert why in restart.reason
    assert isinstance(rest[-1], ModelFinished)
    assert rest[-1].response.message.content == "Whole."


@pytest.mark.anyio
async def test_a_real_connection_that_breaks_in_mid_stream_is_tried_again() -> None:
    with serving(cuts(chunk({"content": "Half"})), says("Whole.")) as server:
        async with VLLMModel(server.url) as model:
            events = await events_of(model)
    assert [type(event) for event in events].count(StepRestarted) == 1
    assert isinstance(events[-1], ModelFinished)
    assert events[-1].response.message.content == "Whole."


@pytest.mark.parametrize(
    "first",
    [
        replies_fresh(lambda: Script(b"data: nonsense\n\n")),
        replies_fresh(lambda: Script(event({"error": {"message": "EngineDead", "code": 500}}))),
        replies_fresh(lambda: Script(httpx2.ReadError("reset"))),
        replies_fresh(lambda: Script(1e6)),
        replies_fresh(lambda: stream_of([chunk({"content": "x"}, "abort")])),
        breaks(httpx2.RemoteProtocolError("bad")),
        breaks(httpx2.ConnectTimeout("slow")),
    ],
    ids=["garbage", "error event", "reset", "stall", "aborted", "bad http", "slow connect"],
)
def test_every_way_a_stream_can_fail_is_tried_again(first: Any) -> None:
    async def main() -> ModelResponse:
        async with Replies(first, answers("Hi.")).client() as client:
            return await response_of(model_on(client))

    assert run_virtual(main).message.content == "Hi."


def test_a_prompt_that_does_not_fit_is_not_tried_again() -> None:
    async def main() -> int:
        replies = Replies(refuses(400, "This model's maximum context length is 8 tokens."))
        async with replies.client() as client:
            with pytest.raises(ContextWindowError, match="maximum context length is 8 tokens"):
                await events_of(model_on(client))
        return len(replies.requests)

    assert run_virtual(main) == 1


@pytest.mark.anyio
async def test_a_server_without_tool_parsers_is_told_the_flags() -> None:
    words = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
    with serving(fails(400, {"error": {"message": words, "code": 400}})) as server:
        async with VLLMModel(server.url) as model:
            with pytest.raises(ServerNotReadyError, match="--tool-call-parser gemma4"):
                await response_of(model, ModelRequest([UserMessage("hi")], [READ]))
    assert len(server.requests) == 1


def test_attempts_end_with_the_wall_time_budget_and_the_last_error() -> None:
    async def main() -> list[float]:
        replies = Replies(refuses(503))
        async with replies.client() as client:
            with pytest.raises(ModelStatusError, match="503"):
                await events_of(model_on(client))
        return replies.times

    times = run_virtual(main)
    assert len(times) > 10
    assert times[-1] - times[0] < 300
    assert max(b - a for a, b in pairwise(times)) <= 20


def test_the_total_clock_bounds_all_attempts_together() -> None:
    async def main() -> float:
        slow = replies_fresh(lambda: Script(for_ever=[b'data: {"choices": []}\n\n', 1.0]))
        async with Replies(slow).client() as client:
            with pytest.raises(ModelTimeoutError):
                await events_of(model_on(client, Timeouts(total=45)))
        return anyio.current_time()

    assert run_virtual(main) <= 46


def test_a_server_that_was_never_there_is_given_up_within_seconds() -> None:
    async def main() -> float:
        def nobody(request: httpx2.Request) -> httpx2.Response:
            raise httpx2.ConnectError("refused")

        async with httpx2.AsyncClient(transport=httpx2.MockTransport(nobody)) as client:
            with pytest.raises(ModelConnectionError, match="is vLLM running there"):
                await events_of(model_on(client))
        return anyio.current_time()

    assert run_virtual(main) <= 2


def test_something_that_is_no_vllm_is_given_up_within_seconds() -> None:
    async def main() -> float:
        def page(request: httpx2.Request) -> httpx2.Response:
            return httpx2.Response(200, content=b"<html>Welcome to nginx!</html>")

        async with httpx2.AsyncClient(transport=httpx2.MockTransport(page)) as client:
            with pytest.raises(ModelProtocolError, match="is this a model server"):
                await events_of(model_on(client))
        return anyio.current_time()

    assert run_virtual(main) <= 3


def test_a_server_that_restarts_is_waited_for() -> None:
    async def main() -> float:
        replies = Replies(
            answers("Hi."), *[breaks(httpx2.ConnectError("refused"))] * 8, answers("Ho.")
        )
        async with replies.client() as client:
            model = model_on(client)
            await response_of(model)
            assert (await response_of(model)).message.content == "Ho."
        return anyio.current_time()

    assert run_virtual(main) > 2


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [("17", 17, 17), ("86400", 60, 60), ("later", 0, 20)],
    ids=["kept", "hours are cut to a minute", "no sense: a wait of our own"],
)
def test_the_wait_that_a_server_asks_for_is_kept_within_reason(
    asked: str, least: float, most: float
) -> None:
    async def main() -> list[float]:
        replies = Replies(refuses(503, headers={"Retry-After": asked}), answers("Hi."))
        async with replies.client() as client:
            await events_of(model_on(client))
        return replies.times

    first, second = run_virtual(main)
    assert least - 1e-6 <= second - first <= most + 1e-6


def test_a_server_that_asks_for_no_wait_is_not_asked_without_a_pause() -> None:
    async def main() -> int:
        replies = Replies(*[refuses(503, headers={"Retry-After": "0"})] * 500)
        async with replies.client() as client:
            with pytest.raises(ModelStatusError):
                await events_of(model_on(client, timeouts=Timeouts(retry=60)))
        return len(replies.times)

    assert run_virtual(main) < 100


def test_garbage_for_ever_ends_as_a_protocol_error() -> None:
    async def main() -> None:
        garbage = replies_fresh(lambda: Script(b"data: nonsense\n\n"))
        async with Replies(garbage).client() as client:
            await events_of(model_on(client, Timeouts(retry=10)))

    with pytest.raises(ModelProtocolError, match="no chat completion: nonsense"):
        run_virtual(main)


# --- being left --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.anyio
async def test_calls_cancelled_at_any_point_leave_the_connections_usable() -> None:
    with serving(says("Hi.")) as server:
        counts = await cancel_then_call(server.url, seed=1, cancels=100, calls=20)
    assert counts["calls cancelled"] == 100
    assert counts["later calls"] == 20


@pytest.mark.anyio
async def test_a_cancelled_call_raises_no_other_error_and_is_not_tried_again() -> None:
    with serving(stalls(chunk({"content": "x"}))) as server:
        async with VLLMModel(server.url) as model:
            with anyio.CancelScope() as scope:
                async with aclosing(model.generate(REQUEST)) as events:
                    async for _ in events:
                        scope.cancel()
            assert scope.cancelled_caught
    assert len(server.requests) == 1
