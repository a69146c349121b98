"""The rows of a network whose file has its graph: every node with weights, and how users know it."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from convsv_cli.limits import LimitError
from convsv_cli.loaders.loader import UNREAL, is_real
from convsv_cli.model.graph import Constant, Graph, Names, Node, Reader, UnknownValueError
from convsv_cli.model.home import Home, picked
from convsv_cli.model.layer import Geometry, Layer, UnsupportedLayer
from convsv_cli.model.linear_map import Array, LinearMap, Unsupported
from convsv_cli.model.linear_maps import linear_maps
from convsv_cli.names import plain_names

GATE_WEIGHT = r"\.weight_[ih]h\w*$"
_WEIGHT = re.compile(r"\.(?:weight|kernel)(?:_[gv]|_orig)?$|\.parametrizations\.weight\.original[01]?$")
_ANONYMOUS = re.compile(
    r"^$|^\d+$|::|^(?:val|node|mul|div|t|transpose|constant|initializer|const)_?\d*$|/", re.IGNORECASE
)

FUSED_SUM = "/MatMulAddFusion"
"""What onnxruntime adds to the name of a MatMul that it made a Gemm of, with the Add behind it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """A linear map, or what is none, and the node that it is of.

    Attributes:
        node: in the graph.
        path: of the body that the node is in; empty for the main graph.
        item: what the node is.
    """

    node: Node
    path: str
    item: LinearMap | Unsupported

    @property
    def label(self) -> str:
        """What the file calls the node: its name, or else its first output."""
        return self.node.label or self.local(self.node.outputs[0])

    def local(self, name: str) -> str:
        """The name of a tensor as the node's own body has it."""
        return name.removeprefix(f"{self.path}/") if self.path else name


def found_in(graph: Graph) -> list[Found]:
    """All linear maps of a graph in the order of its nodes, bodies of nodes after their graph."""
    return [
        Found(node=node, path=body.path, item=item)
        for body in graph.main.all_bodies()
        for node in body.nodes
        for item in linear_maps(node, graph)
    ]


def rows_of(found: list[Found]) -> tuple[Layer | UnsupportedLayer, ...]:
    """One for nodes that share weight, geometry and input size; the further ones become aliases."""
    groups: dict[object, list[Found]] = {}
    for each in found:
        groups.setdefault(each.item.key, []).append(each)
    names = unique((group[0].path, _name(group[0])) for group in groups.values())
    return tuple(_row(name, group) for name, group in zip(names, groups.values(), strict=True))


def with_keys(rows: Iterable[Layer | UnsupportedLayer], graph: Graph) -> Iterator[Layer | UnsupportedLayer]:
    """Rows that were found in another way, each with the key of the map in the graph that it is.

    At its input size; at any, where the row has none: then no norm of it is of one size alone.
    """
    keys: dict[object, Hashable] = {}
    for each in found_in(graph):
        item = each.item
        if item.constant is not None:
            name = item.constant.name
            at = (item.kernel_shape, item.geometry, item.input_size) if isinstance(item, LinearMap) else ()
            keys.setdefault((name, *at), item.key)
            keys.setdefault((name, *at[:2]), item.key)
    for row in rows:
        plain = _called_plainly(row) if isinstance(row, Layer) else row
        own = (plain.kernel_shape, plain.geometry, plain.input_size) if isinstance(plain, Layer) else ()
        at_any = keys.get((row.weight, *own[:2])) if own[2:] == (None,) else None
        key = keys.get((row.weight, *own), at_any)
        yield row if key is None else replace(plain, key=key)


def _called_plainly(layer: Layer) -> Layer:
    """As a graph calls it: with its input, and no output size of the caller's."""
    return replace(layer, geometry=replace(layer.geometry, any_output=False))


def _name(found: Found) -> str:
    item, outputs = found.item, found.node.outputs
    weight = item.constant.name if item.constant else ""
    name = layer_name(weight, found.node.label, item.op, found.local(next(iter(outputs), "")))
    role = item.role if isinstance(item, LinearMap) else ""
    return f"{re.sub(GATE_WEIGHT, '', name)}.{role}" if role else name


def layer_name(weight: str, node: str, op_type: str, output: str) -> str:
    """The name by which users know a layer: the path of its weight's module where the file has it.

    Else the node's; else the weight's or the output's own name.
    """
    if not _ANONYMOUS.search(weight) and "." in weight:
        return _WEIGHT.sub("", weight)
    return _node_path(node, op_type) or weight or output


