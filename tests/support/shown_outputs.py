"""What the README and pages of the documentation say that commands print, and what they do print.

    python -m tests.support.shown_outputs --write        puts that into them

`<!-- output: convsv ... -->` stands before all that a command prints, `<!-- output, lines 1-6 24: ... -->`
before these lines, with an ellipsis for others between them and after them. Models and data of `../shared`
are looked for where `CONVSV_SHARED` says.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from itertools import pairwise
from pathlib import Path

from tests.support.command_line import convsv

ROOT = Path(__file__).parents[2]
COMMAND = "python -m tests.support.shown_outputs --write"
BLOCK = re.compile(
    r"(<!-- output(?:, lines (?P<lines>[\d -]+))?: convsv (?P<arguments>.*?) -->\n```text\n)"
    r"(?P<output>.*?)(?=```)",
    re.DOTALL,
)
ELLIPSIS = "…\n"


def pages() -> list[Path]:
    """All that may show output."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def printed(block: re.Match[str], shared: Path) -> str:
    """What the block's command prints in this folder, where `../shared` is that other folder."""
    words = [word.replace("../shared", str(shared)) for word in shlex.split(block["arguments"])]
    output = convsv(*words).stdout.replace(str(shared), "../shared")
    return output if block["lines"] is None else _chosen(output.splitlines(keepends=True), block["lines"])


def _chosen(lines: list[str], ranges: str) -> str:
    """These lines, counted from 1, and an ellipsis wherever some are left out."""
    ends = [(int(first), int(last or first)) for first, _, last in (r.partition("-") for r in ranges.split())]
    kept = ["".join(lines[first - 1 : last]) for first, last in ends]
    gaps = [ELLIPSIS if after[0] > before[1] + 1 else "" for before, after in pairwise(ends)]
    gaps.append(ELLIPSIS if ends[-1][1] < len(lines) else "")
    return "".join(text for pair in zip(kept, gaps, strict=True) for text in pair)


def rewritten(page: str, shared: Path) -> str:
    """The page, with what commands print."""
    return BLOCK.sub(lambda block: block[1] + printed(block, shared), page)


if __name__ == "__main__":
    os.chdir(ROOT)
    folder = Path(os.environ.get("CONVSV_SHARED", ROOT.parent / "shared"))
    for path in pages():
        new = rewritten(path.read_text(encoding="utf-8"), folder)
        if "--write" in sys.argv:
            path.write_text(new, encoding="utf-8")
        else:
            sys.stdout.write(new)
