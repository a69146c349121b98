"""What the README says that commands print, and what they do print.

    python -m tests.support.shown_outputs --write        puts that into the README

Models and data of `../shared` are looked for where `CONVSV_SHARED` says.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path

from tests.support.command_line import convsv

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "README.md"
COMMAND = "python -m tests.support.shown_outputs --write"
BLOCK = re.compile(r"(?<=<!-- output: convsv )(.*?)( -->\n```text\n)(.*?)(?=```)", re.DOTALL)


def shown(page: str) -> dict[str, str]:
    """The output of each command, by its arguments."""
    return {arguments: output for arguments, _, output in BLOCK.findall(page)}


def printed(arguments: str, shared: Path) -> str:
    """What a command prints in this folder, where `../shared` is that other folder."""
    words = [word.replace("../shared", str(shared)) for word in shlex.split(arguments)]
    return convsv(*words).stdout.replace(str(shared), "../shared")


def rewritten(page: str, shared: Path) -> str:
    """The page, with what commands print."""
    return BLOCK.sub(lambda found: found[1] + found[2] + printed(found[1], shared), page)


if __name__ == "__main__":
    os.chdir(ROOT)
    new = rewritten(
        PAGE.read_text(encoding="utf-8"), Path(os.environ.get("CONVSV_SHARED", ROOT.parent / "shared"))
    )
    if "--write" in sys.argv:
        PAGE.write_text(new, encoding="utf-8")
    else:
        sys.stdout.write(new)
