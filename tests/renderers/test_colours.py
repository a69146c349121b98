"""Colours: only on a terminal, only where nobody minds, and never the only signal."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import pytest

from tests.support.budget_models import scaled
from tests.support.shells import convsv_command


def on_a_terminal(*arguments: str | Path, **environment: str) -> str:
    """What a terminal gets to see on stdout."""
    ours, theirs = pty.openpty()
    inherited = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    process = subprocess.Popen(
        [*convsv_command(), *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env={**inherited, "TERM": "xterm", "COLUMNS": "120", **environment},
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:
            break
        if not data:
            break
        seen += data
    os.close(ours)
    assert process.wait() == 1
    return seen.decode()


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str | Path]:
    folder = tmp_path_factory.mktemp("colours")
    (folder / "convsv.toml").write_text("max-layer = 2.5\n")
    return ["check", scaled(folder, 2, 3), "--config", folder / "convsv.toml"]


def test_colours_can_be_turned_off_and_say_nothing_by_themselves(arguments: list[str | Path]) -> None:
    plain = on_a_terminal(*arguments, "--no-color")
    assert "\x1b" not in plain
    assert on_a_terminal("--no-color", *arguments) == plain
    assert on_a_terminal(*arguments, NO_COLOR="1") == plain
    for colourful in (on_a_terminal(*arguments), on_a_terminal(*arguments, NO_COLOR="")):
        assert "\x1b[" in colourful
    lines = plain.splitlines()
    verdict = next(
        i for i, line in enumerate(lines) if line.startswith("budget failed: 1 exceeded, 1 passed")
    )
    assert lines[verdict + 1].split()[:2] == ["exceeded", "fc1:"]
    assert "20 % above its limit 2.5" in lines[verdict + 1]
    assert "convsv.toml:1" in plain
    assert "--verbose" in lines[-1]
    whole = on_a_terminal(*arguments, "--no-color", "--verbose").splitlines()
    assert whole[verdict] == lines[verdict]
    assert verdict < next(i for i, line in enumerate(whole) if line.startswith("layer"))
