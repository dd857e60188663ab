"""Measures a checkpoint: `python -m training.tiny_gemma4.evaluate --dialogues 3000`.

Dialogues of all kinds with held-out names and phrasings, greedy, on the embedded runtime. Of each
its last question is played: what was said before it is as it should be, and every call must be
exact for the question to go on; its result is then the scripted one.

- a call counts when tools, order and arguments are exactly the expected ones;
- an answer counts when it equals the expected one but for white space;
- a question that needs no tool is left alone when no tool is called, whatever is answered.

Beside them a tenth as many dialogues with tools that were written by hand and never trained on.
Each share has its 95 % interval by Wilson's score. Exit code 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from agentkit.gemma4.parse import ParsedReply, parse
from agentkit.gemma4.tokens import IDS
from agentkit.messages import AssistantMessage, UserMessage
from agentkit.models.embedded import BUNDLED, Decoder, Logits, Prefix
from soak.mutants import wilson
from training.tiny_gemma4 import generate
from training.tiny_gemma4.dialogue import Dialogue, prompt
from training.tiny_gemma4.draw import DAYS, Draw, HeldOutDraw
from training.tiny_gemma4.other_tools import used
from training.tiny_gemma4.skills import Skill, boolean, integer, number, text

BARS = {"calls": 0.98, "answers": 0.95, "left alone": 0.97, "never seen": 0.60}
WHAT = ("calls", "answers", "left alone")
NEVER_SEEN = "never seen"
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
        lambda _, a: f"A table for {a['guests']} is booked.",
    ),
    Skill(
        "open_ticket",
        ("Open a support ticket.",),
        {"subject": text("What the ticket is about.")},
        ('Open a ticket about "{subject}".', 'Make a support ticket: "{subject}"'),
        lambda d: {"subject": " ".join(d.pieces(2, 4))},
        lambda d, _: f"ticket {d.between(100, 9999)}",
    ),
    Skill(
        "restart_service",
        ("Restart a running service.",),
        {"service": text("Name of the service.")},
        ("Restart the service {service}.", "Please restart {service}"),
        lambda d: {"service": d.identifier()},
        lambda _, a: f"{a['service']} was restarted",
    ),
    Skill(
        "measure_distance",
        ("The distance between two cities in kilometres.",),
        {"origin": text("City to start from."), "target": text("City to go to.")},
        (
            "How far is it from {origin} to {target}?",
            "Distance between {origin} and {target}",
        ),
        lambda d: dict(zip(("origin", "target"), d.distinct(d.city, 2), strict=True)),
        lambda d, _: f"{d.between(20, 9000)} km",
    ),
    Skill(
        "brew_coffee",
        ("Make coffee.",),
        {
            "cups": integer("How many cups."),
            "strength": text("How strong.", ["mild", "normal", "strong"]),
        },
        ("Make {cups} cups of {strength} coffee.", "Brew {cups} cups, {strength} please"),
        lambda d: {"cups": d.between(1, 8), "strength": d.pick(["mild", "normal", "strong"])},
        lambda _, a: f"{a['cups']} cups are on the way",
    ),
    Skill(
        "transfer_money",
        ("Send money to an account.",),
        {"account": text("Whose account."), "sum": number("How much, in euros.")},
        ("Transfer {sum} euros to {account}.", "Send {account} {sum} euros"),
        lambda d: {"account": d.person(), "sum": d.between(1, 900) + d.pick([0.5, 0.25])},
        lambda d, _: f"transfer {d.between(1000, 9999)} accepted",
    ),
    Skill(
        "set_alarm",
        ("Ring at a time on a day of the week.",),
        {
            "day": text("Day of the week.", DAYS),
            "loud": boolean("Whether it rings loudly."),
            "time": text("Time of the day, HH:MM."),
        },
        ("Wake me at {time} on {day}, loudly.", "Set a loud alarm for {day} at {time}."),
        lambda d: {
            "day": d.pick(DAYS),
            "loud": True,
            "time": f"{d.between(5, 11):02}:{d.between(0, 59):02}",
        },
        lambda _, a: f"It rings on {a['day']}.",
    ),
    Skill(
        "count_words",
        ("Count the words of a document.",),
        {"document": text("Path of the document.")},
        ("How many words are in {document}?", "Count the words of {document}."),
        lambda d: {"document": d.path()},
        lambda d, _: f"{d.between(10, 90000)} words",
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
        """`97.0% (97/100, 91.5-99.0)`: the share, the counts, the interval."""
        if not self.asked[what]:
            return "-"
        low, high = wilson(self.right[what], self.asked[what])
        counts = f"{self.right[what]}/{self.asked[what]}"
        return f"{self.share(what):.1%} ({counts}, {100 * low:.1f}-{100 * high:.1f})"


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
    cue = prompt(made, at).removesuffix("\n").endswith("<|channel>thought")
    return parse(reply, schemas, in_reasoning=cue)


def run(decoder: Decoder, made: Dialogue, score: Score) -> None:
    """Plays the last question of a dialogue."""
    asked = max(at for at, m in enumerate(made.messages) if isinstance(m, UserMessage))
    fine = True
    turns = [at for at in made.model_calls() if at > asked]
    for at in turns:
        message = made.messages[at]
        assert isinstance(message, AssistantMessage)
        reply = write(decoder, prompt(made, at)) if fine else ""
        parsed = read(made, at, reply)
        calls = [(call.name, call.arguments) for call in parsed.calls]
        expected = [(call.name, call.arguments) for call in message.tool_calls]
        if expected:
            right = fine and calls == expected and parsed.truncated is None
            score.count("calls", right=right)
        else:
            right = fine and not calls and parsed.text.split() == (message.content or "").split()
            score.count("answers", right=right)
        if len(turns) == 1:
            score.count("left alone", right=not calls and parsed.cut_call is None)
        if fine and not right:
            question = str(made.messages[asked].content)[:80]
            score.wrong.append((question, str(expected or message.content), reply))
        fine = fine and right


def dialogues(seed: int, count: int) -> Iterator[Dialogue]:
    """Held-out dialogues."""
    draw = HeldOutDraw(seed)
    for _ in range(count):
        yield generate.dialogue(draw)


def untrained_dialogue(draw: Draw) -> Dialogue:
    """A dialogue with a tool that training never saw, among others."""
    made = replace(used(draw, draw.pick(UNTRAINED)), kind=NEVER_SEEN)
    return generate.assemble(draw, [made])


def evaluate(
    decoder: Decoder, count: int, seed: int, say: Callable[[int], None] = lambda _: None
) -> dict[str, Score]:
    """Scores by kind; `never seen` holds the tools written by hand, apart."""
    scores: dict[str, Score] = {}
    for at, made in enumerate(dialogues(seed, count), 1):
        run(decoder, made, scores.setdefault(made.kind, Score()))
        say(at)
    draw = HeldOutDraw(seed + 1)
    for _ in range(max(count // 10, 1)):
        run(decoder, untrained_dialogue(draw), scores.setdefault(NEVER_SEEN, Score()))
    return scores


def total(scores: dict[str, Score]) -> Score:
    """Everything but the tools never seen."""
    whole = Score()
    for kind, score in scores.items():
        if kind != NEVER_SEEN:
            whole.right += score.right
            whole.asked += score.asked
    return whole


def shares(scores: dict[str, Score]) -> dict[str, float]:
    """What the bars are for."""
    whole = total(scores)
    found = {what: whole.share(what) for what in WHAT}
    return found | {NEVER_SEEN: scores.get(NEVER_SEEN, Score()).share("calls")}


def missed_bars(scores: dict[str, Score]) -> list[str]:
    """The bars that were not reached."""
    found = shares(scores)
    return [what for what, bar in BARS.items() if found[what] < bar]


def progress(at: int) -> None:
    """Says how far an evaluation is."""
    if at % 100 == 0:
        print(f"{at} dialogues", file=sys.stderr, flush=True)


def report(scores: dict[str, Score], failures: int = 0) -> None:
    """Prints the table, some of what went wrong, and each bar."""
    print(f"{'kind':18}" + "".join(f"{what:>30}" for what in WHAT))
    for kind, score in [*sorted(scores.items()), (f"all but {NEVER_SEEN}", total(scores))]:
        print(f"{kind:18}" + "".join(f"{score.cell(what):>30}" for what in WHAT))
    for kind, score in scores.items():
        for question, expected, reply in score.wrong[:failures]:
            print(f"\n[{kind}] {question}\n  expected {expected}\n  got      {reply}")
    found, missed = shares(scores), missed_bars(scores)
    for what, bar in BARS.items():
        verdict = "MISSED" if what in missed else "reached"
        print(f"{what:10} {found[what]:.1%} (bar {bar:.0%}) {verdict}")


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
