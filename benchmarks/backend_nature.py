"""Why operators of ONNX's backend suite have no Lipschitz constant where all that it varies varies."""

from __future__ import annotations

PRODUCT = "x y: its slope in x is y, of any size"
WEIGHTED = "what is normalized, or looked up, times weights that vary: x w"
STEPS = "a step: constant on both sides, with a jump between"
COUNT = "its inputs say how many results there are"
QUOTIENT = "x / y: 1 / y has no bound near 0"
LOOKS_UP = "it looks up values at places that vary: as steep as neighbours differ"

REASONS = {
    **dict.fromkeys(
        (
            "CausalConvWithState",
            "Conv",
            "ConvTranspose",
            "Einsum",
            "Gemm",
            "GRU",
            "LinearAttention",
            "LSTM",
            "MatMul",
            "Mul",
            "PRelu",
            "RNN",
            "RotaryEmbedding",
            "STFT",
            "SwiGLU",
        ),
        PRODUCT,
    ),
    **dict.fromkeys(
        (
            "BatchNormalization",
            "GroupNormalization",
            "InstanceNormalization",
            "LayerNormalization",
            "NegativeLogLikelihoodLoss",
            "RMSNormalization",
            "SoftmaxCrossEntropyLoss",
        ),
        WEIGHTED,
    ),
    **dict.fromkeys(
        (
            "Binarizer",
            "Ceil",
            "DynamicQuantizeLinear",
            "Floor",
            "Hardmax",
            "Mod",
            "OneHot",
            "Round",
            "Sign",
            "TreeEnsemble",
        ),
        STEPS,
    ),
    **dict.fromkeys(("Range", "Resize", "Unique", "Upsample"), COUNT),
    **dict.fromkeys(("DeformConv", "GridSample", "RoiAlign"), LOOKS_UP),
    "Acos": "arccos: infinitely steep at -1 and 1",
    "Acosh": "arcosh: infinitely steep at 1",
    "Adagrad": "g / sqrt(h): no bound near h = 0",
    "Adam": "v / sqrt(h): no bound near h = 0",
    "Asin": "arcsin: infinitely steep at -1 and 1",
    "Atanh": "artanh: infinitely steep at -1 and 1",
    "Attention": "softmax(q k) v: its slope in q is of the size of k v",
    "Bernoulli": "it draws random numbers",
    "Cosh": "cosh: its slope sinh is of any size",
    "CumProd": "x1 x2: products of entries",
    "Det": "a d - b c: products of entries",
    "Div": QUOTIENT,
    "Dropout": "x / (1 - ratio): no bound near a ratio of 1",
    "Exp": "exp: its slope exp is of any size",
    "FlexAttention": "softmax(q k) v: its slope in q is of the size of k v",
    "Log": "log x: its slope 1 / x has no bound near 0",
    "LpNormalization": "x / |x|: its slope 1 / |x| has no bound near 0",
    "MeanVarianceNormalization": "(x - mean) / deviation: no bound where all entries agree",
    "MelWeightMatrix": "its inputs say where its triangles are",
    "Momentum": "rate times gradient: products of inputs",
    "Pow": "x^y: x^2 has the slope 2 x",
    "Reciprocal": "1 / x: no bound near 0",
    "ReduceLogSum": "log of a sum: no bound near 0",
    "ReduceProd": "x1 x2: products of entries",
    "ReduceSumSquare": "x^2: its slope is 2 x",
    "ScatterElements": "with mul: products of entries",
    "ScatterND": "with mul: products of entries",
    "Shrink": "it jumps at lambd, where bias is not lambd",
    "Sinh": "sinh: its slope cosh is of any size",
    "Sqrt": "sqrt x: infinitely steep at 0",
    "Tan": "tan: poles",
    "ThresholdedRelu": "it jumps from 0 to alpha at alpha",
}
"""By operator: where inputs that show it were found, this is what they show."""
