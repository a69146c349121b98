"""Convolutions, products by matrices and other constants, and BatchNorm."""

from __future__ import annotations

import math
from dataclasses import replace
from string import ascii_letters

import numpy as np
import torch
from torch import Tensor

from convsv_cli.lipschitz.operation import UnboundedError
from convsv_cli.local.lowering.arithmetic import fitted
from convsv_cli.local.lowering.context import Lowering, Table, check_gaps
from convsv_cli.local.lowering.movement import reshaped
from convsv_cli.local.maps import Contraction, Convolution, Map, Product, Shape
from convsv_cli.local.runtimes import normalised, products
from convsv_cli.local.steps import Affine, Behind, NoLocalCertificateError
from convsv_cli.model.graph import Node, UnknownValueError
from convsv_cli.model.layer import CONV, TRANSPOSED
from convsv_cli.model.linear_map import LinearMap
from convsv_cli.model.linear_maps import linear_maps
from convsv_cli.model.linear_maps.matrices import labels
from convsv_cli.numerics.rounding import UP_MANY, gamma

SCALE_ROUNDINGS = 5
"""Of scale / sqrt(variance + epsilon)."""


def convolution(node: Node, to: Lowering) -> None:
    """Conv and ConvTranspose."""
    found, kernel = _kernel(node, to)
    name, output = node.inputs[found.data], node.outputs[0]
    geometry = found.geometry
    if not geometry.padding or geometry.either_way or geometry.padding_mode != "zeros":
        raise NoLocalCertificateError("its padding is not known")
    terms = math.prod(kernel.shape[1:])
    others = kernel.shape[0] // geometry.groups * math.prod(kernel.shape[2:])
    _check_geometry(node, found, kernel, to.shape(name), to.shape(output))
    map_ = Convolution(
        taken=to.shape(name),
        given=to.shape(output),
        roundings=max(terms, others),
        weight=kernel,
        geometry=geometry,
    )
    axes = kernel.ndim - 2
    shift = _bias(found, to)
    if shift is not None:
        shift = shift.reshape(-1, *(1 for _ in range(axes)))
    _add(node, to, (name, map_, to.norm(node)), kernel, shift)


def _check_geometry(node: Node, found: LinearMap, kernel: Tensor, taken: Shape, given: Shape) -> None:
    """That the shapes of the graph are those that the kernel makes of each other, in all runtimes."""
    geometry, axes = found.geometry, kernel.ndim - 2
    larger, smaller = (given, taken) if geometry.transposed else (taken, given)
    for axis in range(axes):
        padded = larger[2 + axis] + geometry.margins[axis] + geometry.margins[axes + axis]
        reach = geometry.dilation[axis] * (kernel.shape[2 + axis] - 1) + 1
        if not geometry.transposed:
            check_gaps(node, larger[2 + axis], smaller[2 + axis], geometry.stride[axis], reach)
        free = padded - reach
        if free < 0:
            raise NoLocalCertificateError("its kernel is larger than what it slides over")
        if free // geometry.stride[axis] + 1 != smaller[2 + axis]:
            raise NoLocalCertificateError("its result has another shape than the graph says")


def gemm(node: Node, to: Lowering) -> None:
    """Gemm with a constant on either side."""
    found, kernel = _kernel(node, to)
    name = node.inputs[found.data]
    taken, given, roundings = to.shape(name), to.shape(node.outputs[0]), max(kernel.shape) + 1
    map_: Map
    if found.data == 0 and not node.attribute("transA", 0):
        map_ = Product(
            taken=taken, given=given, roundings=roundings, weight=kernel.T.contiguous(), left=False
        )
    else:
        turned, data, letters = node.attribute("transB", 0), "ki", "jk"
        if found.data == 1:
            data, letters = "jk" if turned else "kj", "ik"
        map_ = Contraction(
            taken=taken, given=given, roundings=roundings, axes=(data, "ij"), factors=((letters, kernel),)
        )
    _add(node, to, (name, map_, to.norm(node)), kernel, _bias(found, to))


def matmul(node: Node, to: Lowering) -> None:
    """MatMul with constant matrices on either side, or a vector; what fits it only if repeated, is."""
    found, _ = _kernel(node, to)
    name, output, left = node.inputs[found.data], node.outputs[0], found.data == 1
    weight, shape = to.constant(node.inputs[1 - found.data]).double(), to.shape(name)
    weight = weight.unsqueeze(0 if left else -1) if weight.ndim == 1 else weight
    matrix = (shape[0], 1) if left and len(shape) == 1 else (*(1,) * (2 - len(shape)), *shape)
    batch = np.broadcast_shapes(weight.shape[:-2], matrix[:-2])
    name = fitted(node, to, reshaped(node, to, name, matrix), (*batch, *matrix[-2:]))
    rows, columns = (weight.shape[-2], matrix[-1]) if left else (matrix[-2], weight.shape[-1])
    map_ = Product(
        taken=to.shape(name),
        given=(*batch, rows, columns),
        roundings=max(weight.shape[-2:]) + 1,
        weight=weight.contiguous(),
        left=left,
    )
    plain = map_.given == to.shape(output)
    made = _add(node, to, (name, map_, to.norm(node)), weight, None, output=output if plain else "")
    if not plain:
        reshaped(node, to, made, to.shape(output), output=output)


