"""Where the command runs: the checkout that reports name files in, and what GitHub Actions wants to show."""

from __future__ import annotations

import os
from pathlib import Path

from convsv_cli.cli.files import blaming
from convsv_cli.renderers import markdown
from convsv_cli.renderers.renderer import Terminal
from convsv_cli.report import Report


def folders() -> tuple[str, str]:
    """The working directory and the root of its checkout; the working directory again where there is none."""
    try:
        here = Path.cwd()
    except OSError:  # which has been removed
        return "", ""
    found = next((folder for folder in (here, *here.parents) if (folder / ".git").exists()), here)
    return str(here), os.environ.get("GITHUB_WORKSPACE") or str(found)


def summarise(report: Report) -> None:
    """The Markdown report, after what is in the step summary of GitHub Actions; nothing elsewhere.

    Raises:
        UsageError: it cannot be written.
    """
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if not path:
        return
    text = markdown.RENDERER.render(report, Terminal())
    with blaming(path), Path(path).open("a", encoding="utf-8") as file:
        file.write(text)
