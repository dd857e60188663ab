"""How replies arrive: streamed as whole, in time, from the prefix cache, and ended in time."""

from __future__ import annotations

import secrets
from itertools import pairwise

import anyio

from agentkit.errors import AgentKitError
from agentkit.gemma4.tokens import CALL_OPEN, EOS, IDS, RESPONSE_OPEN, TURN_CLOSE
from agentkit.messages import ToolChoice, UserMessage
from agentkit.serving.doctor.finding import Finding, failed, passed, warned
from agentkit.serving.doctor.subject import NATIVE_BIAS, REPORT, Exchange, Subject, bias

_FORCED = ToolChoice("required", max_calls=1)
_LONG_REPLY = 48
_TRIES = 8
_BURSTS = 3
"""So many bursts while this process was awake are no accident of a busy machine."""

_TICK, _DOZE = 0.005, 0.02
"""Seconds between two looks at the clock, and how much longer they may be apart at any time."""

_FASTEST = 0.0003
"""Seconds for one token of one reply: no Gemma 4 on any GPU decodes faster, so tokens that come
closer together have waited somewhere."""


async def streaming(subject: Subject) -> Finding:
    """A streamed reply must be the whole one, and must come as it is produced."""
    if subject.grammar:
        whole, streamed = [
            await subject.ask(tools=(REPORT,), choice=_FORCED, stream=s, extra=NATIVE_BIAS)
            for s in (False, True)
        ]
        leaked = CALL_OPEN in streamed.text
        if whole.calls and (whole.calls != streamed.calls or leaked):
            return failed(
                f"a call comes whole as {whole.calls}, streamed as {streamed.calls} "
                f"beside the text {streamed.text!r}",
                "take a vLLM whose parser streams right, or VLLMModel(..., stream=False)",
            )
    bursts = 0
    for _ in range(_TRIES):
        long, awake = await _long_reply(subject)
        if not long.usage:
            return failed(
                "streams come without usage: tokens cannot be counted, limits cannot hold",
                "no proxy may drop `stream_options` from requests or the last event from streams",
            )
        if not _in_one_burst(long):
            return passed("streamed replies equal whole ones, and come as they are produced")
        bursts += awake
        if bursts == _BURSTS:
            return failed(
                "a streamed reply comes all at once, at its end: something holds it back",
                "switch off buffering in the proxy before the server (nginx: proxy_buffering off)",
            )
    return warned(
        "whether a streamed reply comes as it is produced could not be told: this machine is too "
        "busy to read one in time"
    )


async def _long_reply(subject: Subject) -> tuple[Exchange, bool]:
    """A streamed reply, and whether this process was there to read it while it came.

    A busy machine may leave a process waiting for seconds, after which all that has come in the
    meantime is read at once, just as if a proxy had held it back.
    """
    clock = [anyio.current_time()]
    made: list[Exchange] = []
    failures: list[AgentKitError] = []

    async def watch() -> None:
        while True:
            await anyio.sleep(_TICK)
            clock.append(anyio.current_time())

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        try:
            made.append(
                await subject.ask(
                    "Count from one to a thousand, in words.",
                    stream=True,
                    max_tokens=_LONG_REPLY,
                    extra=subject.at_least(_LONG_REPLY),
                )
            )
        except AgentKitError as error:  # a task group would wrap it
            failures.append(error)
        group.cancel_scope.cancel()
    if failures:
        raise failures[0]
    clock.append(anyio.current_time())
    asleep = max(after - before for before, after in pairwise(clock))
    took = made[0].arrivals[-1] if made[0].arrivals else 0.0
    return made[0], asleep < max(took / 2, _DOZE)


def _in_one_burst(asked: Exchange) -> bool:
    tokens = asked.response.usage.output_tokens
    if len(asked.arrivals) < 2:
        return tokens >= _LONG_REPLY
    return tokens >= _LONG_REPLY and asked.arrivals[-1] - asked.arrivals[0] < tokens * _FASTEST


async def prefix_cache(subject: Subject) -> Finding:
    """The second of two equal prompts must come from the cache, and the reply must say so."""
    words = min(600, (subject.window or 4096) // 8)
    text = f"{secrets.token_hex(8)} " + "the quick brown fox " * (words // 4)
    first, second = [await subject.ask(text, max_tokens=1) for _ in range(2)]
    details = second.usage.get("prompt_tokens_details")
    if not details:
        says = "replies do not say how much of a prompt came from the cache"
        if not subject.is_vllm:
            return warned(says)
        return failed(says, "--enable-prompt-tokens-details")
    cached = second.response.usage.cached_input_tokens
    if not cached:
        return failed(
            f"of a prompt of {second.response.usage.input_tokens} tokens that was just read, none "
            "came from the cache: each step will read the whole history again",
            "--enable-prefix-caching (on by default: look for --no-enable-prefix-caching)",
        )
    before = first.response.usage.cached_input_tokens
    return passed(
        f"{cached} of {second.response.usage.input_tokens} tokens cached, {before} before"
    )


async def own_ends(subject: Subject) -> Finding:
    """The server's own list of ends must be the checkpoint's: with it comes its sampling."""
    if subject.is_gemma is False:
        return passed("not asked: the model is no Gemma 4")
    asked = await subject.talk(
        [UserMessage("Say hello.")],
        max_tokens=4,
        extra=bias(RESPONSE_OPEN),
        without=("stop_token_ids",),
    )
    began = asked.reply.token_ids[:1] == [IDS[RESPONSE_OPEN]]
    produced = asked.response.usage.output_tokens or len(asked.reply.token_ids)
    if not began or produced == 1:
        return passed("the server has the checkpoint's own generation settings")
    return failed(
        "the server does not read the checkpoint's generation_config.json: requests that set no "
        "sampling get another one than Gemma's (temperature 1, top-p 0.95, top-k 64), and replies "
        "of clients that send no stop tokens run on after a call",
        "--generation-config auto, and no --override-generation-config",
    )


async def stop_tokens(subject: Subject) -> Finding:
    """Each of the three tokens that end a reply must end it."""
    if subject.is_gemma is False:
        return passed("not asked: the model is no Gemma 4")
    runs_on: list[str] = []
    unsure: list[str] = []
    for literal in (TURN_CLOSE, RESPONSE_OPEN, EOS):
        asked = await subject.ask("Say hello.", max_tokens=4, extra=bias(literal))
        produced = asked.response.usage.output_tokens or len(asked.reply.token_ids)
        if produced == 1 and asked.response.finish_reason != "length":
            continue
        began = asked.reply.token_ids[:1]
        (runs_on if began == [IDS[literal]] else unsure).append(literal)
    if runs_on:
        return failed(
            f"replies run on after {', '.join(runs_on)}",
            "serve without --override-generation-config, which forgets them (vllm#45591), and "
            "no proxy may drop `stop_token_ids` or add `ignore_eos`",
        )
    if unsure:
        return warned(
            f"could not be told of {', '.join(unsure)}: no such token came when asked for"
        )
    return passed("replies end at <turn|>, <|tool_response> and <eos>")
