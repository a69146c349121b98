"""Every figure of a report on Conv and ConvTranspose, whatever their attributes, against dense matrices."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from convsv_cli import audit
from convsv_cli.model.layer import Geometry
from convsv_cli.renderers.json import document
from convsv_cli.report import Report
from tests.support import contract, oracles
from tests.support.drawn_convolutions import OPS, Drawn, counted, drawn
from tests.support.geometry import Case
from tests.support.onnx_models import saved


def figures(path: Path, *, exact: bool) -> dict[str, Any]:
    """The report as a reader gets it."""
    (found,) = document(Report(command="audit", audits=(audit(path, exact=exact),)))["audits"]
    return found


def check(node: Drawn, truth: float, folder: Path) -> None:
    """No figure contradicts the norm of the node's matrix, or of the circular layer's."""
    path = saved(node.model(), folder)
    for exact in (False, True):
        report = figures(path, exact=exact)
        (layer,) = report["layers"]
        contract.assert_enclosed(0.0, truth, report["network"]["lipschitz_upper"])
        contract.assert_enclosed(0.0, truth, layer["bound"])
        contract.assert_enclosed(0.0, truth, min(layer["bounds"].values()))
        contract.assert_enclosed(0.0, truth, layer["certified"]["upper"])
        assert layer["certified"]["lower"] <= layer["bound"]
        if exact:
            padded = layer["zero_padded"]
            contract.assert_enclosed(padded["lower"], truth, padded["upper"])
            check_circular(node, layer)


def check_circular(node: Drawn, layer: dict[str, Any]) -> None:
    """The exact figure is the norm of the circular layer at the size that it names."""
    exact, size = layer["exact"], tuple(layer["exact"]["size"])
    geometry = Geometry(
        stride=node.each("strides"),
        dilation=node.each("dilations"),
        groups=node.groups,
        transposed=node.op == "ConvTranspose",
    )
    circular = Case(weight=node.weight.astype(float), geometry=geometry, input_size=size)
    truth = oracles.spectral_norm(circular.circular())
    contract.assert_enclosed(exact["lower"], truth, exact["upper"])
    contract.assert_enclosed(0.0, truth, layer["certified"]["upper"])
    assert exact["lower"] <= exact["value"] <= exact["upper"]


def check_all(seed: int, count: int, folder: Path) -> None:
    """Of so many nodes."""
    for node, matrix in drawn(seed, count):
        check(node, oracles.spectral_norm(matrix), folder)


def test_every_attribute_is_drawn() -> None:
    features = counted([node for node, _ in drawn(1, 300)])
    both = ("1-D", "2-D", "3-D", "SAME_UPPER", "SAME_LOWER", "VALID", "explicit", "groups", "one pixel")
    beyond = ("stride beyond the kernel", "pads beyond the kernel", "kernel beyond the input", "unequal pads")
    for op, name in itertools.product(OPS, (*both, *beyond)):
        assert features[f"{op} {name}"] >= 3, f"{op} {name}"
    assert min(features[f"ConvTranspose {name}"] for name in ("output_padding", "output_shape")) >= 20


def test_no_figure_of_a_report_is_wrong(tmp_path: Path) -> None:
    check_all(0, 100, tmp_path)


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", range(1, 3))
def test_no_figure_of_many_reports_is_wrong(seed: int, tmp_path: Path) -> None:
    check_all(seed, 120, tmp_path)
