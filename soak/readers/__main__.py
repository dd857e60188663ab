"""`make soak PART=readers`: the table of who reads what, in `docs/proof/readers.md`.

3,907 replies of a model with twelve tools, damaged in known ways, go through vLLM's own gemma4
parser with their token ids and are then served to agentkit, pydantic-ai and kani, each in an
environment of its own. A model whose call was refused, or ran with other arguments, writes it once
more as it should be.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from agentkit.serving.plan import TESTED_VLLM
from agentkit.serving.process import cache_folder, vllm_environment
from soak.misses import note_miss
from soak.proof import FOLDER, ROOT, commit_here, write_record
from soak.readers.cases import MAY_RUN, MENTIONS, Case, cases, full_key
from soak.readers.environments import CLIENTS, client_python
from soak.readers.served import DONE, Cases, serving
from tests.reading.as_vllm import Read, read_as_vllm
from tests.reading.damage import whole
from tests.reading.tokens import RESPONSE, control_ids, encode, spelled, texts_of, vocabulary

COLUMNS = {
    "1": "right at the first reply",
    "2": "right after one correction",
    "W": "wrong arguments ran",
    "0": "nothing ran",
    "C": "the client died",
    "M": "ran though only mentioned",
}
_LEAST_RIGHT = 2400 / 3907


def _say(text: str) -> None:
    print(text, flush=True)


# --- the parser --------------------------------------------------------------------------------


def readings(known: Sequence[Case], folder: Path) -> dict[tuple[str, bool], Read]:
    """What vLLM's parser makes of every reply that the server may send, streamed and not."""
    replies = sorted({text for case in known for text in _replies(case)})
    offered = known[0].offered
    lines = [json.dumps({"controls": control_ids(), "texts": vocabulary()})]
    for text in replies:
        ids = encode(text)
        lines.append(json.dumps({"ids": ids, "texts": texts_of(ids), "tools": offered}))
    _say(f"{len(replies)} replies through the parser of vLLM {TESTED_VLLM}")
    out = folder / "vllm.jsonl"
    with out.open("w", encoding="utf-8") as file:
        subprocess.run(
            [str(vllm_environment(lambda _: None)), "-m", "soak.readers.with_vllm"],
            input="\n".join(lines) + "\n",
            stdout=file,
            stderr=subprocess.DEVNULL,  # a warning for each place that the parser gives up
            text=True,
            check=True,
            cwd=ROOT,
        )
    answers = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    return {
        (text, streamed): Read(
            said["text"],
            said["reasoning"],
            tuple((name, arguments) for name, arguments in said["calls"]),
        )
        for text, answer in zip(replies, answers, strict=True)
        for streamed, said in ((False, answer["whole"]), (True, answer["streamed"]))
    }


def _replies(case: Case) -> list[str]:
    """The case's reply, and every correction of it."""
    calls = [whole(call).written for call in case.meant]
    corrections = ["".join(calls), *calls] if calls else []
    return [case.written, DONE, *(text + RESPONSE for text in corrections)]


def agreement(known: Sequence[Case], read: dict[tuple[str, bool], Read]) -> str:
    """How often the stand-in of the other proofs reads as the real parser does."""
    schemas = {
        tool["function"]["name"]: tool["function"]["parameters"] for tool in known[0].offered
    }
    same = sum(
        _calls(read_as_vllm(case.written, schemas)) == _calls(read[case.written, False])
        for case in known
    )
    return f"{same} of {len(known)}"


def _calls(read: Read) -> list[tuple[str, object]]:
    return [(name, json.loads(arguments)) for name, arguments in read.calls]


# --- the clients -------------------------------------------------------------------------------


def play(
    client: str, known: Sequence[Case], read: Callable[[str, bool], Read], folder: Path
) -> Counter[tuple[str, str]]:
    """How many cases of each kind came to what, with one client."""
    out = folder / f"{client}.jsonl"
    with serving(known, read) as (url, model):
        command = [str(client_python(client, _say)), *CLIENTS[client].command]
        subprocess.run([*command, url, str(len(known)), str(out)], cwd=ROOT, check=True)
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    counts: Counter[tuple[str, str]] = Counter()
    for case, line in zip(known, lines, strict=True):
        outcome = _outcome(case, line["case"], line["ran"], line["crash"], model)
        counts[case.kind, outcome] += 1
        if client == "agentkit" and outcome != "1" and case.meant:
            said = {"kind": case.kind, "outcome": outcome, "reply": spelled(case.written)}
            note_miss(said | {"ran": line["ran"], "meant": [call.key for call in case.meant]})
    return counts


