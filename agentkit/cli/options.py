"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from agentkit.policy import Preset

RunName: TypeAlias = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's id, the path of its file, or `last`.")
]
Allow: TypeAlias = Annotated[
    Preset,
    typer.Option(
        help="read-only: tools that read. ask: also tools that write and run commands in a "
        "sandbox, each call decided by you. auto-edit: writes without asking. full: asks only "
        "before private data could be sent to strangers."
    ),
]
Project: TypeAlias = Annotated[
    Path, typer.Option("--project", "-p", help="The directory to work over.")
]
ModelUrl: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="Address of a vLLM server, or tiny for the demonstration model. "
        "Default: AGENTKIT_BASE_URL.",
    ),
]
ModelName: TypeAlias = Annotated[
    str | None, typer.Option(help="Served name; default: the server's first.")
]
Thinking: TypeAlias = Annotated[
    bool | None, typer.Option("--thinking/--no-thinking", help="Let the model think first.")
]
Temperature: TypeAlias = Annotated[float | None, typer.Option(min=0, help="0 is greedy.")]
Seed: TypeAlias = Annotated[int | None, typer.Option(help="The same seed, the same reply.")]
MaxTokens: TypeAlias = Annotated[int | None, typer.Option(min=1, help="Most tokens of a reply.")]
MaxSteps: TypeAlias = Annotated[int, typer.Option(min=1, help="Most model calls.")]
JournalFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--journal",
        help="File in which runs are kept, so that they can be resumed. "
        "Default: journal.db beside the run files.",
    ),
]
