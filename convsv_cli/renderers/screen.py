"""Lines and tables for people: as wide as they take in a file, folded on a terminal; in colours or not."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convsv_cli.renderers.renderer import Terminal
from convsv_cli.report import EXCEEDED, FAILED, IGNORED, INCOMPLETE, MISSING, MISTAKEN, PASSED, UNDECIDED
from convsv_cli.report.comparison import LARGER, SMALLER

if TYPE_CHECKING:
    from rich.table import Table as RichTable

STRESSED, BAD, OPEN, GOOD, FAINT = "bold yellow", "bold red", "yellow", "green", "dim"
STYLE_OF = {
    FAILED: BAD,
    MISTAKEN: BAD,
    INCOMPLETE: STRESSED,
    PASSED: GOOD,
    EXCEEDED: BAD,
    UNDECIDED: OPEN,
    MISSING: OPEN,
    IGNORED: FAINT,
    LARGER: BAD,
    SMALLER: GOOD,
}
"""Colours of words, which say the same by themselves."""
GAP, FEWEST = 2, 2
FOLDED = 20
"""How wide a column of sentences is at least."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line, with a word in it that colours may stress.

    Attributes:
        before, word, after: what it reads, one after the other.
        style: of the word, on terminals with colours.
        indent: where it goes on in the next line of a terminal that is too narrow.
    """

    before: str = ""
    word: str = ""
    after: str = ""
    style: str = ""
    indent: int = 0


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table without frames.

    Attributes:
        columns: the cells of each, by its heading.
        texts: the columns that are read from the left.
        styles: of the rows, on terminals with colours; empty for plain ones.
    """

    columns: Mapping[str, Sequence[str]]
    texts: Collection[str]
    styles: Sequence[str]

    def lines(self) -> Iterator[tuple[str, str]]:
        """Each as wide as it takes, with its style."""
        from rich.cells import cell_len

        columns = [[name, *cells] for name, cells in self.columns.items()]
        sizes = [[len(cell) if cell.isascii() else cell_len(cell) for cell in cells] for cells in columns]
        widths = [max(size) for size in sizes]
        padded = []
        for cells, size, width in zip(columns, sizes, widths, strict=True):
            left = cells[0] in self.texts
            padded.append([_padded(cell, width - n, left=left) for cell, n in zip(cells, size, strict=True)])
        rows = ["  ".join(row) for row in zip(*padded, strict=True)]
        yield rows[0], ""
        yield "─" * (sum(widths) + GAP * (len(widths) - 1)), ""
        yield from zip(rows[1:], self.styles, strict=True)

    def folded(self) -> RichTable:
        """For a terminal: names are folded, never cut."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table as RichTable

        table = RichTable(
            box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold"
        )
        for name in self.columns:
            table.add_column(name, justify="left" if name in self.texts else "right", overflow="fold")
        for style, *row in zip(self.styles, *self.columns.values(), strict=True):
            table.add_row(*row, style=style)
        return table


Part = str | Line | Table


def indented(lines: Iterable[str], indent: int) -> list[Part]:
    """Lines that go on so far from the left where they do not fit."""
    return [Line(after=line, indent=indent) for line in lines]


def shown(parts: Sequence[Part], terminal: Terminal) -> str:
    """The document, which ends with a line break; no line of it ends with a space."""
    text = _plain(parts, terminal) if terminal.width is None else _wrapped(parts, terminal)
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def fitting(
    columns: Mapping[str, Sequence[str]], width: int | None, expendable: Iterable[str], *, prose: str = ""
) -> dict[str, Sequence[str]]:
    """The columns that a terminal has room for, two at least: empty ones go first, then others in this order.

    Args:
        columns: the cells of each, by its heading.
        width: of the terminal; None for a file, which has all.
        expendable: the headings of columns that may go.
        prose: the heading of one whose cells are sentences, which may as well be folded.
    """
    kept = dict(columns)
    for name in sorted(expendable, key=lambda name: any(columns.get(name, ()))):
        wide = sum(_room(heading, cells, folded=heading == prose) + GAP for heading, cells in kept.items())
        if width is None or wide - GAP <= width or len(kept) == FEWEST:
            break
        kept.pop(name, None)
    return kept


def _room(heading: str, cells: Sequence[str], *, folded: bool) -> int:
    wide = max(map(len, [heading, *cells]))
    return min(wide, max(FOLDED, len(heading))) if folded else wide


def _plain(parts: Sequence[Part], terminal: Terminal) -> str:
    """As it is: in a file, no line is ever cut."""

    def painted(text: str, style: str) -> str:
        return _painted(text, style) if terminal.color and style else text

    lines: list[str] = []
    for part in parts:
        if isinstance(part, Table):
            lines += [painted(line.rstrip(), style) for line, style in part.lines()]
        elif isinstance(part, Line):
            word = painted(part.word, part.style) if part.word else ""
            lines.append(f"{part.before}{word}{part.after}")
        else:
            lines.append(part)
    return "\n".join(lines)


def _painted(text: str, style: str) -> str:
    from rich.color import ColorSystem
    from rich.style import Style

    return Style.parse(style).render(text, color_system=ColorSystem.STANDARD)


def _wrapped(parts: Sequence[Part], terminal: Terminal) -> str:
    """As it fits into a terminal."""
    from rich.console import Console
    from rich.text import Text

    text = io.StringIO()
    console = Console(
        file=text,
        width=terminal.width,
        force_terminal=terminal.color,
        no_color=not terminal.color,
        color_system="standard" if terminal.color else None,
        highlight=False,
        markup=False,
        emoji=False,
    )
    for part in parts:
        if isinstance(part, Table):
            console.print(part.folded())
        elif isinstance(part, Line):
            whole = Text.assemble(part.before, (part.word, part.style), part.after)
            first, *others = whole.wrap(console, max(1, console.width - part.indent))
            console.print(Text("\n").join([first, *(Text(" " * part.indent) + line for line in others)]))
        else:
            console.print(part)
    return text.getvalue()


def _padded(cell: str, room: int, *, left: bool) -> str:
    return f"{cell}{' ' * room}" if left else f"{' ' * room}{cell}"
