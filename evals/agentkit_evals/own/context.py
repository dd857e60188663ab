"""The suite `context`: facts to be remembered in a conversation that outgrows the window.

The agent reads a book page by page with a tool; the pages fill the prompt until older ones are
cleared. The final question is about a fact that the user said at the start, or that is on an early
page, on the last page, or on all pages. The books differ in length: a short one fits any window,
the longest is too long for the window of most models.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from agentkit import Tool, ToolError, tool
from agentkit_evals.core import GoldCall
from agentkit_evals.tasks import Task, TaskSuite

_LENGTHS: Final = {"short": 4, "middle": 16, "long": 64}
"""Pages of each kind of book; a page has some 2,000 tokens."""

_WORDS: Final = (
    "The road went on along the river and past the mill where nobody had worked for years.",
    "They spoke of the weather, of the price of corn, and of those who had left.",
    "In the evening the lamps were lit one after another, and the square grew quiet.",
    "A dog barked twice behind the wall; then there was only the wind in the trees.",
    "She counted the steps to the door as she had done every day of that summer.",
)
_SENTENCES: Final = 120


class Book:
    """A book with a code on each page; `answers` is graded."""

    def __init__(self, pages: int) -> None:
        self.pages = pages
        self.answers: list[str] = []

    def tools(self) -> list[Tool[..., Any]]:
        """The tools for reading and answering."""
        return [tool(effect="pure")(self.read_page), tool(self.answer)]

    def read_page(self, number: int) -> str:
        """Read a page of the book.

        Args:
            number: From 1.
        """
        if not 1 <= number <= self.pages:
            raise ToolError(f"there is no page {number}; the book has {self.pages}")
        text = [_WORDS[(number * 7 + n * 3) % len(_WORDS)] for n in range(_SENTENCES)]
        text.insert(_SENTENCES // 2, f"The code of page {number} is {code(number)}.")
        return f"Page {number} of {self.pages}.\n" + " ".join(text)

    def answer(self, text: str) -> str:
        """Hand in the answer.

        Args:
            text: Nothing but what was asked for.
        """
        self.answers.append(text)
        return "Handed in."


def code(number: int) -> int:
    """The code on a page: three digits from which its number cannot be guessed."""
    return 100 + (number * 379 + 57) % 900


def context_suite() -> TaskSuite:
    """The suite."""
    tasks = [
        make(length, pages)
        for length, pages in _LENGTHS.items()
        for make in (_said_first, _early_page, _last_page, _all_pages)
    ]
    return TaskSuite("context", tasks)


def _said_first(length: str, pages: int) -> Task[Book]:
    """A task that fails if a message of the user is cleared."""
    return _task(
        f"said_first_{length}",
        pages,
        (f"My locker has the number 4711. Now {_read(pages)}", _reading(pages)),
        ("Hand in the number of my locker.", (("answer", {"text": "4711"}),)),
        answer="4711",
        tags=("said", length),
    )


def _early_page(length: str, pages: int) -> Task[Book]:
    """A task in which the page may be read again, if its code is not remembered."""
    wanted = str(code(2))
    return _task(
        f"early_page_{length}",
        pages,
        (_read(pages).capitalize(), _reading(pages)),
        ("Hand in the code of page 2.", (("answer", {"text": wanted}),)),
        answer=wanted,
        tags=("page", length),
    )


def _last_page(length: str, pages: int) -> Task[Book]:
    wanted = str(code(pages))
    return _task(
        f"last_page_{length}",
        pages,
        (_read(pages).capitalize(), _reading(pages)),
        ("Hand in the code of the last page.", (("answer", {"text": wanted}),)),
        answer=wanted,
        tags=("page", length),
    )


def _all_pages(length: str, pages: int) -> Task[Book]:
    """A task that needs a note of each page before the page is cleared."""
    wanted = str(max(map(code, range(1, pages + 1))))
    return _task(
        f"all_pages_{length}",
        pages,
        (
            f"{_read(pages).capitalize()} Hand in the highest code in it, and nothing else.",
            (*_reading(pages), ("answer", {"text": wanted})),
        ),
        answer=wanted,
        tags=("all", length),
    )


def _read(pages: int) -> str:
    return f"read the book from page 1 to page {pages}, page by page, and say when you are done."


def _reading(pages: int) -> tuple[GoldCall, ...]:
    return tuple(("read_page", {"number": number}) for number in range(1, pages + 1))


def _task(
    name: str,
    pages: int,
    *turns: tuple[str, tuple[GoldCall, ...]],
    answer: str,
    tags: tuple[str, ...],
) -> Task[Book]:
    return Task(
        id=name,
        turns=tuple(text for text, _ in turns),
        world=partial(Book, pages),
        tools=Book.tools,
        check=_answered(answer),
        gold=tuple(calls for _, calls in turns),
        steps=2 * pages + 10,
        tags=tags,
    )


def _answered(answer: str) -> Callable[[Book], str | None]:
    def check(book: Book) -> str | None:
        if not book.answers:
            return "answer:none"
        return None if [text.strip() for text in book.answers] == [answer] else "answer:wrong"

    return check
