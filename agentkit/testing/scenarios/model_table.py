"""Scenarios of the model: it calls wrongly (names, arguments, ids, repeats, leaks), its replies are
cut, empty or endless, or it goes in circles.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from agentkit.messages import JsonObject
from agentkit.policy import Limits
from agentkit.testing.faults import damaged
from agentkit.testing.scenarios.scenario import CLOCK, ORDER, SEARCH, SUM, Scenario, answers, stops
from agentkit.testing.scripted import Reply, call, calls, say

_TEN_KB: Final = " ".join(map(str, range(2_200)))[:10_000]
"""A text that is long and does not repeat itself."""

_ORDERED: Final = ("order(light blue paint, 3)",)
_SEARCHED: Final = (f"search({SEARCH.arguments['pattern']})",)
_MENDED: Final = "mended on the spot: no further model call"
_TOLD: Final = "the model is told what is wrong and calls rightly"


def _if_forced(reply: Reply) -> Callable[[JsonObject], Reply]:
    """Answers with that reply where the grammar forces a call, and with words where not."""

    def answer(request: JsonObject) -> Reply:
        tag = json.loads(request["structured_outputs"]["structural_tag"])
        return reply if tag["format"].get("at_least_one") else say("Nothing forced me.")

    return answer


NAMES: Final = (
    Scenario(
        name="unknown_tool",
        what="calls a tool that nobody offers",
        script=(damaged(SUM.call, "unknown_tool"),),
        ending=answers("the names there are come back as the call's result"),
    ),
    Scenario(
        name="unknown_tool_beside_a_known_one",
        what="calls an unknown and a known tool in one reply",
        script=(calls(("sum_up", {}), ("add", SUM.arguments)),),
        ending=answers("the known one runs all the same"),
        calls=2,
    ),
    Scenario(
        name="unknown_tool_for_ever",
        what="calls the same unknown tool whatever it is told",
        then=damaged(SUM.call, "unknown_tool"),
        ending=stops("loop", "the same error again and again leads nowhere"),
        ran=(),
    ),
    Scenario(
        name="misspelt_name",
        what="doubles the last letter of the name",
        script=(damaged(SUM.call, "misspelt_name"),),
        ending=answers("the name meant is suggested, not guessed: it might be another tool"),
    ),
    *(
        Scenario(
            name=fault,
            what=what,
            script=(damaged(SUM.call, fault),),
            ending=answers(_MENDED),
            calls=2,
        )
        for fault, what in (
            ("tool_prefix", "calls `tool:add`"),
            ("google_prefix", "calls ` google:tool:add`"),
            ("functions_prefix", "calls `functions.add`"),
            ("name_in_capitals", "calls `ADD`"),
            ("camel_case_name", "calls `Add`"),
        )
    ),
)

ARGUMENTS: Final = (
    *(
        Scenario(name=fault, what=what, script=(damaged(SUM.call, fault),), ending=answers(why))
        for fault, what, why in (
            ("broken_arguments", "JSON stops in the middle", "never completed by guessing"),
            ("single_quoted_arguments", "arguments in single quotes", "not JSON, so not guessed"),
            ("trailing_comma", "a comma before the brace", "not JSON, so not guessed"),
            ("nan_argument", "NaN for a number", "not JSON, so not guessed"),
            ("list_arguments", "a list instead of an object", _TOLD),
            ("missing_argument", "leaves out a required argument", _TOLD),
            ("extra_argument", "adds an argument", _TOLD),
            ("renamed_argument", "renames an argument", _TOLD),
            ("wrong_type", "words where a number belongs", _TOLD),
        )
    ),
    *(
        Scenario(
            name=fault,
            what=what,
            script=(damaged(SUM.call, fault),),
            ending=answers(_MENDED),
            calls=2,
        )
        for fault, what in (
            ("fenced_arguments", "arguments in a code fence"),
            ("double_encoded_arguments", "arguments as a JSON string that holds JSON"),
            ("number_as_text", '"4017" where 4017 belongs'),
            ("number_as_float", "4017.0 where 4017 belongs"),
        )
    ),
    Scenario(
        name="garbled_by_parser",
        what="the server's parser adds quotes to a string; the tokens are right",
        script=(damaged(SEARCH.call, "garbled_by_parser"),),
        task=SEARCH,
        ending=answers("the tokens are read again by our own parser"),
        ran=_SEARCHED,
        calls=2,
    ),
    *(
        Scenario(
            name=f"{fault}_for_no_parameters",
            what=what,
            script=(damaged(CLOCK.call, fault),),
            task=CLOCK,
            ending=answers(_MENDED),
            ran=("now()",),
            calls=2,
        )
        for fault, what in (
            ("empty_arguments", "no text where {} belongs"),
            ("null_arguments", "null where {} belongs"),
            ("absent_arguments", "the field is missing where {} belongs"),
        )
    ),
    *(
        Scenario(name=fault, what=what, script=(damaged(SUM.call, fault),), ending=answers(_TOLD))
        for fault, what in (
            ("empty_arguments", "no text where arguments are required"),
            ("null_arguments", "null where arguments are required"),
        )
    ),
    Scenario(
        name="wrong_fields_all_at_once",
        what="leaves one argument out, adds one and spoils the type of another",
        script=(call("order", count="many", colour="blue"),),
        task=ORDER,
        ending=answers("everything wrong is said at once"),
        ran=_ORDERED,
        calls=3,
    ),
    Scenario(
        name="arguments_beyond_ascii",
        what="writes umlauts, kanji, an emoji and a control token into an argument",
        script=(call("search", pattern="Größe 東京 🙂 <turn|>"),),
        ending=answers("text is text"),
        ran=("search(Größe 東京 🙂 <turn|>)", "add(4017, 258)"),
        calls=3,
    ),
    Scenario(
        name="constrained_second_try",
        what="JSON stops in the middle, at a server that obeys a grammar",
        script=(damaged(SUM.call, "broken_arguments"), _if_forced(SUM.call)),
        grammar=True,
        ending=answers("asked again under the grammar of that one tool: the model sees no error"),
        calls=3,
    ),
    Scenario(
        name="constrained_second_try_in_vain",
        what="the forced call is wrong as well",
        script=(
            damaged(SUM.call, "broken_arguments"),
            _if_forced(call("add", a=1)),
        ),
        grammar=True,
        ending=answers("one second try, then the model is told what is wrong"),
        calls=4,
    ),
    Scenario(
        name="broken_arguments_for_ever",
        what="never writes JSON, whatever it is told",
        then=damaged(SUM.call, "broken_arguments"),
        ending=stops("loop", "the same error again and again leads nowhere"),
        ran=(),
        calls=20,
    ),
    Scenario(
        name="wrong_types_in_turn",
        what="makes another mistake each time, three times",
        script=tuple(
            damaged(SUM.call, f) for f in ("wrong_type", "missing_argument", "list_arguments")
        ),
        ending=answers("there is no bound on mistakes as long as something changes"),
    ),
    Scenario(
        name="huge_arguments",
        what="writes 10 KB into one argument",
        script=(call("search", pattern=_TEN_KB),),
        ending=answers("size alone is no fault"),
        ran=(f"search({_TEN_KB})", "add(4017, 258)"),
    ),
)

TWINS: Final = (
    *(
        Scenario(
            name=fault,
            what=what,
            script=(damaged(calls(("add", SUM.arguments), ("now", {})), fault),),
            ending=answers("ids are ours: the server's are not relied on"),
            ran=None,
            calls=2,
        )
        for fault, what in (
            ("same_ids", "two calls with one id"),
            ("no_ids", "two calls without ids"),
        )
    ),
    Scenario(
        name="same_id_in_every_step",
        what="uses one id again in a later step",
        script=(
            damaged(call("now"), "same_ids"),
            damaged(SUM.call, "same_ids"),
        ),
        ending=answers("both run, each result stands by its own call"),
        ran=("now()", "add(4017, 258)"),
        calls=3,
    ),
    Scenario(
        name="called_twice",
        what="orders the same twice in one reply",
        script=(damaged(ORDER.call, "called_twice"),),
        task=ORDER,
        ending=answers("one order; the twin gets the same result"),
        ran=_ORDERED,
        calls=2,
    ),
    Scenario(
        name="called_nine_times",
        what="orders the same nine times in one reply",
        script=(damaged(ORDER.call, "called_nine_times"),),
        task=ORDER,
        ending=answers("one order, nine results"),
        ran=_ORDERED,
        calls=2,
    ),
)

LEAKS: Final = (
    Scenario(
        name="leaked_call",
        what="writes the native call as answer text",
        script=(damaged(SUM.call, "leaked_call"),),
        ending=answers(
            "spelled in ordinary tokens it never runs; nothing else stands in the reply, so "
            "the model is asked again"
        ),
        calls=3,
    ),
    Scenario(
        name="leaked_call_after_text",
        what="writes words and then the native call as text",
        script=(damaged(SUM.call, "leaked_call_after_text"),),
        ending=stops(
            "answer", "words that mention a call are an answer, and nothing runs from them"
        ),
        ran=(),
        calls=1,
    ),
    Scenario(
        name="leaked_bare_call",
        what="the same, its control tokens stripped by the server",
        script=(damaged(SUM.call, "leaked_bare_call"),),
        ending=answers("the same: it never runs, and is no answer"),
        calls=3,
    ),
    Scenario(
        name="leaked_unknown_call",
        what="writes a native call of an unknown tool as text",
        script=(damaged(call("compute", x=1), "leaked_call"),),
        ending=answers("the same, whoever offers such a tool"),
        calls=3,
    ),
    Scenario(
        name="leaked_json_call",
        what="writes the call as JSON in a code fence",
        script=(damaged(SUM.call, "leaked_json_call"),),
        ending=answers(
            "not run, since an answer may show JSON; the whole reply is nothing else, so the model "
            "is asked again"
        ),
    ),
    Scenario(
        name="json_that_is_an_answer",
        what="answers with JSON that names no tool",
        script=(SUM.call, say('```json\n{"sum": 4275}\n```')),
        ending=answers("an answer may be JSON", '```json\n{"sum": 4275}\n```'),
        calls=2,
    ),
    Scenario(
        name="quoted_call",
        what="explains the call syntax in a code fence",
        script=(SUM.call, damaged(SUM.call, "quoted_call")),
        ending=stops("answer", "a call in a code fence is quoted, not meant: it never runs"),
        calls=2,
    ),
    Scenario(
        name="leaked_thought",
        what="the reasoning stands in the answer, in channel tokens",
        script=(SUM.call, damaged(SUM.say, "leaked_thought")),
        ending=answers("reasoning is never part of the answer"),
        calls=2,
    ),
    Scenario(
        name="leaked_thought_word",
        what="`thought` and a line break stand before the answer",
        script=(SUM.call, damaged(SUM.say, "leaked_thought_word")),
        ending=answers("what is left of the channel syntax is taken off"),
        calls=2,
    ),
    Scenario(
        name="text_and_call",
        what="words beside the call",
        script=(damaged(SUM.call, "text_and_call"),),
        ending=answers("the call runs; its words are no answer"),
        calls=2,
    ),
)

CALL_SCENARIOS: Final = NAMES + ARGUMENTS + TWINS + LEAKS


# --- replies -------------------------------------------------------------------------------------

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
            task=ORDER,
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
        task=ORDER,
        ending=answers("nothing of a cut reply runs"),
        ran=_ORDERED,
        calls=3,
    ),
    *(
        Scenario(
            name=fault,
            what=what,
            script=(SUM.call, damaged(SUM.say, fault)),
            ending=answers("asked again with more room or without reasoning"),
            calls=3,
        )
        for fault, what in (
            ("cut_in_text", "max_tokens runs out in the answer"),
            ("cut_in_thought", "max_tokens runs out in the reasoning"),
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
        task=ORDER,
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


def _until_warned(request: JsonObject) -> Reply:
    """A model that repeats its call until a result looks different from the first."""
    results = [m["content"] for m in request["messages"] if m["role"] == "tool"]
    return SUM.say if "Warning" in "".join(results) else SUM.call


def _in_turn(request: JsonObject) -> Reply:
    return (SUM.call, CLOCK.call)[len(request["messages"]) // 2 % 2]


def _ever_new(request: JsonObject) -> Reply:
    return call("add", a=len(request["messages"]), b=1)


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
