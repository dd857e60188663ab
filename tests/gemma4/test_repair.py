"""What each damage comes to, alone and with another: the one reading that fits, or none."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any, Final

import pytest

from agentkit.gemma4.repair import MOST_DAMAGE, Damage, Readings
from agentkit.schema.shape import Shape
from tests.gemma4.replies import same

Q: Final = "\ufdd0"
SCHEMA: Final = {
    "type": "object",
    "properties": {
        "to": {"type": "string"},
        "body": {"type": "string"},
        "n": {"type": "integer"},
        "share": {"type": "number"},
        "urgent": {"type": "boolean"},
        "maybe": {"type": ["string", "null"]},
        "level": {"enum": ["low", "high"]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "sizes": {"type": "array", "items": {"type": "integer"}},
        "place": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "zip": {"type": "integer"}},
            "additionalProperties": False,
        },
        "free": {"type": "object", "additionalProperties": True},
    },
    "additionalProperties": False,
}


def readings(text: str, schema: dict[str, Any] = SCHEMA) -> list[dict[str, Any]]:
    """Every reading of what stands behind the opening brace, its own brace included."""
    found: list[dict[str, Any]] = []
    whole = "{" + text.replace("Q", Q)
    for arguments, end, undone in Readings(whole, Q, Shape.of(schema)).of(1, "}"):
        assert len(undone) <= MOST_DAMAGE
        if not whole[end:].strip() and not any(same(arguments, other) for other in found):
            found.append(arguments)
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # the opening quote
        ("to:annQ}", {"to": "ann"}),
        ("to:annQ,n:5}", {"to": "ann", "n": 5}),
        ("n:5,to:ann and bob, bothQ}", {"n": 5, "to": "ann and bob, both"}),
        ("to:QannQ,body:hi {there}Q}", {"to": "ann", "body": "hi {there}"}),
        ("tags:[aQ,QbQ]}", {"tags": ["a", "b"]}),
        ("tags:[a, bQ]}", {"tags": ["a, b"]}),
        ("place:{city:OsloQ,zip:5}}", {"place": {"city": "Oslo", "zip": 5}}),
        # other quotes
        ("to:'ann'}", {"to": "ann"}),
        ("to:'it's'}", {"to": "it's"}),
        ("to:'ann',body:'hi'}", {"to": "ann", "body": "hi"}),
        ('to:"ann",n:5}', {"to": "ann", "n": 5}),
        ('body:"a\\nb"}', {"body": "a\nb"}),
        ('body:"say \\"hi\\", twice"}', {"body": 'say "hi", twice'}),
        ('body:"one\ntwo"}', {"body": "one\ntwo"}),
        ("tags:['a', 'b, c']}", {"tags": ["a", "b, c"]}),
        ('to:ann",n:5}', {"to": "ann", "n": 5}),
        # JSON
        ('"to": "ann", "n": 5}', {"to": "ann", "n": 5}),
        ('"place": {"city": "Oslo"}, "tags": ["a"]}', {"place": {"city": "Oslo"}, "tags": ["a"]}),
        # no quotes at all
        ("to:ann}", {"to": "ann"}),
        ("to:ann@example.org,n:5}", {"to": "ann@example.org", "n": 5}),
        ("body:http://a/b?c=d}", {"body": "http://a/b?c=d"}),
        ("level:high}", {"level": "high"}),
        # keywords
        ("to=QannQ,n=5}", {"to": "ann", "n": 5}),
        # commas
        ("to:QannQn:5}", {"to": "ann", "n": 5}),
        ("n:5to:QannQ}", {"n": 5, "to": "ann"}),
        ("urgent:trueto:QannQ}", {"urgent": True, "to": "ann"}),
        ("tags:[QaQQbQ]}", {"tags": ["a", "b"]}),
        ("place:{zip:5}n:1}", {"place": {"zip": 5}, "n": 1}),
        ("free:{a:1b:2}}", {"free": {"a": 1, "b": 2}}),
        # braces
        ("to:QannQ", {"to": "ann"}),
        ("place:{zip:5}", {"place": {"zip": 5}}),
        ("place:{zip:5,n:1}", {"place": {"zip": 5}, "n": 1}),
        ("tags:[QaQ}", {"tags": ["a"]}),
        ("tags:[}", {"tags": []}),
        ("tags:[QaQ,n:1}", {"tags": ["a"], "n": 1}),
        ("", {}),
        # constants
        ("urgent:True}", {"urgent": True}),
        ("urgent:FALSE,n:1}", {"urgent": False, "n": 1}),
        ("maybe:None}", {"maybe": None}),
        ("share:+.5}", {"share": 0.5}),
        # two at once
        ('"to": "ann""n": 5}', {"to": "ann", "n": 5}),
        ("'to': 'ann''body': 'it is'}", {"to": "ann", "body": "it is"}),
        ("to:annQn:5}", {"to": "ann", "n": 5}),
        ("to='ann',urgent=true}", {"to": "ann", "urgent": True}),
        ("to:'ann'", {"to": "ann"}),
        ("urgent:Trueto:QannQ}", {"urgent": True, "to": "ann"}),
        ("n:5'to':'ann'}", {"n": 5, "to": "ann"}),
        ("n:5QtoQ:QannQ}", {"n": 5, "to": "ann"}),
        # texts that look like syntax and are none
        ("body:please call: meQ}", {"body": "please call: me"}),
        ('body:"why?"}', {"body": "why?"}),
        ('body:"a\\ud800b"}', {"body": "a\\ud800b"}),  # half of a pair is no text
        ("to:a,b,c,n:5}", {"to": "a,b,c", "n": 5}),
        ("to:ann} ", {"to": "ann"}),
        # JSON through and through: its escapes are certain
        ('"body": "say \\"to\\": x", "n": 5}', {"body": 'say "to": x', "n": 5}),
        ('"body": "say \\"to\\": x\ny"}', {"body": 'say "to": x\ny'}),
        # empty ones
        ("tags:[],to:annQ}", {"tags": [], "to": "ann"}),
        ("place:{},to:annQ}", {"place": {}, "to": "ann"}),
        # nothing to undo
        ("to:QannQ,}", {"to": "ann"}),
        (" to : QannQ , n : 5 }", {"to": "ann", "n": 5}),
        ("QtoQ:QannQ}", {"to": "ann"}),
        ("n:Q5Q,sizes:[1,2]}", {"n": 5, "sizes": [1, 2]}),
    ],
)
def test_one_reading_fits(text: str, expected: dict[str, Any]) -> None:
    found = readings(text)
    assert len(found) == 1, found
    assert same(found[0], expected)


@pytest.mark.parametrize(
    "text",
    [
        "to:aQ,body:Q,Q}",  # the text `,`, or what parts two others
        "to:annQ,body:hi}",
        "place:{zip:5?}}",
        "to:Qann}",  # the closing quote may have stood anywhere
        "to:Qann,body:QhiQ}",
        "tags:[QaQ,Qb,QcQ]}",
        "tags:[a,Q,Qb]}",
        "tags:[5,aQ]}",
        "tags:[aQ,Qb]}",  # the quotes between two bare texts may be theirs
        "tags:[a b QcQ]}",
        'to:say "done",n:5}',
        "tags:[QaQ,]}",  # an empty text that lost its quotes
        "to:ann\n,n:5}",
        "to:ann\nn:5}",
        "free:{a:QxQ,b:1}",  # a brace was lost, and may have stood before `b`
        "free:{a:1b:Q}",
        "free:{a:falseb:xQ,zip:QyQ}}",
        "to: ann,n:5}",
        "tags:[a,-5]}",  # one text, or two
        "free:{a:1,b:2zip:Q}}",
        'to:"a" and "b",n:5}',
        "to:'x',then:'y'}",
        "to:'a','b'}",
        "to:a,b:cQ}",
        "body:call:f{}Q}",
        "to:ann,Q}",
        "to:ann body:hi}",
        "to:key:value}",
        "to:None}",  # a text has no null
        "n:x}",
        "n:5.5}",
        "n:007}",  # an octal number, or a code
        "to:`ann`}",  # quotes of yet another language
        "to:“ann”}",
        "to:“annQ}",
        'to:<|"|>annQ}',  # the quote token, spelled
        'to:<|"|annQ}',
        "to:<|'|>annQ}",
        'to:|"|>annQ}',
        "to:&quot;ann&quot;}",
        "to:&ldquo;ann}",
        'to:\\"annQ}',
        "tags:[QQQaQ]}",  # an empty text, or a quote that stands twice
        "tags:[QaQ,QQQbQ]}",
        "maybe:undefined}",  # a constant of yet another language
        "tags:['it''s']}",  # a quote that is doubled, or two texts without their comma
        "tags:['a' 'b']}",  # Python makes one text of these
        "tags:['a'\n\"b\"]}",
        "to:'a' + 'b'}",
        "sizes:[1-2]}",  # and one number of these
        "sizes:[1 -2]}",
        "level:'middle'}",
        'to:"say ""hi"", ann"}',
        'to:"say ""n"": 5"}',
        '"to": "say ""to"" him", "n": 5}',
        "other:1}",
        "to:QannQ,to:QbobQ}",
        "to:'ann',urgent=True",  # three kinds
        "to ann}",
        "{",
        ":1}",
        "place:{zip:5,city:OsloQ,n:'5'",
    ],
)
def test_nothing_is_guessed(text: str) -> None:
    assert readings(text) == []


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("body:'a\\nb'}", 2),  # a line break, or a backslash and an n
        ('body:"C:\\new"}', 2),
        ('body:"\\bword\\b"}', 2),
        ("body:'a\\'b'}", 2),
        ("body:'it\\'s \"so\"'}", 2),
        ('body:"C:\\dir"}', 1),  # no escape of JSON
    ],
)
def test_escapes_between_other_quotes_can_mean_two_texts(text: str, number: int) -> None:
    assert len(readings(text)) == number


def test_white_space_that_may_be_the_texts_own_is_not_taken_off() -> None:
    json = frozenset[Damage](["JSON"])
    for text, expected in (('"to": ann"}', [{"to": "ann"}]), ('"to":  ann"}', [])):
        found = Readings(f"{{{text}", Q, Shape.of(SCHEMA), json).of(1, "}")
        assert [arguments for arguments, _, _ in found] == expected
    assert readings("to: annQ}") == []


@pytest.mark.parametrize(
    "text",
    [
        "to:Qa,tags:[Q",
        "to:Q[1],tags:[Q",
        "tags:[Qa,Q  b Q]}",
        "tags:[QxQ,Qa,Q  bQ]}",
        "tags:[Q,Q bQ]}",
        "tags:[Qa,Q\nbQ,QcQ]}",
    ],
)
def test_a_comma_at_the_end_of_a_text_may_be_the_one_between_two(text: str) -> None:
    assert readings(text) == []


def test_without_declared_members_any_name_is_one() -> None:
    schema: dict[str, Any] = {"type": "object"}
    assert readings("a:xQ,b-c:5}", schema) == [{"a": "x", "b-c": 5}]
    assert readings("a:1b:2}", schema) == [{"a": 1, "b": 2}]


def test_a_text_with_too_many_places_to_try_is_given_up_in_time() -> None:
    with pytest.raises(RecursionError):
        readings("to:'" + "x' " * 20_000)
    assert readings("free:" + "{a:" * 900 + "1") == []


@pytest.mark.parametrize(
    "text",
    [
        "free:" + "{a:" * 40 + "1" + "}" * 40 + ",to:annQ}",  # each level may have lost its brace
        "free:{b:" + "[" * 40 + "1" + "]" * 40 + "},to:annQ}",
        "free:" + "\n\"'" * 600,  # quotes in quotes
        "free:'" + "\n\"'" * 3_000,
        'free:"' + 'call:f{,Q"' * 600,
        "tags:[" + "'a'," * 3_000,
    ],
)
def test_no_damage_costs_more_than_a_second(text: str) -> None:
    started = time.process_time()
    with suppress(RecursionError):
        readings(text)
    assert time.process_time() - started < 1.0
