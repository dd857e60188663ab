"""Work far beyond the window: 2,000,000 tokens of tool output, 20 facts in it, all found again.

A script plays the model. It knows only its prompt: it reads one long result after the other, and is
then asked for facts that stood somewhere in them. A fact that is still in the prompt it takes from
there. Else it does to the letter what the preview or the stub of that result says, page by page, or
what the remark at the task says where the whole exchange is gone. Windows are counted to the token
by the bundled tokenizer, and a prompt that would not fit is refused, as a server would.
"""

from __future__ import annotations

import random
import re
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import anyio

from agentkit import Agent, Context, Limits, tool
from agentkit.errors import ContextWindowError
from agentkit.events import ModelEvent
from agentkit.journal import SQLiteJournal
from agentkit.messages import AssistantMessage, ModelRequest, ToolMessage, text_of
from agentkit.testing import call, say
from agentkit.testing.scripted import Reply
from agentkit.toolset import Tool
from soak.proof import prove
from tests.agent.following import GAP, PAGE, STUB, Windowed
from tests.context.driving import prompt_text, tokens
from tests.mortal import Killed, Mortal

_TOKENS: Final = 2_000_000
_FACTS: Final = 20
_BATCHES: Final = 4
_WINDOWS: Final = (262_144, 32_768)
_WORDS: Final = [
    "value",
    "return",
    "the",
    "result",
    "of",
    "0",
    "line",
    "error: none",
    "ü",
    "(x, y)\n",
]
_CHECKED: Final = 20
"""Every so many requests the whole prompt is rendered and counted apart."""


def page_of(seed: int, number: int) -> str:
    """A long result, the same each time."""
    rng = random.Random(seed * 10_007 + number)
    return " ".join(rng.choices(_WORDS, k=rng.choice([500, 4_000, 9_000])))


@dataclass
class Library:
    """Results whose tokens add up to so many, and the facts in some of them."""

    seed: int
    size: int
    texts: list[str] = field(default_factory=list)
    facts: dict[int, str] = field(default_factory=dict)
    tokens: int = 0

    def __post_init__(self) -> None:
        rng = random.Random(self.seed)
        while self.tokens < self.size:
            self.texts.append(page_of(self.seed, len(self.texts)))
            self.tokens += tokens(self.texts[-1])
        for number in rng.sample(range(len(self.texts)), min(_FACTS, len(self.texts))):
            text, self.facts[number] = self.texts[number], str(rng.randrange(10**6, 10**7))
            at = rng.choice([0, rng.randrange(len(text)), len(text)])
            told = f"\nThe code of shelf {number}k is {self.facts[number]}.\n"
            self.texts[number] = text[:at] + told + text[at:]

    def tools(self, dies_at: int | None = None) -> list[Tool[..., Any]]:
        """The tool that reads them; it dies once where it is told to."""
        left = [dies_at]

        @tool(effect="idempotent", labels=set())
        def read(number: int) -> str:
            """Reads a shelf."""
            if number == left[0]:
                left[0] = None
                raise Killed
            return self.texts[number]

        return [read]


