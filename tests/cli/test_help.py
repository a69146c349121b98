"""The help of every command: ordered, in one line where it is a list, with defaults as users write them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from convsv_cli.calculators import CALCULATORS
from convsv_cli.cli import cli, topics
from convsv_cli.cli.helping import OTHER, SECTIONS
from convsv_cli.loaders import LOADERS
from convsv_cli.renderers import RENDERERS
from convsv_cli.renderers.csv import COLUMNS as IN_CSV
from convsv_cli.report.verdict import PRECEDENCE
from convsv_cli.version import __version__

MODELS = ("audit", "check", "certify", "diff", "spectrum")


def asked(*arguments: str, **settings: str) -> Result:
    return CliRunner().invoke(cli, arguments, prog_name="convsv", env={"COLUMNS": "80", **settings})


def parts(text: str) -> dict[str, str]:
    """What is below each heading."""
    _, *rest = re.split(r"^(\S[^\n:]*):\n", text, flags=re.MULTILINE)
    return dict(zip(rest[::2], rest[1::2], strict=True))


def test_summaries_of_commands_are_whole_and_take_a_line() -> None:
    text = asked().stdout
    assert text == asked("--help").stdout
    listed = parts(text)["Commands"].strip("\n").split("\n")
    assert [line.split()[0] for line in listed if line] == sorted(cli.commands)
    assert all(line.endswith(".") and "..." not in line and len(line) <= 80 for line in listed if line)
    assert text.rstrip().endswith("See also: convsv help formats, help exit-codes, help columns")


@pytest.mark.parametrize("name", cli.commands)
def test_options_are_in_sections_and_the_help_says_where_to_read_on(name: str) -> None:
    text = asked(name, "--help").stdout
    found = [title for title in parts(text) if title in SECTIONS]
    assert found == [title for title in SECTIONS if title in found]
    if name in MODELS[:4]:
        assert {"What to audit", "Figures", "Network", "Output", "Limits"} <= set(found)
    assert re.findall(r"^ +(-\S+)", parts(text)[OTHER], re.MULTILINE) == ["-h,"], "all others have a section"
    assert re.search(rf"^  Examples:\n    .*convsv {name}", text, re.MULTILINE)
    assert name == "help" or re.search(r"^See also: convsv \w", text, re.MULTILINE)
    for reference in re.findall(r"^See also: convsv (.*)$", text, re.MULTILINE):
        for each in reference.split(", "):
            assert asked(*each.split(), *([] if each.startswith("help") else ["-h"])).exit_code == 0, each


@pytest.mark.parametrize("name", ["", *cli.commands])
def test_every_example_can_be_asked_for(name: str) -> None:
    """The first one of each also runs as it stands, in an environment of its own (tests/system)."""
    text = asked(*name.split(), "--help").stdout.replace("\\\n", " ")
    lines = re.search(r"^  Examples:\n((?:    .*\n)+)", text, re.MULTILINE)[1].splitlines()
    asking = [part.split(">")[0] for line in lines for part in line.split("|") if part.split()[0] == "convsv"]
    assert len(asking) >= len(lines)
    for line in asking:
        _, command, *arguments = shlex.split(line)
        with cli.make_context("convsv", [command]) as outer:
            cli.commands[command].make_context(command, arguments, parent=outer).close()


@pytest.mark.parametrize("name", cli.commands)
def test_what_options_take_and_begin_with_is_told_plainly(name: str) -> None:
    text = asked(name, "--help").stdout
    assert not re.search(r"^ +-.* (FLOAT|INTEGER|TEXT|PATH)\b", text, re.MULTILINE)
    assert not re.search(r"\de[+-]?0|\d{5}", text.partition("Examples:")[0] + text.partition("Output:")[2])
    assert ("[default: 5e10]" in text) == ("--work-limit" in text)
    assert ("[default: 1e-4]" in text) == ("--tolerance" in text)


def test_topics_name_all_that_there_is() -> None:
    formats = asked("help", "formats").stdout
    for each in (*LOADERS, *RENDERERS):
        assert set(each.suffixes) <= set(formats.split())
    written = parts(formats)["Which of them a command writes"]
    assert dict(line.split(maxsplit=1) for line in written.strip().splitlines())["diff"] == (
        "table json csv markdown html"
    )
    codes = asked("help", "exit-codes").stdout
    assert {int(code) for code in re.findall(r"^  (\d+) ", codes, re.MULTILINE)} == {*PRECEDENCE, 130, 141}
    columns = re.sub(r"(-?)\s+", lambda found: found[1] or " ", asked("help", "columns").stdout)
    for calculator in CALCULATORS:
        assert calculator.method.column in columns
        assert not calculator.method.column or calculator.method.proves in columns
    for name, what in IN_CSV.items():
        assert f"{name} {what}".replace("`", "") in columns
    assert set(topics.WRITTEN) == {renderer.name for renderer in RENDERERS}


def test_help_of_a_command_is_its_own() -> None:
    assert asked("help", "check").stdout == asked("check", "--help").stdout
    assert asked("help").stdout == asked("--help").stdout
    for topic in topics.TOPICS:
        assert max(map(len, asked("help", topic).stdout.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["chekc"], "did you mean convsv check?"),
        (["compare", "a", "b"], "did you mean convsv diff?"),
        (["resnet20.onnx", "--exact"], "did you mean convsv audit resnet20.onnx?"),
        (["audit.json"], "'audit.json'"),
        (["help", "fromats"], "did you mean formats?"),
        (["help", "chekc"], "did you mean check?"),
        (["help", "xyzzy"], "there are formats, exit-codes, columns, audit"),
        (["audit", "--exat", "m.onnx"], "--exact"),
        (["certify", "m.onnx", "--radius", "1"], "Did you mean '--eps'?"),
    ],
)
def test_what_was_meant(arguments: list[str], hint: str) -> None:
    result = asked(*arguments)
    assert result.exit_code == 2
    assert hint in re.sub(r"\s+", " ", result.output)


def test_a_saved_report_is_shown_by_report(tmp_path: Path) -> None:
    path = tmp_path / "audit.json"
    path.write_text("{}")
    assert f"did you mean convsv report {path}?" in re.sub(r"\s*\n\s*", "", asked(str(path)).output)


def test_the_format_has_the_names_of_other_tools_and_the_version_a_letter() -> None:
    assert asked("-V").stdout == asked("--version").stdout == f"convsv, version {__version__}\n"
    for command in cli.commands.values():
        for param in command.params:
            if param.name == "format_name":
                assert {"-f", "--format", "--output-format"} == set(param.opts)
            if param.name == "quiet":
                assert set(param.opts) == {"-q", "--quiet"}
            if param.name == "verbose":
                assert set(param.opts) == {"-v", "--verbose"}
            assert isinstance(param, click.Argument) or param.help
