"""Patterns of disjoint parts: what is split, sorted, rolled, shuffled, padded in a circle and added up."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.pattern import Pattern, Text, ints, padded, plain, reduced, reshaped, sliced, split

ROOT2 = math.sqrt(2)


def halves_joined(opset: int) -> str:
    """Both halves, each by a function of its own."""
    parts = split(opset, "x", ("a", "b"), (1, 3))
    return parts + "c = Tanh (a)\n d = LeakyRelu <alpha = 0.1> (b)\n y = Concat <axis = 1> (c, d)\n"


def sorted_pairs(opset: int) -> str:
    """MaxMin of two halves."""
    parts = split(opset, "x", ("a", "b"), (2, 2))
    return parts + "c = Max (a, b)\n d = Min (a, b)\n y = Concat <axis = 1> (c, d)\n"


def sorted_slices(_: int) -> str:
    """MaxMin of two slices."""
    parts = sliced("x", "a", 0, 2) + sliced("x", "b", 2, 4)
    return parts + "c = Max (a, b)\n d = Min (b, a)\n y = Concat <axis = 1> (c, d)\n"


def sorted_groups(opset: int) -> str:
    """GroupSort of pairs by ReduceMax and ReduceMin."""
    text = reshaped("x", "g", 1, 2, 2, 6, 6)
    text += reduced(opset, "ReduceMax", "g", "c", 1) + reduced(opset, "ReduceMin", "g", "d", 1)
    return text + "e = Concat <axis = 1> (c, d)\n" + reshaped("e", "y", 1, 4, 6, 6)


def sorted_by_topk(_: int) -> str:
    """GroupSort by TopK."""
    text = reshaped("x", "g", 1, 2, 2, 6, 6) + ints("k", 2)
    return text + "v, i = TopK <axis = 1> (g, k)\n" + reshaped("v", "y", 1, 4, 6, 6)


def rolled(_: int) -> str:
    """A roll along one axis, as torch exports it."""
    parts = sliced("x", "a", 4, 100, 3) + sliced("x", "b", 0, 4, 3)
    return parts + "y = Concat <axis = 3> (a, b)\n"


def rolled_twice(_: int) -> str:
    """A roll along two axes."""
    text = sliced("x", "a", 4, 100, 3) + sliced("x", "b", 0, 4, 3) + "r = Concat <axis = 3> (a, b)\n"
    text += sliced("r", "c", -2, 100, 2) + sliced("r", "d", 0, -2, 2)
    return text + "y = Concat <axis = 2> (c, d)\n"


def shuffled(_: int) -> str:
    """Channel shuffle by Reshape and Transpose."""
    text = reshaped("x", "g", 1, 2, 2, 6, 6) + "t = Transpose <perm = [0, 2, 1, 3, 4]> (g)\n"
    return text + reshaped("t", "y", 1, 4, 6, 6)


def shuffled_by_split(opset: int) -> str:
    """Channel shuffle by Split and Concat."""
    return split(opset, "x", "abcd", (1, 1, 1, 1)) + "y = Concat <axis = 1> (a, c, b, d)\n"


def shuffled_by_gather(_: int) -> str:
    """Channel shuffle by Gathers of even and odd channels."""
    text = ints("even", 0, 2) + ints("odd", 1, 3)
    text += "a = Gather <axis = 1> (x, even)\n b = Gather <axis = 1> (x, odd)\n"
    return text + "y = Concat <axis = 1> (a, b)\n"


def wrapped(opset: int) -> str:
    """Circular padding by Concat of Slices along both axes; then a convolution of ones."""
    text = sliced("x", "a", -1, 100, 3) + sliced("x", "b", 0, 1, 3) + "p = Concat <axis = 3> (a, x, b)\n"
    text += sliced("p", "c", -1, 100, 2) + sliced("p", "d", 0, 1, 2) + "q = Concat <axis = 2> (c, p, d)\n"
    return text + ones(opset, "q")


def ones(_: int, source: str) -> str:
    """A depthwise convolution by 3 x 3 ones, norm 9."""
    numbers = ", ".join(["1"] * 36)
    return f"k = Constant <value = float[4, 1, 3, 3] {{{numbers}}}> ()\ny = Conv <group = 4> ({source}, k)\n"


def wrapped_by_pad(opset: int) -> str:
    """Circular padding by Pad."""
    text = padded(opset, "x", "q", "wrap", 0, 0, 1, 1, 0, 0, 1, 1)
    return text and text + ones(opset, "q")


def coupled(opset: int) -> str:
    """An additive coupling layer."""
    parts = split(opset, "x", ("a", "b"), (2, 2))
    return parts + "f = Tanh (a)\n c = Add (b, f)\n y = Concat <axis = 1> (a, c)\n"


def einsum(equation: str) -> Text:
    """An Einsum of one operand, from opset 12."""
    return lambda opset: f'y = Einsum <equation = "{equation}"> (x)\n' if opset > 12 else ""


def max_min(x: Tensor) -> Tensor:
    """Of two halves."""
    a, b = x.chunk(2, 1)
    return torch.cat((torch.maximum(a, b), torch.minimum(a, b)), 1)


def group_sort(x: Tensor) -> Tensor:
    """Of pairs of channels."""
    return x.reshape(1, 2, 2, 6, 6).sort(1).values.reshape(1, 4, 6, 6)


def windows(x: Tensor) -> Tensor:
    """Swin: shift, and cut into windows of 3 x 3; channels last."""
    x = torch.roll(x.permute(0, 2, 3, 1), (-1, -1), (1, 2))
    return x.reshape(1, 2, 3, 2, 3, 4).permute(0, 1, 3, 2, 4, 5).reshape(4, 9, 4)


def coupling(x: Tensor) -> Tensor:
    """Additive."""
    a, b = x.chunk(2, 1)
    return torch.cat((a, b + torch.tanh(a)), 1)


class Circular(nn.Module):
    """Circular padding, then a depthwise convolution by ones."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular", groups=4, bias=False)
        nn.init.ones_(self.conv.weight)

    def forward(self, x: Tensor) -> Tensor:
        """As in the class's docstring."""
        return self.conv(x)


