"""One or more nodes of each operator that onnxruntime contributes and that convsv reads."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tests.support.contributed_nodes import (
    INTERNAL,
    Case,
    case,
    conv,
    drawn,
    fast_gelu,
    first,
    group_norm,
    last,
    packed_attention,
    softmax,
    split_gelu,
)

X, IMAGE, LAST_IMAGE, TOKENS = (3, 6), (1, 3, 6, 7), (1, 6, 7, 4), (1, 4, 8)
PADDED = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 1]}
POOL = {"kernel_shape": [2, 2], "strides": [2, 2]}
EPSILON = {"epsilon": 0.01}
WITH_SUM = {"outputs": ("y", "", "", "s"), **EPSILON}


def cases() -> Mapping[str, Case]:
    """By name."""
    return {**_products(), **_convolutions(), **_activations(), **_norms(), **_attentions(), **_others()}


def _products() -> dict[str, Case]:
    b, turned = drawn(6, 5), drawn(5, 6)
    activations = {
        "Relu": {}, "Sigmoid": {}, "Tanh": {}, "Softplus": {}, "Softsign": {}, "LeakyRelu": {"alpha": 0.3},
        "Elu": {"alpha": 0.6}, "HardSigmoid": {"alpha": 0.3, "beta": 0.4}, "ThresholdedRelu": {"alpha": 0.7},
        "Selu": {"alpha": 1.5, "gamma": 1.1},
    }  # fmt: skip
    gemm = {"transB": 1, "alpha": 0.8, "beta": 0.5}
    gemms = {
        f"FusedGemm {activation}": case(
            "FusedGemm",
            X,
            turned,
            drawn(5),
            activation=activation,
            **gemm,
            **{f"activation_{name}": value for name, value in values.items()},
        )
        for activation, values in activations.items()
    }
    batch = drawn(2, 4, 5)
    return {
        **gemms,
        "FusedMatMul": case("FusedMatMul", X, b, alpha=0.7),
        "FusedMatMul, transposed": case("FusedMatMul", (6, 3), turned, transA=1, transB=1),
        "FusedMatMul of activations": case("FusedMatMul", (2, 3, 4), (2, 5, 4), transB=1, alpha=0.5),
        "FusedMatMul batch": case("FusedMatMul", (3, 2, 4), batch, transBatchA=1),
        "FusedMatMul batch, transposed": case("FusedMatMul", (4, 2, 3), batch, transBatchA=1, transA=1),
        "FusedMatMul of a vector": case("FusedMatMul", (6,), b, transA=1),
        "TransposeMatMul": case("TransposeMatMul", (6, 3), b, transA=1),
        "FusedMatMulActivation": case(
            "FusedMatMulActivation",
            X,
            b,
            activation="Relu",
            alpha=2.0,
            reference=lambda x, w: np.maximum(2 * x @ w, 0),
        ),
        "GemmFastGelu": case(
            "GemmFastGelu", (2, 3, 6), b, drawn(5), reference=lambda x, w, b: fast_gelu(x @ w + b)
        ),
    }


def _convolutions() -> dict[str, Case]:
    kernel, last_kernel, bias = drawn(5, 3, 3, 3), drawn(6, 4, 3, 2), drawn(6)
    activations = {
        "Relu": [], "Tanh": [], "Sigmoid": [], "LeakyRelu": [0.2], "Clip": [-0.5, 0.6],
        "HardSigmoid": [0.3, 0.4],
    }  # fmt: skip
    fused = {
        f"FusedConv {activation}": case(
            "FusedConv",
            IMAGE,
            kernel,
            drawn(5),
            activation=activation,
            **PADDED,
            **({"activation_params": values} if values else {}),
        )
        for activation, values in activations.items()
    }
    size = {"kernel_shape": [3, 2]}

    def convolved(x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
        return last(conv(first(x), w, b))

    return {
        **fused,
        "FusedConv": case("FusedConv", IMAGE, kernel, **PADDED),
        "FusedConv sum": case(
            "FusedConv", IMAGE, kernel, drawn(5), (1, 5, 3, 7), activation="Relu", **PADDED
        ),
        "NhwcFusedConv": case(
            "NhwcFusedConv",
            LAST_IMAGE,
            last_kernel,
            bias,
            (1, 4, 6, 6),
            activation="Relu",
            reference=lambda x, w, b, z: np.maximum(convolved(x, w, b) + z, 0),
        ),
        "NhwcConv": case("NhwcConv", LAST_IMAGE, last_kernel, bias, reference=convolved, **size),
        "NhwcConv, kernel too": case(
            "NhwcConv",
            LAST_IMAGE,
            np.ascontiguousarray(last(last_kernel)),
            reference=lambda x, w: convolved(x, first(w)),
            **size,
        ),
        "internal Conv": case("Conv", LAST_IMAGE, last_kernel, bias, reference=convolved, domain=INTERNAL),
        "internal AveragePool": case(
            "AveragePool",
            (1, 6, 8, 2),
            reference=lambda x: x.reshape(1, 3, 2, 4, 2, 2).mean((2, 4)),
            domain=INTERNAL,
            **POOL,
        ),
        "NhwcMaxPool": case(
            "NhwcMaxPool",
            (1, 6, 8, 2),
            reference=lambda x: x.reshape(1, 3, 2, 4, 2, 2).max((2, 4)),
            **POOL,
        ),
        "ConvTransposeWithDynamicPads": case(
            "ConvTransposeWithDynamicPads",
            IMAGE,
            drawn(3, 4, 3, 3),
            np.array([1, 0, 0, 1], np.int64),
            drawn(4),
            strides=[2, 2],
        ),
    }


def _activations() -> dict[str, Case]:
    scores, mask, outer = (2, 3, 4), drawn(1, 3, 4), {"axis": 1, "is_inner_broadcast": 0}
    return {
        "BiasGelu": case("BiasGelu", X, drawn(6)),
        "FastGelu": case("FastGelu", X),
        "FastGelu with bias": case("FastGelu", X, drawn(6)),
        "Gelu": case("Gelu", X),
        "QuickGelu": case("QuickGelu", X),
        "QuickGelu 1": case("QuickGelu", X, alpha=1.0),
        "BiasAdd": case("BiasAdd", scores, drawn(4), scores, reference=lambda x, b, s: x + b + s),
        "BiasSplitGelu": case("BiasSplitGelu", (1, 3, 6), drawn(6), reference=split_gelu),
        "BiasSoftmax": case(
            "BiasSoftmax",
            scores,
            mask,
            reference=lambda x, b: softmax(x + b),
            **{**outer, "axis": 2},
        ),
        "BiasSoftmax of more": case(
            "BiasSoftmax",
            scores,
            mask,
            reference=lambda x, b: softmax(x + b, (1, 2)),
            **outer,
        ),
    }


def _norms() -> dict[str, Case]:
    gamma, beta, bias = drawn(8), drawn(8), drawn(8)
    channels = drawn(4), drawn(4)

    def skipped(x: np.ndarray, g: np.ndarray, b: np.ndarray, z: np.ndarray, d: np.ndarray) -> tuple:
        return group_norm(x + z + d, g, b, 2, silu=True), x + z + d

    return {
        "SkipLayerNormalization": case(
            "SkipLayerNormalization", TOKENS, TOKENS, gamma, beta, bias, **WITH_SUM
        ),
        "SkipLayerNormalization, plain": case(
            "SkipLayerNormalization", TOKENS, drawn(4, 8), gamma, **EPSILON
        ),
        "SkipSimplifiedLayerNormalization": case(
            "SkipSimplifiedLayerNormalization", TOKENS, TOKENS, gamma, bias, **WITH_SUM
        ),
        "SimplifiedLayerNormalization": case(
            "SimplifiedLayerNormalization", TOKENS, gamma, domain="", **EPSILON
        ),
        "GroupNorm": case(
            "GroupNorm",
            LAST_IMAGE,
            *channels,
            reference=lambda x, g, b: group_norm(x, g, b, 2),
            groups=2,
            activation=0,
        ),
        "GroupNorm, channels first": case(
            "GroupNorm",
            (1, 4, 5, 6),
            *channels,
            reference=lambda x, g, b: first(group_norm(last(x), g, b, 2, silu=True)),
            groups=2,
            channels_last=0,
            activation=1,
        ),
        "SkipGroupNorm": case(
            "SkipGroupNorm",
            LAST_IMAGE,
            *channels,
            LAST_IMAGE,
            drawn(4),
            outputs=("y", "s"),
            reference=skipped,
            groups=2,
            activation=1,
        ),
        "SkipGroupNorm of channels": case(
            "SkipGroupNorm",
            LAST_IMAGE,
            *channels,
            (1, 4),
            reference=lambda x, g, b, z: group_norm(x + z[:, None, None], g, b, 2),
            groups=2,
            activation=0,
        ),
    }


def _attentions() -> dict[str, Case]:
    own, three, keys = (TOKENS, drawn(8, 24) / 3, drawn(24)), (TOKENS,) * 3, (1, 3, 8)
    heads = {"num_heads": 2}
    masks = np.array([[1, 1, 0, 1]], np.int32), np.tri(4, dtype=np.int32)[None]
    return {
        "Attention": case("Attention", *own, **heads),
        "Attention, causal": case("Attention", *own, unidirectional=1, scale=0.4, **heads),
        "Attention, sizes": case(
            "Attention", TOKENS, drawn(8, 20) / 3, drawn(20), qkv_hidden_sizes=[8, 8, 4], **heads
        ),
        "Attention, mask": case("Attention", *own, masks[0], **heads),
        "Attention, square mask": case("Attention", *own, masks[1], **heads),
        "Attention, bias": case("Attention", *own, None, None, drawn(1, 2, 4, 4), **heads),
        "MultiHeadAttention": case("MultiHeadAttention", *three, **heads),
        "MultiHeadAttention, bias": case("MultiHeadAttention", *three, drawn(24), unidirectional=1, **heads),
        "MultiHeadAttention, cross": case(
            "MultiHeadAttention", TOKENS, keys, keys, None, masks[0][:, 1:], scale=0.3, **heads
        ),
        "MultiHeadAttention, wide": case(
            "MultiHeadAttention", TOKENS, keys, (1, 3, 4), None, None, drawn(1, 2, 4, 3), **heads
        ),
        "MultiHeadAttention, packed": case(
            "MultiHeadAttention", (1, 4, 2, 3, 4), reference=packed_attention, **heads
        ),
        **_grouped_queries(),
    }


def _grouped_queries() -> dict[str, Case]:
    heads = {"num_heads": 4, "kv_num_heads": 2}
    rest = None, None, np.array([3], np.int32), np.array(4, np.int32)
    angles = np.arange(6)[:, None] * np.geomspace(1, 0.01, 8)
    tables = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    op, keys, wide = "GroupQueryAttention", (1, 4, 16), (1, 4, 32)
    return {
        op: case(op, wide, keys, keys, *rest, **heads),
        f"{op}, not causal": case(op, wide, keys, keys, *rest, causal=0, **heads),
        f"{op}, turned": case(op, (1, 4, 64), wide, wide, *rest, *tables, do_rotary=1, scale=0.3, **heads),
        f"{op}, packed": case(op, (1, 4, 64), None, None, *rest, **heads),
        f"{op}, windowed": case(op, wide, keys, keys, *rest, local_window_size=2, softcap=0.3, **heads),
    }


def _others() -> dict[str, Case]:
    ids, segments = np.array([[3, 1, 4]], np.int32), np.array([[0, 1, 1]], np.int32)
    tables = (drawn(7, 8), drawn(5, 8), drawn(2, 8), drawn(8), drawn(8))
    places, random = np.array([[2, 0, 5, 1]], np.int64), np.random.default_rng(1)
    grid = random.uniform(-1.2, 1.2, (1, 3, 4, 2)).astype(np.float32)
    angles = random.uniform(0, 6, (9, 2))
    caches = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    return {
        "EmbedLayerNormalization": case(
            "EmbedLayerNormalization", ids.shape, segments, *tables, feeds={0: ids}, outputs=("y", "", "s")
        ),
        "GridSample": case("GridSample", IMAGE, grid, align_corners=1),
        "GridSample, old": case("GridSample", IMAGE, grid, mode="bilinear", padding_mode="border", opset=17),
        "RotaryEmbedding": case("RotaryEmbedding", (1, 2, 4, 4), places, *caches),
        "RotaryEmbedding of tokens": case("RotaryEmbedding", TOKENS, places, *caches, interleaved=1),
        "RotaryEmbedding of heads": case("RotaryEmbedding", TOKENS, places, *caches, num_heads=2),
        "Pad": case("Pad", (2, 3), np.array([0, 1, 1, 0], np.int64), mode="edge"),
        "Trilu": case("Trilu", (3, 4), upper=0),
    }
