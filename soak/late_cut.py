"""200 held-out questions over long results, on a real vLLM with the bundled checkpoint.

A file of 1,000 to 20,000 characters is read, and asked is what one of its lines says: one at its
head, in its middle or at its tail. Each question is put three times: with agentkit's own choice of
what is cut, the same where tokens can only be estimated, and with nothing cut at all. Wherever the
whole file fits, the first has to be right as often as the third, and the asked line has to stand in
its prompt each time; so has the second, where the file fits by the estimate, which is on the safe
side. What comes of longer files is counted.

The checkpoint quotes the first line of a long file about every other time, and hardly ever another:
in the middle and at the tail it is the prompt that tells.

The server's window is 8,192, what AGENTKIT_LATE_CUT_WINDOW says (32768), or what the server of
AGENTKIT_LIVE_URL has; `--share 0.1` makes 20 questions.
"""

from __future__ import annotations

import os
import random
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import anyio

from agentkit import Agent, Context, ContextWindowError, Limits, Model, ModelSettings, VLLMModel
from agentkit.context import Count, PromptForm, estimated_tokens
from agentkit.events import ModelEvent
from agentkit.messages import ModelRequest, ToolMessage, text_of
from agentkit.models import CountsPrompts
from agentkit.toolset import Tool, tool
from soak.live import asked_server
from soak.proof import prove
from tests.live.server import WINDOW
from training.tiny_gemma4.draw import HeldOutDraw

_BATCHES: Final = 50
_QUESTIONS: Final = 4
"""Of each batch."""

Place = Literal["head", "middle", "tail"]
_PLACES: Final[tuple[Place, ...]] = ("head", "middle", "tail")
WAYS: Final = ("as it is", "only estimated", "nothing cut")
SURELY: Final = "fits by the estimate too"
REALLY: Final = "fits"
NOT: Final = "does not fit"

_REPLY: Final = 128
"""Tokens of an answer, at most."""

_AROUND: Final = 1_000
"""Tokens of everything but the file in a prompt, by the estimate, at most."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question about one line of a long file.

    Attributes:
        path: The file.
        lines: What stands in it.
        number: The asked line, from 1.
    """

    path: str
    lines: Sequence[str]
    number: int

    @property
    def text(self) -> str:
        """What is asked, in words that the checkpoint knows."""
        if self.number == 1:
            return f"What is the first line of {self.path}?"
        return f"What is on line {self.number} of {self.path}?"

    @property
    def result(self) -> str:
        """What the tool returns."""
        return "\n".join(f"{at:>4}| {line}" for at, line in enumerate(self.lines, 1))

    @property
    def asked(self) -> str:
        """The line, as it stands in the result."""
        return f"{self.number:>4}| {self.lines[self.number - 1]}"

    def is_right(self, answer: str) -> bool:
        """Whether an answer quotes the line."""
        return self.lines[self.number - 1].strip() in answer


