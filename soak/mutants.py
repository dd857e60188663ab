"""Small faults planted in a module, one at a time: how many of them the tests notice.

    make mutants MODULE=agentkit.gemma4.exact [ARGS="--sample 100 --tests tests/gemma4"]

A mutant is the module with one change: a comparison turned, a condition negated, a number off by
one, a statement gone. A seeded sample of all possible ones is drawn; a larger sample holds the
smaller. Each is run in a copy of the tree, never in the checkout: first against the test file that
mirrors the module, then, if it lives, against all tests that were named. A run that was stopped
goes on where it was, and `--again` runs what lived before once more, against the tests of today.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import math
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import Final

from soak.mutations import Mutant, mutants_of
from soak.proof import FOLDER as PROOFS
from soak.proof import ROOT, with_sources, write_whole

_FORKED: Final = Path(__file__).with_name("forked.py")
FOLDER: Final = PROOFS / "mutants"
_LEFT_OUT: Final = shutil.ignore_patterns(
    ".git", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"
)
_PATIENCE: Final = 5.0
"""A mutant that runs so many times longer than the sound module hangs, so it is noticed."""
_LEAST_SECONDS: Final = 30.0
LIVED: Final = "lived"


# --- the interval ------------------------------------------------------------------------------


def wilson(hits: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share by Wilson's score."""
    if not trials:
        return 0.0, 1.0
    share = hits / trials
    middle = share + z * z / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    whole = 1 + z * z / trials
    return max(0.0, (middle - spread) / whole), min(1.0, (middle + spread) / whole)


# --- running them ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant: `lived`, or by what it was noticed."""

    number: int
    line: int
    what: str
    by: str


