"""Links between the pages of aligned photos, of shards, of runs, and of comparisons of runs.

A page is written when the pages that are made from it do not exist yet. So each new page adds a
link to itself to those that it is made from, and a page that is written again keeps such links.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from urllib.parse import quote, unquote

from dpedkit.core.atomic import write_text
from dpedkit.core.config import read_toml
from dpedkit.core.errors import DpedkitError
from dpedkit.core.manifest import read_json
from dpedkit.core.records import RUN_CONFIG
from dpedkit.report.page import escape, page_file

_NAV = re.compile(r'<nav class="links" id="pages">(.*?)</nav>', re.DOTALL)
_LINK = re.compile(r'<a href="([^"]*)">([^<]*)</a>')
_SHARDS, _ALIGNED = "index.json", "dataset.json"


@dataclass(frozen=True)
class Link:
    """A page and what it is of, in words."""

    page: Path
    words: str


def navigation(folder: Path) -> str:
    """HTML of the links of a folder's page, before it is written (again)."""
    page = page_file(folder)
    links = {link.page: link for link in (*_known_links(page), *_made_from(folder))}
    return _nav(page, [link for link in links.values() if link.page.is_file()])


def link_back(folder: Path) -> None:
    """Add a link to a folder's page to the pages of what it is made from.

    Pages that cannot be changed, such as those of shards that others share, are left as they are.
    """
    own = Link(page_file(folder).absolute(), _words(folder))
    for link in _made_from(folder):
        try:
            text = link.page.read_text(encoding="utf-8")
            found, known = _NAV.search(text), _links_in(link.page, text)
            if found is None or own in known:
                continue
            nav = _nav(link.page, [*(other for other in known if other.page != own.page), own])
            write_text(link.page, text[: found.start()] + nav + text[found.end() :])
        except (OSError, ValueError, DpedkitError):
            continue


def list_of_pages(folders: Iterable[Path], place: Path) -> str:
    """HTML of a list of folders, with links to their pages where they exist.

    Parameters
    ----------
    folders : iterable of Path
    place : Path
        Folder of the page that the list is for.
    """
    lines = []
    for folder in folders:
        page, name = page_file(folder), escape(folder)
        if page.is_file():
            address = Path(os.path.relpath(page.absolute(), place.absolute())).as_posix()
            name = f'<a href="{escape(quote(address))}">{name}</a>'
        lines.append(f"<li>{name}</li>")
    return f"<ul>{''.join(lines)}</ul>"


def files_beside(files: Iterable[Path]) -> str:
    """HTML of links to files in the folder of a page."""
    links = " ".join(f'<a href="{escape(f.name)}">{escape(f.name)}</a>' for f in files)
    return f'<nav class="links">{links}</nav>'


def _made_from(folder: Path) -> Iterator[Link]:
    """The pages of what a run or shards were made from, nearest first."""
    try:
        if (folder / RUN_CONFIG).is_file():
            shards = Path(read_toml(folder / RUN_CONFIG)["data"]["shards"])
            yield from _page_of(shards)
            yield from _made_from(shards)
        elif (folder / _SHARDS).is_file():
            aligned = read_json(folder / _SHARDS).get("aligned")
            if isinstance(aligned, str):
                yield from _page_of(Path(os.path.normpath(folder.absolute() / aligned)))
    except (DpedkitError, KeyError, TypeError):
        return


def _page_of(folder: Path) -> Iterator[Link]:
    page = page_file(folder).absolute()
    if page.is_file():
        yield Link(page, _words(folder))


def _words(folder: Path) -> str:
    kinds = {RUN_CONFIG: "run", _SHARDS: "patches", _ALIGNED: "aligned pairs"}
    kind = next((words for mark, words in kinds.items() if (folder / mark).is_file()), "comparison")
    return f"{kind}: {folder.absolute().name}"


def _known_links(page: Path) -> list[Link]:
    """The links that a page has already, if it is there."""
    try:
        return _links_in(page, page.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []


def _links_in(page: Path, text: str) -> list[Link]:
    """The links in the text of a page; none in one of an earlier version."""
    found = _NAV.search(text)
    if found is None:
        return []
    here = page.absolute().parent
    return [
        Link(Path(os.path.normpath(here / unquote(unescape(address)))), unescape(words))
        for address, words in _LINK.findall(found[1])
    ]


def _nav(page: Path, links: list[Link]) -> str:
    here = page.absolute().parent
    items = "".join(
        f'<a href="{escape(quote(Path(os.path.relpath(link.page, here)).as_posix()))}">'
        f"{escape(link.words)}</a>"
        for link in links
    )
    return f'<nav class="links" id="pages">{items}</nav>'
