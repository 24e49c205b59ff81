"""What an index page of a web server lists: the entries of one folder, and nothing outside it.

The page is anybody's: only its tags are parsed, each of bounded length, so that no page takes
more time than its length says. nginx, Apache, lighttpd and Python's http.server are understood.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from urllib.parse import unquote, urljoin, urlsplit

LONGEST_TAG = 4096
_TAG = re.compile(rf"<(?:a|base)\s[^<>]{{1,{LONGEST_TAG}}}>", re.IGNORECASE)


class _Links(HTMLParser):
    """The targets of links, in order; `base` is what they are relative to."""

    def __init__(self, base: str) -> None:
        super().__init__()
        self.base, self.found = base, list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        target = dict(attrs).get("href")
        if not target:
            return
        if tag == "base":
            self.base = _joined(self.base, target) or self.base
        elif url := _joined(self.base, target):
            self.found.append(url)


def listed(page: str, folder: str) -> dict[str, bool]:
    """The URLs that stand directly in `folder` (a URL that ends with a slash), by what the page
    links to: name to whether it is a folder. What lies deeper shows that there is a folder."""
    links = _Links(folder)
    for tag in _TAG.findall(page):
        links.feed(tag)
    found: dict[str, bool] = {}
    for url in links.found:
        if url.startswith(folder) and "?" not in url:
            name, slash, _ = url[len(folder) :].partition("/")
            if _sensible(name):
                found[folder + name] = bool(slash) or found.get(folder + name, False)
    return found


def _joined(base: str, target: str) -> str:
    """The URL that a link leads to, without fragment; empty when it leads nowhere."""
    try:
        url = urljoin(base, target.strip()).partition("#")[0]
        return url if urlsplit(url).netloc else ""
    except ValueError:
        return ""


def _sensible(name: str) -> bool:
    """Whether this names an entry of a folder: none that means another place once decoded."""
    plain = unquote(name)
    return plain.isprintable() and plain not in ("", ".", "..") and not re.search(r"[/\\]", plain)
