"""How the documentation is built: `python -m sphinx -W --keep-going -b html docs build/docs`."""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "convsv_cli" / "alias")]

from convsv_cli.version import __version__  # noqa: E402  (from this checkout)

project, author, release = "convsv", "The convsv developers", __version__
project_copyright = "2026, The convsv developers"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
nitpicky = False  # types of torch and numpy have their pages elsewhere
default_role = "code"
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
maximum_signature_line_length = 80
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"convsv {release}"
html_static_path = ["static"]
html_css_files = ["wide.css"]
html_show_sphinx = False

HOMES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "sample_models/README.md": "sample_models.md",
}
"""The pages that show files from elsewhere in the repository."""

RELATIVE_LINK = re.compile(r"(?<=\]\()(?!https?:|#)([^)#\s]+)")
QUOTED_OR_MARKUP = re.compile(r"(``?[^`]+``?)|(?<!^)([|*])|(?<=\w)(_)(?!\w)", re.MULTILINE)


def lead_from_pages(_: Sphinx, path: Path, __: str, content: list[str]) -> None:
    """Links of an included file lead to the page that shows their target, or to the file itself."""
    folder = posixpath.dirname(Path(ROOT / "docs" / path).resolve().relative_to(ROOT).as_posix())

    def moved(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, match[1]))
        return HOMES.get(target) or posixpath.relpath(target, "docs")

    content[0] = RELATIVE_LINK.sub(moved, content[0])


def keep_as_written(_: Sphinx, __: str, ___: str, ____: object, _____: object, lines: list[str]) -> None:
    """Formulas in docstrings, such as |x - y| and [c, *k], are no markup."""
    lines[:] = [QUOTED_OR_MARKUP.sub(lambda m: m[1] or f"\\{m[2] or m[3]}", line) for line in lines]


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("include-read", lead_from_pages)
    app.connect("autodoc-process-docstring", keep_as_written, priority=100)
