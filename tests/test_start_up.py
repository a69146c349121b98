"""What asks for no model must not wait for torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from convsv_cli.version import __version__
from tests.command_line import convsv

HEAVY = {"jinja2", "numpy", "onnx", "onnxruntime", "rich", "safetensors", "torch"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["methods"],
        ["audit", "--help"],
        ["spectrum", "--help"],
        ["certify", "--help"],
        ["check", "--help"],
        ["diff", "--help"],
        ["report", "--help"],
    ],
)
def test_nothing_heavy_is_imported(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from convsv_cli.cli import main\n"
        f"sys.argv = ['convsv', *{arguments!r}]\n"
        "try:\n    main()\n"
        "except SystemExit:\n    print('\\n' + ' '.join(sys.modules), file=sys.stderr)\n"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout
    assert not HEAVY & set(process.stderr.split())


def test_importing_the_package_is_light() -> None:
    code = "import sys, convsv_cli; print(' '.join(sys.modules))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(process.stdout.split())


def test_version() -> None:
    assert convsv("--version").stdout == f"convsv, version {__version__}\n"


def test_methods_names_every_calculator_with_its_reference() -> None:
    from convsv_cli.calculators import CALCULATORS

    text = convsv("methods").stdout
    for calculator in CALCULATORS:
        assert f"{calculator.method.name} ({calculator.method.kind})" in text
        assert calculator.method.reference in text
