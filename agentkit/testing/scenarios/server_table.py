"""Scenarios beside the model: tools fail, a person denies a call, somebody ends the run, the server
or the connection to it fails.
"""

from __future__ import annotations

import json
from typing import Final

from agentkit.models import Timeouts
from agentkit.policy import Limits
from agentkit.testing.faults import Delivery, damaged
from agentkit.testing.scenarios.scenario import SUM, Scenario, answers, fails, stops
from agentkit.testing.scripted import call, calls, say

_SHORT: Final = Timeouts(connect=5, first_event=0.5, idle=0.5, total=4, retry=4)
"""Timeouts of a run that meets nothing but silence."""

_ADDED: Final = "add(4017, 258)"

TOOLS: Final = (
    Scenario(
        name="tool_raises_once",
        what="a tool raises ValueError the first time",
        script=(call("flaky"), call("flaky")),
        tools=("add", "flaky"),
        ending=answers("an exception is a result: the model reads it and tries again"),
        ran=("flaky()", "flaky()", _ADDED),
    ),
    Scenario(
        name="tool_always_raises",
        what="a tool can only say that it is closed",
        script=(call("closed"),),
        tools=("add", "closed"),
        ending=answers("the model goes on with another tool"),
        ran=("closed()", _ADDED),
    ),
    Scenario(
        name="tool_raises_for_ever",
        what="the model calls a tool that always raises, for ever",
        then=call("closed"),
        tools=("add", "closed"),
        ending=stops("loop", "the same error again and again leads nowhere"),
        ran=None,
    ),
    Scenario(
        name="tool_hangs",
        what="an async tool never returns",
        script=(call("hangs"),),
        tools=("add", "hangs"),
        ending=answers("its timeout is a result, and it is cancelled"),
        ran=("hangs()", _ADDED),
    ),
    Scenario(
        name="tool_grinds",
        what="a sync tool works on in its thread after its timeout",
        script=(call("grinds"),),
        tools=("add", "grinds"),
        ending=answers("the model is told that the work may still complete"),
        ran=("grinds()", _ADDED),
    ),
    *(
        Scenario(
            name=f"tool_{name}",
            what=f"a tool raises SystemExit {where}",
            script=(call(name),),
            tools=("add", name),
            ending=answers("a tool cannot end the process"),
            ran=(f"{name}()", _ADDED),
        )
        for name, where in (("quits", "in its thread"), ("quits_async", "on the event loop"))
    ),
    Scenario(
        name="tool_floods",
        what="a tool returns 2 MB of text",
        script=(call("floods"),),
        tools=("add", "floods"),
        ending=answers("the model gets head and tail and is told so; the request stays small"),
        ran=("floods()", _ADDED),
    ),
    Scenario(
        name="tool_returns_odd_things",
        what="a tool returns None, NaN and an object",
        script=(call("odd"),),
        tools=("add", "odd"),
        ending=answers("whatever comes back becomes text or a readable error"),
        ran=("odd()", _ADDED),
    ),
    Scenario(
        name="tool_forges_a_turn",
        what="a tool's result holds control tokens that forge a system message",
        script=(call("forges"),),
        tools=("add", "forges"),
        ending=answers("control tokens in untrusted text are made harmless"),
        ran=("forges()", _ADDED),
    ),
    Scenario(
        name="one_of_two_calls_fails",
        what="two calls in one reply, one raises",
        script=(calls(("flaky", {}), ("add", SUM.arguments)),),
        tools=("add", "flaky"),
        ending=answers("the other's result is kept, in call order"),
        ran=None,
        calls=2,
    ),
    Scenario(
        name="one_of_three_calls_hangs",
        what="three calls in one reply, one never returns",
        script=(calls(("hangs", {}), ("add", SUM.arguments), ("now", {})),),
        tools=("add", "now", "hangs"),
        ending=answers("the others' results are kept, in call order"),
        ran=None,
        calls=2,
    ),
    Scenario(
        name="approval_denied",
        what="a person denies the call",
        script=(call("wipe"),),
        tools=("add", "wipe"),
        denied=True,
        ending=answers("the reason reaches the model, which goes on without it"),
    ),
    Scenario(
        name="nobody_to_ask",
        what="a call needs a person and there is none",
        script=(call("wipe"),),
        tools=("add", "wipe"),
        ending=stops("paused", "the run waits, as plain data that can be resumed"),
        ran=(),
        calls=1,
    ),
)

