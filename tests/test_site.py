"""The pages as a site: its links are followed, and every public name has a place in its reference.

`make docs` builds it and fails at whatever Sphinx finds amiss.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import get_args

import pytest

from agentkit.events import Event
from docs.site.conf import DOCUMENTED, add_navigation, docstring_as_markdown
from docs.site.links import broken_links

REPO = Path(__file__).parents[1]
_DIRECTIVE = re.compile(r"^\.\. auto\w+:: ([\w.]+)$", re.MULTILINE)


def documented() -> list[object]:
    """What the reference documents."""
    pages = sorted((REPO / "docs" / "api").glob("*.md"))
    places = [place for page in pages for place in _DIRECTIVE.findall(page.read_text())]
    split = [place.rpartition(".") for place in places]
    return [getattr(importlib.import_module(module), name) for module, _, name in split]


def public() -> list[tuple[str, str]]:
    wholly = [name for name in DOCUMENTED if name not in ("agentkit.events", "agentkit.policy")]
    return [
        (package, name) for package in wholly for name in importlib.import_module(package).__all__
    ]


@pytest.mark.parametrize(("package", "name"), public())
def test_every_public_name_has_a_place_in_the_reference(package: str, name: str) -> None:
    value = getattr(importlib.import_module(package), name)
    assert any(known is value for known in documented())


def test_every_event_has_a_place_in_the_reference() -> None:
    assert set(get_args(Event)) <= set(filter(callable, documented()))


def test_nothing_is_documented_twice() -> None:
    found = documented()
    assert [value for at, value in enumerate(found) if any(value is x for x in found[:at])] == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c.html").write_text('<h1 id="here">C</h1><a name="old">x</a>')
    (tmp_path / "a b.svg").write_text("<svg/>")
    good = ["b/c.html", "b/c.html#here", "b/c.html#old", "#top", "a%20b.svg", "https://x.invalid/y"]
    bad = ["gone.html", "b/c.html#gone", "#gone", "../outside.html", "b/", "gone.png"]
    links = "".join(f'<a href="{link}">x</a><img src="{link}">' for link in [*good, *bad])
    (tmp_path / "index.html").write_text(f'<p id="top">{links}')
    assert broken_links(tmp_path) == [f"index.html: {link}" for link in bad for _ in range(2)]


def test_the_lists_of_a_readme_are_the_navigation() -> None:
    entries = "- [b](docs/b.md): b.\n- [c](https://x.invalid/c.md)\n| [d](d/README.md) | d |\n"
    page = f"# T\n\n[a](a.md)\n\n## Go\n\n{entries}"
    text = [page]
    add_navigation(None, "README", text)  # type: ignore[arg-type]  # the application is not used
    assert text[0].endswith(
        "\n```{toctree}\n:hidden:\n:caption: Go\n\ndocs/b.md\nd/README.md\n```\n"
    )
    other = [page]
    add_navigation(None, "docs/b", other)  # type: ignore[arg-type]  # the application is not used
    assert other == [page]


def test_code_in_a_docstring_is_code_in_the_reference() -> None:
    lines = ["Gives `Grant`s and `a: b`, see `Agent.run`.", "```", "x", "```"]
    docstring_as_markdown(None, "class", "x", None, None, lines)  # type: ignore[arg-type]  # not used
    assert lines == [
        "Gives :py:obj:`Grant`\\ s and ``a: b``, see :py:obj:`Agent.run`.",
        "```",
        "x",
        "```",
    ]


def test_the_picture_of_the_readme_needs_nothing_from_elsewhere_and_has_its_own_background() -> (
    None
):
    picture = (REPO / "docs" / "run.svg").read_text()
    assert "find_definition" in picture
    assert "url(http" not in picture
    assert "<script" not in picture
    assert '<rect fill="#292929"' in picture
    assert len(picture) < 20_000
    assert "](docs/run.svg)" in (REPO / "README.md").read_text()
