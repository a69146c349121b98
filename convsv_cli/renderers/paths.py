"""Paths as a checkout has them: what code hosts can show a finding beside."""

from __future__ import annotations

import os
from pathlib import PurePath
from urllib.parse import quote

from convsv_cli.renderers.renderer import Terminal

UNNAMED = "model"


def relative(path: str, terminal: Terminal) -> str:
    """The path from the root of the checkout, with slashes; of a file outside only its name.

    So that no report tells where on a machine a file lay, or points out of the checkout.
    """
    place = PurePath(os.path.normpath(PurePath(terminal.here) / path))
    if terminal.root and place.is_relative_to(terminal.root):
        place = place.relative_to(terminal.root)
    inside = not place.is_absolute() and ".." not in place.parts
    return (place.as_posix() if inside and place.name else place.name) or UNNAMED


def relative_uri(path: str, terminal: Terminal) -> str:
    """The same as a relative reference of RFC 3986."""
    return quote(relative(path, terminal), safe="/", errors="surrogatepass")
