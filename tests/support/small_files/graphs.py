"""ONNX graphs of sizes, windows and lengths that nobody has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper

from tests.support.onnx_models import graph_model, normal
from tests.support.small_files.graph_constants import BESIDE, NODE, integers, small

IMAGE = {"x": [1, 3, 8, 8]}
WEIGHT = {f"{BESIDE}.weight": normal(4, 3, 3, 3)}


def conv(source: str = "x", result: str = "c") -> NodeProto:
    return NODE("Conv", [source, f"{BESIDE}.weight"], [result])


def after_a_layer(
    node: NodeProto, weights: Mapping[str, np.ndarray] | None = None, shape: Sequence[int] = (1, 3, 8, 8)
) -> ModelProto:
    """A node that makes y of c, which a layer makes of an image."""
    return graph_model([conv(), node], {"x": shape}, {**(weights or {}), **WEIGHT})


def resized(mode: str) -> ModelProto:
    weights = {"scales": np.array([1, 1, 1e9, 1e9], np.float32)}
    return after_a_layer(NODE("Resize", ["c", "", "scales"], ["y"], mode=mode), weights)


def resized_to(mode: str, **attributes: object) -> ModelProto:
    node = NODE("Resize", ["c", "", "", "sizes"], ["y"], mode=mode, **attributes)
    return after_a_layer(node, {"sizes": integers(1, 4, 50_000_000, 7)})


def shrunk() -> ModelProto:
    """An image of 30,000,000 rows, of which three are left: wide filters."""
    node = NODE("Resize", ["c", "", "", "sizes"], ["y"], mode="cubic", antialias=1)
    return after_a_layer(node, {"sizes": integers(1, 4, 3, 3)}, (1, 3, 30_000_000, 8))


def many_resized() -> ModelProto:
    """100 images of 20,000 rows, each made somewhat larger."""
    weights = {f"sizes{i}": integers(1, 4, 20_000 + i, 20_000 + i) for i in range(100)}
    nodes = [NODE("Resize", ["c", "", "", f"sizes{i}"], [f"y{i}"], mode="linear") for i in range(100)]
    return graph_model(
        [conv(), *nodes], {"x": [1, 3, 8, 8]}, {**weights, **WEIGHT}, [f"y{i}" for i in range(100)]
    )


def padded(mode: str) -> ModelProto:
    pads = integers(0, 0, 5 * 10**8, 0, 0, 0, 5 * 10**8, 0)
    return after_a_layer(NODE("Pad", ["c", "pads"], ["y"], mode=mode), {"pads": pads})


def long_padded() -> ModelProto:
    """Edges of a claimed image of 10^9 rows."""
    node = NODE("Pad", ["c", "pads"], ["y"], mode="reflect")
    return after_a_layer(node, {"pads": integers(0, 0, 5, 0, 0, 0, 5, 0)}, (1, 3, 10**9, 8))


def pooled(op: str, **attributes: object) -> ModelProto:
    pads = [2 * 10**8, 0, 2 * 10**8, 0]
    return after_a_layer(NODE(op, ["c"], ["y"], **{"kernel_shape": [3, 3], "pads": pads, **attributes}))


def many_pooled() -> ModelProto:
    """300 pools over 2,000,000 rows."""
    nodes = [
        NODE("AveragePool", ["c"], [f"y{i}"], kernel_shape=[8, 1], pads=[0, 0, 1_000_000 + i, 0])
        for i in range(300)
    ]
    return graph_model([conv(), *nodes], {"x": [1, 3, 1_000_000, 8]}, WEIGHT, [f"y{i}" for i in range(300)])


def columns() -> ModelProto:
    nodes = [NODE("Reshape", ["c", "to"], ["r"])]
    pads = [2 * 10**8, 0, 2 * 10**8, 0]
    nodes.append(NODE("Col2Im", ["r", "image", "block"], ["y"], pads=pads))
    weights = {"to": integers(1, 4, 36), "image": integers(8, 8), "block": integers(2, 2)}
    return graph_model([conv(), *nodes], IMAGE, {**weights, **WEIGHT})


def large_columns() -> ModelProto:
    nodes = [NODE("Reshape", ["c", "to"], ["r"]), NODE("Col2Im", ["r", "image", "block"], ["y"])]
    weights = {"to": integers(1, 4, 36), "image": integers(2**23, 8), "block": integers(2, 2)}
    return graph_model([conv(), *nodes], IMAGE, {**weights, **WEIGHT})


def outer_product() -> ModelProto:
    """Two matrices [N, 1] and [1, N], one after the other."""
    weights = {"a": np.ones((60_000, 1), np.float32), "b": np.ones((1, 60_000), np.float32)}
    nodes = [NODE("MatMul", ["x", "a"], ["m"]), NODE("MatMul", ["m", "b"], ["y"])]
    return graph_model(nodes, {"x": [1, 60_000]}, weights)


def bordered() -> ModelProto:
    """A bias that becomes an image of 60,000 by 60,000."""
    weights = {
        **WEIGHT,
        "b": np.ones(4, np.float32),
        "one.weight": normal(3, 3, 1, 1),
        "bias": np.ones(3, np.float32),
    }
    nodes = [
        NODE("Conv", ["x", "one.weight", "bias"], ["m"]),
        NODE("Conv", ["m", f"{BESIDE}.weight", "b"], ["y"], pads=[1, 1, 1, 1]),
    ]
    return graph_model(nodes, {"x": [1, 3, 60_000, 60_000]}, weights)


def tokens() -> ModelProto:
    """Wide reshapes and transposes of claimed shapes."""
    weights = {**WEIGHT, "to": integers(1, 4, 6, 6, *([1] * 60))}
    return graph_model(
        [conv(), NODE("Reshape", ["c", "to"], ["m"]), NODE("Transpose", ["m"], ["y"])], IMAGE, weights
    )


def indices() -> ModelProto:
    """100,000 tuples of indices."""
    weights = {**WEIGHT, "i": np.zeros((30_000, 4), np.int64)}
    nodes = [NODE("GatherND", ["c", "i"], [f"y{k}"]) for k in range(200)]
    return graph_model([conv(), *nodes], IMAGE, weights, [f"y{k}" for k in range(200)])


def gathered_grid() -> ModelProto:
    """An index tensor that is claimed, of 8,000,000 entries and 60 axes."""
    weights = {**WEIGHT, "to": integers(*[2] * 22, *[1] * 10)}
    nodes = [
        NODE("ConstantOfShape", ["to"], ["i"], value=helper.make_tensor("v", TensorProto.INT64, [1], [0]))
    ]
    nodes += [NODE("GatherElements", ["c", "i"], ["y"], axis=0)]
    return graph_model([conv(), *nodes], IMAGE, weights)


def normalised() -> ModelProto:
    """A scale over 10^10 claimed entries."""
    node = NODE("LayerNormalization", ["c", "s"], ["y"], axis=1)
    return after_a_layer(node, {"s": np.ones(1, np.float32)}, (1, 3, 100_000, 100_000))


def pooled_mean() -> ModelProto:
    nodes = [conv(), NODE("Relu", ["c"], ["r"]), NODE("GlobalAveragePool", ["r"], ["y"])]
    return graph_model(nodes, {"x": [1, 3, 200_000, 200_000]}, WEIGHT)


def upsampled() -> ModelProto:
    weights = {"scales": np.array([1, 1, 20_000, 20_000], np.float32), **WEIGHT}
    nodes = [
        conv(),
        NODE("Relu", ["c"], ["r"]),
        NODE(
            "Resize",
            ["r", "", "scales"],
            ["y"],
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ),
    ]
    return graph_model(nodes, IMAGE, weights)


def averaged_wide() -> ModelProto:
    nodes = [conv(), NODE("Relu", ["c"], ["r"]), NODE("AveragePool", ["r"], ["y"], kernel_shape=[5000, 5000])]
    return graph_model(nodes, {"x": [1, 3, 6000, 6000]}, WEIGHT)


MAKERS: Mapping[str, Callable[[], ModelProto]] = {
    **{f"resize to 10^9, {mode}": partial(resized, mode) for mode in ("nearest", "linear", "cubic")},
    "resize to 5*10^7": partial(resized_to, "linear"),
    "resize by aspect": partial(resized_to, "nearest", keep_aspect_ratio_policy="not_larger"),
    "shrunk with wide filters": shrunk,
    "100 images resized": many_resized,
    **{f"pad by 5*10^8, {mode}": partial(padded, mode) for mode in ("edge", "reflect", "wrap", "constant")},
    "pad of a long image": long_padded,
    **{f"{op} with wide pads": partial(pooled, op) for op in ("MaxPool", "AveragePool", "LpPool")},
    "pool that counts pads": partial(pooled, "AveragePool", count_include_pad=1),
    "pool of dilated windows": partial(pooled, "MaxPool", dilations=[2**40, 2**40]),
    "pool of wide windows": partial(pooled, "AveragePool", kernel_shape=[2**40, 3]),
    "pool of wide windows that stick out": partial(pooled, "MaxPool", kernel_shape=[2**40, 3], ceil_mode=1),
    "pool of long strides": partial(pooled, "MaxPool", strides=[2**40, 2**40]),
    "300 pools": many_pooled,
    "columns with wide pads": columns,
    "columns of a long image": large_columns,
    "outer product": outer_product,
    "bias of a large image": bordered,
    "64 axes": tokens,
    "200 times 30,000 indices": indices,
    "indices along 32 axes": gathered_grid,
    "scale of a large image": normalised,
    "mean of a large image": pooled_mean,
    "repeated 20,000 times": upsampled,
    "mean over wide windows": averaged_wide,
}
FILES = tuple(small(name, make) for name, make in MAKERS.items())
