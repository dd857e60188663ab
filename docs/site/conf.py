"""How the pages become a site (`make docs`).

The pages lie where a code host shows them, so the source folder of the site is the repository, and
its pages alone are taken. Which page stands where follows from the lists in the pages called
README: an entry that begins with a link to a page puts that page into the navigation, below the
heading that the entry stands under.
"""

from __future__ import annotations

import importlib
import re
from pathlib import PurePosixPath
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.pycode import ModuleAnalyzer

import agentkit

project = "agentkit"
version = release = agentkit.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

root_doc = "README"
include_patterns = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/**.md",
    "examples/**README.md",
]
exclude_patterns = [".*", "build", "dist", "examples/*/sample"]
myst_heading_anchors = 4  # made from the words of a heading, as code hosts do

autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
maximum_signature_line_length = 70
add_module_names = False
python_use_unqualified_type_names = True
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"agentkit {release}"
html_additional_pages = {"index": "index.html"}
templates_path = ["templates"]
html_static_path = ["static"]
html_css_files = ["wide.css"]
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False

DOCUMENTED = (
    "agentkit",
    "agentkit.events",
    "agentkit.mcp",
    "agentkit.policy",
    "agentkit.runtime",
    "agentkit.testing",
    "agentkit_evals",
    "agentkit_tools",
)
"""Packages whose public names have a place in the reference; one of several is at the first."""

_ENTRY = re.compile(r"^(?:- |\| )\[[^\]]*\]\(([^)#:]+\.md)\)", re.MULTILINE)


def add_navigation(_app: Sphinx, page: str, text: list[str]) -> None:
    """Puts the pages that a README lists into the navigation."""
    if PurePosixPath(page).name != "README":
        return
    for section in re.split(r"(?m)^##+ ", text[0]):
        listed = _ENTRY.findall(section)
        if listed:
            heading = section.partition("\n")[0].strip()
            options = [":hidden:", f":caption: {heading}"] if page == root_doc else [":hidden:"]
            text[0] += "\n".join(["\n```{toctree}", *options, "", *listed, "```\n"])


_CODE = re.compile(r"(?<!`)`([^`]+)`(?!`)(\w*)")


def docstring_as_markdown(
    _app: Sphinx, what: str, _name: str, _value: object, _options: object, lines: list[str]
) -> None:
    """Docstrings mark code as Markdown does; a name in one leads to where it is documented."""
    lines[:] = _CODE.sub(_code, "\n".join(lines)).split("\n")
    if what in ("attribute", "data", "property"):
        lines.insert(0, "")  # else napoleon takes what stands before a colon for a type


def _code(found: re.Match[str]) -> str:
    text, after = found.groups()
    is_name = all(part.isidentifier() for part in text.split("."))
    marked = f":py:obj:`{text}`" if is_name else f"``{text}``"
    return f"{marked}\\ {after}" if after else marked


def public_names() -> dict[str, str]:
    """Where each public name is documented, by where it is defined."""
    found: dict[str, str] = {}
    for package in DOCUMENTED:
        module = importlib.import_module(package)
        for name in module.__all__:
            value = getattr(module, name)
            defined = f"{getattr(value, '__module__', package)}.{getattr(value, '__name__', name)}"
            found.setdefault(defined, f"{package}.{name}")
    return found


def lead_to_public_name(
    _app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> Any:
    """Leads a mention of a class, which names the module that defines it, to its public place."""
    place = PUBLIC.get(node.get("reftarget", ""))
    if node.get("refdomain") != "py" or place is None:
        return None
    python = env.domains.python_domain
    return python.resolve_xref(
        env, node["refdoc"], env.app.builder, "obj", place, pending_xref(), content
    )


PUBLIC = public_names()


_CLASS = re.compile(r"<class '([\w.]+)'>")
_UNSPOKEN = re.compile(r"\bEllipsis\b|<function [\w.]*(?:<\w+>)?>|<object object>")


def plain_defaults(
    _app: Sphinx,
    _what: str,
    _name: str,
    _value: object,
    _options: object,
    arguments: str | None,
    returns: str | None,
) -> tuple[str | None, str | None]:
    """Shows a default as it is written; `...` for one that only code can tell."""
    if arguments:
        arguments = _UNSPOKEN.sub("...", _CLASS.sub(r"\1", arguments))
    return arguments, returns


def spell_options_out(_app: Sphinx) -> None:
    """Shows the signature of an agent that has every option, not those for type checkers."""
    analyzer = ModuleAnalyzer.for_module(agentkit.Agent.__module__)
    analyzer.analyze()
    analyzer.overloads.clear()


def setup(app: Sphinx) -> None:
    """Sphinx calls this."""
    app.connect("autodoc-process-signature", plain_defaults)
    app.connect("builder-inited", spell_options_out)
    app.connect("source-read", add_navigation)
    app.connect("autodoc-process-docstring", docstring_as_markdown, priority=400)  # then napoleon
    app.connect("missing-reference", lead_to_public_name)
