"""What asks for no model must not wait for torch."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from convsv_cli.machine import keep_freed
from convsv_cli.version import __version__
from tests.support.command_line import convsv_anew
from tests.support.onnx_models import small_network

HEAVY = {"jinja2", "msgspec", "numpy", "onnx", "onnxruntime", "rich", "safetensors", "torch"}


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
        ["help", "formats"],
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


@pytest.mark.parametrize("module", ["convsv_cli.certification.task", "convsv_cli.empirical"])
def test_children_that_run_networks_do_not_wait_for_torch(module: str) -> None:
    """Each of them imports its task anew."""
    code = f"import sys, {module}; print('torch' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.split() == ["False"]


def parts_after(code: str) -> set[str]:
    """Which parts of the package a process has imported when it has run some code."""
    code += "\nimport sys; print('\\n' + ' '.join(sys.modules), file=sys.stderr)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names = process.stderr.rpartition("\n\n")[2].split()
    return {name.split(".")[1] for name in names if name.startswith("convsv_cli.")}


def test_an_audit_imports_neither_training_nor_certification(tmp_path: Path) -> None:
    """Nor what only these need, by the command or by the function."""
    model = small_network(tmp_path)
    command = (
        f"from convsv_cli.cli import cli\ncli.main(['audit', {str(model)!r}, '-q'], standalone_mode=False)"
    )
    function = f"import convsv_cli; convsv_cli.audit({str(model)!r})"
    others = {"certification", "differentiable", "torch_modules", "training"}
    for found in (parts_after(command), parts_after(function)):
        assert {"auditing", "lipschitz"} <= found
        assert not others & found
    assert "budget" not in parts_after(function)


@pytest.mark.parametrize("name", ["CurvatureBound", "LipschitzPenalty", "limit_norm"])
def test_training_imports_no_audit(name: str) -> None:
    """The modules in a training loop wait for no loader, and for no proof of a whole network."""
    found = parts_after(f"from convsv_cli import {name}")
    assert {"training", "torch_modules"} <= found
    assert not {"api", "auditing", "certification", "lipschitz", "loaders"} & found


@pytest.mark.parametrize("name", ["curvature_bounds", "curvature_radii", "margin_radii"])
def test_radii_of_a_module_import_neither_an_audit_nor_training(name: str) -> None:
    found = parts_after(f"from convsv_cli import {name}")
    assert "certification" in found
    assert not {"api", "auditing", "lipschitz", "loaders", "training"} & found


def test_importing_the_package_is_light() -> None:
    code = "import sys, convsv_cli; print(' '.join(sys.modules))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(process.stdout.split())


def test_the_allocator_takes_what_it_is_told_to_keep() -> None:
    """It refuses sizes that are too large for it."""
    assert keep_freed() == (platform.libc_ver()[0] == "glibc")


def test_version() -> None:
    assert convsv_anew("-V").stdout == f"convsv, version {__version__}\n"


def test_methods_names_every_calculator_with_its_reference() -> None:
    from convsv_cli.calculators import CALCULATORS

    text = convsv_anew("methods").stdout
    for calculator in CALCULATORS:
        assert f"{calculator.method.name} ({calculator.method.kind})" in text
        assert calculator.method.reference in text
