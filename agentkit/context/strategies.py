"""How a prompt is made shorter: strategies, which say what may be left out and in which order, and
the plan of what is left out.

```
Context(compaction=[DropDuplicateReads(), DropCoveredReads(), ClearOldResults(keep=3), Summarize()])
```
They are asked in that order, and `plan` takes their moves one by one until the prompt is as short
as it should be. Each is a pure function of a `Past`, which holds only what may be left out: the
task, the user's last message, the newest exchange and pinned messages are not in it. So no strategy
can separate a call from its result, nor take away what must stay. A strategy of your own is any
object with `moves`. The choices are the same for the same input.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

from agentkit.messages import (
    AssistantMessage,
    Message,
    ToolCall,
    ToolMessage,
    text_of,
)

Exchange: TypeAlias = tuple[int, ...]
"""The places of messages that go together: a call with its results, a question with its answer."""


@dataclass(frozen=True, slots=True)
class Newer:
    """The newest result that can be read instead of an older one.

    Attributes:
        at: Its place.
        same_call: Whether the same call returned it; else it holds all lines of the older one.
    """

    at: int
    same_call: bool


@dataclass(frozen=True, slots=True)
class Past:
    """The part of a conversation that may be left out. Places count from 0, without instructions.

    Attributes:
        messages: The whole history.
        results: Places of the tool results that may become stubs, oldest first.
        exchanges: The exchanges that may be left out, oldest first.
        after: For some exchanges, those that must be left out before: an answer with its question
            goes after the work that led to it. No chat template takes a conversation in which the
            user speaks right after results.
        newer: By the place of a result, a later result that can be read instead.
    """

    messages: Sequence[Message]
    results: Sequence[int]
    exchanges: Sequence[Exchange]
    after: Mapping[Exchange, Collection[Exchange]]
    newer: Mapping[int, Newer]


@dataclass(frozen=True, slots=True)
class Clear:
    """The result at this place may become a stub: one line that says how to read it again."""

    at: int


@dataclass(frozen=True, slots=True)
class Drop:
    """An exchange may be left out.

    Attributes:
        exchange: One of `Past.exchanges`.
        summary: How a summary of it is written; None for no summary.
    """

    exchange: Exchange
    summary: Summarize | None = None


Move: TypeAlias = Clear | Drop


class Strategy(Protocol):
    """Chooses what may be left out."""

    def moves(self, past: Past) -> Iterable[Move]:
        """What may be left out, in this order; always the same for the same past."""
        ...


@dataclass(frozen=True, slots=True)
class DropDuplicateReads:
    """Clears results whose call was made again later with the same arguments, such as earlier reads
    of one file. For a tool that only reads, the newest result counts; for any other tool only
    results with the same text are duplicates.
    """

    def moves(self, past: Past) -> Iterator[Move]:
        """The older ones of each call, oldest first."""
        newer = past.newer
        return (Clear(at) for at in past.results if at in newer and newer[at].same_call)


@dataclass(frozen=True, slots=True)
class DropCoveredReads:
    """Clears a result if a later one of the same tool holds all its lines, such as the lines 40 to
    80 of a file whose lines 1 to 150 were read afterwards.

    The results are compared, not the arguments of the calls, since each tool has its own arguments
    for a range. Only those arguments that are texts, such as a path, have to agree, since two files
    may hold the same lines. A later result that is sent as a preview covers nothing.
    """

    def moves(self, past: Past) -> Iterator[Move]:
        """The covered ones, oldest first."""
        newer = past.newer
        return (Clear(at) for at in past.results if at in newer and not newer[at].same_call)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearOldResults:
    """Sends old results as stubs.

    Attributes:
        keep: How many of the newest results stay, beside those of the newest exchange.
    """

    keep: int = 0

    def __post_init__(self) -> None:
        if self.keep < 0:
            raise ValueError(f"keep is {self.keep}; give 0 or more results")

    def moves(self, past: Past) -> Iterator[Move]:
        """All but the newest ones, oldest first."""
        return map(Clear, past.results[: max(len(past.results) - self.keep, 0)])


@dataclass(frozen=True, slots=True)
class DropOldExchanges:
    """Leaves old exchanges out; a note at the task says how many, and how to find them."""

    def moves(self, past: Past) -> Iterator[Move]:
        """All exchanges that may be left out, oldest first."""
        return map(Drop, past.exchanges)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summarize:
    """Leaves old exchanges out, and first lets the model write down what it will still need.

    The question continues the prompt that the model had, which is still in the server's cache. The
    model's summary stands in place of what is left out, together with a list of the names, paths,
    numbers and open tasks that it does not mention. If a summary fails, is empty or is cut, the
    exchanges are left out all the same, and `ContextCompacted.summary` says why there is none.

    Attributes:
        tokens: Most tokens of summary and list together; never more than an eighth of the limit.
        ask: The question to the model; `{words}` stands for how many words it may write.
    """

    tokens: int = 1_200
    ask: str = (
        "[The older part of this conversation is about to be left out, because there is no more "
        "room for it. Write down what will still be needed of it, in at most {words} words: what "
        "was asked, what was done and found out, what was decided and why, the exact names, paths "
        "and numbers, and what is still to do. Write that text alone, and call no tool.]"
    )

    def __post_init__(self) -> None:
        if self.tokens < _LEAST_SUMMARY:
            raise ValueError(f"tokens is {self.tokens}; give at least {_LEAST_SUMMARY}")

    def moves(self, past: Past) -> Iterator[Move]:
        """All exchanges that may be left out, oldest first."""
        return (Drop(exchange, self) for exchange in past.exchanges)


_LEAST_SUMMARY: Final = 100

DEFAULT: Final[tuple[Strategy, ...]] = (
    DropDuplicateReads(),
    DropCoveredReads(),
    ClearOldResults(),
    DropOldExchanges(),
)
"""The default asks no model: a summary costs a reply and is only as good as the model that writes
it, while everything that is left out here can be read again, exact to the character."""


def newer_results(
    messages: Sequence[Message], repeatable: Container[str], whole: Container[int]
) -> dict[int, Newer]:
    """By the place of a result, the newest result that can be read instead.

    Args:
        messages: The conversation without its instructions.
        repeatable: Tools whose calls may simply be made again.
        whole: Places of the results that are sent as they are.
    """
    again, covered = _repeats(messages, repeatable), _covered(messages, repeatable, whole)
    found = {at: Newer(later, same_call=False) for at, later in covered.items()}
    return found | {at: Newer(later, same_call=True) for at, later in again.items()}


def _repeats(messages: Sequence[Message], repeatable: Container[str]) -> dict[int, int]:
    """By the place of a result whose call was made again later, the place of the newest result.

    An error is no newer result: what was read before it is the newest that is known.
    """
    places: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    errors: set[int] = set()
    for at, message, call in _answered(messages):
        arguments = json.dumps(call.arguments, sort_keys=True, default=str)
        places[message.name, arguments].append(at)
        if message.is_error:
            errors.add(at)
    found: dict[int, int] = {}
    for (name, _), same in places.items():
        good = [at for at in same if at not in errors]
        for at in same:
            newer = good[-1] if good else at
            if at < newer and (name in repeatable or _text(messages, at) == _text(messages, newer)):
                found[at] = newer
    return found


LEAST_COVERED: Final = 8
"""Lines of a result, at least, for which a later one is looked for. Of eight lines of a file, fewer
than one in a hundred stand in it twice (`python -m benchmarks.covered`), and shorter results take
little room."""

_MOST_LOOKS: Final = 16
"""Later results that are compared with a result because they share a line with it. If more share
it, all of them are alike, as in a log that repeats itself."""


def _covered(
    messages: Sequence[Message], repeatable: Container[str], whole: Container[int]
) -> dict[int, int]:
    """By the place of a result, the place of the newest later one that holds all its lines.

    Its first or its last line may differ: there a tool says which part it shows.
    """
    found: dict[int, int] = {}
    holding: defaultdict[tuple[str, str, str], list[int]] = defaultdict(list)
    for at, message, call in reversed(list(_answered(messages))):
        if at not in whole or message.name not in repeatable or message.is_error:
            continue
        texts = [each for each in sorted(call.arguments.items()) if isinstance(each[1], str)]
        alike, lines = (message.name, repr(texts)), text_of(message.content).split("\n")
        if len(lines) > LEAST_COVERED and isinstance(message.content, str):
            without_last, without_first = _lines(lines[:-1]), _lines(lines[1:])
            for later in holding[*alike, max(lines[1:-1], key=len)][:_MOST_LOOKS]:
                shown = _lines([_text(messages, later)])
                if without_last in shown or without_first in shown:
                    found[at] = later
                    break
        for line in set(lines):
            holding[*alike, line].append(at)
    return found


def _lines(lines: Sequence[str]) -> str:
    return "\n".join(["", *lines, ""])


def _answered(messages: Sequence[Message]) -> Iterator[tuple[int, ToolMessage, ToolCall]]:
    """Each result whose call is known, with its place and that call."""
    calls: dict[str, ToolCall] = {}
    for at, message in enumerate(messages):
        if isinstance(message, AssistantMessage):
            calls |= {call.id: call for call in message.tool_calls}
        elif isinstance(message, ToolMessage) and (call := calls.get(message.call_id)) is not None:
            yield at, message, call


def _text(messages: Sequence[Message], at: int) -> str:
    return text_of(messages[at].content)


# --- the plan ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stub:
    """What an old result may become, and how many tokens that takes."""

    message: ToolMessage
    tokens: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What to leave out.

    Attributes:
        clear: Results that become stubs, by their place in the conversation.
        drop: Places of the messages that are dropped.
        tokens: What the prompt takes then, about: what closes a turn may change by a token or two.
        summary: How a summary of what is dropped is written; None for no summary.
        summarized: The dropped messages that the summary stands for.
    """

    clear: Mapping[int, ToolMessage]
    drop: Sequence[int]
    tokens: int
    summary: Summarize | None = None
    summarized: Sequence[int] = ()

    @property
    def cleared(self) -> tuple[str, ...]:
        """Ids of the calls whose results become stubs."""
        return tuple(stub.call_id for stub in self.clear.values())


