"""The descriptor of a calculator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convsv_cli.report import Measurement, Method

if TYPE_CHECKING:
    from convsv_cli.kernels import Kernel

Advance = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class Calculator:
    """A way to say how large the spectral norm of a layer is.

    Attributes:
        method: what it is called and what it proves.
        calculate: the reduced kernel, the layer's input size (used by kind `EXACT` only), and a callback
            that is told of work done.
        work: estimate of the multiplications that will take; looks at the kernel's shape only.
    """

    method: Method
    calculate: Callable[[Kernel, tuple[int, ...], Advance], Measurement]
    work: Callable[[Kernel, tuple[int, ...]], int]
