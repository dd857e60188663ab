"""Measures the shipped checkpoint: `python -m training.tiny_gemma4.evaluate`.

500 dialogues of all kinds with held-out names and phrasings, greedy, on the embedded runtime. Every
call of a dialogue must be exact for the dialogue to go on; its result is then the scripted one.

- a call counts when tools, order and arguments are exactly the expected ones;
- an answer counts when it equals the expected one but for white space;
- a question that needs no tool counts when no tool is called, whatever is answered.

Exit code 1 if a bar is missed. Three tools that training never saw are reported without a bar.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from agentkit.gemma4.parse import ParsedReply, parse
from agentkit.gemma4.tokens import IDS
from agentkit.messages import AssistantMessage
from agentkit.models.embedded import BUNDLED, Decoder, Logits, Prefix
from training.tiny_gemma4 import generate
from training.tiny_gemma4.draw import Draw, HeldOutDraw
from training.tiny_gemma4.generate import Dialogue, Exchange, Step
from training.tiny_gemma4.skills import Skill, integer, text

BARS = {"calls": 0.97, "answers": 0.94, "no tool": 0.95}
LONGEST_REPLY = 400  # tokens

UNTRAINED = (
    Skill(
        "book_table",
        ("Reserve a table at a restaurant.",),
        {"guests": integer("Number of guests."), "restaurant": text("Name of the restaurant.")},
        (
            "Reserve a table for {guests} guests at {restaurant}.",
            "Book a table at {restaurant} for {guests} guests.",
        ),
        lambda d: {"guests": d.between(2, 12), "restaurant": d.person()},
        lambda _, a: ("booked", f"A table for {a['guests']} at {a['restaurant']} is booked."),
    ),
    Skill(
        "open_ticket",
        ("Open a support ticket.",),
        {"subject": text("What the ticket is about.")},
        ('Open a ticket about "{subject}".', 'Make a support ticket: "{subject}"'),
        lambda d: {"subject": d.identifier()},
        lambda _, a: ("ok", f"A ticket about {a['subject']} is open."),
    ),
    Skill(
        "restart_service",
        ("Restart a running service.",),
        {"service": text("Name of the service.")},
        ("Restart the service {service}.", "Please restart {service}"),
        lambda d: {"service": d.identifier()},
        lambda _, a: ("restarted", f"The service {a['service']} was restarted."),
    ),
)


@dataclass
class Score:
    """Counts of one kind of dialogue, and what went wrong."""

    right: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    wrong: list[tuple[str, str, str]] = field(default_factory=list)

    def count(self, what: str, *, right: bool) -> None:
        """One more."""
        self.asked[what] += 1
        self.right[what] += right

    def share(self, what: str) -> float:
        """The share that was right; 1 of none."""
        return self.right[what] / self.asked[what] if self.asked[what] else 1.0

    def cell(self, what: str) -> str:
        """`97.0 % (97/100)`."""
        if not self.asked[what]:
            return "-"
        return f"{self.share(what):.1%} ({self.right[what]}/{self.asked[what]})"


def logits_after(decoder: Decoder, ids: list[int]) -> Logits:
    """Logits of the token that follows some ids."""
    return _extended(decoder, decoder.nothing, ids)[1]


def _extended(decoder: Decoder, prefix: Prefix, ids: list[int]) -> tuple[Prefix, Logits]:
    while True:
        prefix, logits = decoder.extend(prefix, ids[len(prefix.ids) :])
        if len(prefix.ids) == len(ids):
            return prefix, logits


def greedy(decoder: Decoder, prompt: str) -> list[int]:
    """Token ids of the greedy reply, its stop token included."""
    prefix, ids = decoder.nothing, decoder.encode(prompt)
    produced: list[int] = []
    while len(produced) < LONGEST_REPLY:
        prefix, logits = _extended(decoder, prefix, ids + produced)
        produced.append(int(logits.argmax()))
        if produced[-1] in decoder.stop_ids:
            break
    return produced


def write(decoder: Decoder, prompt: str) -> str:
    """The greedy reply, control tokens spelled out."""
    return str(decoder.tokenizer.decode(greedy(decoder, prompt), skip_special_tokens=False))


def read(made: Dialogue, at: int, reply: str) -> ParsedReply:
    """The reply as agentkit reads it."""
    schemas = {tool["name"]: tool["parameters"] for tool in made.tools}
    cue = generate.prompt(made, at).removesuffix("\n").endswith("<|channel>thought")
    return parse(reply, schemas, in_reasoning=cue)


def run(decoder: Decoder, made: Dialogue, score: Score) -> None:
    """Plays one dialogue against the model."""
    fine = True
    tool_free = not any(_is_call(made, at) for at in made.model_calls())
    for at in made.model_calls():
        message = made.messages[at]
        assert isinstance(message, AssistantMessage)
        reply = write(decoder, generate.prompt(made, at)) if fine else ""
        parsed = read(made, at, reply)
        calls = [(call.name, call.arguments) for call in parsed.calls]
        expected = [(call.name, call.arguments) for call in message.tool_calls]
        if not expected and tool_free:
            score.count("no tool", right=not calls and parsed.cut_call is None)
        if expected:
            right = fine and calls == expected and parsed.truncated is None
            score.count("calls", right=right)
        else:
            right = fine and not calls and parsed.text.split() == (message.content or "").split()
            if not tool_free or _echoes(message.content or "", made):
                score.count("answers", right=right)
        if fine and not right and not (tool_free and not calls):
            question = str(made.messages[at - 1].content)[:80]
            score.wrong.append((question, str(expected or message.content), reply))
        if expected:
            fine = fine and right


def _is_call(made: Dialogue, at: int) -> bool:
    message = made.messages[at]
    return isinstance(message, AssistantMessage) and bool(message.tool_calls)


def _echoes(answer: str, made: Dialogue) -> bool:
    """Whether a tool-free answer is a word that the question asked to repeat."""
    return " " not in answer and answer in str(made.messages[-2].content)


def dialogues(seed: int, count: int) -> Iterator[Dialogue]:
    """Held-out dialogues."""
    draw = HeldOutDraw(seed)
    for _ in range(count):
        yield generate.dialogue(draw)


def untrained_dialogue(draw: Draw) -> Dialogue:
    """A dialogue with a tool that training never saw, among others."""
    skill = draw.pick(UNTRAINED)
    args = skill.arguments(draw)
    question = draw.pick(skill.phrasings).format(**{k: str(v) for k, v in args.items()})
    result, answer = skill.reply(draw, args)
    step = Step(((skill.name, args),), (result,))
    return generate.assemble(draw, [Exchange("untrained", question, (step,), answer, (), (skill,))])


def evaluate(
    decoder: Decoder, count: int, seed: int, say: Callable[[int], None] = lambda _: None
) -> dict[str, Score]:
    """Scores by kind; `untrained` holds the tools never seen, apart."""
    scores: dict[str, Score] = {}
    for at, made in enumerate(dialogues(seed, count), 1):
        run(decoder, made, scores.setdefault(made.kind, Score()))
        say(at)
    draw = HeldOutDraw(seed + 1)
    for _ in range(max(count // 10, 1)):
        run(decoder, untrained_dialogue(draw), scores.setdefault("untrained", Score()))
    return scores


def total(scores: dict[str, Score]) -> Score:
    """Everything but the untrained tools."""
    whole = Score()
    for kind, score in scores.items():
        if kind != "untrained":
            whole.right += score.right
            whole.asked += score.asked
    return whole


def missed_bars(scores: dict[str, Score]) -> list[str]:
    """The bars that were not reached."""
    whole = total(scores)
    return [what for what, bar in BARS.items() if whole.share(what) < bar]


def progress(at: int) -> None:
    """Says how far an evaluation is."""
    if at % 100 == 0:
        print(f"{at} dialogues", file=sys.stderr, flush=True)


def report(scores: dict[str, Score], failures: int = 0) -> None:
    """Prints the table, some of what went wrong, and each bar."""
    print(f"{'kind':24}{'exact calls':>22}{'correct answers':>22}{'left alone':>22}")
    for kind, score in [*sorted(scores.items()), ("all but untrained", total(scores))]:
        print(f"{kind:24}" + "".join(f"{score.cell(what):>22}" for what in BARS))
    for kind, score in scores.items():
        for question, expected, reply in score.wrong[:failures]:
            print(f"\n[{kind}] {question}\n  expected {expected}\n  got      {reply}")
    missed = missed_bars(scores)
    for what, bar in BARS.items():
        verdict = "MISSED" if what in missed else "reached"
        print(f"{what:10} {total(scores).share(what):.1%} (bar {bar:.0%}) {verdict}")


def main(argv: list[str] | None = None) -> int:
    """Prints the table; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dialogues", type=int, default=500)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--folder", type=Path, default=BUNDLED)
    parser.add_argument("--failures", type=int, default=0, help="show so many")
    options = parser.parse_args(argv)
    decoder = Decoder(options.folder)
    assert decoder.tokenizer.token_to_id("<turn|>") == IDS["<turn|>"]

    scores = evaluate(decoder, options.dialogues, options.seed, progress)
    report(scores, options.failures)
    return 1 if missed_bars(scores) else 0


if __name__ == "__main__":
    raise SystemExit(main())
