"""Names from untrusted files, made harmless where they meet a terminal or a spreadsheet."""

from __future__ import annotations

import unicodedata

# Control, format (bidirectional overrides, zero width), surrogate and private-use characters, separators.
_UNSAFE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def printable(text: str) -> str:
    """The text with each character that could act on a terminal or hide text spelled out as an escape."""
    return "".join(
        character.encode("unicode_escape", "surrogatepass").decode("ascii")
        if unicodedata.category(character) in _UNSAFE
        else character
        for character in text
    )


def spreadsheet_cell(text: str) -> str:
    """The printable text, with a quote in front where a spreadsheet would take it for a formula."""
    safe = printable(text)
    return f"'{safe}" if text.startswith(_FORMULA) else safe
