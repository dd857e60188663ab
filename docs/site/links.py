"""Whether every link of the built site leads to a file that is there, and to a place in it.

In: the folder of the site. Out: the links that lead nowhere, one a line, and an exit code. Sphinx
has looked at what the pages say; this looks at what came of it, and knows nothing of Sphinx. Links
to other sites are not followed.
"""

from __future__ import annotations

import argparse
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class _Page(HTMLParser):
    """The addresses that a page names, and the places in it that have a name."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value is not None:
                self.links.append(value)
            elif name == "id" or (name == "name" and tag == "a"):
                self.places.add(value or "")


@cache
def _page(file: Path) -> _Page:
    page = _Page()
    page.feed(file.read_text())
    return page


def broken_links(site: Path) -> list[str]:
    """The links that lead nowhere, each with the page that it stands on.

    Args:
        site: A folder with pages.
    """
    site = site.resolve()
    return [
        f"{file.relative_to(site)}: {link}"
        for file in sorted(site.rglob("*.html"))
        for link in _page(file).links
        if not _leads_somewhere(file, link, site)
    ]


def _leads_somewhere(file: Path, link: str, site: Path) -> bool:
    address = urlsplit(link)
    if address.scheme or address.netloc:
        return True
    target = (file.parent / unquote(address.path)).resolve() if address.path else file
    if not target.is_file() or not target.is_relative_to(site):
        return False
    place = unquote(address.fragment)
    return not place or target.suffix != ".html" or place in _page(target).places


def main() -> None:
    """Says what is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("site", type=Path, help="the folder of the built pages")
    site: Path = parser.parse_args().site
    pages = len(list(site.rglob("*.html")))
    broken = broken_links(site)
    for link in broken:
        sys.stderr.write(f"{link} leads nowhere\n")
    sys.stdout.write(f"{pages} pages in {site}, {len(broken)} broken links\n")
    sys.exit(bool(broken) or not pages)


if __name__ == "__main__":
    main()
