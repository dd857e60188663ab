"""What is believed of a reply: the one rule of evidence on calls, and when a reply is a loop. Pure.

A reply can hold the text of a call without being one: it quotes a file, explains a tool, or repeats
what somebody wants to be run. Only the token that opens a call is beyond doubt, so:

1. Where the server gives the reply's token ids, a call begins at the id of `<|tool_call>` and
   nowhere else. A call that the server returned and the ids do not show is text: its parser goes by
   the spelling (vLLM 0.32, `parser/gemma4.py`). In open reasoning the token begins no call.
2. Where it gives none, a call is what the server returned as one, or a whole reply that is nothing
   but calls in Gemma's full form, exactly.
3. A reply that a grammar held to calls and nothing else is a call in either spelling: the grammar
   works on characters. Where it left text free, only the token opens a call; what stands inside
   that may be spelled all the same.

In: the server's reading and the reply's tokens. Out: the reply as it is to be believed. Where both
readings are to be had ours counts, if it is exact: the server's parser mangles arguments
(vllm#44715, #51284, #47906). Where ours had to undo damage and the server's reading fits the tool
all the same and says something else, neither is believed and the call comes back as malformed.

While the reply is being written one thing is judged already: whether it repeats itself without end
(`RepeatWatch`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from agentkit.events import ModelEvent, ReasoningDelta, TextDelta, ToolCallDelta
from agentkit.gemma4.calls import ParsedCall
from agentkit.gemma4.dialect import Dialect
from agentkit.gemma4.parse import ParsedReply
from agentkit.gemma4.render import render_call
from agentkit.gemma4.tokens import (
    CALL_OPEN,
    CHANNEL_CLOSE,
    CHANNEL_OPEN,
    CONTROL_LITERALS,
    IDS,
    STOP_IDS,
)
from agentkit.gemma4.wrong_forms import split_reasoning
from agentkit.messages import AssistantMessage, FinishReason, ModelResponse, ToolCall
from agentkit.wire import Reply

_CALL: Final = IDS[CALL_OPEN]
_REASONING_OPEN, _REASONING_CLOSE = IDS[CHANNEL_OPEN], IDS[CHANNEL_CLOSE]
_CUE_TOKENS: Final = 8
"""The generation cue `<|channel>thought\\n` and no more fits in these."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a reply beside the server's reading of it.

    Attributes:
        reply: The reply as the server sent it.
        forced: Our grammar held the reply to calls and nothing else.
        constrained: A grammar held the reply, ours or the caller's own.
        pieces: The text of each token, as many as `reply.token_ids`; None where it is not known.
        first_call: The number of the reply's first call within its conversation.
    """

    reply: Reply
    forced: bool = False
    constrained: bool = False
    pieces: Sequence[str] | None = None
    first_call: int = 0


def may_hold_calls(reply: Reply, server: ModelResponse, *, forced: bool) -> bool:
    """Whether the text of the reply's tokens has to be known: something says that it holds a call.
    Where nothing does, the text that the server returned is all there is.
    """
    return bool(
        forced
        or server.message.tool_calls
        or reply.finish == "tool_calls"
        or _CALL in reply.token_ids
    )


def believed(server: ModelResponse, evidence: Evidence, dialect: Dialect) -> ModelResponse:
    """The reply as it is to be believed.

    Args:
        server: The server's own reading.
        evidence: What else is known.
        dialect: The dialect of the tools that were offered.
    """
    reply = evidence.reply
    if not reply.token_ids:
        return _without_ids(server, evidence, dialect)
    if not may_hold_calls(reply, server, forced=evidence.forced):
        return _without_stray_reasoning(server)
    if evidence.pieces is None:
        return _without_pieces(server, evidence)
    begun = in_reasoning(reply.prompt_token_ids)
    if evidence.forced:
        spelled = dialect.read("".join(evidence.pieces), in_reasoning=begun)
        if spelled.only_calls:
            return of_parsed(server, spelled, evidence)
    parsed = dialect.read_tokens(
        reply.token_ids, evidence.pieces, in_reasoning=begun, constrained=evidence.constrained
    )
    return of_parsed(server, _agreed(parsed, server, dialect), evidence)


def of_parsed(server: ModelResponse, parsed: ParsedReply, evidence: Evidence) -> ModelResponse:
    """The response that the model's own words amount to."""
    reply = evidence.reply
    found = [*parsed.calls, *([parsed.cut_call] if parsed.cut_call else [])]
    calls = tuple(
        call.tool_call(f"call_{evidence.first_call + number}") for number, call in enumerate(found)
    )
    stopped = parsed.stop is not None or bool(reply.token_ids and reply.token_ids[-1] in STOP_IDS)
    finish: FinishReason = server.finish_reason
    if finish in ("stop", "tool_calls"):
        finish = "tool_calls" if calls else "stop"
        if parsed.truncated is not None and not stopped:
            finish = "length"
        elif parsed.call_in_reasoning:
            finish = "malformed_call"
    message = AssistantMessage(parsed.text, (), parsed.reasoning or None)
    if (
        calls
    ):  # text beside them has no place in the history (vllm#39885), so it joins the reasoning
        said = "\n".join(part.strip() for part in (parsed.reasoning, parsed.text) if part.strip())
        message = AssistantMessage(None, calls, said or None)
    return replace(server, message=message, finish_reason=finish)