def _node_path(node: str, op_type: str) -> str:
    """From "/layer1/layer1.0/conv1/Conv" layer1.0.conv1: each part repeats the path so far, or adds to it."""
    if not node.startswith("/"):
        return node
    product, fused, _ = node.partition(FUSED_SUM)
    if fused:
        node, op_type = product, "MatMul"
    path = ""
    for part in node.strip("/").split("/"):
        if re.fullmatch(rf"{re.escape(op_type)}(?:_\d+)?", part) and path:
            break
        path = part if part.startswith(f"{path}.") or not path else f"{path}.{part}"
    return path


def unique(names: Iterator[tuple[str, str]]) -> Iterator[str]:
    """Of pairs (scope's path, name) the plain name; the path before it where it is taken, then numbered."""
    found = list(names)
    plain = plain_names(name for _, name in found)
    taken = Names()
    for scope, name in ((scope, plain[name]) for scope, name in found):
        yield taken.new(f"{scope}/{name}" if scope and name in taken else name)


def _row(name: str, group: list[Found]) -> Layer | UnsupportedLayer:
    first, item = group[0], group[0].item
    aliases = tuple(other.label for other in group[1:])
    constant = item.constant
    reason = item.reason if isinstance(item, Unsupported) else _fault(item.constant)
    if isinstance(item, Unsupported) or reason:
        return UnsupportedLayer(
            key=item.key,
            name=name,
            weight=constant.name if constant else first.local(next(iter(first.node.inputs[1:2]), "")),
            aliases=aliases,
            op=item.op,
            kernel_shape=constant.shape if constant else (),
            dtype=constant.dtype if constant else "",
            reason=reason,
            applicable=not isinstance(item, Unsupported) or item.applicable,
            layer=_as_matrix(name, aliases, item),
        )
    return Layer(
        key=item.key,
        name=name,
        weight=item.constant.name,
        aliases=aliases,
        op=item.op,
        kernel_shape=item.kernel_shape,
        dtype=item.constant.dtype,
        geometry=item.geometry,
        input_size=item.input_size if min(item.input_size or (1,)) > 0 else None,
        assumed=(*item.constant.assumed, *item.assumed),
        read=lambda: _read(item.kernel),
        home=lambda: _home(item),
    )


def _home(item: LinearMap) -> Home:
    """Arranging the numbers of a constant's entries tells which of them the kernel's are."""
    shape = item.constant.shape
    numbers = np.arange(math.prod(shape), dtype=np.float64).reshape(shape)
    found = np.array(item.arrange(numbers), dtype=np.int64).reshape(item.kernel_shape)
    return picked(item.constant.home(), torch.from_numpy(found), item.factor)


def _as_matrix(name: str, aliases: tuple[str, ...], item: LinearMap | Unsupported) -> Layer | None:
    """What users may say that a table is; None for what the graph uses otherwise, or is no real matrix.

    Bounds of the network take the norms of rows for those of their nodes; of a table's, none asks.
    """
    constant = item.constant
    if constant is None or isinstance(item, LinearMap) or item.applicable:
        return None
    if len(constant.shape) != 2 or _fault(constant):
        return None
    return Layer(
        name=name,
        weight=constant.name,
        aliases=aliases,
        op="MatMul",
        kernel_shape=constant.shape,
        dtype=constant.dtype,
        geometry=Geometry(),
        input_size=(),
        assumed=constant.assumed,
        read=lambda: _read(constant.read),
    )


def _fault(constant: Constant) -> str:
    """Why the values are not real numbers that stand for themselves; empty where they are."""
    return "" if is_real(constant.dtype) else UNREAL.format(constant.dtype)


def _read(values: Reader) -> torch.Tensor:
    """The values as a tensor.

    Raises:
        LimitError: they were computed before, and cannot be again within what the model may take.
    """
    try:
        return _tensor(values())
    except UnknownValueError as error:
        raise LimitError(str(error)) from error


def _tensor(values: Array) -> torch.Tensor:
    """As torch has it; types that numpy borrows from ml_dtypes become float32, which is exact.

    What others hold, too, is read-only, and copied: a tensor may be changed.
    """
    native = values.dtype.kind == "f" and values.dtype.itemsize in (2, 4, 8) and values.dtype.isbuiltin
    dtype = values.dtype.newbyteorder("=") if native else np.float32
    return torch.from_numpy(np.require(values, dtype, ["C_CONTIGUOUS", "WRITEABLE"]))
