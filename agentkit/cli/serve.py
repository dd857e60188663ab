"""The commands about servers. `agentkit serve` prints and runs the right vLLM command for a model.
`agentkit doctor` finds out whether a server, or this machine, is right for agents, and what to
change. `agentkit faults` shows how agents survive bad days, and serves faults.

Messages for people go to standard error; standard output has the command, or the JSON, for scripts.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import anyio
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from agentkit import models
from agentkit.cli.options import ModelName, Project, UsageError, is_address
from agentkit.cli.terminal import print_hanging
from agentkit.errors import AgentKitError, ServerNotReadyError
from agentkit.serving.doctor import PROBES, Diagnosis, Finding, examine, examine_machine
from agentkit.serving.doctor.examine import gpu_memory
from agentkit.serving.plan import (
    TESTED_VLLM,
    TINY_NAME,
    ServeOptions,
    ServePlan,
    api_program,
    flags_of,
    plan,
)
from agentkit.serving.process import (
    RunningServer,
    cache_folder,
    last_line,
    progress_line,
    running_server,
    vllm_environment,
    vllm_python,
)
from agentkit.testing.faults import FAULTS, FaultServer, find_fault
from agentkit.testing.scenarios import SCENARIOS, Outcome, Scenario, play_all
from agentkit.testing.scripted import say
from agentkit.wording import pluralize, printable

_TINY = Path(models.__file__).parent / "tiny"
_POLL_SECONDS = 0.5


def serve(
    model: Annotated[
        str, typer.Argument(help="Hugging Face id, folder of a checkpoint, or tiny (on the CPU).")
    ],
    extra: Annotated[
        list[str] | None,
        typer.Argument(help="Further flags of vLLM, after --.", metavar="[-- ...]"),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Served name; default: the model's.")] = None,
    host: Annotated[str, typer.Option(help="Address to bind.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="TCP port to listen on.")] = 8000,
    window: Annotated[
        int | None, typer.Option(min=1, help="Tokens of prompt and reply; default: by the model.")
    ] = None,
    gpus: Annotated[int, typer.Option(min=1, help="GPUs that share the model.")] = 1,
    chat_template: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="A template file instead of the checkpoint's own."
        ),
    ] = None,
    cpu: Annotated[bool, typer.Option("--cpu", help="On the CPU, with a vLLM of our own.")] = False,
    memory: Annotated[
        float | None, typer.Option(min=1, help="GB of one GPU; default: what nvidia-smi says.")
    ] = None,
    draft: Annotated[
        bool, typer.Option("--draft", help="Decode with Google's draft model for this size.")
    ] = False,
    shape: Annotated[
        str | None,
        typer.Option("--print", help="shell or compose: print that alone, for a script or a file."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the command only.")] = False,
    doctor: Annotated[
        bool, typer.Option("--doctor/--no-doctor", help="Examine the server when it is up.")
    ] = True,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds until it must answer; a download takes long.")
    ] = 3600.0,
) -> None:
    """Work out and print the right vLLM command for a model, run it, and examine the server.

    The server runs until Ctrl-C, which stops all of its processes; its log is kept. A key in
    AGENTKIT_API_KEY guards it.

    Exit codes: 0 stopped by Ctrl-C or a dry run, 1 the server failed, 2 wrong usage.
    """
    tiny = model == "tiny"
    options = ServeOptions(
        served_name=name or (TINY_NAME if tiny else None),
        host=host,
        port=port,
        window=window,
        gpus=gpus,
        chat_template=chat_template,
        cpu=cpu or tiny,
        memory=memory or gpu_memory(),
        draft=draft,
        extra=tuple(extra or ()),
    )
    console = Console(stderr=True)
    try:
        _refuse_what_is_no_model(model)
        if shape not in (None, "shell", "compose"):
            raise UsageError(f"--print is shell or compose, not {shape}")
        dry_run = dry_run or shape is not None
        program = _program(cpu=options.cpu, dry=dry_run)
        known = None if dry_run or tiny else flags_of(program)
        served = str(_TINY) if tiny else model
        if shape == "compose" and options.cpu:
            raise UsageError("a compose file is for GPUs: vLLM's image for the CPU is another one")
        # A compose file may be used where this machine's variables are not set.
        environ = {} if shape == "compose" else os.environ
        made = plan(served, options, program, environ=environ, known=known)
        if shape is not None:
            typer.echo(made.compose() if shape == "compose" else made.shown())
            return
        _show(made, console)
        if not dry_run:
            _refuse_a_taken_port(host, port)
            _run(made, console, timeout, doctor=doctor)
    except UsageError as error:
        console.print(Text(f"agentkit: {error}", "red"), soft_wrap=True)
        raise typer.Exit(2) from None
    except AgentKitError as error:
        console.print(Text(f"\nagentkit: {error}", "red"), soft_wrap=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        console.print(Text("\nstopped; nothing of the server is left", "yellow"))


def _refuse_what_is_no_model(model: str) -> None:
    """Refuses a misspelt folder, which vLLM would look up on the hub for minutes.

    Raises:
        UsageError: The model is a path without a checkpoint, or empty.
    """
    path = Path(model)
    if is_address(model):
        raise UsageError(f"{model} is a server already: agentkit doctor {model} examines it")
    if path.is_file() and path.suffix != ".gguf":
        raise UsageError(
            f"{model} is a file: name the folder of a checkpoint, or a Hugging Face id"
        )
    if not model or (model[0] in "./~" and not path.exists()):
        raise UsageError(
            f"there is no {model or 'model given'}: name the folder of a checkpoint, or a Hugging "
            "Face id such as google/gemma-4-26B-A4B-it"
        )
    if path.is_dir() and not (path / "config.json").is_file():
        raise UsageError(f"{model} holds no checkpoint: there is no config.json in it")


def _refuse_a_taken_port(host: str, port: int) -> None:
    """Tries the port, which vLLM would do only after it has loaded everything else.

    Raises:
        UsageError: No server can listen there.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise UsageError(f"no server can listen at {host}, port {port}: {error}") from None
        raise UsageError(
            f"port {port} is taken: name another with --port, or see what answers there with "
            f"agentkit doctor http://localhost:{port}/v1"
        ) from None


