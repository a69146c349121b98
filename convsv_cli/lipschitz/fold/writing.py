"""Linear maps back to nodes of their operator."""

from __future__ import annotations

from collections.abc import Mapping

from convsv_cli.lipschitz.fold.maps import CONVOLUTIONS, LinearMap
from convsv_cli.lipschitz.fold.sweep import Draft
from convsv_cli.lipschitz.fold.weight import Weight
from convsv_cli.model.graph import Node


def written(
    like: LinearMap,
    draft: Draft,
    *,
    output: str,
    source: str | None = None,
    weight: Weight | None = None,
    bias: Weight | None,
    name: str = "",
) -> tuple[Node, ...]:
    """Nodes of the same kind as a map: a MatMul with a bias needs two.

    Args:
        like: gives operator and geometry, and what is left out.
        draft: gets the new constants.
        output: name of the result.
        source: name of the tensor that is mapped.
        weight: [groups, c_out / groups, c_in / groups, *k]; None keeps the node's, and its rows.
        bias: None for none.
        name: of the node.
    """
    source, name = source or like.source, name or like.node.name
    if like.node.op != "MatMul" or bias is None:
        return (_node(like, draft, (source, output), weight, bias, name=name),)
    middle = draft.tensor(f"{output}.product", output)
    added = constant(draft, like, f"{name}.bias", bias)
    adder = like.nodes[1].name if len(like.nodes) > 1 else draft.fresh(f"{name}.bias")
    add = Node(op="Add", name=adder, inputs=(middle, added), outputs=(output,))
    return _node(like, draft, (source, middle), weight, None, name=name), add


def constant(draft: Draft, like: LinearMap, base: str, weight: Weight) -> str:
    """The name of a new constant of the type that the map's weight has."""
    return draft.constant(base, weight, draft.dtype(like.node.inputs[1]))


def _node(
    like: LinearMap,
    draft: Draft,
    ends: tuple[str, str],
    weight: Weight | None,
    bias: Weight | None,
    *,
    name: str,
) -> Node:
    old, (source, output) = like.node, ends
    kernel = None if weight is None else _as_operand(old.op, weight)
    operand = old.inputs[1] if kernel is None else constant(draft, like, f"{name}.weight", kernel)
    addend = () if bias is None else (constant(draft, like, f"{name}.bias", bias),)
    return Node(
        op=old.op,
        name=name,
        inputs=(source, operand, *addend),
        outputs=(output,),
        attributes=_attributes(old, weight),
        layers=old.layers if kernel is None else (),
        rounding=old.rounding if kernel is None else kernel.error,
    )


def _attributes(old: Node, weight: Weight | None) -> Mapping[str, object]:
    """As they were, but for what weight and bias have taken in."""
    attributes = {name: value for name, value in old.attributes.items() if name != "beta"}
    if weight is not None and old.op == "Gemm":
        return {"transB": 1}
    if weight is not None and old.op in CONVOLUTIONS:
        attributes["group"] = weight.shape[0]
    return attributes


def _as_operand(op: str, weight: Weight) -> Weight:
    """A kernel as the operator wants it."""
    groups, c_out, c_in, *kernel = weight.shape
    if op == "Conv":
        shape = (groups * c_out, c_in, *kernel)
        return weight.arranged(shape, lambda values: values.reshape(shape))
    if op == "ConvTranspose":
        turned = (groups * c_in, c_out, *kernel)
        return weight.arranged(turned, lambda values: values.swapaxes(1, 2).reshape(turned))
    if op == "Gemm":
        return weight.arranged((c_out, c_in), lambda values: values[0])
    return weight.arranged((c_in, c_out), lambda values: values[0].T)
