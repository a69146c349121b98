"""Blocks of a page that a script writes, and a test compares."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page with a block between two comments.

    Attributes:
        path: of the page.
        mark: what the comments call the block.
        command: what writes it, for readers.
    """

    path: Path
    mark: str
    command: str

    @property
    def ends(self) -> tuple[str, str]:
        """The comments before and after the block."""
        return f"<!-- {self.mark}: written by {self.command} -->\n", f"\n<!-- end of {self.mark} -->"

    def block(self) -> str:
        """What stands on the page."""
        return self._parts()[1]

    def write(self, text: str) -> None:
        """Put the text in the block's place."""
        before, _, after = self._parts()
        self.path.write_text(before + text + after, encoding="utf-8")

    def _parts(self) -> tuple[str, str, str]:
        start, end = self.ends
        before, rest = self.path.read_text(encoding="utf-8").split(start)
        text, after = rest.split(end)
        return before + start, text, end + after
