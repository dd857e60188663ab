"""What type checkers say of the library's own types: lines that pass, and lines that must not."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PASSING = (ROOT / "typing_tests" / "agents.py").read_text()
WRONG = (ROOT / "typing_tests" / "wrong_agents.txt").read_text().splitlines()[1:]
Found = dict[str, set[str]]
"""Line → the codes of the errors in it; lines that none is expected in stand under their number."""


def wanted(checker: int) -> Found:
    lines = [line.partition("#!") for line in WRONG]
    return {line.strip(): {codes.split("|")[checker].strip()} for line, _, codes in lines}


def differing(file: Path, errors: list[tuple[int, str]], checker: int) -> dict[str, str]:
    """The lines that a checker says something else of, with what it says and what it should."""
    text = file.read_text().splitlines()
    found: Found = {}
    for number, code in errors:
        line, mark, _ = text[number - 1].partition("#!")
        found.setdefault(line.strip() if mark else f"line {number}: {line}", set()).add(code)
    right = wanted(checker)
    return {
        line: f"{sorted(found.get(line, ()))}, not {sorted(right.get(line, ()))}"
        for line in {**right, **found}
        if found.get(line) != right.get(line)
    }


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("typing") / "wrong.py"
    file.write_text(PASSING + "\n\n" + "\n".join(WRONG) + "\n")
    return file


@pytest.mark.timeout(240)
def test_mypy_passes_what_is_right_and_refuses_what_is_wrong_for_the_right_reason(
    wrong: Path,
) -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--python-version=3.11"]
    command += ["--cache-dir=.mypy_cache/typing", "--no-error-summary", "--hide-error-context"]
    command += ["--show-error-codes", "--no-pretty", str(wrong)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    errors = [
        (int(found[1]), found[2])
        for line in done.stdout.splitlines()
        if (found := re.match(r"\S*wrong\.py:(\d+): error: .*\[([a-z-]+)\]$", line))
    ]
    assert differing(wrong, errors, 0) == {}


@pytest.mark.timeout(240)
def test_pyright_passes_what_is_right_and_refuses_what_is_wrong_for_the_right_reason(
    wrong: Path,
) -> None:
    settings = {
        "include": ["wrong.py"],
        "extraPaths": [str(ROOT)],
        "pythonVersion": "3.11",
        "typeCheckingMode": "standard",
    }
    (wrong.parent / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run(command, cwd=wrong.parent, capture_output=True, text=True, check=False)
    told = json.loads(done.stdout)["generalDiagnostics"]
    errors = [
        (each["range"]["start"]["line"] + 1, each["rule"])
        for each in told
        if each["severity"] == "error"
    ]
    assert differing(wrong, errors, 1) == {}