class ShuffleUnit(nn.Module):
    """ShuffleNet v2's unit, with orthogonal 1x1 maps in one half: norm 1."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = (nn.Conv2d(2, 2, 1, bias=False) for _ in range(2))
        for each in (self.first, self.last):
            nn.init.orthogonal_(each.weight)

    def forward(self, x: Tensor) -> Tensor:
        """As in the class's docstring."""
        a, b = x.chunk(2, 1)
        b = functional.relu(self.last(torch.tanh(self.first(b))))
        whole = torch.cat((a, b), 1)
        return whole.reshape(1, 2, 2, 6, 6).transpose(1, 2).reshape(1, 4, 6, 6)


GOLDEN = (1 + math.sqrt(5)) / 2
"""The norm of [[1, 0], [1, 1]]."""

DISJOINT = (
    Pattern(
        name="split, functions, concat",
        true=1,
        texts={"split": halves_joined},
        torch=lambda x: torch.cat((x[:, :1].tanh(), functional.leaky_relu(x[:, 1:])), 1),
    ),
    Pattern(name="MaxMin", true=1, torch=max_min, texts={"split": sorted_pairs, "slices": sorted_slices}),
    Pattern(
        name="GroupSort",
        true=1,
        torch=group_sort,
        texts={"reductions": sorted_groups, "TopK": sorted_by_topk},
    ),
    Pattern(
        name="CReLU",
        true=1,
        torch=lambda x: torch.cat((torch.relu(x), torch.relu(-x)), 1),
        texts={
            "Relu": plain("n = Neg (x)\n a = Relu (x)\n b = Relu (n)\n y = Concat <axis = 1> (a, b)\n"),
            "Neg": plain(
                "n = Neg (x)\n a = Relu (x)\n b = Relu (n)\n c = Neg (b)\n y = Concat <axis = 1> (a, c)\n"
            ),
        },
    ),
    Pattern(name="roll", true=1, torch=lambda x: torch.roll(x, 2, 3), texts={"slices": rolled}),
    Pattern(
        name="roll, two axes",
        true=1,
        torch=lambda x: torch.roll(x, (2, -1), (2, 3)),
        texts={"slices": rolled_twice},
    ),
    Pattern(
        name="channel shuffle",
        true=1,
        torch=lambda x: x.reshape(1, 2, 2, 6, 6).transpose(1, 2).reshape(1, 4, 6, 6),
        texts={"reshape": shuffled, "split": shuffled_by_split, "gather": shuffled_by_gather},
    ),
    Pattern(name="shifted windows", true=1, torch=windows),
    Pattern(
        name="transposition",
        true=1,
        shapes=((2, 3, 4),),
        texts={"Einsum": einsum("abc->cab")},
        torch=lambda x: torch.einsum("abc->cab", x),
    ),
    Pattern(
        name="diagonal",
        true=1,
        shapes=((3, 3),),
        texts={"Einsum": einsum("aa->a")},
        torch=lambda x: torch.einsum("aa->a", x),
    ),
    Pattern(name="trace", true=math.sqrt(3), shapes=((3, 3),), texts={"Einsum": einsum("aa->")}),
    Pattern(
        name="sum by Einsum",
        true=2,
        shapes=((3, 4),),
        texts={"Einsum": einsum("ab->a")},
        torch=lambda x: torch.einsum("ab->a", x),
    ),
    Pattern(
        name="circular padding and convolution",
        true=9,
        torch=Circular(),
        texts={"slices": wrapped, "Pad": wrapped_by_pad},
    ),
    Pattern(
        name="sum of two inputs",
        true=ROOT2,
        shapes=((3, 4), (3, 4)),
        torch=torch.add,
        texts={"Add": plain("y = Add (x, z)\n"), "Sum": plain("y = Sum (x, z)\n")},
    ),
    Pattern(
        name="difference of two inputs",
        true=ROOT2,
        shapes=((3, 4), (3, 4)),
        torch=torch.sub,
        texts={"Sub": plain("y = Sub (x, z)\n")},
    ),
    Pattern(
        name="mean of two inputs",
        true=1 / ROOT2,
        shapes=((3, 4), (3, 4)),
        torch=lambda x, z: (x + z) / 2,
        texts={"Mean": plain("y = Mean (x, z)\n")},
    ),
    Pattern(
        name="sum of two halves",
        true=ROOT2,
        torch=lambda x: x[:, :2] + x[:, 2:],
        texts={"split": lambda o: split(o, "x", ("a", "b"), (2, 2)) + "y = Add (a, b)\n"},
    ),
    Pattern(name="coupling layer", true=GOLDEN, torch=coupling, texts={"split": coupled}),
    Pattern(name="ShuffleNet unit", true=1, torch=ShuffleUnit()),
)
