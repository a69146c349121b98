"""Bounds of patterns whose constant is known: `python -m benchmarks.patterns [WORD ...]`.

Each pattern is exported by both of torch's exporters, and written by hand, at several opsets. Prints a
Markdown table: pattern, spelling, opset, the constant where it is known, and the bound, of the patterns that
have one of the words in their names, or of all. `--save FILE` keeps the bounds, and `--before FILE` shows
those that were kept beside the new ones.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import torch
from onnx import parser
from torch import Tensor, nn
from torch.nn import functional

OPSETS = (11, 13, 18, 20)
DYNAMO, LEGACY, HAND = "dynamo", "legacy", "by hand"
AT = {DYNAMO: (18, 20), LEGACY: (11, 13, 18, 20), HAND: OPSETS}
ROOT2 = math.sqrt(2)
Text = Callable[[int], str]
"""The body of a graph from `x` (and `z`) to `y` at an opset, as `onnx.parser` reads it; empty for none."""


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """A function, and how it is spelled.

    Attributes:
        name: unique.
        true: its Lipschitz constant (L2, of all inputs together); None where it is not known.
        shapes: of its inputs.
        torch: computes it; None where torch has no such thing.
        texts: hand-written graphs, by the spelling's name.
        box: what entries of the inputs are in; None for anything.
    """

    name: str
    true: float | None
    shapes: Sequence[Sequence[int]] = ((1, 4, 6, 6),)
    torch: Callable[..., Tensor] | nn.Module | None = None
    texts: Mapping[str, Text] = field(default_factory=dict)
    box: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One spelling at one opset."""

    pattern: str
    spelling: str
    opset: int
    true: float | None
    bound: float

    @property
    def key(self) -> str:
        """Names it in a saved file."""
        return f"{self.pattern} | {self.spelling} | {self.opset}"


class Applied(nn.Module):
    """A function as a module, for exporters."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        """What the function gives."""
        return self.function(*inputs)


def ints(name: str, *values: int) -> str:
    """A constant list of integers, at every opset."""
    return f"{name} = Constant <value = int64[{len(values)}] {{{', '.join(map(str, values))}}}> ()\n"


def split(opset: int, source: str, results: Sequence[str], sizes: Sequence[int], axis: int = 1) -> str:
    """A Split into parts of given sizes."""
    names = ", ".join(results)
    if opset < 13:
        return f"{names} = Split <axis = {axis}, split = [{', '.join(map(str, sizes))}]> ({source})\n"
    return ints(f"{source}_sizes", *sizes) + f"{names} = Split <axis = {axis}> ({source}, {source}_sizes)\n"


def sliced(source: str, result: str, start: int, end: int, axis: int = 1) -> str:
    """A Slice along one axis."""
    ends = "".join(ints(f"{result}_{i}", value) for i, value in enumerate((start, end, axis)))
    return f"{ends}{result} = Slice ({source}, {result}_0, {result}_1, {result}_2)\n"


def reduced(opset: int, op: str, source: str, result: str, axis: int) -> str:
    """A reduction along one axis, which is kept."""
    if opset < (13 if op == "ReduceSum" else 18):
        return f"{result} = {op} <axes = [{axis}], keepdims = 1> ({source})\n"
    return ints(f"{result}_axes", axis) + f"{result} = {op} <keepdims = 1> ({source}, {result}_axes)\n"


def reshaped(source: str, result: str, *sizes: int) -> str:
    """A Reshape."""
    return ints(f"{result}_shape", *sizes) + f"{result} = Reshape ({source}, {result}_shape)\n"


def padded(opset: int, source: str, result: str, mode: str, *pads: int) -> str:
    """A Pad; nothing where the opset has no such mode."""
    if mode == "wrap" and opset < 19:
        return ""
    return ints(f"{result}_pads", *pads) + f'{result} = Pad <mode = "{mode}"> ({source}, {result}_pads)\n'


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


def plain(text: str) -> Text:
    """The same at every opset."""
    return lambda _: text


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
    """ShuffleNet v2's unit with orthogonal 1x1 maps in one half: norm 1 but for the depthwise one's 3."""

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
PATTERNS = DISJOINT


def exported(pattern: Pattern, *, dynamo: bool, opset: int, folder: Path) -> onnx.ModelProto:
    """The pattern by one of torch's exporters."""
    module = pattern.torch if isinstance(pattern.torch, nn.Module) else Applied(pattern.torch)
    inputs = tuple(torch.rand(tuple(shape)) for shape in pattern.shapes)
    path = folder / "exported.onnx"
    how = {"optimize": True, "verbose": False} if dynamo else {}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(module.eval(), inputs, path, dynamo=dynamo, opset_version=opset, **how)
    return onnx.load(path)


def written(pattern: Pattern, text: Text, opset: int) -> onnx.ModelProto | None:
    """A hand-written spelling; None where there is none at this opset."""
    body = text(opset)
    if not body:
        return None
    inputs = ", ".join(
        f"float[{', '.join(map(str, shape))}] {name}"
        for shape, name in zip(pattern.shapes, "xz", strict=False)
    )
    head = f'<ir_version: 8, opset_import: ["" : {opset}]>'
    return parser.parse_model(f"{head} g ({inputs}) => (float y) {{ {body} }}")


def spellings(pattern: Pattern, folder: Path) -> Iterator[tuple[str, int, onnx.ModelProto]]:
    """All models of a pattern; exporters that do not work at an opset are left out."""
    for spelling, dynamo in ((DYNAMO, True), (LEGACY, False)):
        for opset in AT[spelling] if pattern.torch is not None else ():
            with contextlib.suppress(Exception):
                yield spelling, opset, exported(pattern, dynamo=dynamo, opset=opset, folder=folder)
    for name, text in pattern.texts.items():
        for opset in AT[HAND]:
            model = written(pattern, text, opset)
            if model is not None:
                yield f"{HAND}, {name}", opset, model


def rows(patterns: Sequence[Pattern]) -> Iterator[Row]:
    """The bounds of all models of all patterns."""
    from convsv_cli import audit

    with TemporaryDirectory() as name:
        folder = Path(name)
        for pattern in patterns:
            for spelling, opset, model in spellings(pattern, folder):
                path = folder / "model.onnx"
                onnx.save(model, path)
                bound = audit(path, network_effort="quick", input_range=pattern.box).bound
                found = math.inf if bound.lipschitz is None else bound.lipschitz
                yield Row(
                    pattern=pattern.name, spelling=spelling, opset=opset, true=pattern.true, bound=found
                )


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("words", nargs="*")
    arguments.add_argument("--before", type=Path)
    arguments.add_argument("--save", type=Path)
    options = arguments.parse_args()
    logging.disable(logging.WARNING)
    torch.manual_seed(0)
    before = json.loads(options.before.read_text()) if options.before else {}
    chosen = [each for each in PATTERNS if not options.words or any(w in each.name for w in options.words)]
    found = {}
    print("| pattern | spelling | opset | constant | before | bound |\n|---|---|---|---|---|---|")
    for row in rows(chosen):
        found[row.key] = row.bound
        true = "" if row.true is None else f"{row.true:.5g}"
        old = f"{before[row.key]:.5g}" if row.key in before else ""
        print(
            f"| {row.pattern} | {row.spelling} | {row.opset} | {true} | {old} | {row.bound:.5g} |", flush=True
        )
    if options.save:
        options.save.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
