"""The documentation: every page is reached, and what is public is described in full."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

import convsv_cli

INCLUDED = re.compile(r"```\{include\} (\S+)")


@pytest.fixture(scope="module")
def docs(root: Path) -> Path:
    return root / "docs"


def test_every_page_is_in_the_contents(docs: Path) -> None:
    contents = "".join(re.findall(r"```\{toctree\}\n(.*?)```", (docs / "index.md").read_text(), re.DOTALL))
    listed = {line for line in contents.splitlines() if re.fullmatch(r"\w+", line)}
    assert listed | {"index"} == {path.stem for path in docs.glob("*.md")}


def test_every_public_name_is_in_the_reference(docs: Path) -> None:
    text = (docs / "api.md").read_text()
    described = set(re.findall(r"^\.\. auto\w+:: convsv\.(\w+)$", text, re.MULTILINE))
    assert described == set(convsv_cli.__all__) - {"__version__"}


def test_links_of_included_files_lead_to_their_pages(docs: Path, root: Path) -> None:
    conf = runpy.run_path(str(docs / "conf.py"))
    pages = {
        (docs / included).resolve().relative_to(root).as_posix(): page.name
        for page in docs.glob("*.md")
        for included in INCLUDED.findall(page.read_text())
    }
    assert pages == conf["HOMES"]
    for source in pages:
        content = [(root / source).read_text()]
        conf["lead_from_pages"](None, Path("..") / source, "", content)
        for target in re.findall(r"\]\((?!https://|#)([^)#\s]+)", content[0]):
            assert (docs / target).is_file(), f"{source}: {target}"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("the ratio |f(x) - f(y)| / |x - y|", r"the ratio \|f(x) - f(y)\| / \|x - y\|"),
        ("float64 [c_out, *k], h_ and `a|b`", r"float64 [c_out, \*k], h\_ and `a|b`"),
        ("* a bullet of 2 * 3", r"* a bullet of 2 \* 3"),
    ],
)
def test_formulas_in_docstrings_are_no_markup(docs: Path, line: str, shown: str) -> None:
    lines = [line]
    runpy.run_path(str(docs / "conf.py"))["keep_as_written"](None, "", "", None, None, lines)
    assert lines == [shown]
