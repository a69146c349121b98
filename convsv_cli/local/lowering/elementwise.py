"""Functions of numbers."""

from __future__ import annotations

import torch

from convsv_cli.local import pieces
from convsv_cli.local.lowering.context import Lowering, Table
from convsv_cli.model.graph import Node


def relu(node: Node, to: Lowering) -> None:
    """Relu."""
    to.elementwise(
        node,
        node.inputs[0],
        torch.relu,
        lambda _lower, _upper: pieces.relu(),
        lipschitz=1.0,
        output=node.outputs[0],
    )


ROWS: Table = {"Relu": relu}
