"""A model that knows only its prompt, and does to the letter what previews and stubs tell it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from agentkit.context import Count, PromptForm
from agentkit.messages import ModelRequest, ToolMessage, text_of
from agentkit.testing import ScriptedModel, call
from agentkit.testing.scripted import Reply
from tests.context.driving import encoded, form_of

GAP = re.compile(
    r"\n?\[… characters (\d+) to (\d+) of (\d+) are left out here\. "
    r"Call read_result with result (\d+) and start (\d+) to read them …\]\n?"
)
PAGE = re.compile(
    r"\[(?:Result|Message) (\d+) [^\n]*, characters (\d+) to (\d+) of (\d+):\]\n(.*)\n"
    r"\[(?:It ends here\.|Call read_result with result (\d+) and start (\d+) to read on\.)\]",
    re.DOTALL,
)
STUB = re.compile(r"\[Old result (\d+) of \w+, .*Call read_result with result (\d+) to read it\.\]")


class Windowed(ScriptedModel):
    """A scripted model within a window, whose prompts are counted by the bundled tokenizer."""

    def __init__(
        self,
        reply: Callable[[ModelRequest], Reply],
        window: int,
        *,
        counted: bool = True,
        replies: int = 1_000,
    ) -> None:
        super().__init__([reply] * replies)
        self._window = window
        self._counted = counted
        self._form: PromptForm | None = None

    async def prompt_form(self, request: ModelRequest) -> PromptForm:
        self._form = self._form or form_of(request.tools, window=self._window)
        return self._form

    async def count(self, wanted: Count) -> Sequence[int] | None:
        return encoded(wanted) if self._counted else None


@dataclass
class Follower:
    """Reads on wherever something is left out.

    Attributes:
        pages: What was read, by the number of the result and by its start.
        told: Every call that the prompt named and that was made.
    """

    pages: dict[int, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))
    told: list[tuple[int, int]] = field(default_factory=list)

    def next_call(self, request: ModelRequest) -> Reply | None:
        """The call that the newest result tells of; None where nothing is missing."""
        newest = request.messages[-1]
        if not isinstance(newest, ToolMessage):
            return None
        text = text_of(newest.content)
        if newest.name == "read_result":
            page = PAGE.match(text)
            assert page, text
            number, start = int(page[1]), int(page[2])
            assert len(page[5]) == int(page[3]) - start, "as many characters as it says"
            self.pages[number][start] = page[5]
            if page[6]:
                return self._call(int(page[6]), int(page[7]))
            return None
        if gap := GAP.search(text):
            return self._call(int(gap[4]), int(gap[5]))
        return None

    def _call(self, number: int, start: int) -> Reply:
        self.told.append((number, start))
        return call("read_result", result=number, start=start)

    def text(self, number: int, shown: str) -> str:
        """A result put together from its preview and the pages that were read."""
        gaps = list(GAP.finditer(shown))
        if not gaps:
            return shown
        last = max(self.pages[number])
        read = "".join(self.pages[number][start] for start in sorted(self.pages[number]))
        first = min(self.pages[number])
        assert last + len(self.pages[number][last]) == int(gaps[0][3]), "read to the end"
        whole = shown[: gaps[0].start()] + read
        for gap, after in pairwise([*gaps, None]):
            assert gap is not None
            kept = shown[gap.end() : after.start() if after else None]
            end = int(gap[2])
            assert whole[end : end + len(kept)] == kept, "what a preview keeps stands there"
        assert first == gaps[0].start()
        return whole
