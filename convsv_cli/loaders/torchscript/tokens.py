"""Text of TorchScript to tokens, and what numbers and texts among these stand for."""

from __future__ import annotations

import re
from dataclasses import dataclass

from convsv_cli import limits
from convsv_cli.loaders.torchscript.tree import UnfollowedError

LONGEST = 40
"""Characters of a number."""
EACH = 2 * limits.OBJECT
"""Steps of the model's allowance for each token."""
Token = tuple[str, str, int]
"""Its kind, its text and its line."""
_TOKEN = re.compile(
    r'(?P<line>\n *)|(?P<space> +)|(?P<text>"(?:[^"\\\n]|\\.)*"?)'
    r"|(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)|(?P<name>[A-Za-z_]\w*)|(?P<sign>->|[^\n])"
)
"""A text that is not closed is one token, too: it is not looked for the end of each of its quotes."""
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|([0-7]{1,3})|(.))")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


@dataclass(frozen=True, slots=True)
class Text:
    """The text of one function.

    Attributes:
        place: the file that it is in.
        first: the line at which it begins there, from 1.
        text: itself.
    """

    place: str
    first: int
    text: str


def tokens(source: Text) -> list[tuple[str, str, int]]:
    """All of them but spaces, and line breaks inside brackets.

    Raises:
        LimitError: these are too many.
    """
    found, line, depth = [], source.first, 0
    for match in _TOKEN.finditer(source.text):
        kind, text = str(match.lastgroup), match[0]
        limits.spend(EACH, "the code of TorchScript")
        if kind == "line":
            line += 1
        elif kind == "sign":
            depth += (text in "([{") - (text in ")]}")
        if kind != "space" and (kind != "line" or not depth):
            found.append((kind, text, line))
    return found


def number(text: str, where: str) -> float:
    """What a token of that kind stands for.

    Raises:
        UnfollowedError: it is none that TorchScript writes.
    """
    if len(text) > LONGEST:
        raise UnfollowedError(f"{where} has a number of {len(text)} digits")
    if text[0] == "0" and text.isdecimal() and len(text) > 1:
        raise UnfollowedError(f"{where} has a number with zeros before it, which torch takes for octal")
    return int(text) if text.isdecimal() else float(text)


def unescaped(text: str, where: str) -> str:
    """What a token in quotes stands for.

    Raises:
        UnfollowedError: it has no end.
    """
    if len(text) < 2 or not text.endswith('"'):
        raise UnfollowedError(f"{where} has a text without an end")

    def plain(found: re.Match[str]) -> str:
        code, octal, letter = found.groups()
        if letter is not None:
            return _ESCAPES.get(letter, letter)
        return chr(int(code, 16) if code else int(octal, 8))

    return _ESCAPE.sub(plain, text[1:-1])
