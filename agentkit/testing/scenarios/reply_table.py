"""Scenarios in which replies are cut, empty or endless, or the model goes in circles."""

from __future__ import annotations

from typing import Final

from agentkit.policy import Limits
from agentkit.testing.faults import damaged
from agentkit.testing.scenarios.scenario import Scenario, answers, stops
from agentkit.testing.scenarios.world import CLOCK, ORDER, SUM
from agentkit.testing.scripted import Reply, call, calls

_ORDERED: Final = ("order(light blue paint, 3)",)

_CUTS: Final = (
    ("cut_in_name", "max_tokens runs out in a call's name"),
    ("cut_in_key", "... in the name of an argument"),
    ("cut_in_string", "... in a string, and the call looks whole"),
    ("cut_json", "... with the arguments left open"),
    ("cut_but_says_tool_calls", "... in a string, and the server says `tool_calls`"),
)

CUTS: Final = (
    *(
        Scenario(
            name=fault,
            what=what,
            script=(damaged(ORDER.call, fault),),
            errand=ORDER,
            ending=answers("the cut call never runs; a second try has room"),
            ran=_ORDERED,
            calls=3,
        )
        for fault, what in _CUTS
    ),
    Scenario(
        name="cut_second_of_two_calls",
        what="max_tokens runs out in the second of two calls",
        script=(damaged(calls(("now", {}), ("order", ORDER.arguments)), "cut_in_string"),),
        errand=ORDER,
        ending=answers("nothing of a cut reply runs"),
        ran=_ORDERED,
        calls=3,
    ),
    *(
        Scenario(
            name=fault,
            what=what,
            script=(SUM.call, damaged(SUM.say, fault)),
            ending=answers("asked again with more room or without a thought"),
            calls=3,
        )
        for fault, what in (
            ("cut_in_text", "max_tokens runs out in the answer"),
            ("cut_in_thought", "max_tokens runs out in the thought"),
            ("cut_but_says_stop", "the answer is cut and the server says `stop`"),
            ("whole_but_says_length", "a whole answer, and the server says `length`"),
            ("says_tool_calls_without_calls", "plain text, and the server says `tool_calls`"),
            ("repetition", "the server ends a reply that repeats itself"),
        )
    ),
    Scenario(
        name="says_stop_with_calls",
        what="a call, and the server says `stop`",
        script=(damaged(SUM.call, "says_stop_with_calls"),),
        ending=answers("a call is a call"),
        calls=2,
    ),
    Scenario(
        name="cut_for_ever",
        what="every answer is cut, however much room there is",
        script=(SUM.call,),
        then=damaged(SUM.say, "cut_in_text"),
        ending=stops("truncated", "a cut answer is never given out as complete"),
        calls=3,
    ),
    Scenario(
        name="cut_calls_for_ever",
        what="every call is cut, however much room there is",
        then=damaged(ORDER.call, "cut_in_string"),
        errand=ORDER,
        ending=stops("truncated", "a cut call never runs"),
        ran=(),
        calls=2,
    ),
    Scenario(
        name="repetition_for_ever",
        what="every reply repeats itself without end",
        then=damaged(SUM.say, "repetition"),
        ending=stops("loop", "the second try changes thinking and temperature; no third"),
        ran=(),
        calls=2,
    ),
)

SILENCE: Final = (
    *(
        Scenario(
            name=fault,
            what=what,
            script=(SUM.call, damaged(SUM.say, fault)),
            ending=answers("asked once more, with the other way of thinking"),
            calls=3,
        )
        for fault, what in (
            ("empty_reply", "says nothing after the result"),
            ("blank_reply", "says white space"),
            ("only_thought", "thinks and says nothing"),
            ("swallowed_call", "`tool_calls`, and neither call nor text"),
        )
    ),
    *(
        Scenario(
            name=f"{fault}_for_ever",
            what=what,
            script=(SUM.call,),
            then=damaged(SUM.say, fault),
            ending=stops("empty", "no answer is better than an empty one called an answer"),
            calls=3,
        )
        for fault, what in (
            ("empty_reply", "never says anything"),
            ("only_thought", "only ever thinks"),
        )
    ),
)


def _until_warned(request: dict[str, object]) -> Reply:
    """A model that repeats its call until a result looks different from the first."""
    messages = request["messages"]
    assert isinstance(messages, list)
    results = [m["content"] for m in messages if m["role"] == "tool"]
    return SUM.say if "Warning" in "".join(results) else SUM.call


def _in_turn(request: dict[str, object]) -> Reply:
    messages = request["messages"]
    assert isinstance(messages, list)
    return (SUM.call, CLOCK.call)[len(messages) // 2 % 2]


def _ever_new(request: dict[str, object]) -> Reply:
    messages = request["messages"]
    assert isinstance(messages, list)
    return call("add", a=len(messages), b=1)


CIRCLES: Final = (
    Scenario(
        name="same_call_until_warned",
        what="repeats its call until a result warns it",
        then=_until_warned,
        ending=answers("the earlier result is shown again, then with a warning"),
        calls=5,
    ),
    Scenario(
        name="same_call_for_ever",
        what="makes the same call whatever happens",
        then=SUM.call,
        ending=stops("loop", "show again, warn, change settings, stop"),
        calls=8,
    ),
    Scenario(
        name="two_calls_in_turn_for_ever",
        what="A-B-A-B without end",
        then=_in_turn,
        ending=stops("loop", "a cycle is a repeat with something between"),
        ran=None,
        calls=16,
    ),
    Scenario(
        name="polling",
        what="asks for the state of something until it has changed",
        script=(call("status"),) * 4,
        tools=("add", "status"),
        ending=answers("the same call with another result is no circle"),
        ran=("status()",) * 4 + ("add(4017, 258)",),
    ),
    Scenario(
        name="ever_new_calls",
        what="makes a new call each time, without end",
        then=_ever_new,
        limits=Limits(steps=6),
        ending=stops("steps", "the limit is a result with all partial work"),
        ran=None,
        calls=6,
    ),
    Scenario(
        name="token_limit",
        what="makes a new call each time, with a limit on tokens",
        then=_ever_new,
        limits=Limits(output_tokens=100),
        ending=stops("tokens", "the limit is a result with all partial work"),
        ran=None,
    ),
)

REPLY_SCENARIOS: Final = CUTS + SILENCE + CIRCLES