class Reader:
    """The script.

    Attributes:
        found: What it says of each shelf in the end.
        ways: Where it found them.
    """

    def __init__(self, library: Library, after: int = 0) -> None:
        self._library = library
        self._next = after
        self._asked = sorted(library.facts)
        self._read_on = 0
        self.found: dict[int, str] = {}
        self.ways: Counter[str] = Counter()

    def reply(self, request: ModelRequest) -> Reply:
        """Reads the next shelf; then looks for the facts, one after the other."""
        if self._next < len(self._library.texts):
            self._next += 1
            return call("read", number=self._next - 1)
        while self._asked:
            shelf = self._asked[0]
            if (code := self._in_prompt(request, shelf)) is not None:
                self.found[shelf] = code
                self.ways["read on" if self._read_on else "in the prompt"] += 1
                self._asked.pop(0)
                self._read_on = 0
                continue
            if self._read_on > 2_000:
                self._asked.pop(0)
                self._read_on = 0
                continue
            self._read_on += 1
            return self._as_told(request, shelf)
        return say("Done.")

    def _in_prompt(self, request: ModelRequest, shelf: int) -> str | None:
        for message in request.messages:
            if isinstance(message, ToolMessage):
                told = re.search(
                    rf"The code of shelf {shelf}k is (\d+)\.", text_of(message.content)
                )
                if told:
                    return told[1]
        return None

    def _as_told(self, request: ModelRequest, shelf: int) -> Reply:
        """The next page, where one was shown; else what stands in place of the result."""
        newest = request.messages[-1]
        if self._read_on > 1 and isinstance(newest, ToolMessage):
            page = PAGE.match(text_of(newest.content))
            if page and page[6]:
                return call("read_result", result=int(page[6]), start=int(page[7]))
        number = next(
            (
                each.id
                for message in request.messages
                if isinstance(message, AssistantMessage)
                for each in message.tool_calls
                if each.name == "read" and each.arguments == {"number": shelf}
            ),
            None,
        )
        for message in request.messages:
            if isinstance(message, ToolMessage) and message.call_id == number:
                text = text_of(message.content)
                if stub := STUB.fullmatch(text):
                    return call("read_result", result=int(stub[2]))
                if gap := GAP.search(text):
                    return call("read_result", result=int(gap[4]), start=int(gap[5]))
        assert "Call recall with some words" in text_of(request.messages[0].content)
        return call("recall", words=f"code of shelf {shelf}k")


class Counted(Windowed):
    """A model behind a window that refuses what does not fit, as a server would."""

    async def generate(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """The next reply."""
        assert self._form is not None, "the window has asked for it"
        if len(self.requests) % _CHECKED == 0:
            needed = tokens(prompt_text(request.messages, self._form))
            if needed > self._window:
                raise ContextWindowError(f"{needed} tokens do not fit {self._window}")
        async for event in super().generate(request):
            yield event


def batch(number: int) -> dict[str, int]:
    """One library in one window, whole; and a part of it by a run that dies and is resumed."""
    window, size = _WINDOWS[number % len(_WINDOWS)], _TOKENS
    context = Context(compact_at=1.0 if number < len(_WINDOWS) else 0.5)
    options: dict[str, Any] = {"context": context, "limits": Limits(steps=20_000), "observers": ()}
    library = Library(number, size)
    reader = Reader(library)
    model = Counted(reader.reply, window, replies=20_000)
    result = Agent(model, tools=library.tools(), **options).run_sync("Read all shelves.")
    assert result.stop_reason == "answer", result.explanation
    assert reader.found == library.facts, f"{len(reader.found)} of {len(library.facts)}"
    counts = Counter(
        {
            f"runs in {window:,}": 1,
            "tokens of tool output": library.tokens,
            "facts found": len(reader.found),
            "requests": len(model.requests),
            "compactions": result.context.compactions,
            "refusals": 0,
        }
    )
    counts += Counter({f"facts found: {way}": many for way, many in reader.ways.items()})
    counts["resumed requests that are the same"] += _resumed(number, window, options)
    return dict(counts)


def _resumed(seed: int, window: int, options: dict[str, Any]) -> int:
    """Kills a run behind its compactions; whether the next request is that of one that lived."""
    library = Library(seed + 100, window * 3)
    dies_at = len(library.texts) * 3 // 4

    async def main() -> tuple[ModelRequest, ModelRequest]:
        whole = Counted(Reader(library).reply, window, replies=20_000)
        await Agent(whole, tools=library.tools(), **options).run("Read all shelves.", run_id="r")
        with tempfile.TemporaryDirectory() as folder:
            journal = SQLiteJournal(Path(folder) / "runs.db")
            tools = library.tools(dies_at)
            first = Counted(Reader(library).reply, window, replies=20_000)
            agent = Agent(first, tools=tools, executor=Mortal(), **options)
            with suppress(Killed):
                await agent.run("Read all shelves.", journal=journal, run_id="r")
            asked = len(first.requests)
            rest = Counted(Reader(library, asked).reply, window, replies=20_000)
            result = await Agent(rest, tools=tools, **options).resume("r", journal=journal)
            assert result.context.compactions >= 1
            journal.close()
            return whole.requests[asked], rest.requests[0]

    expected, resumed = anyio.run(main)
    assert expected.messages == resumed.messages
    return 1


if __name__ == "__main__":
    sys.exit(prove("recall", _BATCHES, batch))
