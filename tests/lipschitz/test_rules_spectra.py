"""Fourier transforms against their matrices, in onnxruntime."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from convsv_cli.lipschitz.operation import UnboundedError
from convsv_cli.lipschitz.rules import RULES
from tests.support.single_nodes import Single, check_linear, check_range

REAL, COMPLEX = (1, 9, 1), (2, 6, 2)


def transform(shape: tuple[int, ...], length: int | None = None, **attributes: int) -> Single:
    constants = {2: np.array(1)} | ({} if length is None else {1: np.array(length)})
    return Single(op="DFT", moving={0: shape}, constants=constants, attributes=attributes)


@pytest.mark.parametrize(
    "single",
    [
        transform(COMPLEX),
        transform(COMPLEX, 8),
        transform(COMPLEX, 4),
        transform((2, 8, 2), inverse=1),
        transform(COMPLEX, 4, inverse=1),
        transform(REAL),
        transform(REAL, onesided=1),
        transform(REAL, 4, onesided=1),
        Single(op="DFT", moving={0: COMPLEX}, opset=17),
        Single(op="DFT", moving={0: (6, 2, 3, 2)}, attributes={"axis": 2}, opset=17),
    ],
    ids=lambda single: f"{single.opset}-{single.moving[0]}-{dict(single.attributes)}",
)
def test_a_transform(single: Single) -> None:
    check_linear(single)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_one_side_of_an_inverse(size: int) -> None:
    """Against numpy, as onnxruntime has it since lately."""
    n = 2 * (size - 1) or 1
    units = np.eye(2 * size)
    columns = [np.fft.irfft(unit[:size] + 1j * unit[size:], n) for unit in units]
    true = np.linalg.norm(np.stack(columns, 1), 2)
    single = transform((1, max(n, 1), 2), n, inverse=1)
    operation = single.operation()
    node = replace(operation.node, attributes={"inverse": 1, "onesided": 1})
    bound = RULES["DFT"].lipschitz(replace(operation, node=node))
    assert true * (1 - 1e-12) <= bound <= true * (1 + 1e-9)


def frames(step: int, window: np.ndarray | None, length: int | None = None, **attributes: int) -> Single:
    given = {1: np.array(step), 2: window, 3: None if length is None else np.array(length)}
    constants = {index: value for index, value in given.items() if value is not None}
    return Single(op="STFT", moving={0: (1, 13, 1)}, constants=constants, attributes=attributes)


WINDOW = np.array([0.5, 1.0, 2.0, 1.0, -1.0])


@pytest.mark.parametrize("step", [1, 2, 3, 7])
@pytest.mark.parametrize("one_sided", [0, 1])
def test_frames_that_slide(step: int, one_sided: int) -> None:
    """Planted elsewhere: frames that do not overlap."""
    check_linear(frames(step, WINDOW, onesided=one_sided))
    check_linear(frames(step, None, 4, onesided=one_sided))
    operation = frames(step, WINDOW, onesided=0).operation()
    unknown = replace(operation.inputs[1], read=None)
    inputs = (operation.inputs[0], unknown, *operation.inputs[2:])
    bound = RULES["STFT"].lipschitz(replace(operation, inputs=inputs))
    assert bound >= frames(step, WINDOW, onesided=0).norm() * (1 - 1e-9)


@pytest.mark.parametrize("one_sided", [{}, {"onesided": 1}])
def test_one_side_of_a_complex_signal(one_sided: dict[str, int]) -> None:
    """Onnxruntime gives it, and none of its frequencies is the conjugate of another one."""
    single = Single(
        op="STFT",
        moving={0: (1, 11, 2)},
        constants={1: np.array(3), 2: np.abs(WINDOW), 3: np.array(5)},
        attributes=one_sided,
    )
    assert single.norm() <= single.rule() * (1 + 1e-9)
    alone = Single(op="STFT", moving={0: (1, 11, 1)}, constants=single.constants, attributes={"onesided": 1})
    assert single.norm() > alone.norm() * 1.05


def test_frames_of_a_long_signal_have_the_bound_of_both_sides() -> None:
    single = Single(
        op="STFT", moving={0: (1, 4096, 1)}, constants={1: np.array(64), 2: np.hanning(128)}, attributes={}
    )
    met = np.square(np.hanning(128)).reshape(2, 64).sum(0).max()
    assert single.rule() == pytest.approx(np.sqrt(128 * met))
    check_range(single)


def test_a_window_that_varies_or_is_none() -> None:
    with pytest.raises(UnboundedError, match="varies"):
        frames(2, WINDOW).rule(discrete=[2])
    with pytest.raises(UnboundedError, match="NaN"):
        frames(2, WINDOW * np.nan).rule()
