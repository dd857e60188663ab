"""What a model makes of a request, and the tokens of that prompt, piece by piece.

A tokenizer splits a text at its control tokens before anything else. So pieces that begin with one
can be counted apart, and their sum is the count of the whole. A piece is rendered and counted only
once: a step costs what it adds.

Counting needs a tokenizer, often one behind a network, so nothing here counts. A generator asks for
what must be known (`CountTexts`, `CountPrompt`, and `AskModel` for a summary), and the caller that
drives it answers (`agentkit.models.WindowedModel`).
"""

from __future__ import annotations

import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, Literal, TypeAlias, TypeVar

from agentkit.errors import ModelError
from agentkit.gemma4.profiles import GENERIC, Profile
from agentkit.gemma4.render import (
    Declaration,
    Generation,
    Turn,
    cue,
    split_system,
    system_pieces,
    turn_pieces,
    turns_of,
)
from agentkit.gemma4.tokens import BOS
from agentkit.messages import (
    AssistantMessage,
    Content,
    Message,
    ModelRequest,
    ModelResponse,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolMessage,
    text_of,
)

T = TypeVar("T")

# --- what is asked for ---------------------------------------------------------------------------

Counting: TypeAlias = Literal["pieces", "whole", "estimate"]
"""`pieces`: the server's prompt is the one that we render, so the tokens of its pieces add up.
`whole`: its template is another; the tokens of each whole prompt have to be asked for.
`estimate`: nobody can be asked."""


@dataclass(frozen=True, slots=True)
class CountTexts:
    """Asks for the tokens of each text, control tokens spelled out."""

    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CountPrompt:
    """Asks for the tokens of the whole prompt that a request would make."""

    request: ModelRequest


Count: TypeAlias = CountTexts | CountPrompt


@dataclass(frozen=True, slots=True)
class AskModel:
    """Asks the model for a reply beside the run's own: a summary of what is left out."""

    request: ModelRequest


Answer: TypeAlias = Sequence[int] | ModelResponse | ModelError | None
"""For a count the tokens, or None if nobody can count; for `AskModel` a reply, or why there is
none."""

Steps: TypeAlias = Generator[Count | AskModel, Answer, T]
"""A generator that asks for counts, and perhaps the model, on its way to its result."""


class TokenCounts:
    """Remembers the tokens of texts that were counted, by their digest.

    Args:
        limit: Most texts remembered.
    """

    def __init__(self, limit: int = 16_384) -> None:
        self._limit = limit
        self._known: OrderedDict[bytes, int] = OrderedDict()

    def get(self, text: str) -> int | None:
        """The tokens of a text, if they were counted."""
        return self._known.get(_digest(text))

    def put(self, text: str, tokens: int) -> None:
        self._known[_digest(text)] = tokens
        if len(self._known) > self._limit:
            self._known.popitem(last=False)


def _digest(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "replace"), digest_size=16).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptForm:
    """What a model makes of a request.

    Attributes:
        declarations: The tools as they are declared to the model.
        outgoing: A function that turns a message into what the model is given.
        generation: How the template is asked to render.
        profile: The model, within the window that it is served with; None if nobody knows.
        reply_tokens: Most tokens of a reply if the request does not say.
        counting: How its prompts can be counted.
        asks: Whether each count is a request to a server. Counts are saved while there is room.
        known: The tokens of texts that were counted already, in this run or another.
    """

    declarations: Sequence[Declaration] = ()
    outgoing: Callable[[Message], Message] = lambda message: message
    generation: Generation = field(default_factory=Generation)
    profile: Profile | None = None
    reply_tokens: int = 0
    counting: Counting = "estimate"
    asks: bool = False
    known: TokenCounts = field(default_factory=TokenCounts)


def rendering_of(form: PromptForm) -> dict[str, bool | str]:
    """How the template is asked to render; empty if the server's prompt is not the one that we
    render.
    """
    how = form.generation
    if form.counting != "pieces":
        return {}
    return {
        "thinking": how.thinking,
        "preserve_thinking": how.preserve_thinking,
        "variant": how.variant,
    }


# --- a prompt ------------------------------------------------------------------------------------

