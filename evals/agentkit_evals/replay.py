"""A server that knows the answers: gold calls in Gemma's own syntax, over the wire.

A run against it proves everything between the wire and the grader at once: `VLLMModel`, the parser,
the schemas, validation, the loop, the executor and the suite. Each answer depends on its request
alone, so any number of clients can use the server, also clients that are killed and come back.
"""

from __future__ import annotations

import json
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentkit.messages import JsonObject, UserMessage, text_of
from agentkit.testing import FaultServer, Reply, calls, say
from agentkit_evals.core import Case, Transcript, TrialResult
from agentkit_evals.subject import DONE, Reference, answer_of, replayed


@dataclass(frozen=True, slots=True)
class Book:
    """A case as the server plays it.

    Attributes:
        said: The user's message of each turn.
        wanted: The calls of each turn.
        at_once: Whether the calls of a turn are one reply.
        answer: The text of the last reply.
        begins: The numbers of the turns, after the first, that begin a new conversation.
    """

    said: tuple[str, ...]
    wanted: tuple[tuple[tuple[str, JsonObject], ...], ...]
    at_once: bool = False
    answer: str = DONE
    begins: tuple[int, ...] = ()

    def conversations(self) -> Iterator[Book]:
        """Each conversation as a book of its own."""
        starts = [0, *self.begins]
        for start, end in zip(starts, [*self.begins, len(self.said)], strict=True):
            answer = self.answer if end == len(self.said) else DONE
            yield Book(self.said[start:end], self.wanted[start:end], self.at_once, answer)


def book_of(
    cases: Iterable[Case], played: Iterable[TrialResult], kind: Reference = "gold"
) -> dict[str, Book]:
    """A book for each case that was played.

    Args:
        cases: The cases, with their gold calls.
        played: Results of an agent that does nothing, for what the user says.
        kind: The reference to play.
    """
    idle = {result.case: result.transcript for result in played}
    return {case.id: _book(case, idle[case.id], kind) for case in cases if case.id in idle}


def _book(case: Case, idle: Transcript, kind: Reference) -> Book:
    users = [message for message in idle.messages if isinstance(message, UserMessage)]
    fresh = [number for number, turn in enumerate(idle.turns) if turn.new_conversation]
    return Book(
        said=tuple(text_of(message.content) for message in users),
        wanted=tuple(replayed(kind, case.gold)),
        at_once=case.at_once,
        answer=answer_of(kind, case),
        begins=tuple(number for number in fresh if number > 0),
    )


@dataclass
class GoldServer:
    """Serves a reference subject as a vLLM would serve a model; a context manager.

    Attributes:
        books: The book of each case.
        together: Whether the calls of a turn are one reply in all cases.
        asked: The number of requests, by the user's first message; for tests.
    """

    books: Mapping[str, Book]
    together: bool = False
    asked: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._server = FaultServer(then=self._answer, max_model_len=1 << 20)
        self._server.takes_grammar = True
        # Cases may share a conversation; they are told apart by `repr`, since True is equal to 1.
        self._by_first: defaultdict[str, dict[str, Book]] = defaultdict(dict)
        for book in self.books.values():
            for part in book.conversations():
                self._by_first[part.said[0]][repr(part)] = part

    @property
    def url(self) -> str:
        """The address of the server."""
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
        replies: dict[str, Reply] = {}
        for book in self._by_first.get(said[0], {}).values():
            if book.said[: len(said)] == said:
                reply = self._next(book, len(said) - 1, done)
                replies[repr(reply)] = reply
        if len(replies) != 1:
            raise LookupError(f"{len(replies)} answers fit to what was said: {said}")
        return next(iter(replies.values()))

    def _next(self, book: Book, turn: int, done: int) -> Reply:
        wanted = book.wanted[turn] if turn < len(book.wanted) else ()
        rest = wanted[done:] if self.together or book.at_once else wanted[done : done + 1]
        if rest:  # keys are sorted as in Gemma's own syntax, whichever syntax a client reads
            return calls(*((name, json.loads(json.dumps(a, sort_keys=True))) for name, a in rest))
        return say(book.answer if turn == len(book.said) - 1 else DONE)


def _heard(messages: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], int]:
    """The user's messages, and the number of tool results after the last one."""
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
