"""Probes of the way there and back: a request's settings must be obeyed, and replies must come back
whole, streamed in time, with the prompt from the prefix cache, and end where they should.

Gateways drop fields that they do not know, change what they find too long, and hold streams back,
all without an error.
"""

from __future__ import annotations

import re
import secrets
from collections import Counter
from itertools import pairwise

import anyio

from agentkit.errors import ModelStatusError
from agentkit.gemma4.tokens import (
    CALL_CLOSE,
    CALL_OPEN,
    EOS,
    IDS,
    QUOTE,
    RESPONSE_OPEN,
    STOP_LITERALS,
    TURN_CLOSE,
)
from agentkit.messages import JsonObject
from agentkit.serving.doctor.arrival import NOT_COUNTED
from agentkit.serving.doctor.subject import (
    CITY,
    FORCED,
    LONG_TASK,
    NATIVE_BIAS,
    NO_GEMMA,
    PROXY,
    REPORT,
    Exchange,
    Finding,
    Subject,
    bias,
    failed,
    passed,
    warned,
)


async def thinking_switch(subject: Subject) -> Finding:
    """Whether thinking on and off make different prompts."""
    if subject.is_gemma is False:
        return passed("not asked: thinking of other models is left to the server")
    off, on = [
        (await subject.ask("Hello.", max_tokens=1, thinking=thinking)).response.usage.input_tokens
        for thinking in (False, True)
    ]
    if not (off and on):
        return warned(NOT_COUNTED)
    if off != on:
        return passed("thinking can be switched on and off")
    return failed(
        "thinking cannot be switched: `chat_template_kwargs` is dropped on the way, or the chat "
        "template does not read `enable_thinking`. A forced call waits for reasoning that no one "
        "asked for, and agents think always or never",
        f"{PROXY}; or --chat-template FILE with the newest of google/gemma-4-*-it",
    )


_LONG = 520
"""Tokens of a reply that exceeds the default limits of gateways (256 and 512 were seen)."""

_LONGEST = 8192
"""Most tokens that an agent asks for where nobody says otherwise."""


