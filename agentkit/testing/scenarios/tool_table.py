"""Scenarios in which tools misbehave, a person says no, or somebody ends the run."""

from __future__ import annotations

from typing import Final

from agentkit.models import Timeouts
from agentkit.policy import Limits
from agentkit.testing.faults import damaged
from agentkit.testing.scenarios.scenario import Scenario, answers, fails, stops
from agentkit.testing.scenarios.world import SUM
from agentkit.testing.scripted import call, calls, say

_SHORT: Final = Timeouts(connect=5, first_event=0.5, idle=0.5, total=4, retry=4)
"""Clocks of a run that meets nothing but silence."""

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
