"""Damaged calls through the model's public surface, and what came of each beside what was meant."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final, Literal, TypeAlias

from agentkit import Agent, ModelSettings, VLLMModel
from agentkit.events import ModelFinished
from agentkit.messages import ModelRequest, ToolCall, ToolResult, UserMessage
from tests.reading.damage import KINDS, Kind, Meant, Unit, damaged, possible, whole
from tests.reading.playing import recording
from tests.reading.readings import readings
from tests.reading.schemas import TOOLS, SchemaTool
from tests.reading.server import URL, Server, Wrote
from tests.reading.strict import read_strictly
from tests.reading.tokens import RESPONSE, THOUGHT_CLOSE, THOUGHT_OPEN, spelled

Outcome: TypeAlias = Literal["right", "as written", "wrong", "asked again", "lost", "shown"]
"""What became of a damaged call: it ran as it was meant; it ran as it is written, which is exactly
another call; something else ran; the model is told or asked again; it is gone without a word; its
text was given out as the answer."""

_OFFERED: Final = 8
_SETS: Final = 12
_TRIES: Final = 40
_PAIRS: Final = tuple(
    [pair for pair in combinations(KINDS, 2) if possible(pair)]
    + [("opening quote", "opening quote"), ("comma", "comma"), ("brace", "brace")]
)


@dataclass(frozen=True)
class Case:
    """One reply of several units, exactly one of them damaged, or none."""

    units: tuple[Unit, ...]
    text: str
    parses: bool
    stream: bool
    by_ids: bool

    @property
    def wrote(self) -> Wrote:
        """What the server makes of it."""
        return Wrote(self.text, parses=self.parses, by_ids=self.by_ids)

    @property
    def damaged(self) -> Unit | None:
        return next((unit for unit in self.units if unit.damages), None)


@dataclass(frozen=True)
class Verdict:
    """What came of a case.

    Attributes:
        outcome: Of the damaged unit; None where there is none.
        neighbours: Undamaged calls of the reply.
        lost: Those of them that did not run, or not as they were written.
        ran: All that would run.
    """

    outcome: Outcome | None
    neighbours: int
    lost: int
    ran: tuple[Meant, ...]


class Bench:
    """Draws cases and plays them, in one event loop.

    Args:
        seed: Of everything drawn.
    """

    def __init__(self, seed: int) -> None:
        self.source = random.Random(seed)
        self._wrote = Wrote("")
        self._answers: list[Wrote] = []
        self._server = Server(self._next, source=self.source)
        client = self._server.client()
        self._models = {
            stream: VLLMModel(URL, http_client=client, stream=stream) for stream in (True, False)
        }
        tools = list(TOOLS.values())
        self._sets = [self.source.sample(tools, _OFFERED) for _ in range(_SETS)]
        self._ran: list[Meant] = []
        self._toolsets = [recording(one, self._ran) for one in self._sets]

    def _next(self, _: object) -> Wrote:
        return self._answers.pop(0)

    # --- cases -----------------------------------------------------------------------------

    def draw(self, number: int) -> tuple[int, Case]:
        """Which set of tools is offered, and a reply; the damage goes round with the number."""
        source = self.source
        while True:
            chosen = source.randrange(_SETS)
            offered = self._sets[chosen]
            units = [self._whole(offered) for _ in range(source.choice((0, 0, 1, 1, 2)))]
            if number % 20:
                broken = self._damaged(number, offered)
                if broken is None:
                    continue  # no tool of this set takes such damage
                units.insert(source.randint(0, len(units)), broken)
            elif not units:
                units.append(self._whole(offered))
            break
        thought = ""
        if source.random() < 0.2:
            thought = f"{THOUGHT_OPEN}thought\nI should call it.{THOUGHT_CLOSE}"
        gap = source.choice(("", "", "", "\n"))
        text = thought + gap.join(unit.written for unit in units) + RESPONSE
        parses, stream, by_ids = (source.random() < 0.5 for _ in range(3))
        return chosen, Case(tuple(units), text, parses, stream, by_ids)

    def _whole(self, offered: Sequence[SchemaTool]) -> Unit:
        tool = self.source.choice(offered)
        return whole(Meant(tool.name, tool.arguments(self.source)))

    def _damaged(self, number: int, offered: Sequence[SchemaTool]) -> Unit | None:
        alone = number % 2 == 1
        kinds: tuple[Kind, ...]
        kinds = (KINDS[number // 2 % len(KINDS)],) if alone else _PAIRS[number // 2 % len(_PAIRS)]
        for _ in range(_TRIES):
            tool = self.source.choice(offered)
            other = tool if self.source.random() < 0.3 else self.source.choice(offered)
            if (unit := damaged(tool, [other], kinds, self.source)) is not None:
                return unit
        return None

    def offered(self, chosen: int) -> dict[str, SchemaTool]:
        """The tools of a set by name."""
        return {tool.name: tool for tool in self._sets[chosen]}

    # --- playing ---------------------------------------------------------------------------

    async def play(self, chosen: int, case: Case) -> Verdict:
        """What would run of a reply, and what that makes of each unit."""
        self._answers = [case.wrote]
        toolset = self._toolsets[chosen]
        request = ModelRequest(
            (UserMessage("go"),), toolset.definitions, ModelSettings(thinking=False)
        )
        calls: tuple[ToolCall, ...] = ()
        async for event in self._models[case.stream].generate(request):
            if isinstance(event, ModelFinished):
                calls = event.response.message.tool_calls
        ran: list[Meant] = []
        refused = 0
        for call in calls:
            name = toolset.resolve_name(call.name)
            named = (
                call if name is None else ToolCall(call.id, name, call.arguments, call.malformed)
            )
            checked = toolset.validate(named)
            if isinstance(checked, ToolResult):
                refused += 1
            else:
                ran.append(Meant(named.name, dict(checked.arguments)))
        verdict = judged(case, ran, refused)
        if verdict.outcome == "lost" and not calls:
            return await self._through_agent(chosen, case)
        return verdict

    async def _through_agent(self, chosen: int, case: Case) -> Verdict:
        """The same reply in a run of an agent, which then hears a plain answer."""
        self._answers = [case.wrote, *[Wrote("Done.")] * 3]
        self._ran.clear()
        agent = Agent(self._models[case.stream], toolsets=[self._toolsets[chosen]], observers=())
        result = await agent.run("go")
        again = result.output == "Done." or result.stop_reason != "answer"
        verdict = judged(case, self._ran, int(again))
        if verdict.outcome != "lost":
            return verdict
        return Verdict("shown", verdict.neighbours, verdict.lost, verdict.ran)


def judged(case: Case, ran: Sequence[Meant], refused: int) -> Verdict:
    """Compares what ran with what was meant.

    Args:
        case: The reply.
        ran: The calls that ran, or would.
        refused: How many calls the model was told about instead, or is asked for again.
    """
    left = Counter(call.key for call in ran)
    neighbours = [unit.meant[0].key for unit in case.units if not unit.damages]
    lost = 0
    for key in neighbours:
        if left[key]:
            left[key] -= 1
        else:
            lost += 1
    unit = case.damaged
    if unit is None:
        extra = +left
        return Verdict("wrong" if extra else None, len(neighbours), lost, tuple(ran))
    return Verdict(_outcome(unit, left, refused), len(neighbours), lost, tuple(ran))


def _outcome(unit: Unit, left: Counter[str], refused: int) -> Outcome:
    matched = 0
    for call, other in zip(unit.meant, unit.also, strict=True):
        for key in {call.key, other.key}:
            if left[key]:
                left[key] -= 1
                matched += 1
                break
    exact = read_strictly(unit.written)
    written = exact is not None and left.pop(exact.key, 0) > 0
    if +left:
        return "wrong"
    if matched and matched == len(unit.meant):
        return "right"
    return "as written" if written else "asked again" if refused else "lost"


def count(
    bench: Bench, chosen: int, case: Case, verdict: Verdict, *, enumerate_: bool
) -> Counter[str]:
    """The figures of one case; with all its readings where these are wanted."""
    counts: Counter[str] = Counter()
    counts["undamaged calls"] += verdict.neighbours
    counts["undamaged calls lost"] += verdict.lost
    unit = case.damaged
    if unit is None:
        counts["calls that nobody wrote"] += verdict.outcome is not None
        return counts
    kind = unit.damages[0] if len(unit.damages) == 1 else "pairs"
    counts["damaged calls"] += 1
    counts[f"{verdict.outcome}"] += 1
    counts[f"{kind}: {verdict.outcome}"] += 1
    if enumerate_:
        meant = "; ".join(call.key for call in unit.meant)
        for closing in (False, True):
            found = readings(unit.written, bench.offered(chosen), closing=closing)
            if list(found) == [meant]:
                name = "one reading, closing quotes undone too" if closing else "one reading"
                counts[f"{kind}: {name}"] += 1
                counts[f"{kind}: {name}, right"] += verdict.outcome == "right"
        counts[f"{kind}: examined"] += 1
    return counts


def described(case: Case, verdict: Verdict) -> dict[str, Any]:
    """A case as a line of a report."""
    unit = case.damaged
    return {
        "outcome": verdict.outcome,
        "damages": list(unit.damages) if unit else [],
        "lost": verdict.lost,
        "reply": spelled(case.text),
        "ids spelled": [n for n, c in enumerate(case.text) if "\ue000" <= c <= "\ue00f"],
        "unit": spelled(unit.written) if unit else "",
        "meant": [call.key for call in unit.meant] if unit else [],
        "ran": [call.key for call in verdict.ran],
        "server parses": case.parses,
        "stream": case.stream,
    }
