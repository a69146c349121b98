"""The page about sweeps, held against what it is about."""

import re

import pytest

from convsv_cli.sweeping import outcomes
from convsv_cli.sweeping.columns import TABLES, VERSION
from convsv_cli.sweeping.driver import LARGE


@pytest.fixture(scope="module")
def page(root):
    return (root / "docs" / "sweep.md").read_text()


@pytest.mark.parametrize("name", TABLES)
def test_the_page_has_all_columns(page, name):
    section = page.partition(f"\n### {name}\n")[2].partition("\n#")[0]
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*) \|$", section, re.MULTILINE)
    assert rows == [(column.name, column.kind, column.about) for column in TABLES[name]]


def test_the_page_has_the_numbers_of_the_code(page):
    text = " ".join(page.split())
    assert f"version of the columns, {VERSION}:" in text
    assert f"above {LARGE >> 20} MiB" in text
    assert f"`{outcomes.FOLDER}/`" in text
    assert all(f"`{name}" in text for name in TABLES)
