"""Each promise of SECURITY.md names a test that is there."""

from __future__ import annotations

import re
from pathlib import Path

REPO = Path(__file__).parents[1]
PAGE = (REPO / "SECURITY.md").read_text()


def named_tests() -> list[tuple[str, str]]:
    """File and function; one that is named by `::name` alone is in the file before it."""
    found: list[tuple[str, str]] = []
    file = ""
    for path, name in re.findall(r"`(tests/[\w/]+\.py)?(?:::(\w+))?`", PAGE):
        file = path or file
        if path or name:
            found.append((file, name))
    return found


def test_every_test_that_the_page_names_is_there() -> None:
    named = named_tests()
    assert len(named) > 10
    for file, name in named:
        text = (REPO / file).read_text()
        assert not name or f"def {name}(" in text, f"{file}::{name}"


def test_every_promise_names_a_test_or_a_proof() -> None:
    rows = [row for row in re.findall(r"^\| (.+) \|$", PAGE, re.M) if "promise | test" not in row]
    for row in rows:
        promise, _, proof = row.rpartition(" | ")
        assert re.search(r"`(tests/|make soak)", proof), promise


def test_every_proof_that_the_page_names_is_there() -> None:
    for part in re.findall(r"make soak PART=(\w+)", PAGE):
        assert (REPO / "soak" / f"{part}.py").is_file(), part
