"""Cast from one format of real numbers to another."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from onnx import TensorProto
from torch import Tensor

from convsv_cli.local.arithmetic import BFLOAT16, FLOAT16, FLOAT32, Arithmetic
from convsv_cli.local.lowering.context import Lowering, Table
from convsv_cli.local.runtimes import Load, OffAffine
from convsv_cli.local.steps import NoLocalCertificateError
from convsv_cli.model.graph import Node

FORMATS: Mapping[int, Arithmetic] = {
    TensorProto.FLOAT: FLOAT32,
    TensorProto.DOUBLE: FLOAT32,
    TensorProto.FLOAT16: FLOAT16,
    TensorProto.BFLOAT16: BFLOAT16,
}
"""What a number that has been cast is at least as precise as."""


def cast(node: Node, to: Lowering) -> None:
    """Cast: the same number, rounded to a format."""
    format_ = FORMATS.get(node.attribute("to", 0))
    if format_ is None:
        raise NoLocalCertificateError("it makes numbers of a kind that are not real")
    one = torch.ones((), dtype=torch.float64)
    to.affine(node, [to.scaling(node.inputs[0], one)], off=_rounded(format_), output=node.outputs[0])


def _rounded(format_: Arithmetic) -> OffAffine:
    """Once; nothing is claimed of a network that goes on in another format of 16 bits than is assumed."""

    def off(arithmetic: Arithmetic, load: Load) -> Tensor:
        if arithmetic.real:
            return torch.zeros_like(load.size)
        if format_ not in (FLOAT32, arithmetic):
            return torch.full_like(load.size, torch.inf)
        return format_.rounded(1, load.size)

    return off


ROWS: Table = {"Cast": cast}