def in_reasoning(prompt_token_ids: Sequence[int]) -> bool:
    """Whether a prompt ended inside open reasoning, so that the reply goes on with it."""
    cue = list(prompt_token_ids[-_CUE_TOKENS:])
    return _REASONING_OPEN in cue and _REASONING_CLOSE not in cue[cue.index(_REASONING_OPEN) :]


def _without_ids(server: ModelResponse, evidence: Evidence, dialect: Dialect) -> ModelResponse:
    """The reply by rule 2: the server gives no token ids."""
    if server.message.tool_calls:
        return server
    text = server.message.content or ""
    if CALL_OPEN in text:
        parsed = dialect.read(text, in_reasoning=False)
        exact = not any(call.malformed or call.damage for call in parsed.calls)
        if parsed.only_calls and exact:
            reasoning = "\n".join(filter(None, (server.message.reasoning, parsed.reasoning)))
            return of_parsed(server, replace(parsed, reasoning=reasoning), evidence)
    return _without_stray_reasoning(server)


def _without_pieces(server: ModelResponse, evidence: Evidence) -> ModelResponse:
    """Rules 1 and 3 where the ids are known and their text is not: the ids tell how many calls
    there are, and only the server can tell what is in them.
    """
    calls = server.message.tool_calls
    opened = evidence.reply.token_ids.count(_CALL)
    if calls and (evidence.forced or len(calls) <= opened):
        return server
    if opened:  # some were spelled, some were not, and nobody can say which
        return replace(server, finish_reason=_unless_cut(server, "malformed_call"))
    text = (server.message.content or "") + "".join(
        call.malformed or render_call(call.name, call.arguments) for call in calls
    )
    message = AssistantMessage(text, (), server.message.reasoning)
    return _without_stray_reasoning(
        replace(server, message=message, finish_reason=_unless_cut(server, "stop"))
    )


def _unless_cut(server: ModelResponse, finish: FinishReason) -> FinishReason:
    return finish if server.finish_reason in ("stop", "tool_calls") else server.finish_reason


def _without_stray_reasoning(response: ModelResponse) -> ModelResponse:
    """The response, with reasoning that a server left in its text moved to where it belongs."""
    message = response.message
    if message.content is None or message.tool_calls:
        return response
    stray, text = split_reasoning(message.content)
    if text == message.content:
        return response
    reasoning = "\n".join(filter(None, (message.reasoning, stray))) or None
    return replace(response, message=replace(message, content=text, reasoning=reasoning))


# --- a repaired reading beside the server's ------------------------------------------------------


def _agreed(parsed: ParsedReply, server: ModelResponse, dialect: Dialect) -> ParsedReply:
    """The reply with those repaired calls malformed that the server reads as something else."""
    theirs = server.message.tool_calls
    if len(theirs) != len(parsed.calls) or not any(call.damage for call in parsed.calls):
        return parsed
    calls = tuple(
        _unless_they_differ(ours, other, dialect)
        for ours, other in zip(parsed.calls, theirs, strict=True)
    )
    return replace(parsed, calls=calls)


def _unless_they_differ(ours: ParsedCall, theirs: ToolCall, dialect: Dialect) -> ParsedCall:
    if not ours.damage or theirs.malformed is not None:
        return ours
    if _leaves(theirs.arguments) == _leaves(ours.arguments):
        return ours
    if any(_SYNTAX.search(text) for _, text in _leaves(theirs.arguments)):
        return ours
    if not dialect.fits(theirs.name, theirs.arguments):
        return ours
    return replace(ours, arguments={}, malformed=ours.raw, damage=())


