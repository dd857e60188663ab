"""What is sent of a conversation and what is left out, as events and in the result of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from agentkit.messages import Usage


@dataclass(frozen=True, slots=True)
class Summary:
    """A summary of messages that are left out from then on, written by the model.

    Attributes:
        text: What is sent in their place; empty if there is no summary.
        cost: The tokens that were spent to ask for it.
        problem: Why there is no summary, for a person.
    """

    text: str = ""
    cost: Usage = field(default_factory=Usage)
    problem: str = ""

    @property
    def is_reply(self) -> bool:
        """Whether the model answered at all; if not, it may be asked again."""
        return bool(self.text) or self.cost != Usage()


@dataclass(frozen=True, slots=True)
class ContextCompacted:
    """Less of the conversation is sent from here on; all of it stays in the run's messages.

    Attributes:
        before: Tokens of the prompt as it would have been.
        after: Tokens of the prompt that is sent.
        cleared: Ids of the calls whose results are short stubs now.
        dropped: Messages that are left out now.
        reason: Why, for a person.
        summary: The summary of the messages that are left out; None if none was asked for.
    """

    before: int
    after: int
    cleared: tuple[str, ...]
    dropped: int
    reason: str
    step: int = 0
    summary: Summary | None = None


Change: TypeAlias = tuple[int, Literal["shortened", "cleared", "dropped", "summarized"], int]
"""A message's place in the history, from 0 and without the instructions; what was done to it; and a
size. The size of `shortened` is the preview's characters, and that of `cleared` the tokens that the
stub names. `summarized` means that the newest summary stands in its place or, with the size 1, the
request to go on that follows the summary or, with the size 2, the question that it answers."""


@dataclass(frozen=True, slots=True)
class PromptSent:
    """What was sent of a conversation: a resumed run goes on from it.

    Attributes:
        tokens: The tokens of the prompt; a count if `exact`, else an estimate.
        own: Our own sum of them, to compare with the server's count.
        stays: The tokens that no compaction takes away.
        ceiling: The most tokens that the server takes, if it has refused more.
        changes: What was done to messages since the request before.
        summary: The summary that was made for this prompt: the text that is sent, and the cost of
            all requests for a summary since the prompt before.
        parts: The tokens by what they are spent on, as in `ContextUse.parts`.
        rendering: How the chat template was asked to render; empty if agentkit does not render the
            server's template itself.
    """

    tokens: int
    exact: bool
    own: int
    stays: int
    ceiling: int | None = None
    changes: tuple[Change, ...] = ()
    summary: Summary | None = None
    parts: Mapping[str, int] = field(default_factory=dict)
    rendering: Mapping[str, bool | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PromptFitted:
    """What decided how much of a conversation is sent. In tokens; None if nobody knows.

    Attributes:
        tokens: The prompt before anything old was left out of it.
        longest: The longest new result, as it is sent.
        shortened: Whether a new result is sent as a preview.
        compact_at: The limit beyond which old results are cleared.
        result_tokens: The most that one result may take.
        profile_at: The value that the model's profile would give `compact_at`.
        most: The largest prompt that leaves room for a reply.
        fair: The most that one new result may take of the room that is left, if the user sets no
            limit.
        window: What prompt and reply may take together.
        source: Where `compact_at` comes from.
        sent: What was sent; None in a record of an older version.
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
    window: int | None = None
    source: str = ""
    sent: PromptSent | None = None

    @property
    def cost(self) -> Usage:
        """The tokens that were spent to make the prompt fit."""
        summary = self.sent.summary if self.sent is not None else None
        return summary.cost if summary is not None else Usage()


@dataclass(frozen=True, slots=True)
class PromptTokens:
    """The prompt of one model call.

    Attributes:
        step: The step of the call.
        foreseen: Tokens, as known before it was sent.
        exact: Whether `foreseen` is a count and not an estimate on the safe side.
        counted: Tokens, as the server counted them; 0 if it did not say.
        cached: How many of them came out of the server's prefix cache.
    """

    step: int
    foreseen: int
    exact: bool
    counted: int
    cached: int


@dataclass(frozen=True, slots=True)
class ContextUse:
    """What fills a model's window, and what is left out of it.

    Attributes:
        window: The most tokens of prompt and reply together; None if nobody knows.
        compact_at: Tokens of a prompt beyond which old results are cleared; None for never.
        parts: Tokens of the newest prompt by part: `instructions`, `tools`, `user`, `assistant`,
            `results`, and `format` for what only the template writes.
        shortened: Ids of the calls whose results are sent as previews.
        cleared: Ids of the calls whose results are sent as stubs.
        dropped: Messages that are not sent.
        compactions: How often it was compacted.
        prompts: The prompt of each model call.
        source: Where `compact_at` comes from.
        summary: What is sent in place of messages that a summary stands for.
    """

    window: int | None = None
    compact_at: int | None = None
    parts: Mapping[str, int] = field(default_factory=dict)
    shortened: tuple[str, ...] = ()
    cleared: tuple[str, ...] = ()
    dropped: int = 0
    compactions: int = 0
    prompts: tuple[PromptTokens, ...] = ()
    source: str = ""
    summary: str = ""

    @property
    def tokens(self) -> int:
        """Tokens of the newest prompt."""
        return self.prompts[-1].foreseen if self.prompts else 0
