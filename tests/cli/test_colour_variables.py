"""What the environment says of colours, whoever asks."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from convsv_cli.cli import cli
from convsv_cli.cli.output import colored, colour_asked_for

VARIABLES = ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "TERM")


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("variables", "asked"),
    [
        ({}, None),
        ({"TERM": "xterm"}, None),
        ({"TERM": "dumb"}, False),
        ({"NO_COLOR": ""}, None),
        ({"NO_COLOR": "1"}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "3", "TERM": "dumb"}, True),
        ({"FORCE_COLOR": "0"}, None),
        ({"CLICOLOR": "0"}, False),
        ({"CLICOLOR": "1"}, None),
        ({"CLICOLOR_FORCE": "1"}, True),
        ({"CLICOLOR_FORCE": "0"}, None),
        ({"CLICOLOR_FORCE": "1", "CLICOLOR": "0"}, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
    ],
)
def test_what_is_asked_for(variables: dict, asked: bool | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert colour_asked_for() is asked
    for terminal in (True, False):
        assert colored(terminal=terminal) is (terminal if asked is None else asked)


@pytest.mark.parametrize(
    ("arguments", "variables", "colourful"),
    [
        (["methods"], {}, False),
        (["methods"], {"FORCE_COLOR": "1"}, True),
        (["--no-color", "methods"], {"FORCE_COLOR": "1"}, False),
        (["methods"], {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_commands_do_so(arguments: list[str], variables: dict, colourful: bool) -> None:
    """Without a terminal, as in the logs of CI."""
    assert ("\x1b[" in CliRunner().invoke(cli, arguments, env=variables).stdout) == colourful


def test_the_option_of_a_command_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    for arguments, expected in ((["audit", "x"], True), (["audit", "x", "--no-color"], False)):
        with cli.make_context("convsv", arguments[:1]) as outer:
            outer.color = colour_asked_for()
            command = cli.commands["audit"]
            with command.make_context("audit", arguments[1:], parent=outer):
                assert click.get_current_context().color is expected
                assert colored(terminal=False) is expected
