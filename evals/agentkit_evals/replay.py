"""A server that knows the answers: gold calls in Gemma's own syntax, over the wire.

With it everything between the wire and the grader is proved at once: `VLLMModel`, the parser, the
schemas, validation, the loop, the executor and the suite. It has no state: what it answers follows
from the request, so any number of clients can use it, and clients that are killed and come back.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentkit.messages import JsonObject, UserMessage, text_of
from agentkit.testing import FaultServer, Reply, calls, say
from agentkit_evals.core import Case, TrialResult
from agentkit_evals.subject import DONE, Reference, answer_of, replayed


@dataclass(frozen=True, slots=True)
class Book:
    """What a case's user says, and what is to be called then; one entry a turn each.

    Attributes:
        said: What the user says.
        wanted: The calls that are to be made then.
        at_once: Whether the calls of a turn are one reply.
        answer: What is said in the end.
        begins: The turns with which conversations begin, beside the first.
    """

    said: tuple[str, ...]
    wanted: tuple[tuple[tuple[str, JsonObject], ...], ...]
    at_once: bool = False
    answer: str = DONE
    begins: tuple[int, ...] = ()

    def conversations(self) -> Iterator[Book]:
        """Each of them as a book of its own."""
        starts = [0, *self.begins]
        for start, end in zip(starts, [*self.begins, len(self.said)], strict=True):
            answer = self.answer if end == len(self.said) else DONE
            yield Book(self.said[start:end], self.wanted[start:end], self.at_once, answer)


def book_of(
    cases: Iterable[Case], played: Iterable[TrialResult], kind: Reference = "gold"
) -> dict[str, Book]:
    """What the server has to know.

    Args:
        cases: With their gold calls.
        played: Results of those cases, of an agent that does nothing: they hold what the user says.
        kind: Which reference to play.
    """
    idle = {result.case: result.transcript for result in played}
    return {
        case.id: Book(
            said=tuple(
                text_of(message.content)
                for message in idle[case.id].messages
                if isinstance(message, UserMessage)
            ),
            wanted=tuple(replayed(kind, case.gold)),
            at_once=case.at_once,
            answer=answer_of(kind, case),
            begins=tuple(
                number
                for number, turn in enumerate(idle[case.id].turns)
                if number and turn.new_conversation
            ),
        )
        for case in cases
        if case.id in idle
    }


@dataclass
class GoldServer:
    """Serves a reference subject as a vLLM would serve a model; a context manager.

    Attributes:
        books: A book for each case, by the case.
        together: All calls of a turn in one reply, instead of one after another.
        asked: How often each case was asked about, by what was said first; for tests.
    """

    books: Mapping[str, Book]
    together: bool = False
    asked: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._server = FaultServer(then=self._answer, max_model_len=1 << 20)
        self._server.takes_grammar = True
        self._by_first: dict[str, dict[str, Book]] = {}
        for book in self.books.values():
            for part in book.conversations():
                self._by_first.setdefault(part.said[0], {})[repr(part)] = part

    @property
    def url(self) -> str:
        """Its address."""
        return self._server.url

    def __enter__(self) -> GoldServer:
        self._server.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.stop()

    def _answer(self, body: JsonObject) -> Reply:
        self._server.requests.clear()  # thousands come, and each holds its whole conversation
        said, done = _heard(body["messages"])
        with self.lock:
            self.asked[said[0]] += 1
        replies = {
            repr(reply): reply
            for book in self._by_first.get(said[0], {}).values()
            if book.said[: len(said)] == said
            for reply in [self._next(book, len(said) - 1, done)]
        }
        if len(replies) != 1:
            raise LookupError(f"{len(replies)} answers fit to what was said: {said}")
        return next(iter(replies.values()))

    def _next(self, book: Book, turn: int, done: int) -> Reply:
        wanted = book.wanted[turn] if turn < len(book.wanted) else ()
        rest = wanted[done:] if self.together or book.at_once else wanted[done : done + 1]
        if rest:  # in the order of Gemma's own syntax, however much of it a client reads
            return calls(*((name, json.loads(json.dumps(a, sort_keys=True))) for name, a in rest))
        return say(book.answer if turn == len(book.said) - 1 else DONE)


def _heard(messages: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], int]:
    """What the user has said, and how many calls were answered since."""
    said: list[str] = []
    done = 0
    for message in messages:
        if message["role"] == "user":
            content = message["content"]
            said.append(content if isinstance(content, str) else content[0]["text"])
            done = 0
        elif message["role"] == "tool":
            done += 1
    return tuple(said), done
