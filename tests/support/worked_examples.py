"""The examples of CONTRIBUTING.md: new files and changes of old ones, taken from its blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(r"^<!-- (file|change): (\S+) -->\n```\w+\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Step:
    """A file to create, or one to change: `old` stands in it exactly once, and `new` takes its place."""

    path: str
    old: str | None
    new: str

    @property
    def is_test(self) -> bool:
        return self.path.startswith("tests/")

    def apply(self, checkout: Path) -> None:
        file = checkout / self.path
        if self.old is None:
            assert not file.exists(), f"{self.path} is there already"
            file.write_text(self.new, encoding="utf-8")
            return
        text = file.read_text(encoding="utf-8")
        assert text.count(self.old) == 1, (
            f"{self.path} has not once, but {text.count(self.old)} times:\n{self.old}"
        )
        file.write_text(text.replace(self.old, self.new), encoding="utf-8")


def steps(page: str) -> Iterator[Step]:
    """All of them, in the order of the page."""
    for kind, path, text in BLOCK.findall(page):
        if kind == "file":
            yield Step(path=path, old=None, new=text)
        else:
            yield Step(path=path, old=side(text, "-"), new=side(text, "+"))


def side(diff: str, sign: str) -> str:
    """The lines before the change, or after it."""
    return "".join(line[1:] for line in diff.splitlines(keepends=True) if line[0] in f" {sign}")
