"""`agentkit accept`: does everything that agents need work on this server?"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import anyio
import typer

from agentkit.errors import AgentKitError
from agentkit.trace import without_secrets
from agentkit.wording import printable
from agentkit_evals.acceptance.accept import NoServerError, Wanted
from agentkit_evals.acceptance.accept import accept as accepted_by
from agentkit_evals.acceptance.page import page_of
from agentkit_evals.acceptance.parts import TITLES
from agentkit_evals.acceptance.record import Acceptance
from agentkit_evals.store import Store


class PartName(StrEnum):
    """The parts, as they are chosen; see `TITLES`."""

    DOCTOR = "doctor"
    SCENARIOS = "scenarios"
    BFCL = "bfcl"
    GRAMMAR = "grammar"
    CONVERSATIONS = "conversations"


def accept(
    url: Annotated[
        str | None,
        typer.Argument(
            help="Address of the server. Default: AGENTKIT_BASE_URL.", show_default=False
        ),
    ] = None,
    model_name: Annotated[
        str | None, typer.Option(help="Served name; default: the server's first.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Where acceptance.html and acceptance.json are written. "
            "Default: acceptance-TIME in this folder.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="The report on standard output too, as JSON.")
    ] = False,
    only: Annotated[
        list[PartName] | None, typer.Option(help="Only this part; may be repeated.")
    ] = None,
    skip: Annotated[
        list[PartName] | None, typer.Option(help="Without this part; may be repeated.")
    ] = None,
    bfcl_cases: Annotated[int, typer.Option(min=1, max=200, help="Cases of BFCL.")] = 20,
    conversations: Annotated[
        int, typer.Option(min=1, help="Conversations whose prompts are counted.")
    ] = 10,
    minutes: Annotated[
        float, typer.Option(min=0.1, help="That all of it may take; each part has its share.")
    ] = 15.0,
) -> None:
    """Play everything that agents rely on, on the server you run, and report.

    The doctor's examination, scenarios of an agent, cases of BFCL, what the grammar costs a token,
    exact counts and the prefix cache. The report holds model, versions and scores, and neither the
    server's address nor its key: it can be shown to others. Progress goes to standard error.

    The examination comes first in any case. The key of a guarded server is read from
    AGENTKIT_API_KEY.

    Exit codes: 0 accepted, 1 something is wrong, 2 used wrongly, 3 no server answers.
    """
    address = url or os.environ.get("AGENTKIT_BASE_URL")
    if not address:
        raise typer.BadParameter("no server is given: name its address, or set AGENTKIT_BASE_URL")
    now = time.strftime("%Y%m%d-%H%M%S")
    folder = output or Path(f"acceptance-{now}")
    wanted = Wanted(
        url=address,
        model=model_name,
        api_key=os.environ.get("AGENTKIT_API_KEY"),
        parts=_chosen(only or (), skip or ()),
        bfcl_cases=bfcl_cases,
        conversations=conversations,
        minutes=minutes,
        runs=Store(Path(os.environ.get("AGENTKIT_EVALS") or "eval-runs") / f"accept-{now}"),
    )
    if why := _unusable(folder):
        _end(why, 2)
    try:
        found = anyio.run(accepted_by, wanted, _say)
    except NoServerError as error:
        _end(str(error), 3)
    except AgentKitError as error:
        _end(str(error), 2)
    except KeyboardInterrupt:
        _end("stopped; nothing is reported", 130)
    body = json.dumps(found.to_json(), indent=2, ensure_ascii=False) + "\n"
    for name, text in (("acceptance.json", body), ("acceptance.html", page_of(found))):
        _write(folder / name, text)
    typer.echo(body if as_json else _summary(found, folder), nl=not as_json)
    if wanted.runs.exists:
        _say(f"Every step of BFCL: agentkit eval report {wanted.runs.folder.name}")
    raise typer.Exit(found.exit_code)


def _chosen(only: Collection[str], skip: Collection[str]) -> list[str]:
    if "doctor" in skip:
        raise typer.BadParameter(
            "the doctor's examination finds out what the other parts need: it cannot be left out"
        )
    return [part for part in TITLES if part not in skip and (not only or part in only)]


def _unusable(folder: Path) -> str:
    """Why nothing can be written there; empty if it can. The folder itself is made at the end."""
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not there.is_dir():
        return f"{there} is no folder"
    return "" if os.access(there, os.W_OK) else f"{there} cannot be written to"


def _write(path: Path, text: str) -> None:
    """Writes a file that nobody sees half written; it may be read by whoever is shown it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f"{path.suffix}.part")
    draft.write_bytes(without_secrets(text.encode("utf-8", "replace")))
    draft.replace(path)


def _summary(found: Acceptance, folder: Path) -> str:
    lines = [f"{part.outcome:8} {part.title}: {part.says}" for part in found.parts]
    caution = [found.caution] if found.caution else []
    report = f"Report: {folder / 'acceptance.html'}"
    return printable("\n".join([*lines, "", *caution, found.sentence, report]))


def _say(line: str) -> None:
    typer.echo(printable(line), err=True)


def _end(sentence: str, code: int) -> NoReturn:
    _say(f"agentkit accept: {sentence}")
    raise typer.Exit(code)