def _outcome(case: Case, number: int, ran: Iterable[list[object]], crash: str, model: Cases) -> str:
    keys = Counter(full_key(str(name), dict(arguments)) for name, arguments in ran)  # type: ignore[call-overload]  # JSON of our own
    if case.mentioned is not None:
        return "M" if keys else "C" if crash else "0"
    meant = Counter(full_key(call.name, call.arguments) for call in case.meant)
    if keys - meant - meant:  # a client may run a call that it has run before
        return "W"
    if not meant - keys:
        return "1" if model.asked[number] <= 2 else "2"
    return "C" if crash else "0"


# --- the table ---------------------------------------------------------------------------------


def table(counts: dict[str, Counter[tuple[str, str]]], kinds: Sequence[str]) -> str:
    """The figures as a page."""
    lines = [f"| damage | {' | '.join(counts)} |", "|---" * (len(counts) + 1) + "|"]
    for kind in [*kinds, "all"]:
        cells = [_cell(each, kind) for each in counts.values()]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(counts: Counter[tuple[str, str]], kind: str) -> str:
    totals = {
        column: sum(
            n for (row, mark), n in counts.items() if mark == column and kind in (row, "all")
        )
        for column in COLUMNS
    }
    return ", ".join(f"{column}: {total:,}" for column, total in totals.items() if total)


def missed(counts: Counter[tuple[str, str]], total: int) -> list[str]:
    """The bars that agentkit misses."""
    found: list[str] = []
    if wrong := sum(n for (_, mark), n in counts.items() if mark == "W"):
        found.append(f"wrong arguments ran {wrong} times")
    spelled = [row for row in MENTIONS if row != MAY_RUN]
    if ran := sum(counts[row, "M"] for row in spelled):
        found.append(f"{ran} mentions spelled in ordinary tokens ran")
    right = sum(n for (_, mark), n in counts.items() if mark == "1")
    if right < _LEAST_RIGHT * total:
        found.append(f"only {right} right at the first reply")
    return found


def main() -> int:
    """Make the table."""
    parser = argparse.ArgumentParser(prog="python -m soak.readers")
    parser.add_argument("--share", type=float, default=1, help="part of the cases")
    parser.add_argument("--clients", nargs="+", default=[*CLIENTS], choices=[*CLIENTS])
    options = parser.parse_args()
    folder = cache_folder() / "readers"
    folder.mkdir(parents=True, exist_ok=True)
    known = cases(options.share)
    read = readings(known, folder)
    agreed = agreement(known, read)
    _say(f"the stand-in for vLLM's parser agrees with it on the calls of {agreed} replies")

    def parsed(text: str, streamed: bool) -> Read:
        return read[text, streamed]

    counts = {client: play(client, known, parsed, folder) for client in options.clients}
    kinds = list(dict.fromkeys(case.kind for case in known))
    page = table(counts, kinds)
    _say(page)
    problems = [
        f"{name}: {problem}"
        for name, each in counts.items()
        if name.startswith("agentkit")
        for problem in missed(each, len(known))
    ]
    if options.share == 1:
        _write(page, counts, len(known), agreed, problems)
    _say("\n".join([*problems, f"readers: {'failed' if problems else 'passed'}"]))
    return 1 if problems else 0


def _write(
    page: str,
    counts: dict[str, Counter[tuple[str, str]]],
    total: int,
    agreed: str,
    problems: list[str],
) -> None:
    record = {
        "part": "readers",
        "commit": commit_here(),
        "replies": total,
        "parser": f"vLLM {TESTED_VLLM}",
        "stand-in agrees": agreed,
        "clients": {name: asdict(CLIENTS[name]) for name in counts},
        "counts": {
            name: {f"{row}: {mark}": n for (row, mark), n in sorted(each.items())}
            for name, each in counts.items()
        },
        "result": "failed" if problems else "passed",
        "failures": problems,
    }
    write_record("readers", record)
    marks = "; ".join(f"{column}, {words}" for column, words in COLUMNS.items())
    (FOLDER / "readers.md").write_text(
        f"# Who reads what\n\n{total:,} replies through vLLM {TESTED_VLLM}'s own gemma4 parser, "
        f"with their token ids, at commit {commit_here()}: `make soak PART=readers`.\n\n"
        f"{marks}.\n\n"
        f"{page}\n\nWhat is quoted between real call tokens is a call by every rule.\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    sys.exit(main())