def question(seed: int, place: Place) -> Question:
    """A question, the same each time, its names held out from the checkpoint's training."""
    rng = random.Random(f"{seed} {place}")  # of the sizes alone
    draw = HeldOutDraw(seed)
    size, lines = int(1_000 * 20 ** rng.random()), list[str]()
    while sum(map(len, lines)) + 7 * len(lines) < size:
        lines.append(draw.line())
    number = {"head": 1, "middle": len(lines) // 2, "tail": len(lines) - 1}[place]
    return Question(draw.path(), lines, max(number, 1))


def reader(of: Question) -> Tool[..., Any]:
    """The tool that reads the file, in the words that the checkpoint knows."""

    @tool(effect="pure", labels=set(), description="Read a text file of the project.")
    def read_file(path: str) -> str:
        """Reads.

        Args:
            path: Path of the file inside the project.
        """
        return of.result if path == of.path else f"There is no file {path}."

    return read_file


class Watched:
    """A model that keeps what it was asked last; perhaps one whose tokens nobody can count.

    Args:
        inner: The real model.
        counted: Whether its prompts may be counted.
    """

    def __init__(self, inner: Model, *, counted: bool = True) -> None:
        assert isinstance(inner, CountsPrompts)
        self._inner, self._counts, self._counted = inner, inner, counted
        self.newest = ModelRequest(())

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def constrains(self) -> bool:
        return self._inner.constrains

    async def generate(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Asks the real one."""
        self.newest = request
        async for event in self._inner.generate(request):
            yield event

    async def prompt_form(self, request: ModelRequest) -> PromptForm | None:
        """That of the real one."""
        form = await self._counts.prompt_form(request)
        if form is None or self._counted:
            return form
        return replace(form, counting="estimate", asks=False)

    async def count(self, wanted: Count) -> Sequence[int] | None:
        """What the real one counts, if it may."""
        return await self._counts.count(wanted) if self._counted else None

    async def aclose(self) -> None:
        """Nothing: the real one is closed by whoever made it."""


async def outcome(model: Model, asked: Question, way: str) -> tuple[bool, bool, bool] | None:
    """Whether an answer is right, whether the asked line stood in its prompt, and whether all of
    the file did; None where the prompt is refused.
    """
    watched = Watched(model, counted=way != "only estimated")
    context = Context(compact_at=1.0)
    if way == "nothing cut":
        context = replace(context, result_tokens=10**6, compaction=[])
    agent = Agent(
        watched,
        tools=[reader(asked)],
        settings=ModelSettings(temperature=0, max_tokens=_REPLY),
        limits=Limits(steps=3),
        context=context,
        observers=(),
    )
    try:
        result = await agent.run(asked.text)
    except ContextWindowError:
        return None
    shown = [text_of(m.content) for m in watched.newest.messages if isinstance(m, ToolMessage)]
    there = any(asked.asked in text for text in shown)
    return asked.is_right(str(result.said)), there, asked.result in shown


async def counted(model: Model, questions: Sequence[tuple[Place, Question]]) -> Counter[str]:
    """What came of these questions.

    Raises:
        AssertionError: A prompt that can be cut was refused.
    """
    assert isinstance(model, CountsPrompts)
    form = await model.prompt_form(ModelRequest(()))
    assert form is not None
    assert form.profile is not None
    window = form.profile.context_window
    counts: Counter[str] = Counter()
    for place, asked in questions:
        found = {way: await outcome(model, asked, way) for way in WAYS}
        assert found["as it is"] is not None, "a prompt that can be cut is never refused"
        where = NOT
        if (whole := found["nothing cut"]) is not None and whole[2]:
            surely = estimated_tokens(asked.result) + _AROUND + _REPLY <= window
            where = SURELY if surely else REALLY
        counts["questions"] += 1
        counts[f"the whole file {where}"] += 1
        for way in WAYS:
            right, there, _ = found[way] or (False, False, False)
            counts[f"right, {way}, {where}, {place}"] += right
            counts[f"asked line in the prompt, {way}, {where}, {place}"] += there
    return counts


def missed(counts: Mapping[str, int]) -> list[str]:
    """Where less is right, or in the prompt, than with nothing cut; or that nothing is right."""
    found = [
        f"{what}, {way}, {where}, {place}: {got}, and {least} with nothing cut"
        for what in ("right", "asked line in the prompt")
        for way, where in (("as it is", SURELY), ("as it is", REALLY), ("only estimated", SURELY))
        for place in _PLACES
        if (got := counts.get(f"{what}, {way}, {where}, {place}", 0))
        < (least := counts.get(f"{what}, nothing cut, {where}, {place}", 0))
    ]
    if not any(counts.get(f"right, nothing cut, {SURELY}, {place}", 0) for place in _PLACES):
        found.append("nothing is right with nothing cut: that proves nothing")
    return found


def questions_of(number: int) -> list[tuple[Place, Question]]:
    """The questions of one batch."""
    numbers = range(number * _QUESTIONS, (number + 1) * _QUESTIONS)
    return [(_PLACES[n % 3], question(n, _PLACES[n % 3])) for n in numbers]


def batch(number: int) -> dict[str, int]:
    """Some questions, on the server."""

    async def main() -> Counter[str]:
        url, key = os.environ["AGENTKIT_LIVE_URL"], os.environ.get("AGENTKIT_LIVE_KEY")
        model = VLLMModel(url, api_key=key)
        try:
            return await counted(model, questions_of(number))
        finally:
            await model.aclose()

    return dict(anyio.run(main))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the proof, on a server of its own unless the environment names one."""
    del argv
    window = int(os.environ.get("AGENTKIT_LATE_CUT_WINDOW", WINDOW))
    with asked_server("tiny", window=window):
        return prove(f"late_cut_{window}", _BATCHES, batch, missed)


if __name__ == "__main__":
    sys.exit(main())