def _program(*, cpu: bool, dry: bool) -> Sequence[str]:
    """The command that starts vLLM here.

    Raises:
        UsageError: There is no vLLM for a GPU.
    """
    if cpu:
        installing = progress_line(f"installing vLLM {TESTED_VLLM} for the CPU, 3.5 GB, once")
        return api_program(vllm_python() if dry else vllm_environment(installing))
    if not dry and shutil.which("vllm") is None:
        raise UsageError(
            f"no `vllm` is on the path: pip install vllm=={TESTED_VLLM} on a machine with a GPU, "
            "see the command with --dry-run, or try agentkit serve tiny on this one"
        )
    return ("vllm", "serve")


def _show(made: ServePlan, console: Console) -> None:
    """Prints the command to standard output, for scripts, and its notes to standard error."""
    typer.echo(made.shown())
    for note in made.notes:
        console.print(Text(f"note: {note}", "cyan"), soft_wrap=True)
    for part in made.unverified:
        console.print(Text(f"not verified by agentkit's tests: {part}", "yellow"), soft_wrap=True)


def _run(made: ServePlan, console: Console, timeout: float, *, doctor: bool) -> None:
    key = os.environ.get("AGENTKIT_API_KEY")
    # Not as a flag: flags are visible in the process list.
    variables = {**made.environment, **({"VLLM_API_KEY": key} if key else {})}
    stamp = time.strftime("%Y%m%d-%H%M%S")
    log = cache_folder() / "logs" / f"vllm-{stamp}-{os.getpid()}.log"
    console.print(Text(f"log: {log}", "dim"), soft_wrap=True)
    with running_server(
        made.command,
        url=made.url,
        log=log,
        environment=variables,
        progress=progress_line("starting vLLM"),
        deadline=timeout,
    ) as server:
        console.print(
            Text(f"\n{made.name} answers at {made.url}/v1 after {server.seconds:.0f} s\n", "green"),
            soft_wrap=True,
        )
        if doctor:
            anyio.run(examined, made.url, made.name, console)
        console.print(Text("Ctrl-C stops it.", "dim"))
        _wait(server)


