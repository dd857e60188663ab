"""What is sent of a conversation and what is left out, told with each request and at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from agentkit.messages import Usage


@dataclass(frozen=True, slots=True)
class Summary:
    """What the model wrote down of messages that are left out from then on.

    Attributes:
        text: What is sent in their place, empty where there is no summary.
        cost: What it took to ask for it.
        problem: Why there is none, for a person.
    """

    text: str = ""
    cost: Usage = field(default_factory=Usage)
    problem: str = ""

    @property
    def is_reply(self) -> bool:
        """Whether the model answered at all; else it may be asked again."""
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
        summary: What stands for the messages that are left out; None where none was asked for.
    """

    before: int
    after: int
    cleared: tuple[str, ...]
    dropped: int
    reason: str
    step: int = 0
    summary: Summary | None = None


Change: TypeAlias = tuple[int, Literal["shortened", "cleared", "dropped", "summarized"], int]
"""A message's place in the history, from 0 and without the instructions; what was done to it, and
its size: characters of a preview, tokens that a stub names. `summarized`: the newest summary stands
in its place; of size 1, what lets the model go on behind it."""


@dataclass(frozen=True, slots=True)
class PromptSent:
    """What was sent of a conversation: a resumed run goes on from it.

    Attributes:
        tokens: The tokens of the prompt; a count if `exact`.
        own: Our sum of them, which the server's is held against.
        stays: What of it no compaction takes away.
        ceiling: The most that a server took, where it has refused more.
        changes: What was done since the request before.
        summary: What the model was asked to write down for this prompt; the text that is sent, and
            what all such requests since the prompt before have cost.
        parts: Its tokens by what they are spent on, as `ContextUse.parts`.
        rendering: How the chat template was asked to render; empty where it is none that agentkit
            renders itself.
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
    """What decided how much of a conversation is sent. In tokens; None where nobody knows.

    Attributes:
        tokens: The prompt before anything old was left out of it.
        longest: The longest result that is new in it, as it is sent.
        shortened: Whether a new result is sent as a preview.
        compact_at: The limit beyond which old results are cleared.
        result_tokens: Most of one result.
        profile_at: The value that the model's profile would give `compact_at`.
        most: The largest prompt that leaves room for a reply.
        fair: What one new result may have by what was left, where the user did not decide.
        window: What prompt and reply may take together.
        source: Where `compact_at` comes from.
        sent: None where an older version wrote this.
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
        """What was spent to make it fit."""
        summary = self.sent.summary if self.sent is not None else None
        return summary.cost if summary is not None else Usage()


@dataclass(frozen=True, slots=True)
class PromptTokens:
    """The prompt of one model call.

    Attributes:
        step: The step of the call.
        foreseen: Tokens, as known before it was sent.
        exact: Whether that is a count, not an estimate on the safe side.
        counted: Tokens, as the server counted them; 0 where it did not say.
        cached: How many of them came out of its prefix cache.
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
        window: Tokens of prompt and reply together; None where nobody knows.
        compact_at: Tokens of prompt from which on old results are cleared; None for never.
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
