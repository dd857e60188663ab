"""A server that knows the answers: gold calls in Gemma's own syntax, over the wire.

With it everything between the wire and the grader is proved at once: `VLLMModel`, the parser, the
schemas, validation, the loop, the executor and the suite. It has no state: what it answers follows
from the request, so any number of clients can use it, and clients that are killed and come back.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentkit.messages import JsonObject, UserMessage, text_of
from agentkit.testing import FaultServer, Reply, calls, say
from agentkit_evals.core import Case, TrialResult
from agentkit_evals.subject import Reference, replayed

__all__ = ["Book", "GoldServer", "book_of"]


@dataclass(frozen=True, slots=True)
class Book:
    """What a case's user says, and what is to be called then; one entry a turn each.

    Attributes:
        said: By the user.
        wanted: Calls.
        at_once: Whether the calls of a turn are one reply.
    """

    said: tuple[str, ...]
    wanted: tuple[tuple[tuple[str, JsonObject], ...], ...]
    at_once: bool = False


def book_of(
    cases: Iterable[Case], played: Iterable[TrialResult], kind: Reference = "gold"
) -> dict[str, Book]:
    """What the server has to know.

    Args:
        cases: With their gold calls.
        played: Results of those cases, of an agent that does nothing: they hold what the user says.
        kind: Which reference to play.
    """
    said = {
        result.case: tuple(
            text_of(message.content)
            for message in result.transcript.messages
            if isinstance(message, UserMessage)
        )
        for result in played
    }
    return {
        case.id: Book(said[case.id], tuple(replayed(kind, case.gold)), case.at_once)
        for case in cases
        if case.id in said
    }


@dataclass
class GoldServer:
    """Serves a reference subject as a vLLM would serve a model; a context manager.

    Attributes:
        books: By case.
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
            for book in self.books.values()
            if book.said[: len(said)] == said
            for reply in [self._next(book, len(said) - 1, done)]
        }
        if len(replies) != 1:
            raise LookupError(f"{len(replies)} answers fit to what was said: {said}")
        return next(iter(replies.values()))

    def _next(self, book: Book, turn: int, done: int) -> Reply:
        wanted = book.wanted[turn] if turn < len(book.wanted) else ()
        rest = wanted[done:] if self.together or book.at_once else wanted[done : done + 1]
        return calls(*rest) if rest else say("Done.")


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