def plan(
    past: Past,
    strategies: Sequence[Strategy],
    sizes: Mapping[int, int],
    stubs: Mapping[int, Stub],
    *,
    tokens: int,
    target: int,
    summary_tokens: int = 0,
) -> Plan:
    """Leaves out what the strategies name, in their order, until the target is met.

    Args:
        past: What may be left out.
        strategies: They name what is left out.
        sizes: Tokens of each message as it is sent, by its place.
        stubs: The stub that each result of `past` may become, by its place.
        tokens: What the prompt takes now.
        target: What it should take then.
        summary_tokens: What a summary takes at most.

    Raises:
        ValueError: A strategy names something that may not be left out.
    """
    known = frozenset(past.exchanges)
    chosen = _Choice(past, known, stubs, dict(sizes), tokens, summary_tokens)
    for strategy in strategies:
        for move in strategy.moves(past):
            if chosen.tokens <= target:
                break
            chosen.make(move, strategy)
    summary, summarized = chosen.summary, chosen.summarized
    if summary is not None and sum(sizes[at] for at in summarized) <= summary_tokens:
        chosen.tokens -= summary_tokens  # it would be as long as what it stands for
        summary, summarized = None, []
    gone = set(chosen.drop)
    clear = {at: sent for at, sent in chosen.clear.items() if at not in gone}
    return Plan(clear, chosen.drop, chosen.tokens, summary, summarized)


