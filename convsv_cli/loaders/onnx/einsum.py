"""Einsum by one constant: when it is a matrix, or one a batch entry, acting along one set of axes."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from convsv_cli.loaders.onnx.node import LinearMap, Site, Unsupported
from convsv_cli.loaders.onnx.shape_table import Dims
from convsv_cli.loaders.onnx.tensors import Array
from convsv_cli.model.layer import Geometry


def einsum(site: Site) -> Iterator[LinearMap | Unsupported]:
    """Labels of the weight: in data and output, batch; in data only, columns; in output only, rows.

    A label of the weight alone is summed out first. Labels of the data that reach the output untouched
    repeat the same map, which changes no norm.
    """
    constants = [site.constant(i) for i in range(len(site.node.input))]
    constant_at = [i for i, constant in enumerate(constants) if constant is not None]
    if not constant_at or len(constant_at) == len(constants):
        return
    constant = constants[constant_at[0]]
    terms, output = _labels(site)
    if len(constants) != 2 or len(terms) != 2 or constant is None:
        yield Unsupported(reason="an Einsum of other than two operands", constant=constant)
        return
    weight, data = terms[constant_at[0]], terms[1 - constant_at[0]]
    lengths = _lengths(data, site.dims(1 - constant_at[0]))
    reason = _reason(weight, data, output, constant.shape) or _stretched(weight, constant.shape, lengths)
    if reason:
        yield Unsupported(reason=reason, constant=constant)
        return
    batch, rows, columns = (
        [label for label in weight if (label in output, label in data) == where]
        for where in ((True, True), (True, False), (False, True))
    )
    sizes = dict(zip(weight, constant.shape, strict=True))
    groups, c_out, c_in = (math.prod(sizes[label] for label in labels) for labels in (batch, rows, columns))

    def arrange(values: Array) -> Array:
        summed = np.einsum(f"{weight}->{''.join([*batch, *rows, *columns])}", values.astype(np.float64))
        return np.asarray(summed.reshape(groups * c_out, c_in))

    yield LinearMap(
        constant=constant,
        kernel_shape=(groups * c_out, c_in),
        arrange=arrange,
        variant=(weight, *batch, *rows, *columns),
        geometry=Geometry(groups=groups),
    )


def _labels(site: Site) -> tuple[list[str], str]:
    """The operands' labels and the output's; an implicit output is sorted, ellipsis first."""
    equation = site.attribute("equation", "").replace(" ", "")
    inputs, arrow, output = equation.partition("->")
    if not arrow:
        letters = inputs.replace(",", "").replace("...", "")
        once = "".join(sorted(label for label in set(letters) if letters.count(label) == 1))
        output = ("..." if "..." in inputs else "") + once
    return inputs.split(","), output


def _lengths(labels: str, dims: Dims | None) -> dict[str, int | str]:
    """The length of each labelled axis, as far as it is known; an ellipsis takes what is left."""
    head, _, tail = labels.partition("...")
    if dims is None or len(dims) < len(head + tail):
        return {}
    return dict(zip(head + tail, (*dims[: len(head)], *dims[len(dims) - len(tail) :]), strict=True))


def _stretched(weight: str, shape: tuple[int, ...], lengths: dict[str, int | str]) -> str:
    """Says so where an axis of length 1 meets a longer one, which repeats it; empty where none does."""
    sizes = zip(weight, shape, strict=True)
    stretched = any(isinstance(n := lengths.get(label), int) and n != size for label, size in sizes)
    return "an Einsum that stretches an axis of length 1" if stretched else ""


def _reason(weight: str, data: str, output: str, shape: tuple[int, ...]) -> str:
    """Why it is no such map; empty where it is."""
    if "..." in weight or len(weight) != len(shape):
        return "an Einsum with an ellipsis in its weight"
    plain = data.replace("...", "")
    if any(len(set(labels)) < len(labels) for labels in (weight, plain, output.replace("...", ""))):
        return "an Einsum with a repeated label"
    if set(plain) - set(weight) - set(output) or ("..." in data) != ("..." in output):
        return "an Einsum that sums over an axis of its input only"
    return ""