def _wait(server: RunningServer) -> None:
    """Waits until Ctrl-C.

    Raises:
        ServerNotReadyError: The server ended by itself.
    """
    while (code := server.exit_code()) is None:
        time.sleep(_POLL_SECONDS)
    raise ServerNotReadyError(
        f"vLLM ended by itself with exit code {code}; its last words in {server.log}: "
        f"{last_line(server.log)}"
    )


# --- agentkit doctor -----------------------------------------------------------------------------


_STYLES = {"pass": "green", "warn": "yellow", "fail": "bold red"}
_WIDTH = max(len(probe.name) for probe in PROBES) + 2
_INDENT = 6 + _WIDTH


def doctor(
    url: Annotated[
        str | None,
        typer.Argument(
            metavar="[URL | sandbox]",
            help="Address of the server. Default: AGENTKIT_BASE_URL, and without that this "
            "machine. Or sandbox: what of the sandbox for commands holds on this machine.",
            show_default=False,
        ),
    ] = None,
    model_name: ModelName = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on standard output, nothing else.")
    ] = False,
    project: Project = Path(),
    require: Annotated[
        str | None,
        typer.Option(help="Fail unless the server has this fingerprint; --json tells it."),
    ] = None,
) -> None:
    """Ask a live server everything that agents rely on, and say what to change.

    Some ninety short requests: they cost seconds, and nothing on the server changes. The key of a
    guarded server is read from AGENTKIT_API_KEY.

    Without an address it looks at this machine: Python, extras, vLLM, GPU, disk, port.
    agentkit doctor sandbox looks at the sandbox and at --project instead, and asks no server.

    Exit codes: 0 nothing failed, 1 something did, 2 wrong usage, 3 no server answers.
    """
    for examination in entry_points(group="agentkit.examinations", name=url or ""):
        raise typer.Exit(_look_at(examination.load(), project, as_json))
    address = url or os.environ.get("AGENTKIT_BASE_URL")
    if not address:
        raise typer.Exit(_look_at(lambda _project: examine_machine(), project, as_json))
    console = Console(stderr=as_json)
    try:
        diagnosis = anyio.run(examined, address, model_name, console)
    except AgentKitError as error:
        Console(stderr=True).print(Text(f"agentkit: {error}", "red"), soft_wrap=True)
        raise typer.Exit(2) from None
    if as_json:
        typer.echo(json.dumps(diagnosis.to_json(), indent=2))
    if require is not None and diagnosis.fingerprint != require:
        message = f"agentkit: the server's fingerprint is {diagnosis.fingerprint}, not {require}"
        console.print(Text(message, "red"), soft_wrap=True)
        raise typer.Exit(1)
    raise typer.Exit(diagnosis.exit_code)


async def examined(url: str, model: str | None, console: Console) -> Diagnosis:
    """Examines a server and prints each finding as it is made.

    Args:
        url: The server's address.
        model: The served name; default: its first.
        console: Where to print.

    Raises:
        ServerNotReadyError: `url` is no address.
    """
    asks = {probe.name: probe.asks for probe in PROBES}
    names = list(asks)
    with console.status("Is there a server?") as status:

        def tell(found: Finding) -> None:
            _tell(console, found)
            following = names.index(found.probe) + 1 if found.probe in asks else 0
            status.update(asks[names[following]] if following < len(names) else "")

        key = os.environ.get("AGENTKIT_API_KEY")
        diagnosis = await examine(url, model=model, api_key=key, tell=tell)
    console.print(_summary(diagnosis), soft_wrap=True)
    return diagnosis