PromptPart: TypeAlias = Literal["instructions", "tools", "user", "assistant", "results", "format"]


@dataclass(frozen=True, slots=True)
class _Media:
    """Images, sounds and videos of a message.

    Attributes:
        tokens: The tokens beyond their placeholders in the text.
        exact: Whether that is a count.
    """

    tokens: int = 0
    exact: bool = True


_NO_MEDIA = _Media()


@dataclass(slots=True)
class _Piece:
    """A piece of the prompt.

    Attributes:
        part: What it is.
        text: The template's text for it.
        at: Place of its message among those that are sent; -1 for the frame around them.
        media: What its text only has placeholders for.
        tokens: Tokens of the text and the media.
        exact: Whether that was counted.
    """

    part: PromptPart
    text: str
    at: int = -1
    media: _Media = _Media()
    tokens: int = 0
    exact: bool = True


@dataclass(frozen=True, slots=True)
class _Group:
    """A message with the answers to its calls.

    Attributes:
        start: Its place among the messages after the instructions.
        turn: What the renderer makes of it.
        pieces: Its pieces.
        glued: Whether its text is part of the last piece of the group before.
    """

    start: int
    turn: Turn
    pieces: list[_Piece]
    glued: bool


class Prompt:
    """The prompt of one conversation, and how many tokens each part of it takes.

    Attributes:
        parts: Tokens by what they are spent on.
        counts_media: Whether our counts of images and sounds are believed.
    """

    def __init__(self) -> None:
        self.counts_media = True
        self._form: PromptForm | None = None
        self._system: str | None = None
        self._messages: list[Message] = []
        self._groups: list[_Group] = []
        self._head: list[_Piece] = []
        self._cue: list[_Piece] = []
        self._offset = 0  # place of the first message after the instructions
        self._inexact = 0  # pieces that are estimated
        self.parts: Counter[PromptPart] = Counter()

    @property
    def tokens(self) -> int:
        """Tokens of the whole prompt."""
        return self.parts.total()

    @property
    def exact(self) -> bool:
        """Whether all of it was counted."""
        return not self._inexact

    @property
    def most_times(self) -> int:
        """How many tokens, at most, stand for each that is estimated, by any tokenizer: two letters
        are estimated at one, and so are the four bytes of an emoji.
        """
        pieces = (*self._head, *self._group_pieces())
        return 2 if all(piece.text.isascii() for piece in pieces) else 4

    def doubt_media(self) -> bool:
        """Takes our counts of images and sounds for estimates from now on, since a server may be
        configured to spend more or less on an image. Returns whether there are any.
        """
        doubted = [piece for piece in self._group_pieces() if piece.media.tokens and piece.exact]
        for piece in doubted:
            piece.exact = False
            self._inexact += 1
        self.counts_media = False
        return bool(doubted)

    def by_message(self) -> Counter[int]:
        """Tokens of each message, by its place among those that are sent."""
        tokens: Counter[int] = Counter()
        for piece in self._group_pieces():
            tokens[piece.at] += piece.tokens
        return tokens

    def newest_results(self, newest: int) -> dict[int, int]:
        """Tokens of each result among so many newest messages, by its distance from the end: 1 is
        the last message.
        """
        tokens: dict[int, int] = {}
        total = len(self._messages) + self._offset
        for group in reversed(self._groups):
            if newest <= 0:
                break
            newest -= 1 + len(group.turn.results)
            for piece in group.pieces:
                if piece.part == "results":
                    tokens[total - piece.at] = piece.tokens
        return tokens

    def update(self, messages: Sequence[Message], form: PromptForm) -> Steps[None]:
        """Counts what is new in these messages.

        Args:
            messages: All that are sent, the instructions included.
            form: What the model makes of them.
        """
        system, rest = split_system(messages)
        old = self._form
        same_head = (
            old is not None
            and system == self._system
            and form.declarations is old.declarations
            and form.generation == old.generation
        )
        pieces = [] if same_head else self._new_head(system, form)
        self._form, self._system, self._offset = form, system, len(messages) - len(rest)
        pieces += self._new_groups(rest, self._unchanged_groups(rest), form)
        last = self._groups[-1].turn if self._groups else None
        self._take_out(self._cue)
        self._cue = [_Piece("format", cue(last, form.generation))]
        pieces += self._cue
        if self._inexact and form.counting != "estimate":
            # What was only estimated before can be counted now.
            new = set(map(id, pieces))
            known = (*self._head, *self._group_pieces())
            estimated = [each for each in known if not each.exact and id(each) not in new]
            self._take_out(estimated)
            pieces += estimated
        counts, exact = yield from tokens_of([piece.text for piece in pieces], form)
        for piece, tokens in zip(pieces, counts, strict=True):
            media = piece.media
            piece.tokens = tokens + media.tokens
            piece.exact = exact and (not media.tokens or (media.exact and self.counts_media))
            self.parts[piece.part] += piece.tokens
            self._inexact += not piece.exact

    def _take_out(self, pieces: Iterable[_Piece]) -> None:
        """Subtracts the tokens of pieces that are replaced, or counted again."""
        for piece in pieces:
            self.parts[piece.part] -= piece.tokens
            self._inexact -= not piece.exact

    def _group_pieces(self) -> Iterator[_Piece]:
        return (piece for group in self._groups for piece in group.pieces)

    # --- the head --------------------------------------------------------------------------------

    def _new_head(self, system: str | None, form: PromptForm) -> list[_Piece]:
        self._take_out(self._head)
        self._head = [_Piece("format", BOS)]
        thinking = form.generation.thinking
        if thinking or form.declarations or system is not None:
            sent = None if system is None else text_of(form.outgoing(SystemMessage(system)).content)
            first, *tools, end = system_pieces(sent, form.declarations, thinking=thinking)
            if system is None:
                self._head.append(_Piece("format", first))
            else:
                self._head.append(_Piece("instructions", first, 0))
            self._head += [_Piece("tools", tool) for tool in tools]
            self._head.append(_Piece("format", end))
        return list(self._head)

    # --- the messages ----------------------------------------------------------------------------

    def _unchanged_groups(self, rest: Sequence[Message]) -> int:
        """How many groups stay as they are. The last one never does: what follows it closes it."""
        known = len(self._messages)
        if self._messages != list(rest[:known]) or any(m.role == "user" for m in rest[known:]):
            return 0  # a new user message takes the reasoning out of finished turns
        keep = max(len(self._groups) - 1, 0)
        while keep and self._groups[keep].glued:
            keep -= 1
        return keep

    def _new_groups(self, rest: Sequence[Message], keep: int, form: PromptForm) -> list[_Piece]:
        gone = self._groups[keep:]
        del self._groups[keep:]
        for group in gone:
            self._take_out(group.pieces)
        start = gone[0].start if gone and keep else 0
        after = self._groups[-1].turn.message if self._groups else None
        sent = [_without_text_beside_calls(form.outgoing(message)) for message in rest[start:]]
        turns = turns_of(sent, preserve_thinking=form.generation.preserve_thinking, after=after)
        at = start + next((n for n, m in enumerate(sent) if m.role != "tool"), 0)
        new: list[_Piece] = []
        for turn in turns:
            group = self._group(turn, at, form)
            self._groups.append(group)
            new += group.pieces
            at += 1 + len(turn.results)
        self._messages = list(rest)
        return new

    def _group(self, turn: Turn, start: int, form: PromptForm) -> _Group:
        message, profile = turn.message, form.profile or GENERIC
        own, answers, end = turn_pieces(message, turn.results, turn.place)
        at = self._offset + start
        glued = self._continues_text(turn)
        part: PromptPart = "assistant" if message.role == "assistant" else "user"
        pieces: list[_Piece] = []
        if glued:
            before = next(group.pieces for group in reversed(self._groups) if group.pieces)
            before[-1].text += own
        elif own:
            pieces.append(_Piece(part, own, at, _media(message.content, profile)))
        for n, (text, result) in enumerate(zip(answers, turn.results, strict=False)):
            pieces.append(_Piece("results", text, at + 1 + n, _media(result.content, profile)))
        if end:
            pieces.append(_Piece("format", end))
        return _Group(start, turn, pieces, glued)

    def _continues_text(self, turn: Turn) -> bool:
        """Whether it is text behind other text of the model, without a control token between."""
        message = turn.message
        if not self._groups or not isinstance(message, AssistantMessage) or message.tool_calls:
            return False
        group = self._groups[-1]
        before = group.turn.message
        if not isinstance(before, AssistantMessage) or before.tool_calls:
            return False
        opens = message.reasoning and turn.place.reasoning
        # An empty message right behind calls has no text: a token stands before what follows it.
        return bool(group.pieces or group.glued) and not opens


