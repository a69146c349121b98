"""Types of the attributes of operators that convsv knows beside ONNX's own.

Source: onnxruntime, docs/ContribOperators.md, and the schemas that its version 1.32 registers.
"""

from __future__ import annotations

from collections.abc import Mapping

from onnx import AttributeProto

from convsv_cli.model.layer import CONV, TRANSPOSED

MICROSOFT, LAST, BLOCKED = "com.microsoft", "com.ms.internal.nhwc", "com.microsoft.nchwc"
"""Domains: of onnxruntime's operators, and of ONNX's own with channels on the last axis or in blocks."""
Types = Mapping[str, int]

_KINDS = {
    "i": AttributeProto.INT,
    "f": AttributeProto.FLOAT,
    "s": AttributeProto.STRING,
    "I": AttributeProto.INTS,
    "F": AttributeProto.FLOATS,
}


def _types(text: str) -> Types:
    """From "i:axis f:epsilon": a letter for the type of each, upper case for lists."""
    pairs = (part.split(":") for part in text.split())
    return {name: _KINDS[kind] for kind, name in pairs}


_KERNEL = "s:auto_pad I:dilations I:kernel_shape I:pads I:strides"
_CONV = f"{_KERNEL} i:group"
_FUSED_CONV = f"{_CONV} s:activation F:activation_params"
_ACTIVATION = "s:activation f:activation_alpha f:activation_beta f:activation_gamma"
_PRODUCT = "f:alpha i:transA i:transB i:transBatchA i:transBatchB"
_GROUPS = "i:activation i:channels_last f:epsilon i:groups"
_MICROSOFT = {
    **dict.fromkeys(("BiasAdd", "BiasGelu", "BiasSplitGelu", "FastGelu", "Gelu", "GemmFastGelu"), ""),
    **dict.fromkeys(("DynamicQuantizeMatMul", "MatMulIntegerToFloat"), ""),
    **dict.fromkeys(("QLinearAdd", "QLinearMul", "QLinearSigmoid"), ""),
    **dict.fromkeys(("GroupNorm", "SkipGroupNorm"), _GROUPS),
    **dict.fromkeys(("SkipLayerNormalization", "SkipSimplifiedLayerNormalization"), "f:epsilon"),
    **dict.fromkeys(("FusedConv", "NhwcFusedConv"), _FUSED_CONV),
    **dict.fromkeys(("FusedMatMul", "TransposeMatMul"), _PRODUCT),
    "Attention": "i:do_rotary f:mask_filter_value i:num_heads i:past_present_share_buffer "
    "I:qkv_hidden_sizes i:rotary_embedding_dim f:scale i:unidirectional",
    "BiasSoftmax": "i:axis i:is_inner_broadcast",
    "ConvTransposeWithDynamicPads": "s:auto_pad I:dilations i:group I:kernel_shape "
    "I:output_padding I:strides",
    "DequantizeLinear": "i:axis i:block_size",
    "EmbedLayerNormalization": "f:epsilon i:mask_index_type",
    "FusedGemm": f"{_ACTIVATION} f:alpha f:beta i:transA i:transB",
    "FusedMatMulActivation": f"{_PRODUCT} {_ACTIVATION} i:activation_axis",
    "GridSample": "i:align_corners s:mode s:padding_mode",
    "GroupQueryAttention": "i:causal i:do_rotary f:k_norm_epsilon s:k_quant_type i:kv_cache_bit_width "
    "i:kv_num_heads i:local_window_size i:num_heads f:q_norm_epsilon f:qk_norm_epsilon i:qk_output "
    "i:rotary_interleaved f:scale i:sliding_window_cache i:smooth_softmax f:softcap s:v_quant_type",
    "MatMulBnb4": "i:K i:N i:block_size i:quant_type i:training_mode i:transB",
    "MatMulNBits": "i:K i:N i:accuracy_level i:bits i:block_size i:weight_prepacked",
    "MultiHeadAttention": "f:mask_filter_value i:num_heads f:scale i:unidirectional",
    "NhwcConv": _CONV,
    "NhwcMaxPool": f"{_KERNEL} i:ceil_mode",
    "Pad": "s:mode",
    "QAttention": "i:do_rotary f:mask_filter_value i:num_heads i:past_present_share_buffer f:scale "
    "i:unidirectional",
    "QGemm": "f:alpha i:transA i:transB",
    "QLinearAveragePool": f"{_KERNEL} i:ceil_mode i:channels_last i:count_include_pad",
    "QLinearConcat": "i:axis",
    "QLinearConv": f"{_CONV} i:channels_last",
    "QLinearGlobalAveragePool": "i:channels_last",
    "QLinearLeakyRelu": "f:alpha",
    "QLinearReduceMean": "I:axes i:keepdims",
    "QLinearSoftmax": "i:axis i:opset",
    "QuickGelu": "f:alpha",
    "RotaryEmbedding": "i:interleaved i:is_packed_batching i:num_heads i:rotary_embedding_dim f:scale",
    "SimplifiedLayerNormalization": "i:axis f:epsilon i:stash_type",
    "Trilu": "i:upper",
}
_LAST = {
    "AveragePool": f"{_KERNEL} i:ceil_mode i:count_include_pad",
    CONV: _CONV,
    TRANSPOSED: f"{_CONV} I:output_padding I:output_shape",
    "MaxPool": f"{_KERNEL} i:ceil_mode i:storage_order",
}
_BLOCKED = {
    **dict.fromkeys(("AveragePool", "MaxPool"), f"{_LAST['AveragePool']} i:storage_order"),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), ""),
    **dict.fromkeys(("ReorderInput", "ReorderOutput"), "i:channels i:channels_last"),
    CONV: _FUSED_CONV,
    "Upsample": "s:coordinate_transformation_mode s:mode I:scales",
}
CONTRIBUTED: Mapping[tuple[str, str], Types] = {
    **{(MICROSOFT, op): _types(text) for op, text in _MICROSOFT.items()},
    **{(LAST, op): _types(text) for op, text in _LAST.items()},
    **{(BLOCKED, op): _types(text) for op, text in _BLOCKED.items()},
    ("", "SimplifiedLayerNormalization"): _types(_MICROSOFT["SimplifiedLayerNormalization"]),
}
"""By domain and operator; onnxruntime has one of its own in ONNX's domain."""
