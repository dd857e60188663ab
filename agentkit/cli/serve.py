"""`agentkit serve`: the right vLLM command for a model, printed and run."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import anyio
import typer
from rich.console import Console
from rich.text import Text

from agentkit import models
from agentkit.cli.doctor import examined
from agentkit.cli.options import UsageError
from agentkit.errors import AgentKitError, ServerNotReadyError
from agentkit.serving.doctor.machine import gpu_memory
from agentkit.serving.environment import cache_folder, vllm_environment, vllm_python
from agentkit.serving.plan import (
    TESTED_VLLM,
    TINY_NAME,
    ServeOptions,
    ServePlan,
    api_program,
    flags_of,
    plan,
)
from agentkit.serving.process import RunningServer, last_line, progress_line, running_server

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
        made = plan(served, options, program, environ=os.environ, known=known)
        if shape is not None:
            typer.echo(made.compose() if shape == "compose" else made.shown())
            return
        _show(made, console)
        if not dry_run:
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
    """VLLM would look for minutes, on the hub, for a folder that is spelled wrongly.

    Raises:
        UsageError: It is a path, and no checkpoint is there; or it is nothing.
    """
    path = Path(model)
    if not model or (model[0] in "./~" and not path.exists()):
        raise UsageError(
            f"there is no {model or 'model given'}: name the folder of a checkpoint, or a Hugging "
            "Face id such as google/gemma-4-26B-A4B-it"
        )
    if path.is_dir() and not (path / "config.json").is_file():
        raise UsageError(f"{model} holds no checkpoint: there is no config.json in it")


def _program(*, cpu: bool, dry: bool) -> Sequence[str]:
    """What starts vLLM here.

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
    """The command to standard output, for a script to take; what to know of it beside that."""
    typer.echo(made.shown())
    for note in made.notes:
        console.print(Text(f"note: {note}", "cyan"), soft_wrap=True)
    for part in made.unverified:
        console.print(Text(f"not verified by agentkit's tests: {part}", "yellow"), soft_wrap=True)


def _run(made: ServePlan, console: Console, timeout: float, *, doctor: bool) -> None:
    key = os.environ.get("AGENTKIT_API_KEY")
    # Not as a flag: those show in the process list.
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
    """Until Ctrl-C.

    Raises:
        ServerNotReadyError: The server ended by itself.
    """
    while (code := server.exit_code()) is None:
        time.sleep(_POLL_SECONDS)
    raise ServerNotReadyError(
        f"vLLM ended by itself with exit code {code}; its last words in {server.log}: "
        f"{last_line(server.log)}"
    )
