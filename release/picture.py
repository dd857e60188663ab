"""The picture of a run in the README, from a real one: the demonstration model answers a question.

In: this repository and the model in the package. Out: an SVG of what a terminal showed, without
fonts or scripts from elsewhere, on a background of its own, so that a light page and a dark one
show it alike. `make picture` writes it.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

REPO = Path(__file__).parents[1]
QUESTION = "Where is ToolDefinition defined?"
_COLUMNS = 92
_FONTS = re.compile(r"@font-face \{\{.*?\}\}\s*", re.DOTALL)
_FORMAT = _FONTS.sub("", CONSOLE_SVG_FORMAT).replace("Fira Code, monospace", "monospace")


def shown(question: str) -> Text:
    """What a terminal shows of a run, with its colours.

    Raises:
        CalledProcessError: It came to no answer.
    """
    command = ["agentkit", "run", question, "--model", "tiny"]
    with tempfile.TemporaryDirectory() as runs:
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=REPO,
            env={**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(_COLUMNS), "AGENTKIT_RUNS": runs},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
        )
    typed = (f"$ {shlex.join(command)}\n", "bold")
    return Text.assemble(typed, Text.from_ansi(done.stdout.rstrip()))


def picture(text: Text) -> str:
    """A terminal with this text in it, as SVG."""
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=_COLUMNS, file=nowhere, force_terminal=True)
        console.print(text, soft_wrap=False)
        return console.export_svg(title="agentkit", code_format=_FORMAT, unique_id="run")


def main() -> None:
    """Writes the picture to the file that is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="to write, SVG")
    file = parser.parse_args().file
    lines = picture(shown(QUESTION)).splitlines()
    file.write_text("".join(f"{line.rstrip()}\n" for line in lines))


if __name__ == "__main__":
    main()
