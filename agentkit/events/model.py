"""What comes of one model call, piece by piece."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from agentkit.messages import ModelResponse


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the answer."""

    text: str
    step: int = 0


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """A piece of a thought; never part of the answer."""

    text: str
    step: int = 0


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of a call, for display only: nothing may run from it."""

    index: int
    name: str
    arguments: str
    step: int = 0


@dataclass(frozen=True, slots=True)
class StepRestarted:
    """The call is made again: what was shown of this step is void."""

    reason: str
    attempt: int
    step: int = 0


@dataclass(frozen=True, slots=True)
class ModelFinished:
    """The last event of a model call that ended well."""

    response: ModelResponse
    step: int = 0


@dataclass(frozen=True, slots=True)
class ContextCompacted:
    """Less of the conversation is sent from here on; all of it stays in the run's messages.

    Attributes:
        before: Tokens of the prompt as it would have been.
        after: Tokens of the prompt that is sent.
        cleared: Ids of the calls whose results are short stubs now.
        dropped: Messages that are left out now.
        reason: Why, for a person.
    """

    before: int
    after: int
    cleared: tuple[str, ...]
    dropped: int
    reason: str
    step: int = 0


@dataclass(frozen=True, slots=True)
class PromptFitted:
    """What was known when it was decided how much of a conversation is sent. All in tokens; None
    where nobody knows.

    Attributes:
        tokens: Of the prompt before anything old was left out of it.
        longest: Of the longest result that is new in it, as it is sent.
        shortened: Whether a new result is sent as a preview.
        compact_at: Beyond which old results are cleared.
        result_tokens: Most of one result.
        profile_at: Where the model's profile would set `compact_at`.
        most: Of a prompt that leaves room for a reply.
        fair: Of one new result, by what was left of the window; what decides where the user did
            not.
    """

    tokens: int
    longest: int
    shortened: bool
    compact_at: int | None
    result_tokens: int
    profile_at: int | None
    most: int | None
    step: int = 0
    fair: int = 0


ModelEvent: TypeAlias = (
    TextDelta
    | ReasoningDelta
    | ToolCallDelta
    | StepRestarted
    | ContextCompacted
    | PromptFitted
    | ModelFinished
)