def _without_text_beside_calls(message: Message) -> Message:
    """The message without what the wire leaves out of it."""
    if isinstance(message, AssistantMessage) and message.tool_calls and message.content:
        return AssistantMessage(None, message.tool_calls, message.reasoning)
    return message


def _media(content: Content | None, profile: Profile) -> _Media:
    """The media of a message; one of unknown size takes the most that the profile allows."""
    if content is None or isinstance(content, str):
        return _NO_MEDIA
    most = {
        "image": profile.image_tokens,
        "audio": profile.audio_tokens(profile.audio_seconds),
        "video": profile.video_tokens,
    }
    parts = [part for part in content if not isinstance(part, TextPart)]
    known = [profile.part_tokens(part) for part in parts]
    tokens = sum(
        (most[part.type] if size is None else size) - 1
        for part, size in zip(parts, known, strict=True)
    )
    return _Media(tokens, exact=None not in known)


# --- counting ------------------------------------------------------------------------------------


_LETTERS: Final = str.maketrans(
    dict.fromkeys("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
)


_SINGLE: Final = re.compile(
    "["
    "\u00a0-\u02ff\u0370-\u11ff\u1e00-\u1fff"  # alphabets but for Ethiopic and rarer ones
    "\u3000-\u33ff\u4e00-\u9fff\uac00-\ud7a3\uff00-\uffef"  # Chinese, Japanese, Korean
    "\u2010-\u205e\u20a0-\u20bf\u2190-\u21ff\u2500-\u27bf"  # punctuation, currencies, arrows, boxes
    "\ufe00-\ufe0f\U0001f000-\U0001faff"  # emoji and what follows them
    "]+"
)


def estimated_tokens(text: str) -> int:
    """An estimate of a text's tokens, rather too high than too low.

    Two letters or spaces count as one token (English text has about four in one), and so does each
    character of the scripts, signs and emoji that Gemma's vocabulary holds whole (running text in
    them has two in one). Of the rest every byte does: Gemma's tokenizer splits numbers into digits,
    and falls back to bytes. `tests/golden/scripts.json` holds what that vocabulary makes of them.
    """
    rest = text.translate(_LETTERS)
    single = 0
    if not rest.isascii():
        odd = _SINGLE.sub("", rest)
        rest, single = odd, len(rest) - len(odd)
    bytes_ = len(rest.encode("utf-8", "replace"))
    return (len(text) - single - len(rest) + 1) // 2 + single + bytes_


def tokens_of(texts: Sequence[str], form: PromptForm) -> Steps[tuple[list[int], bool]]:
    """The tokens of each text, and whether they are counts. Known texts are not asked for."""
    if form.counting == "estimate":
        return [estimated_tokens(text) for text in texts], False
    clean = [text.encode("utf-8", "replace").decode() for text in texts]  # as the wire sends it
    found = {text: 0 if not text else form.known.get(text) for text in clean}
    unknown = tuple(text for text, tokens in found.items() if tokens is None)
    if unknown:
        counts = yield CountTexts(unknown)
        if not isinstance(counts, Sequence):
            return [estimated_tokens(text) for text in texts], False
        for text, tokens in zip(unknown, counts, strict=True):
            form.known.put(text, tokens)
            found[text] = tokens
    return [found[text] or 0 for text in clean], True


def result_text_of(message: ToolMessage, form: PromptForm) -> str:
    """The prompt's text for a result."""
    call = form.outgoing(AssistantMessage(None, (ToolCall(message.call_id, message.name),)))
    shown = form.outgoing(message)
    assert isinstance(call, AssistantMessage)
    assert isinstance(shown, ToolMessage)
    return turn_pieces(call, [shown])[1][0]
