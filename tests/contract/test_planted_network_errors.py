"""Errors of other tools' network bounds, planted one at a time: what graphs really do exceeds them.

Each graph amplifies, measured, more than the wrong rule says; with our own rule it does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from onnx import ModelProto, helper

from convsv_cli.lipschitz import composition
from convsv_cli.lipschitz.operation import Operation, Rule
from convsv_cli.lipschitz.rules import RULES
from tests.support.sensitivity import Shapes, bound, composed, double_model, flat, jacobian

node = helper.make_node
EXCESS = 1 + 1e-4
STEP = 1e-3  # some reference kernels compute in single precision


@dataclass(frozen=True, kw_only=True)
class Plant:
    """A wrong rule for an operator, and a graph and an input that give it away."""

    op: str
    wrong: Callable[[Operation], float]
    model: ModelProto
    inputs: Shapes
    x: np.ndarray


def reaches(operation: Operation) -> list[float]:
    return [tensor.lipschitz for tensor in operation.given if not tensor.constant]


def without_the_root(operation: Operation) -> float:
    scale, variance = operation.input(1).value(), operation.input(4).value()
    return float(np.max(np.abs(scale) / variance)) * operation.input(0).lipschitz


def spike() -> np.ndarray:
    image = np.zeros((1, 1, 5, 5))
    image[0, 0, 2, 2] = 1
    return image.ravel()


NORM = {"s": np.ones(2), "b": np.zeros(2), "m": np.zeros(2), "v": np.full(2, 4.0)}
PLANTS = {
    "Add as max": Plant(
        op="Add",
        wrong=lambda operation: max(reaches(operation)),
        model=double_model([node("Add", ["x", "x"], ["y"])], {"x": [3]}, {}),
        inputs={"x": [3]},
        x=np.ones(3),
    ),
    "MaxPool as 1": Plant(
        op="MaxPool",
        wrong=lambda operation: max(reaches(operation)),
        model=double_model(
            [node("MaxPool", ["x"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1])], {"x": [1, 1, 5, 5]}, {}
        ),
        inputs={"x": [1, 1, 5, 5]},
        x=spike(),
    ),
    "GELU as 1": Plant(
        op="Gelu",
        wrong=lambda operation: max(reaches(operation)),
        model=double_model([node("Gelu", ["x"], ["y"])], {"x": [1]}, {}),
        inputs={"x": [1]},
        x=np.array([math.sqrt(2)]),
    ),
    "BatchNorm without the root": Plant(
        op="BatchNormalization",
        wrong=without_the_root,
        model=double_model(
            [node("BatchNormalization", ["x", "s", "b", "m", "v"], ["y"])], {"x": [1, 2, 2]}, NORM
        ),
        inputs={"x": [1, 2, 2]},
        x=np.ones(4),
    ),
    "Concat as max": Plant(
        op="Concat",
        wrong=lambda operation: max(reaches(operation)),
        model=double_model([node("Concat", ["x", "x"], ["y"], axis=0)], {"x": [3]}, {}),
        inputs={"x": [3]},
        x=np.ones(3),
    ),
}


def amplified(plant: Plant) -> float:
    return float(np.linalg.norm(jacobian(flat(plant.model, plant.inputs), plant.x, STEP), 2))


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS)
def test_the_wrong_rule_is_exceeded_and_ours_is_not(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = amplified(plant)
    assert seen <= bound(plant.model) * EXCESS
    planted = replace(RULES[plant.op], lipschitz=plant.wrong)
    monkeypatch.setitem(RULES, plant.op, planted)
    assert seen > bound(plant.model) * EXCESS


def test_unknown_as_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator without a rule is never taken to be harmless."""
    model = double_model([node("Det", ["x"], ["y"])], {"x": [3, 3]}, {})
    assert bound(model) == math.inf
    assert composition.UNKNOWN in [offence.reason for offence in composed(model).offences]
    monkeypatch.setitem(RULES, "Det", Rule(lipschitz=lambda operation: max(reaches(operation))))
    x = 2 * np.eye(3).ravel()
    assert np.linalg.norm(jacobian(flat(model, {"x": [3, 3]}), x), 2) > bound(model) * EXCESS
