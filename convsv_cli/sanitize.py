"""Names from untrusted files, made harmless where they meet a terminal or a spreadsheet."""

from __future__ import annotations

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def printable(text: str) -> str:
    """The text with controls, bidirectional overrides, surrogates and odd spaces spelled out as escapes."""
    return "".join(
        character
        if character.isprintable()
        else character.encode("unicode_escape", "surrogatepass").decode("ascii")
        for character in text
    )


def spreadsheet_cell(text: str) -> str:
    """The printable text, with a quote in front where a spreadsheet would take it for a formula."""
    return f"'{printable(text)}" if text.startswith(_FORMULA) else printable(text)