def einsum(node: Node, to: Lowering) -> None:
    """Einsum of one tensor and a constant."""
    found, _ = _kernel(node, to)
    name, weight = node.inputs[found.data], to.constant(node.inputs[1 - found.data]).double()
    terms, result = labels(node)
    data, letters = terms[found.data], terms[1 - found.data]
    others = [letter for letter in ascii_letters if letter not in data + letters + result]
    spare = "".join(others[: len(to.shape(name)) - len(data.replace("...", ""))])
    data, result = data.replace("...", spare), result.replace("...", spare)
    if not set(letters) <= set(data + result):
        raise NoLocalCertificateError("it sums over an axis of its constant alone")
    lengths = dict(zip(letters, weight.shape, strict=True))
    sums = [math.prod(n for letter, n in lengths.items() if letter not in kept) for kept in (result, data)]
    map_ = Contraction(
        taken=to.shape(name),
        given=to.shape(node.outputs[0]),
        roundings=max(sums) + 1,
        axes=(data, result),
        factors=((letters, weight),),
    )
    _add(node, to, (name, map_, to.norm(node)), weight, None)


def batch_norm(node: Node, to: Lowering) -> None:
    """By the statistics of training."""
    if node.attribute("training_mode", 0):
        raise NoLocalCertificateError("it is in training mode")
    name = node.inputs[0]
    scale, bias, mean, variance = (to.constant(node.inputs[i]).double() for i in range(1, 5))
    variance = variance + node.attribute("epsilon", 1e-5)
    factor = scale / variance.sqrt()
    shape = (-1, *(1 for _ in to.shape(name)[2:]))
    size = (bias.abs() + (mean * factor).abs()).reshape(shape)
    to.affine(
        node,
        [to.scaling(name, factor.reshape(shape), roundings=SCALE_ROUNDINGS + 1)],
        shift=(bias - mean * factor).reshape(shape),
        shift_error=gamma(SCALE_ROUNDINGS + 4) * size,
        behind=_scaled(name, factor, to),
        off=normalised(float(torch.stack([factor.abs(), mean.abs()]).max()), size, variance.reshape(shape)),
        folded=to.foldable(name),
        output=node.outputs[0],
    )


def _scaled(name: str, factor: Tensor, to: Lowering) -> tuple[Behind, ...]:
    """The norm of a convolution and the scaling of its channels together."""
    step, node = to.maker(name), to.graph.makers.get(name)
    if not isinstance(step, Affine) or node is None or node.op not in (CONV, "Gemm", "MatMul"):
        return ()
    if node.op != CONV and len(to.shape(name)) != 2:  # the second axis is not that of its outputs
        return ()
    found = linear_maps(node, to.graph)[0]
    if not isinstance(found, LinearMap) or len(found.kernel_shape) < 2:
        return ()
    if found.kernel_shape[0] != len(factor):
        return ()
    factors = factor.numpy()

    def arrange(values: np.ndarray) -> np.ndarray:
        kernel = np.asarray(found.arrange(values), dtype=np.float64)
        return np.asarray(kernel * factors.reshape(-1, *(1 for _ in kernel.shape[1:])))

    scaled = replace(found, arrange=arrange, variant=(found.variant, "scaled", node.name))
    try:
        norm = to.norms.of_kernel(scaled)
    except (UnboundedError, UnknownValueError):
        return ()
    rest = float(factor.abs().max()) * UP_MANY
    return (Behind(start=step.inputs[0], middle=name, norm=norm * UP_MANY, rest=rest),)


def _kernel(node: Node, to: Lowering) -> tuple[LinearMap, Tensor]:
    found = linear_maps(node, to.graph)
    if len(found) != 1:
        raise NoLocalCertificateError("it multiplies two tensors that both vary")
    if not isinstance(found[0], LinearMap):
        raise NoLocalCertificateError(found[0].reason)
    try:
        kernel = np.array(found[0].kernel(), dtype=np.float64)
    except UnknownValueError as error:
        raise NoLocalCertificateError(f"its weight is {error}") from error
    if not np.isfinite(kernel).all():
        raise NoLocalCertificateError("its weight holds NaN or infinity")
    return found[0], torch.from_numpy(kernel)


def _bias(found: LinearMap, to: Lowering) -> Tensor | None:
    if found.bias is None:
        return None
    name, factor = found.bias
    return to.constant(name).double() * factor


def _add(
    node: Node,
    to: Lowering,
    part: tuple[str, Map, float],
    weight: Tensor,
    shift: Tensor | None,
    *,
    output: str | None = None,
) -> str:
    error = None if shift is None else gamma(1) * shift.abs()
    factors = [node.attribute(each, 1.0) for each in ("alpha", "beta")] if node.op == "Gemm" else []
    factored = any(each != 1 for each in factors)
    sizes = [float(weight.abs().max()), *map(abs, factors)]
    if factored:
        constants = (each for each in node.inputs if each and not to.varies(each))
        sizes += [float(to.constant(each).abs().max()) for each in constants]
    off = products(max(sizes), factored=factored)
    made = node.outputs[0] if output is None else output
    return to.affine(node, [part], shift=shift, shift_error=error, off=off, output=made)


ROWS: Table = {
    "BatchNormalization": batch_norm,
    CONV: convolution,
    TRANSPOSED: convolution,
    "Einsum": einsum,
    "Gemm": gemm,
    "MatMul": matmul,
}
