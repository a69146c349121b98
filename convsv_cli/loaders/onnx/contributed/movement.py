"""Operators that are ONNX's own by another name or with another order of inputs."""

from __future__ import annotations

from convsv_cli.loaders.onnx.contributed.expansion import Expansion
from convsv_cli.loaders.onnx.signatures import UnreadableNodeError

NEW_NAMES = 20
"""The operator set in which the modes of GridSample were renamed."""
PADDED_BY_INPUTS, TRIANGLES = 11, 14
"""The operator sets in which pads became an input, and in which Trilu came."""


def _sampled(node: Expansion) -> None:
    """GridSample, with the modes' names of 16."""
    node.expect(inputs=2)
    own = node.attributes()
    mode = node.attribute("mode", "bilinear")
    if node.known.opset >= NEW_NAMES:
        mode = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    node.result(node.emit("GridSample", node.needed(0), node.needed(1), rank=4, **{**own, "mode": mode}))


def _padded(node: Expansion) -> None:
    node.expect(inputs=3)
    _since(node, PADDED_BY_INPUTS)
    inputs = [node.needed(0), node.needed(1), *filter(None, [node.given(2)])]
    node.result(node.emit("Pad", *inputs, rank=node.rank(inputs[0]), **node.attributes()))


def _triangle(node: Expansion) -> None:
    node.expect(inputs=2)
    _since(node, TRIANGLES)
    inputs = [node.needed(0), *filter(None, [node.given(1)])]
    node.result(node.emit("Trilu", *inputs, rank=node.rank(inputs[0]), **node.attributes()))


def _since(node: Expansion, opset: int) -> None:
    if node.known.opset < opset:
        raise UnreadableNodeError(f"which opset {node.known.opset} has no equal of")


RULES = {"GridSample": _sampled, "Pad": _padded, "Trilu": _triangle}