class Tree:
    """A copy of the checkout in which one module is changed, and a process that tests it.

    Args:
        root: What is copied.
        module: The module's file, relative to the root.
    """

    def __init__(self, root: Path, module: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="mutants-"))
        shutil.copytree(root, self.folder, ignore=_LEFT_OUT, dirs_exist_ok=True, symlinks=True)
        self._file = self.folder / module
        self._output = self.folder / "output-of-tests"
        self._tester = subprocess.Popen(
            [sys.executable, "-c", _FORKED.read_text(encoding="utf-8")],
            cwd=self.folder,
            env=with_sources(self.folder),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def write(self, source: str) -> None:
        """Puts a mutant in the module's place."""
        self._file.write_text(source, encoding="utf-8")
        for old in self._file.parent.glob(f"__pycache__/{self._file.stem}.*.pyc"):
            old.unlink()

    def run(self, tests: Sequence[str], seconds: float) -> tuple[str | None, float]:
        """What the tests noticed, None if nothing, and how long they took."""
        arguments = ["-x", "-q", "-p", "no:cacheprovider", "--no-header", "--hypothesis-seed=0"]
        # Plugins are loaded already.
        arguments += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
        arguments += ["-m", "not live and not ray", *tests]
        request = {"arguments": arguments, "output": str(self._output), "seconds": seconds}
        started = time.monotonic()
        assert self._tester.stdin is not None, "it is a pipe"
        assert self._tester.stdout is not None, "it is a pipe"
        self._tester.stdin.write(json.dumps(request) + "\n")
        self._tester.stdin.flush()
        code = self._tester.stdout.readline().strip()
        if not code:
            raise SystemExit("the process that runs the tests has died: its mutant has no verdict")
        took = time.monotonic() - started
        if code in ("0", "time"):
            return (None if code == "0" else "time"), took
        lines = self._output.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
        return (failed or lines[-1:] or [f"exit code {code}"])[0][:200], took

    def remove(self) -> None:
        """Ends the process and takes the copy away."""
        with self._tester as tester:
            assert tester.stdin is not None, "it is a pipe"
            tester.stdin.close()
            tester.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Trial:
    """A sample of one module's mutants.

    Args:
        root: The checkout; it is only read.
        module: Dotted name of the module.
        tests: What is run; the file that mirrors the module goes first.
        sample: How many mutants.
        seed: The seed by which the sample is drawn.
        out: Where the verdicts are kept; a trial of the same source, tests and seed goes on there.
        again: Whether to run those that lived once more: there may be new tests in the same files.
    """

    def __init__(
        self,
        root: Path,
        module: str,
        tests: Sequence[str],
        sample: int,
        seed: int,
        out: Path,
        *,
        again: bool = False,
    ) -> None:
        self._root = root
        self._module = module
        self._file = _file_of(root, module)
        self._source = (root / self._file).read_text(encoding="utf-8")
        self._tests = list(tests)
        self._mirror = _mirror(root, module)
        self._seed = seed
        every = mutants_of(self._source)
        self._all = len(every)
        chosen = random.Random(seed).sample(every, len(every))[:sample]
        self._sample = len(chosen)
        self._out = out
        drawn = {mutant.number for mutant in chosen}
        self.verdicts = [verdict for verdict in self._before() if verdict.number in drawn]
        # One that lived counts until it has been run again, or a run that was stopped would look
        # better than it is.
        known = {v.number for v in self.verdicts if not (again and v.by == LIVED)}
        self._todo = {mutant.number: mutant for mutant in chosen if mutant.number not in known}

    @property
    def _key(self) -> str:
        text = "\n".join([self._source, *self._tests, str(self._seed)])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _before(self) -> list[Verdict]:
        if not self._out.is_file():
            return []
        old = json.loads(self._out.read_text(encoding="utf-8"))
        return (
            [Verdict(**verdict) for verdict in old["verdicts"]] if old["key"] == self._key else []
        )

    def run(self, jobs: int, minutes: float) -> int:
        """Runs what is left of the sample; 0 when all of it was run, 2 when time was up."""
        end = time.monotonic() + 60 * minutes
        trees: SimpleQueue[Tree] = SimpleQueue()
        copies: list[Tree] = []
        keeping = Lock()
        try:
            copies += (Tree(self._root, self._file) for _ in range(jobs))
            limits = self._sound(copies[0])
            for tree in copies:
                trees.put(tree)

            def one(mutant: Mutant) -> None:
                if time.monotonic() > end:
                    return
                tree = trees.get()
                try:
                    verdict = self._judge(tree, mutant, limits)
                finally:
                    trees.put(tree)
                with keeping:
                    self._keep(verdict)

            with ThreadPoolExecutor(jobs) as pool:
                list(pool.map(one, list(self._todo.values())))
        finally:
            for tree in copies:
                tree.remove()
        return 2 if self._todo else 0

    def _stages(self) -> list[list[str]]:
        return [[self._mirror], self._tests] if self._mirror else [self._tests]

    def _sound(self, tree: Tree) -> list[float]:
        """How long each stage may take; the module as it is must pass, rewritten as mutants are."""
        tree.write(ast.unparse(ast.parse(self._source)))
        limits: list[float] = []
        for stage in self._stages():
            noticed, seconds = tree.run(stage, 3600)
            if noticed is not None:
                raise SystemExit(f"the tests fail without any change: {noticed}")
            limits.append(max(_LEAST_SECONDS, _PATIENCE * seconds))
        return limits

    def _judge(self, tree: Tree, mutant: Mutant, limits: Sequence[float]) -> Verdict:
        tree.write(mutant.source)
        for stage, seconds in zip(self._stages(), limits, strict=True):
            noticed, _ = tree.run(stage, seconds)
            if noticed is not None:
                return Verdict(mutant.number, mutant.line, mutant.what, noticed)
        return Verdict(mutant.number, mutant.line, mutant.what, LIVED)

    def _keep(self, verdict: Verdict) -> None:
        others = [each for each in self.verdicts if each.number != verdict.number]
        self.verdicts = [*others, verdict]
        del self._todo[verdict.number]
        lived = [verdict for verdict in self.verdicts if verdict.by == LIVED]
        killed, tried = len(self.verdicts) - len(lived), len(self.verdicts)
        low, high = wilson(killed, tried)
        record = {
            "module": self._module,
            "key": self._key,
            "seed": self._seed,
            "mutants of the module": self._all,
            "sample": self._sample,
            "run": tried,
            "killed": killed,
            "killed share": round(killed / tried, 4),
            "95 % interval": [round(low, 4), round(high, 4)],
            "tests": self._tests,
            "verdicts": [asdict(each) for each in sorted(self.verdicts, key=lambda v: v.number)],
        }
        write_whole(self._out, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        shown = "lived " if verdict.by == LIVED else "killed"
        print(f"{tried}/{self._sample} {shown} {self._file}:{verdict.line}: {verdict.what}")

    def summary(self) -> str:
        """The share that was noticed, with its interval."""
        tried = len(self.verdicts)
        killed = sum(verdict.by != LIVED for verdict in self.verdicts)
        low, high = wilson(killed, tried)
        share = killed / tried if tried else 0.0
        return f"{self._module}: {killed} of {tried} killed, {share:.1%} ({low:.1%} to {high:.1%})"


def _file_of(root: Path, module: str) -> Path:
    parts = module.split(".")
    for folder in (".", "tools", "evals"):
        for last in (f"{parts[-1]}.py", f"{parts[-1]}/__init__.py"):
            file = Path(folder, *parts[:-1], last)
            if (root / file).is_file():
                return file
    raise SystemExit(f"there is no module {module}")


def _mirror(root: Path, module: str) -> str | None:
    """The test file of a module: `agentkit.gemma4.exact` → `tests/gemma4/test_exact.py`."""
    *folders, name = module.split(".")[1:]
    file = Path("tests", *folders, f"test_{name}.py")
    return str(file) if (root / file).is_file() else None


def _neighbours(module: str) -> list[str]:
    return [str(Path("tests", *module.split(".")[1:-1]))]


def main() -> int:
    """Run a sample of mutants."""
    parser = argparse.ArgumentParser(prog="python -m soak.mutants")
    parser.add_argument("modules", nargs="+", help="dotted names")
    parser.add_argument("--tests", nargs="+", help="what is run; default: the module's folder")
    parser.add_argument("--sample", type=int, default=100, help="mutants of each module")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="copies of the tree at a time")
    parser.add_argument("--minutes", type=float, default=20, help="stop after that long")
    parser.add_argument("--again", action="store_true", help="run what lived before once more")
    options = parser.parse_args()
    code = 0
    end = time.monotonic() + 60 * options.minutes
    killed = tried = 0
    for module in options.modules:
        tests = options.tests or _neighbours(module)
        out = FOLDER / f"{module}.json"
        trial = Trial(ROOT, module, tests, options.sample, options.seed, out, again=options.again)
        code = max(code, trial.run(options.jobs, (end - time.monotonic()) / 60))
        print(trial.summary(), flush=True)
        tried += len(trial.verdicts)
        killed += sum(verdict.by != LIVED for verdict in trial.verdicts)
    low, high = wilson(killed, tried)
    print(f"all: {killed} of {tried} killed ({low:.1%} to {high:.1%})")
    return code


if __name__ == "__main__":
    sys.exit(main())