def _look_at(
    examine_here: Callable[[Path], Iterable[Finding]], project: Path, as_json: bool
) -> int:
    """Examines this machine instead of a server; returns the exit code."""
    console = Console(stderr=as_json)
    findings: list[Finding] = []
    try:
        for found in examine_here(project):
            findings.append(found)
            _tell(console, found)
    except (AgentKitError, NotADirectoryError) as error:
        Console(stderr=True).print(Text(f"agentkit: {error}", "red"), soft_wrap=True)
        return 2
    if as_json:
        typer.echo(json.dumps([asdict(found) for found in findings], indent=2))
    return int(any(found.verdict == "fail" for found in findings))


def _tell(console: Console, found: Finding) -> None:
    print_hanging(console, _line(found), _INDENT)
    if found.remedy and found.verdict != "pass":
        remedy = " ".join(printable(found.remedy).split())
        print_hanging(console, Text(f"{'':{_INDENT}}{remedy}", "cyan"), _INDENT)


def _line(found: Finding) -> Text:
    line = Text(f"{found.verdict:6}", _STYLES[found.verdict])
    says = " ".join(printable(found.says).split())  # the server's own words may be among them
    return line.append(f"{found.probe:{_WIDTH}}", "bold").append(says, "default not bold")


def _summary(diagnosis: Diagnosis) -> Text:
    if not diagnosis.reachable:
        return Text(f"\nNo server answers at {diagnosis.url}.", "bold red")
    counted = [found.verdict for found in diagnosis.findings]
    counts = ", ".join(f"{counted.count(v)} {v}" for v in ("pass", "warn", "fail"))
    verdict = {
        "pass": "ready for agents",
        "warn": "usable; agentkit works around what it warns of",
        "fail": "agents will suffer from what failed",
    }[diagnosis.verdict]
    line = f"\n{diagnosis.url}: {counts}: {verdict}. Fingerprint {diagnosis.fingerprint}."
    return Text(line, _STYLES[diagnosis.verdict])


# --- agentkit faults -----------------------------------------------------------------------------

faults = typer.Typer(help="Bad days of a model and its server.", no_args_is_help=True)


@faults.command("run")
def run(
    names: Annotated[
        list[str] | None, typer.Argument(help="Scenarios to play; default: all.")
    ] = None,
    stream: Annotated[
        bool | None, typer.Option("--stream/--whole", help="Only streamed, or only whole replies.")
    ] = None,
    backend: Annotated[
        Literal["asyncio", "trio"] | None,
        typer.Option(help="Only this; default: what is installed."),
    ] = None,
) -> None:
    """Play the scenario table: every bad day with the ending it is to have.

    Each scenario runs a real agent against a real server on loopback that misbehaves as told;
    streamed and not, on asyncio and on trio. Exit code 1 when one does not end as the table says.
    """
    known = {scenario.name: scenario for scenario in SCENARIOS}
    if unknown := [name for name in names or () if name not in known]:
        raise typer.BadParameter(f"no scenario is named {', '.join(unknown)}")
    chosen = [known[name] for name in names or known]
    installed = ["asyncio", *(["trio"] if find_spec("trio") else [])]
    if backend and backend not in installed:
        raise typer.BadParameter("trio is not installed: pip install trio")
    backends = [backend] if backend else installed
    modes = [(s, b) for s in ([True, False] if stream is None else [stream]) for b in backends]
    console = Console()
    started = time.monotonic()
    outcomes: _Outcomes = {}
    with console.status("") as status:
        for mode in modes:
            status.update(f"{pluralize(len(chosen), 'scenario')}, {_named(*mode)}")
            outcomes[mode] = _play(chosen, *mode)
    console.print(_table(chosen, outcomes, console.width))
    surprises = _surprises(outcomes, console)
    console.print(_faults_summary(outcomes, time.monotonic() - started), highlight=False)
    raise typer.Exit(1 if surprises else 0)