_SYNTAX: Final = re.compile(
    r"\A\s*[\"'(\[{]|[\"')\]}]\s*\Z|\A(?:none|true|false|null)\Z|"
    + "|".join(map(re.escape, CONTROL_LITERALS)),
    re.IGNORECASE,
)
"""Marks on a text that the server's parser should have taken off, so that it read it wrong."""


def _leaves(value: Any, path: str = "") -> list[tuple[str, str]]:
    """The scalars of a value, each with its place; 5 and "5" are one: types are ours to give."""
    if isinstance(value, Mapping):
        return [leaf for key in sorted(value) for leaf in _leaves(value[key], f"{path}.{key}")]
    if isinstance(value, list):
        return [leaf for at, item in enumerate(value) for leaf in _leaves(item, f"{path}.{at}")]
    return [(path, value if isinstance(value, str) else json.dumps(value))]


# --- loops ---------------------------------------------------------------------------------------
# A model in a loop writes the same tokens over and over until its bound, and nothing after the
# second or third time is news. What is looked for is an exact period: every symbol equals the one a
# fixed distance before it, for many periods and for long. Honest text has none of that length,
# however regular it looks: in a table, a list of numbers or base64 something changes from row to
# row.
#
# One step costs the same however long the reply is. The distance is a guess that is kept while it
# holds; when it fails, the next guess leads to where the last few symbols were seen before. A
# period that holds blanks or other small repeats is found all the same: the guess that it fails at
# sets it right once in each period.

_TOKENS: Final = 512
"""Tokens that must repeat before a reply is given up. Of 1,824 files of code, data and prose, in a
real Gemma's tokens, one has a repeat of even 64 tokens (a data file of equal rows):
`python -m benchmarks.repeats`.
"""

_CHARACTERS: Final = 4 * _TOKENS
"""The same where only text is known, at four characters a token."""

_TIMES: Final = 6
"""How often a period must come again."""

_GRAM: Final = 6
"""Symbols that a guess goes by."""


class Repeats:
    """Looks for a loop at the end of one sequence of symbols, such as token ids or characters.

    Args:
        least: How many symbols must repeat.
    """

    def __init__(self, least: int) -> None:
        self._least = least
        self._seen: list[Hashable] = []
        self._looked_at = 0  # symbols; what is shorter than a loop is not looked at
        self._last: dict[tuple[Hashable, ...], int] = {}  # where a gram ended last
        self._distance = 0  # of the guess; 0 for none
        self._held = 0  # symbols for which it has held

    def feed(self, symbols: Sequence[Hashable]) -> bool:
        """Takes the next symbols; returns whether the end of what was written so far is a loop."""
        seen, last = self._seen, self._last
        seen += symbols
        if len(seen) < self._least:
            return False
        for at in range(self._looked_at, len(seen)):
            gram = tuple(seen[max(at + 1 - _GRAM, 0) : at + 1])
            if self._distance and seen[at - self._distance] == seen[at]:
                self._held += 1
            else:
                before = last.get(gram)
                self._distance = 0 if before is None else at - before
                self._held = len(gram) if self._distance else 0
            last[gram] = at
        self._looked_at = len(seen)
        return bool(self._distance) and self._held >= max(self._least, _TIMES * self._distance)


class RepeatWatch:
    """Watches a reply as it arrives: its tokens, or its text where a server sends no tokens."""

    def __init__(self) -> None:
        self._tokens = Repeats(_TOKENS)
        self._characters = Repeats(_CHARACTERS)
        self._taken = 0

    def sees_loop(self, reply: Reply, events: Sequence[ModelEvent]) -> bool:
        """Whether the end of the reply, as far as it has come, repeats itself.

        Args:
            reply: As far as it has come.
            events: What the newest part of it shows.
        """
        loops = False
        if reply.token_ids:
            loops = self._tokens.feed(reply.token_ids[self._taken :])
            self._taken = len(reply.token_ids)
            return loops
        for event in events:
            if isinstance(event, ToolCallDelta):
                # Where no arguments came, it is the name that is being written.
                loops = self._characters.feed(event.arguments or event.name)
            elif isinstance(event, TextDelta | ReasoningDelta):
                loops = self._characters.feed(event.text)
        return loops
