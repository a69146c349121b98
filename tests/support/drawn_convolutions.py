"""Conv and ConvTranspose nodes with random attributes, and their matrices as onnxruntime runs them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import ModelProto, helper

from tests.support import runtime
from tests.support.onnx_models import graph_model

OPS = ("Conv", "ConvTranspose")
SIZES = (1, 1, 1, 2, 2, 3, 4, 6)
MOST_TAPS = {1: 5, 2: 3, 3: 2}
HOW = (*("few outputs",) * 4, "pads", "SAME_UPPER", "SAME_LOWER", "VALID")
STEPS = (1, 2, 2, 3, 4)
ENTRIES = 400  # of a side of the matrix


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A node: its weight as the operator has it, small whole numbers so that single precision is exact."""

    op: str
    weight: np.ndarray
    size: tuple[int, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    opset: int = 20

    @property
    def axes(self) -> int:
        return len(self.size)

    @property
    def groups(self) -> int:
        return self.attributes.get("group", 1)

    @property
    def channels(self) -> int:
        return self.weight.shape[0] if self.op == "ConvTranspose" else self.weight.shape[1] * self.groups

    def each(self, name: str) -> tuple[int, ...]:
        """Strides or dilations."""
        return tuple(self.attributes.get(name, (1,) * self.axes))

    def model(self, batch: int = 1) -> ModelProto:
        node = helper.make_node(self.op, ["x", "w"], ["y"], **self.attributes)
        shape = (batch, self.channels, *self.size)
        return graph_model([node], {"x": shape}, {"w": self.weight}, opset=self.opset)

    def matrix(self) -> np.ndarray | None:
        """[outputs, inputs], from all unit inputs in one batch; None where onnxruntime does not take it."""
        count = self.channels * math.prod(self.size)
        units = np.eye(count, dtype=np.float32).reshape(count, self.channels, *self.size)
        try:
            (outputs,) = runtime.session(self.model(count)).run(None, {"x": units})
        except Exception:  # noqa: BLE001  (each kind of misfit has an error of its own)
            return None
        return outputs.reshape(count, -1).T.astype(np.float64) if outputs.size else None

    def features(self) -> Iterator[str]:
        """What is special about it."""
        yield f"{self.op} {self.axes}-D"
        yield f"{self.op} {self.attributes.get('auto_pad', 'explicit')}"
        reach = [d * (k - 1) for d, k in zip(self.each("dilations"), self.weight.shape[2:], strict=True)]
        seen = {
            "groups": self.groups > 1,
            "output_padding": any(self.attributes.get("output_padding", ())),
            "output_shape": "output_shape" in self.attributes,
            "stride beyond the kernel": any(
                s > r + 1 for s, r in zip(self.each("strides"), reach, strict=True)
            ),
            "dilation beyond the stride": any(map(_above, self.each("dilations"), self.each("strides"))),
            "pads beyond the kernel": any(map(_above, self.attributes.get("pads", ()), reach * 2)),
            "unequal pads": (pads := self.attributes.get("pads", ()))[: self.axes] != pads[self.axes :],
            "kernel beyond the input": any(map(_above, reach, self.size)),
            "one pixel": set(self.size) == {1},
        }
        yield from (f"{self.op} {name}" for name, there in seen.items() if there)


def drawn(seed: int, count: int) -> Iterator[tuple[Drawn, np.ndarray]]:
    """So many nodes that onnxruntime takes, with their matrices."""
    random = np.random.default_rng(seed)
    while count:
        node = draw(random)
        matrix = node.matrix() if max(_sides(node)) <= ENTRIES else None
        if matrix is not None:
            count -= 1
            yield node, matrix


def draw(random: np.random.Generator) -> Drawn:
    """Any node; many of them fit no runtime."""
    axes, op = int(random.choice((1, 1, 2, 2, 3))), str(random.choice(OPS, p=(0.35, 0.65)))
    how = str(random.choice(HOW))
    kernel, size = _integers(random, 1, MOST_TAPS[axes], axes), _some(random, SIZES, axes)
    strides, dilations = _some(random, STEPS, axes), _some(random, STEPS, axes)
    if op == "Conv" and how.startswith("SAME"):
        dilations = (1,) * axes  # onnxruntime wants it so
    groups, (first, second) = int(random.choice((1, 1, 2, 3))), _integers(random, 1, 2, 2)
    weight = random.integers(-9, 10, (groups * first, second, *kernel)).astype(np.float32)
    if random.random() < 0.3:
        weight = np.full_like(weight, 1000)
    attributes: dict[str, Any] = {"strides": strides, "dilations": dilations, "group": groups}
    reach = tuple(d * (k - 1) for d, k in zip(dilations, kernel, strict=True))
    whole = tuple(s * (n - 1) + r + 1 for s, n, r in zip(strides, size, reach, strict=True))
    if op == "ConvTranspose" and random.random() < 0.8:
        further = tuple(max(0, s - int(random.choice((1, 1, 2)))) for s in strides)
        attributes["output_padding"] = further
        whole = tuple(n + more for n, more in zip(whole, further, strict=True))
    if op == "ConvTranspose" and random.random() < 0.15:
        attributes["output_shape"] = tuple(int(random.integers(1, n + 1)) for n in whole)
    if how == "few outputs" and op == "ConvTranspose":  # so that the output padding is most of them
        spare = [max(0, n - int(random.choice((1, 1, 2)))) for n in whole]
        begins = tuple(int(random.integers(0, n + 1)) for n in spare)
        attributes["pads"] = (*begins, *(n - begin for n, begin in zip(spare, begins, strict=True)))
    elif how in ("few outputs", "pads"):
        attributes["pads"] = tuple(int(random.integers(0, r + 2)) for r in reach * 2)
    else:
        attributes["auto_pad"] = how
    opset = int(random.choice((10, 11, 20)))
    return Drawn(op=op, weight=weight, size=size, attributes=attributes, opset=opset)


def _integers(random: np.random.Generator, low: int, high: int, many: int) -> tuple[int, ...]:
    return tuple(int(n) for n in random.integers(low, high + 1, many))


def _some(random: np.random.Generator, values: tuple[int, ...], many: int) -> tuple[int, ...]:
    return tuple(int(n) for n in random.choice(values, many))


def counted(nodes: list[Drawn]) -> Counter[str]:
    return Counter(feature for node in nodes for feature in node.features())


def _above(one: int, other: int) -> bool:
    return one > other


def _sides(node: Drawn) -> tuple[int, int]:
    """Of the matrix, the second one at most."""
    reach = (d * (k - 1) for d, k in zip(node.each("dilations"), node.weight.shape[2:], strict=True))
    whole = (s * n + r for s, n, r in zip(node.each("strides"), node.size, reach, strict=True))
    outputs = node.weight.shape[1 if node.op == "ConvTranspose" else 0] * node.groups
    grows = math.prod(whole) if node.op == "ConvTranspose" else 1
    return node.channels * math.prod(node.size), outputs * grows
