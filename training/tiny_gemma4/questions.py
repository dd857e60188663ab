"""Asks a checkpoint what people type first: `python -m training.tiny_gemma4.questions`.

Sixty questions about three source distributions from PyPI whose files no generator has seen, and
ten about the example's sample. Each has a check of its own, written by hand before any training:
regular expressions that the answer must all match, and whether a tool may have been called. The
distributions are fetched once, by version and hash, into the folder of the training.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

import anyio

from agentkit import AgentKitError, ModelSettings
from agentkit.messages import AssistantMessage, Message
from agentkit.models.embedded import BUNDLED, EmbeddedModel
from examples.project_assistant.main import SAMPLE, agent
from training.tiny_gemma4.folders import cache_folder

FILE = Path(__file__).with_name("questions.json")


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, one message after the other, and what the last answer must be like.

    Attributes:
        project: Of which files.
        ask: The messages.
        answer: Regular expressions, each of which must be found.
        calls: Whether the last message must be answered with a tool, or without; None: either.
    """

    project: str
    ask: tuple[str, ...]
    answer: tuple[str, ...]
    calls: bool | None = None

    def accepts(self, said: str, *, called: bool) -> bool:
        """Whether an answer is right."""
        if self.calls is not None and called != self.calls:
            return False
        return all(re.search(pattern, said) for pattern in self.answer)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with its answer."""

    question: Question
    said: str
    called: tuple[str, ...]

    @property
    def right(self) -> bool:
        """Whether the check accepts the answer."""
        return self.question.accepts(self.said, called=bool(self.called))


def questions() -> list[Question]:
    """All seventy, in the order of the file."""
    rows = json.loads(FILE.read_text(encoding="utf-8"))["questions"]
    return [
        Question(row["project"], tuple(row["ask"]), tuple(row["answer"]), row.get("calls"))
        for row in rows
    ]


def project(name: str, folder: Path) -> Path:
    """The unpacked files of a project; a distribution is fetched if it is not there yet.

    Raises:
        subprocess.CalledProcessError: pip does not get it, or gets another file.
    """
    if name == "sample":
        return SAMPLE
    known = json.loads(FILE.read_text(encoding="utf-8"))["projects"][name]
    unpacked = folder / f"{name}-{known['version']}"
    if not unpacked.exists():
        _fetch(f"{name}=={known['version']} --hash=sha256:{known['sha256']}", unpacked)
    return unpacked


def _fetch(requirement: str, unpacked: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        wanted, got = Path(name, "wanted.txt"), Path(name, "got")
        wanted.write_text(requirement, encoding="utf-8")
        source = ("--no-deps", "--no-binary", ":all:", "--require-hashes", "-r", str(wanted))
        pip = (sys.executable, "-m", "pip", "--quiet", "download", "--dest", str(got), *source)
        subprocess.run(pip, check=True)  # noqa: S603 - our own words
        (archive,) = got.iterdir()
        with tarfile.open(archive) as opened:
            opened.extractall(Path(name, "out"), filter="data")
        unpacked.parent.mkdir(parents=True, exist_ok=True)
        Path(name, "out", unpacked.name).rename(unpacked)


async def ask(question: Question, model: EmbeddedModel, files: Path) -> Asked:
    """Asks the example's agent, which has the demonstration's instructions and tools."""
    assistant, history = agent(model, files), list[Message]()
    said, called = "", list[str]()
    for message in question.ask:
        known = len(history)
        try:
            result = await assistant.run(message, history=history)
        except AgentKitError as error:
            return Asked(question, f"({error})", ())
        history, said = list(result.messages), str(result.output)
        called = [
            call.name
            for each in history[known:]
            if isinstance(each, AssistantMessage)
            for call in each.tool_calls
        ]
    return Asked(question, said, tuple(called))


async def ask_all(model: EmbeddedModel, folder: Path) -> list[Asked]:
    """Each question, in a conversation of its own."""
    return [await ask(each, model, project(each.project, folder)) for each in questions()]


def report(asked: list[Asked]) -> None:
    """Prints each answer, and how many are right."""
    for each in asked:
        mark = "right" if each.right else "WRONG"
        print(f"{mark}  {each.question.project}: {' / '.join(each.question.ask)}")
        print(f"       {', '.join(each.called) or 'no call'}: {' '.join(each.said.split())[:160]}")
    for name, chosen in (
        ("unseen distributions", [a for a in asked if a.question.project != "sample"]),
        ("the example's sample", [a for a in asked if a.question.project == "sample"]),
    ):
        print(f"{name}: {sum(a.right for a in chosen)} of {len(chosen)} right")


def main(argv: list[str] | None = None) -> int:
    """Asks all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=BUNDLED, help="of an exported checkpoint")
    options = parser.parse_args(argv)
    model = EmbeddedModel(options.folder, settings=ModelSettings(temperature=0.0))
    report(anyio.run(ask_all, model, cache_folder() / "projects"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
