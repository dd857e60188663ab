"""Scenarios in which the model calls wrongly: names, arguments, ids, repeats, leaks."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from agentkit.messages import JsonObject
from agentkit.testing.faults import damaged
from agentkit.testing.scenarios.scenario import Scenario, answers, stops
from agentkit.testing.scenarios.world import CLOCK, ORDER, SEARCH, SUM
from agentkit.testing.scripted import Reply, call, calls, say

_TEN_KB: Final = " ".join(map(str, range(2_200)))[:10_000]
"""A text that is long and does not repeat itself."""

_ORDERED: Final = ("order(light blue paint, 3)",)
_SEARCHED: Final = (f"search({SEARCH.arguments['pattern']})",)
_MENDED: Final = "mended on the spot: no further model call"
_TOLD: Final = "the model is told what is wrong and calls rightly"


def _if_forced(reply: Reply) -> Callable[[JsonObject], Reply]:
    """That reply to a request whose grammar forces a call; words to any other."""

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
        errand=SEARCH,
        ending=answers("the tokens are read again by our own parser"),
        ran=_SEARCHED,
        calls=2,
    ),
    *(
        Scenario(
            name=f"{fault}_for_no_parameters",
            what=what,
            script=(damaged(CLOCK.call, fault),),
            errand=CLOCK,
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
        errand=ORDER,
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
        errand=ORDER,
        ending=answers("one order; the twin gets the same result"),
        ran=_ORDERED,
        calls=2,
    ),
    Scenario(
        name="called_nine_times",
        what="orders the same nine times in one reply",
        script=(damaged(ORDER.call, "called_nine_times"),),
        errand=ORDER,
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
        what="the thought stands in the answer, in channel tokens",
        script=(SUM.call, damaged(SUM.say, "leaked_thought")),
        ending=answers("a thought is never part of the answer"),
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
