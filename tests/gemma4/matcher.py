"""xgrammar's own compiler and matcher over a vocabulary of a real Gemma's size, as a process.

The xgrammar that counts is the tested vLLM's, so its environment is asked
(`agentkit.serving.process.vllm_python`), or the interpreter that `AGENTKIT_XGRAMMAR_PYTHON`
names. Nothing is installed here.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any

from agentkit.serving.process import vllm_python
from tests.gemma4.vocabulary import Kind, real_size_tokenizer

SCRIPT = Path(__file__).with_name("matching.py")


@cache
def xgrammar_python() -> Path | None:
    """An interpreter that has xgrammar; None where there is none."""
    named = os.environ.get("AGENTKIT_XGRAMMAR_PYTHON")
    python = Path(named) if named else vllm_python()
    if not python.exists():
        return None
    asked = subprocess.run([python, "-c", "import xgrammar"], check=False, capture_output=True)
    return python if asked.returncode == 0 else None


NO_XGRAMMAR = (
    "no interpreter with xgrammar: `make live` installs the vLLM environment, which has it, or "
    "name one in AGENTKIT_XGRAMMAR_PYTHON"
)


@dataclass
class Matcher:
    """A running process.

    Attributes:
        version: xgrammar's.
    """

    version: str
    _to: IO[str]
    _from: IO[str]

    def ask(self, tag: str, **job: Any) -> dict[str, Any]:
        """Compile a structural tag and do a job with it; see `matching.py`.

        Raises:
            ValueError: xgrammar refused the tag, or a token that its own mask allowed.
        """
        self._to.write(json.dumps({"tag": tag, **job}) + "\n")
        self._to.flush()
        answer: dict[str, Any] = json.loads(self._from.readline())
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer


@contextmanager
def matcher(kind: Kind | None = None, *, overlay: Path | None = None) -> Generator[Matcher]:
    """Start the process; it ends with the block.

    Args:
        kind: The vocabulary: the real one, the synthetic one, or None for what can be had.
        overlay: A folder whose packages go before the interpreter's, for another xgrammar.

    Raises:
        OSError: There is no interpreter with xgrammar.
    """
    python = xgrammar_python()
    if python is None:
        raise OSError(NO_XGRAMMAR)
    environment = dict(os.environ)
    if overlay is not None:
        environment["PYTHONPATH"] = str(overlay)
    process = subprocess.Popen(
        [python, str(SCRIPT), str(real_size_tokenizer(kind))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        hello = json.loads(process.stdout.readline())
        yield Matcher(hello["xgrammar"], process.stdin, process.stdout)
        process.stdin.close()
