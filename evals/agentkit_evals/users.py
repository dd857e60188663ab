"""Users that are played: by a script, or by a model that has a wish.

A user is a function of what was said so far and of the trial's seed; it returns what the user says
next, or None when the conversation is over. It holds nothing, so a `Task` can have one in the place
of its turns for any number of trials at a time. What it said is part of the transcript, with who
said it, and trials are graded again by that, without asking anybody.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, TypeAlias

from agentkit import Model, ModelSettings
from agentkit_evals.asking import ask
from agentkit_evals.core import SuiteError, Transcript

User: TypeAlias = Callable[[Transcript, int], str | Awaitable[str | None] | None]
"""What was said so far, and the trial's seed → what the user says next; None ends it."""

Line: TypeAlias = str | Callable[[str], str | None]
"""What is said, or a function of the agent's last answer that returns it; None ends it."""


@dataclass(frozen=True, slots=True, init=False)
class ScriptedUser:
    """A user who says one line after another.

    Args:
        lines: Texts, or functions of the agent's last answer, which is empty where it had none.
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
        return line if isinstance(line, str) else line(_heard(transcript))


def _heard(transcript: Transcript) -> str:
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

    It sees what was said, and no calls or results. Where it gives no message, the trial has no
    verdict: that is the suite's failure, and never the agent's.

    Attributes:
        model: Who plays; its name is in the record of each turn. Give it a fixed one.
        situation: Who the user is and what it wants, such as "You booked flight LH 400 for
            tomorrow and want to fly a day later. Your booking code is XJ4."
        first: What it says first; without it the model begins.
        settings: Settings of the model; the seed is the trial's.
    """

    model: Model = field(repr=False)
    situation: str
    first: str | None = None
    settings: ModelSettings = field(default_factory=ModelSettings)

    @property
    def name(self) -> str:
        """The model's."""
        return self.model.name

    async def __call__(self, transcript: Transcript, seed: int) -> str | None:
        """What it says next.

        Raises:
            SuiteError: It gave no message.
            ModelError: The model could not be had.
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
    """Who plays a user."""
    name: str = getattr(user, "name", "") or getattr(user, "__name__", type(user).__name__)
    return name


if TYPE_CHECKING:
    _: User = ScriptedUser()