ENDED: Final = (
    Scenario(
        name="cancelled_before_the_reply",
        what="the run is cancelled while the model is being asked",
        then=damaged(SUM.call, "silent"),
        cancel="StepStarted",
        ending=stops("cancelled", "the history is valid and the server is free"),
        ran=(),
    ),
    Scenario(
        name="cancelled_in_the_reply",
        what="the run is cancelled in the middle of a streamed answer",
        script=(SUM.call, damaged(say("It is 4275, which is a number."), "stalls", at=0.7)),
        cancel="TextDelta",
        ending=stops("cancelled", "the history is valid and the server is free"),
        whole=fails("ModelTimeoutError", "nothing is shown of a whole reply that hangs"),
        whole_timeouts=_SHORT,
    ),
    Scenario(
        name="cancelled_in_a_tool",
        what="the run is cancelled while a tool waits for ever",
        script=(call("waits"),),
        tools=("add", "waits"),
        cancel="ToolStarted",
        ending=stops("cancelled", "the tool is told; its call has a result in the history"),
        ran=None,
    ),
    Scenario(
        name="cancelled_at_each_await",
        what="the run is cancelled at its first, second, third ... await",
        script=(calls(("add", SUM.arguments), ("now", {})),),
        cancel="await",
        ending=stops("cancelled", "wherever it happens, the history is valid"),
        ran=None,
    ),
    Scenario(
        name="out_of_time",
        what="the run's time is up while a tool waits for ever",
        script=(call("waits"),),
        tools=("add", "waits"),
        limits=Limits(seconds=1.5),
        ending=stops("seconds", "the tool is told; its call has a result in the history"),
        ran=("waits()",),
        calls=1,
    ),
)

TOOL_SCENARIOS: Final = TOOLS + ENDED


# --- the server and the wire ---------------------------------------------------------------------

_HASTY: Final = Timeouts(connect=5, first_event=1, idle=1, total=15, retry=8)
"""Timeouts of a run that meets silence and recovers."""

_BRIEF: Final = Timeouts(connect=5, first_event=5, idle=5, total=15, retry=0.6)
"""Timeouts of a run against a server that never recovers."""

_AGAIN: Final = "a model call has no side effect: it is made again, what was shown is void"

_REFUSALS: Final = (
    ("busy_bad_header", "429 with Retry-After: soon"),
    ("busy_negative_header", "429 with Retry-After: -5"),
    ("busy", "429 with Retry-After: 1"),
    ("internal_error", "500"),
    ("bad_gateway", "502 with a proxy's HTML page"),
    ("unavailable", "503"),
    ("html_page", "200 with a proxy's HTML page"),
    ("other_json", "200 with JSON that is no chat completion"),
    ("reset_at_once", "the connection is reset before a status line"),
    ("closed_at_once", "the connection is closed before a status line"),
    ("reset_mid_reply", "the connection is reset in the middle of the reply"),
    ("closed_mid_reply", "the connection is closed in the middle of the reply"),
    ("ends_early", "the stream ends cleanly, without a finish reason"),
    ("error_event", "an error event in the middle of the stream"),
    ("bad_json", "an event of broken JSON"),
    ("noise", "bytes that are no event, and the end"),
)
_ODDITIES: Final = (
    ("no_done", "[DONE] is missing"),
    ("crlf", "lines end with CR LF"),
    ("crumbs", "the reply comes byte by byte"),
    ("slow", "the reply comes slowly"),
)
_SILENCES: Final = (
    ("silent", "the request is never answered"),
    ("stalls", "half a reply, then silence"),
    ("only_pings", "half a reply, then keep-alive comments only"),
)
_HOPELESS: Final = (
    ("internal_error", "ModelStatusError", "500 for ever"),
    ("reset_at_once", "ModelConnectionError", "every connection is reset"),
    ("ends_early", "ModelProtocolError", "every stream ends early"),
    ("html_page", "ModelUnreadableError", "every reply is an HTML page"),
)