@dataclass(slots=True)
class _Choice:
    """A plan in the making.

    Attributes:
        left: Tokens of the messages that are not dropped.
    """

    past: Past
    exchanges: frozenset[Exchange]
    stubs: Mapping[int, Stub]
    left: dict[int, int]
    tokens: int
    summary_tokens: int
    clear: dict[int, ToolMessage] = field(default_factory=dict)
    drop: list[int] = field(default_factory=list)
    summary: Summarize | None = None
    summarized: list[int] = field(default_factory=list)

    def make(self, move: Move, strategy: Strategy) -> None:
        """Does what a strategy names, if it is possible and makes the prompt shorter."""
        if isinstance(move, Clear):
            if (stub := self.stubs.get(move.at)) is None:
                raise ValueError(f"{strategy} clears {move.at}, which is none of Past.results")
            saved = self.left.get(move.at, 0) - stub.tokens
            if saved > 0:
                self.tokens -= saved
                self.left[move.at], self.clear[move.at] = stub.tokens, stub.message
        else:
            if move.exchange not in self.exchanges:
                where = "which is none of Past.exchanges"
                raise ValueError(f"{strategy} drops {move.exchange}, {where}")
            self._drop(move)

    def _drop(self, move: Drop) -> None:
        there = [at for at in move.exchange if at in self.left]
        before = self.past.after.get(move.exchange, ())
        if not there or any(exchange[0] in self.left for exchange in before):
            return
        if move.summary is not None:
            if self.summary is None:
                self.summary = move.summary
                self.tokens += self.summary_tokens
            self.summarized += there
        self.drop += there
        self.tokens -= sum(self.left.pop(at) for at in there)


def level(sizes: Iterable[int], excess: int) -> int:
    """The size to which the longest must be cut so that all together lose at least `excess`."""
    known = list(sizes)
    low, high = 0, max(known, default=0)
    while low < high:
        middle = (low + high + 1) // 2
        if sum(max(size - middle, 0) for size in known) >= excess:
            low = middle
        else:
            high = middle - 1
    return low
