"""Played users: by a script, or by a model with a goal.

A user is a function of the transcript so far and of the trial's seed. It returns the user's next
message, or None when the conversation is over. It keeps no state, so a `Task` can have one instead
of its turns for any number of concurrent trials. What it said is part of the transcript, and trials
are graded again from that, without asking it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, TypeAlias

from agentkit import Model, ModelSettings
from agentkit_evals.asking import ask
from agentkit_evals.core import SuiteError, Transcript

User: TypeAlias = Callable[[Transcript, int], str | Awaitable[str | None] | None]
"""The transcript so far and the trial's seed → the user's next message; None ends it."""

Line: TypeAlias = str | Callable[[str], str | None]
"""A message, or a function of the agent's last answer that returns one; None ends it."""


@dataclass(frozen=True, slots=True, init=False)
class ScriptedUser:
    """A user who says one line after another.

    Args:
        lines: Texts, or functions of the agent's last answer, which is empty at first.
    """

    lines: tuple[Line, ...]

    def __init__(self, *lines: Line) -> None:
        object.__setattr__(self, "lines", lines)

    @property
    def name(self) -> str:
        """Always `script`."""
        return "script"

    def __call__(self, transcript: Transcript, seed: int) -> str | None:  # noqa: ARG002 - a script is the same in all trials
        """The next line."""
        number = len(transcript.turns)
        if number >= len(self.lines):
            return None
        line = self.lines[number]
        return line if isinstance(line, str) else line(_last_answer(transcript))


def _last_answer(transcript: Transcript) -> str:
    return transcript.turns[-1].output if transcript.turns else ""


_RULES: Final = """\
You play a person who writes to an assistant. You are never the assistant.

Who you are and what you want:
{situation}

Write the person's next message, as people write: short, one thing at a time, and nothing that \
the person cannot know. Do not give away at once all that the assistant has to ask for. The \
conversation is over when the person has what it wants, or sees that it will not get it; then say \
so and write no message."""


@dataclass(frozen=True, slots=True)
class _Said:
    """The person's next message.

    Attributes:
        over: Whether the conversation is over, so that nothing more is said.
        message: What the person writes; empty when it is over.
    """

    over: bool
    message: str


@dataclass(frozen=True, slots=True)
class ModelUser:
    """A user played by a model, until it has what it wants.

    It sees the messages, and no calls or results. If it gives no message, the trial has no verdict:
    that is the suite's failure, and never the agent's.

    Attributes:
        model: The model; its name is in the record of each turn, so give it a fixed name.
        situation: Who the user is and what it wants, such as "You booked flight LH 400 for
            tomorrow and want to fly a day later. Your booking code is XJ4."
        first: The first message; without it, the model begins.
        settings: Settings of the model; the seed is the trial's.
    """

    model: Model = field(repr=False)
    situation: str
    first: str | None = None
    settings: ModelSettings = field(default_factory=ModelSettings)

    @property
    def name(self) -> str:
        """The name of the model."""
        return self.model.name

    async def __call__(self, transcript: Transcript, seed: int) -> str | None:
        """The next message.

        Raises:
            SuiteError: The model gave no message.
            ModelError: The model could not be reached.
        """
        if not transcript.turns and self.first is not None:
            return self.first
        said = [
            {"role": role, "text": text}
            for asked, turn in zip(transcript.asked, transcript.turns, strict=True)
            for role, text in (("person", asked), ("assistant", turn.output))
        ]
        next_one: _Said = await ask(
            self.model,
            "user",
            _RULES.format(situation=self.situation),
            said or [{"role": "system", "text": "Nobody has said anything yet."}],
            _Said,
            replace(self.settings, seed=seed),
        )
        if next_one.over:
            return None
        if not next_one.message.strip():
            raise SuiteError(f"the user {self.name} said nothing")
        return next_one.message


def name_of(user: User) -> str:
    """The name of a played user."""
    name: str = getattr(user, "name", "") or getattr(user, "__name__", type(user).__name__)
    return name


if TYPE_CHECKING:
    _: User = ScriptedUser()
