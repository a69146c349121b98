"""Weights of a model that the penalty does not count, and names."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.ao.nn import quantized
from torch.nn.utils import parametrizations

from convsv_cli import LipschitzPenalty
from convsv_cli.errors import UsageError


class Custom(nn.Module):
    """Weights that nobody knows: of them a matrix counts as left out, not vectors, scales and masks."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.randn(3, 4))
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.weight, self.bias = (nn.Parameter(torch.randn(3, 1, 1)) for _ in range(2))
        self.register_buffer("causal", torch.ones(5, 5))
        self.register_buffer("qweight", torch.ones(5, 5, dtype=torch.int32))


class Adapted(nn.Linear):
    """As of loralib."""

    def __init__(self) -> None:
        super().__init__(3, 3)
        self.lora_A, self.lora_B = nn.Parameter(torch.randn(1, 3)), nn.Parameter(torch.randn(3, 1))


class Conditioned(nn.LayerNorm):
    """Of which scale and shift come from a matrix of its own."""

    def __init__(self) -> None:
        super().__init__((3, 4))
        self.modulation = nn.Parameter(torch.randn(4, 8))


class Filter(nn.Module):
    """One channel: shaped as a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(1, 1, 5))


class Hole(nn.Module):
    """A lazy module of somebody's."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.UninitializedParameter()


def sparse() -> nn.Linear:
    layer = nn.Linear(2, 2)
    layer.weight = nn.Parameter(torch.eye(2).to_sparse())
    return layer


def of_int8() -> nn.Linear:
    layer = nn.Linear(2, 2, bias=False)
    layer.weight = nn.Parameter(torch.ones(2, 2, dtype=torch.int8), requires_grad=False)
    return layer


STRANGERS: dict[str, tuple[Callable[[], nn.Module], list[str]]] = {
    "Bilinear": (lambda: nn.Bilinear(2, 3, 4), ["it (Bilinear)"]),
    "Embedding": (lambda: nn.Embedding(5, 3), ["it (Embedding)"]),
    "EmbeddingBag": (lambda: nn.EmbeddingBag(5, 3), ["it (EmbeddingBag)"]),
    "custom": (Custom, ["it.mix (Custom)", "it.qweight (Custom)"]),
    "LoRA": (Adapted, ["it.lora_A (Adapted)", "it.lora_B (Adapted)"]),
    "list": (lambda: nn.ParameterList([torch.randn(2, 2)]), ["it.0 (ParameterList)"]),
    "lazy": (Hole, ["it.matrix (Hole)"]),
    "normalisation": (Conditioned, ["it.modulation (Conditioned)"]),
    "filter": (Filter, ["it.kernel (Filter)"]),
    "sparse": (sparse, ["it (Linear of sparse_coo)"]),
    "int8": (of_int8, ["it (Linear of int8)"]),
    "complex": (lambda: nn.Linear(2, 2, dtype=torch.complex64), ["it (Linear of complex64)"]),
    "fp8": (lambda: nn.Linear(2, 2).to(torch.float8_e4m3fn), ["it (Linear of float8_e4m3fn)"]),
    "quantised": (lambda: quantized.Linear(2, 2), ["it (Linear)"]),
    "quantised LSTM": (lambda: quantized.dynamic.LSTM(2, 2), ["it (LSTM)"]),
    "parametrised": (lambda: parametrizations.weight_norm(nn.Embedding(5, 3)), ["it (Embedding)"]),
    "of one length": (
        lambda: parametrizations.weight_norm(nn.Bilinear(2, 2, 2), dim=None),
        ["it (Bilinear)"],
    ),
}


@pytest.mark.filterwarnings("ignore:torch.quantize")
@pytest.mark.parametrize("kind", STRANGERS)
def test_what_is_left_out_is_named_once(kind: str) -> None:
    make, expected = STRANGERS[kind]
    model = nn.ModuleDict({"it": make(), "fc": nn.Linear(2, 2)})
    with pytest.warns(UserWarning, match="^the penalty leaves out ") as caught:
        penalty = LipschitzPenalty(model)
    (warning,) = caught
    assert warning.filename == __file__
    assert ", ".join(expected) in str(warning.message)
    assert [str(each) for each in penalty.left_out] == expected
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        penalty().backward()
        assert not LipschitzPenalty(model, exclude=["it*"]).left_out
    with pytest.raises(UsageError, match="no Linear or convolution layer") as refused:
        LipschitzPenalty(model, exclude=["fc"] if kind != "LoRA" else ["fc", "it"])
    assert expected[0] in str(refused.value)


@pytest.mark.parametrize("make", [nn.LazyBatchNorm2d, lambda: nn.LayerNorm((3, 4)), nn.PReLU, nn.Identity])
def test_what_only_scales_is_not_named(make: Callable[[], nn.Module]) -> None:
    assert not LipschitzPenalty(nn.Sequential(make(), nn.Linear(2, 2))).left_out