@faults.command("list")
def list_faults() -> None:
    """List the faults by name; `agentkit.testing.FaultServer` and `serve` take them."""
    table = Table(box=None, pad_edge=False)
    for heading in ("fault", "side", "what happens"):
        table.add_column(heading, no_wrap=heading != "what happens")
    for fault in FAULTS.values():
        table.add_row(fault.name, fault.side, Text(fault.what))
    Console().print(table)


@faults.command("serve")
def serve_faults(
    names: Annotated[list[str], typer.Argument(help="Faults that strike; see `list`.")],
    rate: Annotated[float, typer.Option(min=0, max=1, help="How likely one strikes.")] = 0.3,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    text: Annotated[str, typer.Option(help="What the model says otherwise.")] = "Hello.",
) -> None:
    """Serve a model that always says the same, struck by faults, until Ctrl-C.

    For trying out any client of the OpenAI protocol, in whatever language it is written.
    """
    try:
        chosen = [find_fault(name) for name in names]
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    with FaultServer(then=say(text), faults=chosen, rate=rate, seed=seed) as server:
        typer.echo(server.url)
        try:
            anyio.run(anyio.sleep_forever)
        except KeyboardInterrupt:
            typer.echo(
                f"{pluralize(len(server.requests), 'request')}, {dict(Counter(server.injected))}"
            )


_Outcomes = dict[tuple[bool, str], list[Outcome]]


def _named(stream: bool, backend: str) -> str:
    return f"{'streamed' if stream else 'whole'}, {backend}"


def _play(scenarios: Sequence[Scenario], stream: bool, backend: str) -> list[Outcome]:
    async def main() -> list[Outcome]:
        return await play_all(scenarios, stream=stream)

    return anyio.run(main, backend=backend)


_WIDE = 120
"""The least columns of a terminal for a table with the sentences of each scenario."""


def _table(scenarios: Sequence[Scenario], outcomes: _Outcomes, width: int) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("scenario", no_wrap=True)
    table.add_column("ending", no_wrap=True)
    table.add_column("")
    if width >= _WIDE:
        table.add_column("what happens", ratio=2)
        table.add_column("why it is right", ratio=2)
    for position, scenario in enumerate(scenarios):
        played = [results[position] for results in outcomes.values()]
        ending = " | ".join(dict.fromkeys(str(scenario.ends(stream=s)) for s, _ in outcomes))
        sentences = [Text(scenario.what), Text(scenario.ending.why)] if width >= _WIDE else []
        table.add_row(scenario.name, ending, _mark(played), *sentences)
    return table


def _mark(outcomes: Sequence[Outcome]) -> Text:
    if not any(outcome.problems for outcome in outcomes):
        return Text("ok", "green")
    return Text("SURPRISE", "red")


def _surprises(outcomes: _Outcomes, console: Console) -> int:
    """Prints what did not end as the table says; returns the number of such scenarios."""
    surprised: set[str] = set()
    for (stream, backend), results in outcomes.items():
        for outcome in results:
            if outcome.problems:
                name, what = outcome.scenario.name, "; ".join(outcome.problems)
                surprised.add(name)
                console.print(Text(f"{name} ({_named(stream, backend)}): {what}"))
    return len(surprised)


def _faults_summary(outcomes: _Outcomes, seconds: float) -> str:
    by_scenario = list(zip(*outcomes.values(), strict=True))
    right = sum(
        all(outcome.stop == "answer" and not outcome.problems for outcome in played)
        for played in by_scenario
    )
    runs = sum(map(len, outcomes.values()))
    return (
        f"{pluralize(len(by_scenario), 'scenario')}, {pluralize(runs, 'run')} in {seconds:.0f} s: "
        f"{right} end in the right answer, the others in a typed stop or error"
    )