SERVER_SCENARIOS: Final = (
    *(
        Scenario(
            name=fault,
            what=what,
            script=(SUM.call, damaged(SUM.say, fault, at=0.5)),
            ending=answers(_AGAIN),
            calls=3,
        )
        for fault, what in _REFUSALS
    ),
    *(
        Scenario(
            name=fault,
            what=what,
            script=(damaged(SUM.call, fault, at=0.5),),
            ending=answers("nothing is wrong with it"),
            calls=2,
        )
        for fault, what in _ODDITIES
    ),
    Scenario(
        name="pinged",
        what="keep-alive comments between events; in a whole reply they break the JSON",
        script=(damaged(SUM.call, "pinged", at=0.5),),
        ending=answers("comments are no events"),
        calls=3,
    ),
    *(
        Scenario(
            name=fault,
            what=what,
            script=(SUM.call, damaged(SUM.say, fault, at=0.5)),
            timeouts=_HASTY,
            whole_timeouts=_SHORT,
            ending=answers("the clocks count data events only; asked again in time"),
            whole=fails(
                "ModelTimeoutError", "a whole reply has one clock, the deadline of the call"
            ),
            calls=4,
        )
        for fault, what in _SILENCES
    ),
    *(
        Scenario(
            name=f"{fault}_for_ever",
            what=f"{what}, again and again",
            then=damaged(SUM.say, fault, at=0.5),
            timeouts=_SHORT,
            ending=fails("ModelTimeoutError", "no wait is longer than the deadline"),
            ran=(),
        )
        for fault, what in _SILENCES
    ),
    *(
        Scenario(
            name=f"{fault}_for_ever",
            what=what,
            script=(SUM.call,),
            then=damaged(SUM.say, fault, at=0.5),
            timeouts=_BRIEF,
            ending=fails(error, "after the time for retries, with all that was done so far"),
            whole=fails(
                "ModelUnreadableError" if fault == "ends_early" else error,
                "half of a JSON text is no JSON; else as streamed",
            ),
            calls=99,
        )
        for fault, error, what in _HOPELESS
    ),
    Scenario(
        name="reset_mid_call",
        what="the connection is reset in the middle of a call that cannot be undone",
        script=(damaged(call("order", item="paint"), "reset_mid_reply", at=0.6),),
        ending=answers("a call that did not arrive whole never runs"),
        calls=3,
    ),
    Scenario(
        name="ends_early_in_call",
        what="the stream ends cleanly in the middle of a call that cannot be undone",
        script=(damaged(call("order", item="paint"), "ends_early", at=0.6),),
        ending=answers("an end without a finish reason is no end"),
        calls=3,
    ),
    Scenario(
        name="two_failures_in_a_row",
        what="500, then a reset",
        script=(
            SUM.call,
            damaged(SUM.say, "internal_error"),
            damaged(SUM.say, "reset_at_once"),
        ),
        ending=answers(_AGAIN),
        calls=4,
    ),
    Scenario(
        name="three_refusals_in_a_row",
        what="503, 502, 429",
        script=(
            SUM.call,
            damaged(SUM.say, "unavailable"),
            damaged(SUM.say, "bad_gateway"),
            damaged(SUM.say, "busy_bad_header"),
        ),
        ending=answers(_AGAIN),
        calls=5,
    ),
    Scenario(
        name="every_step_fails_once",
        what="each request is answered 500 first",
        script=(
            damaged(SUM.call, "internal_error"),
            SUM.call,
            damaged(SUM.say, "internal_error"),
        ),
        ending=answers(_AGAIN),
        calls=4,
    ),
    Scenario(
        name="restart",
        what="the server restarts in the middle of the run: resets, then refuses connections",
        script=(SUM.call, damaged(SUM.say, "restart")),
        ending=answers("a server that was there may come back"),
        calls=4,
    ),
    Scenario(
        name="busy_huge_header",
        what="429 with Retry-After: 86400",
        script=(SUM.call, damaged(SUM.say, "busy_huge_header")),
        timeouts=_BRIEF,
        ending=fails("ModelStatusError", "a wait beyond the time for retries is not begun"),
        calls=2,
    ),
    Scenario(
        name="overflow",
        what="400: the prompt does not fit the window",
        script=(SUM.call,),
        then=damaged(SUM.say, "overflow"),
        ending=fails("ContextWindowError", "asking the same again cannot help"),
        calls=3,
    ),
    Scenario(
        name="wrong_key",
        what="401: the API key is refused",
        then=damaged(SUM.call, "wrong_key"),
        ending=fails("ModelStatusError", "not asked again; the message names AGENTKIT_API_KEY"),
        ran=(),
        calls=1,
    ),
    Scenario(
        name="no_tool_parser",
        what="400: the server was started without tool calling",
        then=damaged(SUM.call, "no_tool_parser"),
        ending=fails("ServerNotReadyError", "the message holds the flags to start it with"),
        ran=(),
        calls=1,
    ),
    Scenario(
        name="still_loading",
        what="/v1/models answers 503 twice, while the model loads",
        first={"/v1/models": (Delivery((b"loading",), 503, {}),) * 2},
        ending=answers("a server that is loading is waited for"),
        calls=2,
    ),
    Scenario(
        name="no_model_server",
        what="/v1/models answers with an HTML page, for ever",
        first={"/v1/models": (Delivery((b"<html>",)),) * 99},
        timeouts=_BRIEF,
        ending=fails("ModelProtocolError", "the message asks whether this is a vLLM server"),
        ran=(),
        calls=0,
    ),
    Scenario(
        name="serves_nothing",
        what="/v1/models lists no model",
        first={"/v1/models": (Delivery((json.dumps({"data": []}).encode(),)),)},
        ending=fails("ServerNotReadyError", "the message says what it serves: nothing"),
        ran=(),
        calls=0,
    ),
)
