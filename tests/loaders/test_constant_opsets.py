"""Constants of every operator set, by its own rules: against onnxruntime, onnx's reference and converter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from convsv_cli.loaders.onnx.constants import FOLDABLE, Constants
from convsv_cli.loaders.onnx.scopes import scopes
from tests.support.constant_cases import CASES
from tests.support.opset_cases import Case, of_every_version, results, versions


def folded(case: Case, opset: int) -> list[np.ndarray]:
    model = case.model(opset, moving=())
    scope = next(iter(scopes(model.graph)))
    constants = Constants(model=Path("none.onnx"), opsets={"": opset})
    found = [constants.find(scope, name) for name in case.node().output]
    return [constant.read() for constant in found if constant is not None]


UNDEFINED = {"Tile": {1}}
"""Versions of which it is not known what they mean."""
SWEEP = list(of_every_version(CASES))


@pytest.mark.parametrize("op", sorted(FOLDABLE))
def test_constants_are_what_their_operator_set_says(op: str) -> None:
    seen = set()
    for case, opset in SWEEP:
        if case.op != op:
            continue
        computed, expected = folded(case, opset), list(results(case, opset))
        assert expected, f"no runtime knows {case} of {opset}"
        seen.add(opset)
        for values in expected:
            for one, other in zip(computed, values, strict=True):
                assert (one.shape, one.dtype) == (other.shape, other.dtype), (str(case), opset)
                np.testing.assert_allclose(one, other, rtol=2e-6, atol=1e-7, err_msg=f"{case} of {opset}")
    assert seen == set(versions(op)) - UNDEFINED.get(op, set())