async def reply_length(subject: Subject) -> Finding:
    """Whether a reply may be as long as the request says, and no longer."""
    if subject.is_vllm and (found := await _bounds(subject)) is not None:
        return found
    wanted = max(min(_LONG, (subject.window or 4096) // 4), _FEW)
    asked = await subject.ask(
        LONG_TASK,
        max_tokens=wanted,
        stream=True,
        extra=subject.at_least(wanted),
    )
    produced = asked.produced
    if not produced or produced >= wanted or asked.reply.finish != "length":
        return passed("replies are as long as they may be")
    return _too_short(wanted, produced)


def _too_short(wanted: int, produced: int) -> Finding:
    return failed(
        f"a reply that may have {wanted} tokens is cut after {produced}: long answers, reasoning "
        "and calls never come to their end",
        f"{PROXY}: no bound on `max_tokens`; no `max_new_tokens` in --override-generation-config",
    )


_FEW = 4  # tokens


async def _bounds(subject: Subject) -> Finding | None:
    """What is wrong with the bound that arrives, by vLLM's words; None if nothing is."""
    passed_on, produced = await _bound(subject, _FEW)
    if produced > _FEW:
        return failed(
            f"a reply that may have {_FEW} tokens has {produced}: what a run costs has no bound",
            f"{PROXY}: `max_tokens` too",
        )
    if passed_on is None:  # `min_tokens` does not arrive, so nothing can be told by it
        return None
    most = max(min(_LONGEST, (subject.window or 4096) // 2), _FEW)
    passed_on, _ = await _bound(subject, most)
    return _too_short(most, passed_on) if passed_on is not None and passed_on < most else None


async def _bound(subject: Subject, most: int) -> tuple[int | None, int]:
    """What `max_tokens` comes to on the way, and how many tokens came: vLLM refuses a reply that
    must be longer than it may be, and names the bound.
    """
    try:
        asked = await subject.ask("Hello.", max_tokens=most, extra=subject.at_least(most + 1))
    except ModelStatusError as error:
        named = _NAMED_BOUND.search(str(error))
        return None if named is None else int(named[1]), 0
    return None, asked.produced


_NAMED_BOUND = re.compile(r"less than or equal to max_tokens=(\d{1,9})\b")
"""vLLM 0.32, `sampling_params.py`."""


async def _two_calls(subject: Subject, *, stream: bool) -> Exchange | None:
    """A reply of two calls in control tokens; None if the model does not make one.

    The grammar holds the model to the text of the calls, which leaves it free to spell a control
    token in letters. Random weights sometimes do, and then the reply says nothing about the parser.
    """
    for city in (CITY, "Oslo", "Lima", "Cairo", "Quito"):
        one = f"{CALL_OPEN}call:{REPORT.name}{{city:{QUOTE}{city}{QUOTE}}}{CALL_CLOSE}"
        held = {"structured_outputs": {"choice": [one + one]}, **NATIVE_BIAS}
        asked = await subject.ask(tools=(REPORT,), stream=stream, max_tokens=128, extra=held)
        made = Counter(asked.reply.token_ids)
        if not made or [made[IDS[token]] for token in (CALL_OPEN, QUOTE, CALL_CLOSE)] == [2, 4, 2]:
            return asked
    return None


async def several_calls(subject: Subject) -> Finding:
    """Whether all calls of a reply come back."""
    if not subject.grammar or not subject.reads_calls:
        return passed("not asked: two calls can be made certain by a grammar and a parser only")
    came = {}
    for stream in (False, True):
        asked = await _two_calls(subject, stream=stream)
        if asked is None:
            return warned("could not be told: the model was held to two calls and made others")
        came["streamed" if stream else "whole"] = len(asked.calls)
    if set(came.values()) == {2}:
        return passed("several calls of one reply all come back")
    said = ", ".join(f"{way} {count}" for way, count in came.items())
    return failed(
        f"of two calls in one reply not both come back ({said}): what was asked for is not done",
        f"{PROXY}: no `parallel_tool_calls`, no cutting of `tool_calls`",
    )


_LARGE, _LARGEST = 262_144, 4_194_304
"""Bytes: a conversation with some files in it. nginx takes 1 MiB by default, others 64 KiB."""

_BYTES_A_TOKEN = 9
"""Of text in a script with three bytes a character, of which a token has three."""


async def large_requests(subject: Subject) -> Finding:
    """Whether a request may be as large as a conversation that fills the window."""
    size = max(_LARGE, min(_BYTES_A_TOKEN * (subject.window or 0), _LARGEST))
    refusal = await subject.refusal_of_size(size)
    if refusal is None:
        return passed(f"requests of {size // 1024} KiB are taken")
    return failed(
        f"a request of {size // 1024} KiB is refused, whatever it says: runs die as soon as they "
        f"have read some files ({refusal})",
        "raise the limit in the proxy before the server (nginx: client_max_body_size)",
    )


# --- the way back --------------------------------------------------------------------------------


_LONG_REPLY, _LONGEST_REPLY = 48, 384
"""Tokens. A process that was not scheduled during a short reply reads a part of a long one."""

_TRIES = 12  # only a busy machine needs more than three
_BURSTS = 3
"""So many bursts while this process was awake are not caused by a busy machine."""

_TICK, _DOZE = 0.005, 0.02
"""Seconds between two looks at the clock, and the longest pause that still counts as awake."""

_FASTEST = 0.0003
"""Seconds a token: no Gemma 4 on any GPU decodes faster, so tokens that come closer together were
held back somewhere."""


async def streaming(subject: Subject) -> Finding:
    """Whether a streamed reply equals the whole one, and comes as it is produced."""
    if subject.grammar:
        whole, streamed = [
            await subject.ask(tools=(REPORT,), choice=FORCED, stream=s, extra=NATIVE_BIAS)
            for s in (False, True)
        ]
        leaked = CALL_OPEN in streamed.text
        if whole.calls and (whole.calls != streamed.calls or leaked):
            return failed(
                f"a call comes whole as {whole.calls}, streamed as {streamed.calls} "
                f"beside the text {streamed.text!r}",
                "take a vLLM whose parser streams right, or VLLMModel(..., stream=False)",
            )
    bursts, length = 0, _LONG_REPLY
    for _ in range(_TRIES):
        long, awake = await _long_reply(subject, length)
        if not long.usage:
            return failed(
                "streams come without usage: tokens cannot be counted, limits cannot hold",
                "no proxy may drop `stream_options` from requests or the last event from streams",
            )
        if not _in_one_burst(long, length):
            return passed("streamed replies equal whole ones, and come as they are produced")
        bursts += awake
        if not awake:
            most = min(_LONGEST_REPLY, (subject.window or 0) // 4)
            length = max(length, min(2 * length, most))
        if bursts == _BURSTS:
            return failed(
                "a streamed reply comes all at once, at its end: something holds it back",
                "switch off buffering in the proxy before the server (nginx: proxy_buffering off)",
            )
    return warned(
        "whether a streamed reply comes as it is produced could not be told: this machine is too "
        "busy to read one in time"
    )


async def _long_reply(subject: Subject, length: int) -> tuple[Exchange, bool]:
    """A streamed reply of so many tokens, and whether this process was awake while it came.

    A busy machine may not schedule a process for seconds. All that came in the meantime is then
    read at once, just as if a proxy had held it back.
    """
    clock = [anyio.current_time()]
    made: list[Exchange] = []
    failures: list[Exception] = []

    async def watch() -> None:
        while True:
            await anyio.sleep(_TICK)
            clock.append(anyio.current_time())

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        try:
            made.append(
                await subject.ask(
                    LONG_TASK,
                    stream=True,
                    max_tokens=length,
                    extra=subject.at_least(length),
                )
            )
        except Exception as error:  # noqa: BLE001 - raised below: a task group would wrap it
            failures.append(error)
        group.cancel_scope.cancel()
    if failures:
        raise failures[0]
    clock.append(anyio.current_time())
    asleep = max(after - before for before, after in pairwise(clock))
    took = made[0].arrivals[-1] if made[0].arrivals else 0.0
    return made[0], asleep < max(took / 2, _DOZE)


def _in_one_burst(asked: Exchange, length: int) -> bool:
    tokens = asked.response.usage.output_tokens
    if len(asked.arrivals) < 2:
        return tokens >= length
    return tokens >= length and asked.arrivals[-1] - asked.arrivals[0] < tokens * _FASTEST


async def prefix_cache(subject: Subject) -> Finding:
    """Whether the second of two equal prompts comes from the cache, and the reply says so."""
    words = min(600, (subject.window or 4096) // 8)
    text = f"{secrets.token_hex(8)} " + "the quick brown fox " * (words // 4)
    first, second = [await subject.ask(text, max_tokens=1) for _ in range(2)]
    if first.id and first.id == second.id:
        return failed(
            "the same request brings the very same reply again: a second try of an agent, and the "
            "next trial of a measurement, is no other one",
            f"{PROXY}: no cache of replies before vLLM's own of prompts",
        )
    details = second.usage.get("prompt_tokens_details")
    if not details:
        says = "replies do not say how much of a prompt came from the cache"
        if not subject.is_vllm:
            return warned(says)
        return failed(says, "--enable-prompt-tokens-details")
    cached, counted = second.response.usage.cached_input_tokens, second.response.usage.input_tokens
    if counted < words:  # less than one block of the cache may be left; `arrival` says what is cut
        return passed(f"could not be told: of {words} words {counted} tokens reached the model")
    if not cached:
        return failed(
            f"of a prompt of {counted} tokens that was just read, none "
            "came from the cache: each step will read the whole history again",
            "--enable-prefix-caching (on by default: look for --no-enable-prefix-caching)",
        )
    before = first.response.usage.cached_input_tokens
    return passed(f"{cached} of {counted} tokens cached, {before} before")


_AUTO = "--generation-config auto, and no --override-generation-config"


async def own_settings(subject: Subject) -> Finding:
    """Whether the server uses the checkpoint's own stop tokens and sampling."""
    if subject.is_gemma is False:
        return passed(NO_GEMMA)
    asked = await subject.ask(
        "Say hello.",
        max_tokens=4,
        extra=bias(RESPONSE_OPEN),
        without=("stop_token_ids",),
    )
    began = asked.reply.token_ids[:1] == [IDS[RESPONSE_OPEN]]
    if began and asked.produced != 1:
        return failed(
            "the server does not read the checkpoint's generation_config.json: requests that set "
            "no sampling get another one than Gemma's (temperature 1, top-p 0.95, top-k 64), and "
            "replies of clients that send no stop tokens run on after a call",
            _AUTO,
        )
    subject.balance = await _balanced(subject) if subject.is_vllm else None
    if subject.balance is not None:
        if await _draws(subject, _RARER):
            return failed(
                "requests that set no sampling get another one than Gemma's (temperature 1, top-p "
                "0.95, top-k 64): tokens are drawn that it cuts off as too unlikely, and one of "
                "them is enough to spoil a call",
                _AUTO,
            )
        # The demonstration checkpoint has a sampling of its own.
        if subject.profile.name != "tiny" and not await _draws(subject, _RARE):
            return warned(
                "requests that set no sampling get a narrower one than Gemma's (temperature 1, "
                "top-p 0.95, top-k 64): a second try is the same as the first",
                _AUTO,
            )
    return passed("the server has the checkpoint's own generation settings")


_SPAN, _BIAS, _HALVINGS = 50.0, 50.0, 9
"""Two tokens with that bias are the only ones that are drawn. Their logits differ by less than the
span, and nine halvings of it find the difference to within 0.2."""

_RARER, _RARE = 3.1, 2.0
"""A logit lower by so much (3.3 at most) makes a probability of 0.036 to 0.043. Such a token is not
drawn under top-p 0.95; without it, all the draws miss it once in a thousand times. One that is
lower by 2.0 (2.2 at most) has 0.1 or more, and is hardly ever missed; at a temperature of 0.1 it
never comes."""

_DRAWS, _COLD = 192, 0.1


async def _draws(subject: Subject, lower: float, temperature: float | None = None) -> bool:
    """Whether a token is drawn whose logit is so much lower than that of the only other one."""
    common, rare = IDS[TURN_CLOSE], IDS[EOS]
    biases = {common: _BIAS, rare: _BIAS + (subject.balance or 0.0) - lower}
    return rare in await subject.drawn(biases, _DRAWS, temperature)


async def _balanced(subject: Subject) -> float | None:
    """The bias by which two tokens become equally likely, or a little less; None if none does."""
    common, rare = IDS[TURN_CLOSE], IDS[EOS]
    low, high = -_SPAN, _SPAN
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        likeliest = await subject.likeliest({common: _BIAS, rare: _BIAS + middle})
        if likeliest == rare:
            high = middle
        elif likeliest == common:
            low = middle
        else:
            return None
    return None if low == -_SPAN else low


_SAID = "ready, steady, **go** <b>now</b> — jane.doe@example.com"


def _saying(subject: Subject) -> JsonObject | None:
    """Fields that hold a reply to one text; None where nothing does."""
    return {"structured_outputs": {"choice": [_SAID]}} if subject.grammar else None


async def settings(subject: Subject) -> Finding:
    """Whether a request's temperature and stop texts are obeyed."""
    ignored: list[str] = []
    if subject.balance is not None and await _draws(subject, _RARE, _COLD):
        ignored.append("`temperature`")
    if (held := _saying(subject)) is not None:
        asked = await subject.ask("Say it.", extra={**held, "stop": ["steady"]})
        if "steady" in asked.text:
            ignored.append("`stop`")
    if ignored:
        return failed(f"{' and '.join(ignored)} of a request is not obeyed", PROXY)
    return passed("a request's own settings are obeyed, as far as can be seen")


async def texts(subject: Subject) -> Finding:
    """Whether the text of a reply is what the model wrote, whole and streamed: the one text that a
    grammar allows, and what the model's own tokens say.
    """
    compared = 0
    for stream in (False, True):
        pairs: list[tuple[str, str]] = []
        if (held := _saying(subject)) is not None:
            asked = await subject.ask("Say it.", stream=stream, max_tokens=256, extra=held)
            pairs.append((_before_run_on(asked.text), _SAID))
        asked = await subject.ask(
            LONG_TASK,
            stream=stream,
            max_tokens=_LONG_REPLY,
            extra=subject.at_least(_LONG_REPLY),
        )
        words = _END.split(await subject.words(asked) or "", maxsplit=1)[0]
        # A control token is no text, and bytes that are none are spelled in more than one way.
        if words and not asked.reasoning and not {"<", "\ufffd"} & set(words[:-1]):
            pairs.append((_before_run_on(asked.text), words))
        for text, written in pairs:
            compared += 1
            if text.strip(_AT_THE_EDGE) != written.strip(_AT_THE_EDGE):
                way = "streamed" if stream else "whole"
                return failed(
                    f"the text of a {way} reply is not what the model wrote: {text[-100:]!r} came, "
                    f"and it wrote {written[-100:]!r}",
                    f"{PROXY}: no filter of what is said, and every piece of a stream",
                )
    if not compared:
        return passed("could not be told: replies bring no tokens to compare their text with")
    return passed("texts come back as the model wrote them")


def _before_run_on(text: str) -> str:
    """A reply's text without what a server lets the model write behind its end, which another probe
    names. A stop token at the very end stays: the server should have taken it out.
    """
    end = _END.search(text)
    return text[: end.start()] if end is not None and end.end() < len(text) else text


_END = re.compile("|".join(map(re.escape, STOP_LITERALS)))
_AT_THE_EDGE = "\ufffd \n"
"""Blanks, which a reasoning parser may take, and half a character where a reply was cut."""


async def stop_tokens(subject: Subject) -> Finding:
    """Whether each of the three stop tokens ends a reply."""
    if subject.is_gemma is False:
        return passed(NO_GEMMA)
    runs_on: list[str] = []
    unsure: list[str] = []
    for literal in (TURN_CLOSE, RESPONSE_OPEN, EOS):
        asked = await subject.ask("Say hello.", max_tokens=4, extra=bias(literal))
        produced = asked.produced
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
