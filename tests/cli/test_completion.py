"""Completion in the shells that the documentation names, by the lines that it names."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.support.shells import installed, shell

PROTOCOL = {
    "bash": ("COMP_WORDS='{line}' COMP_CWORD={index} _CONVSV_COMPLETE=bash_complete convsv", ","),
    "zsh": ("COMP_WORDS='{line}' COMP_CWORD={index} _CONVSV_COMPLETE=zsh_complete convsv", "\n"),
    "fish": ("COMP_WORDS='{line}' COMP_CWORD={word} _CONVSV_COMPLETE=fish_complete convsv", ","),
}
CASES = {
    "convsv che": ["check"],
    "convsv check --bas": ["--baseline"],
    "convsv check --format sar": ["sarif"],
    "convsv help exi": ["exit-codes"],
    "convsv help chec": ["check"],
    "convsv audit --network-effort th": ["thorough"],
}
LIVE = {
    "bash": """
        {start}
        COMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        $(complete -p convsv | sed 's/.*-F \\([^ ]*\\) .*/\\1/') convsv
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """,
    "fish": "{start}\ncomplete --do-complete '{line}'",
    "zsh": """
        autoload -U compinit; compinit -u -d "$PWD/.zcompdump"
        {start}
        [ "${{_comps[convsv]}}" = _convsv_completion ] && echo registered
    """,
}
"""What each shell offers for a line, by its own means; zsh completes only where someone types."""


def documented(root: Path, name: str) -> str:
    """The line that users are told to put into their start-up file."""
    page = (root / "docs" / "ci.md").read_text()
    (line,) = re.findall(rf"^\| {name} \| `(.*?)` in", page, re.MULTILINE)
    return line.replace("\\|", "|")


@pytest.mark.parametrize("name", PROTOCOL)
@pytest.mark.parametrize("line", CASES)
def test_what_each_shell_is_told(name: str, line: str, tmp_path: Path) -> None:
    command, _ = PROTOCOL[name]
    words = line.split()
    command = command.format(line=line, index=len(words) - 1, word=words[-1])
    process = shell(command, tmp_path, installed(tmp_path))
    assert process.returncode == 0, process.stderr
    offered = re.split(r"[\n,\t]", process.stdout)
    assert set(CASES[line]) <= set(offered)
    assert all(word.startswith(words[-1]) for word in CASES[line])


@pytest.mark.parametrize("name", LIVE)
def test_the_documented_line_works_in_the_shell_itself(name: str, root: Path, tmp_path: Path) -> None:
    if shutil.which(name) is None:
        pytest.fail(f"no {name} to complete in: apt-get install {name}")
    for line, expected in CASES.items():
        script = LIVE[name].format(start=documented(root, name), line=line)
        process = shell(script, tmp_path, installed(tmp_path), command=(name, "-c"))
        assert process.returncode == 0, process.stderr
        offered = {entry.split("\t")[0] for entry in process.stdout.splitlines()}
        assert set(["registered"] if name == "zsh" else expected) <= offered, process.stdout
