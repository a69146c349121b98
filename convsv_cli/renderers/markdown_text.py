"""Pieces of Markdown that no name from a file can break out of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from convsv_cli.sanitize import printable

LONGEST = 200
"""Characters of a name."""
PROSE = re.compile(r"[A-Za-z0-9(][A-Za-z0-9 .,;:()/≤×→…%'+=-]*")
LINK = re.compile(r"://|www\.", re.IGNORECASE)
RUNS = re.compile("`+")


def code(name: str) -> str:
    """A name as it is, in a code span; safe in table cells, and neither a mention nor a link on GitHub."""
    shown = printable(name[: LONGEST + 1])
    shown = shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 1]}…"
    if shown and shown.strip() == shown and not set("`|\\") & set(shown):
        return f"`{shown}`"
    inert = (c if c.isalnum() or c == " " else f"&#{ord(c)};" for c in shown or " ")
    return f"<code>{''.join(inert)}</code>"


def prose(text: str) -> str:
    """A sentence; where it holds what Markdown could take for markup, in a code span."""
    return text if PROSE.fullmatch(text) and not LINK.search(text) and len(text) < 5 * LONGEST else code(text)


def fenced(lines: Sequence[str]) -> str:
    """A block of lines as they are."""
    text = "\n".join(line[: 5 * LONGEST] for line in lines)
    fence = "`" * (max([2, *map(len, RUNS.findall(text))]) + 1)
    return f"{fence}text\n{text}\n{fence}"


def table(headings: Iterable[str], right: Iterable[bool], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table whose cells are Markdown; True for a column that is flush right."""
    rules = ["--:" if flush else "---" for flush in right]
    return [f"| {' | '.join(cells)} |" for cells in (list(headings), rules, *rows)]


def fitting(lines: Sequence[str], limit: int) -> list[str]:
    """As many of the lines as have room in so many bytes."""
    kept, used = [], 0
    for line in lines:
        used += len(line.encode()) + 1
        if used > limit:
            break
        kept.append(line)
    return kept
