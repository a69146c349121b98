"""The descriptor of a calculator, and what it is given."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convsv_cli.report import Measurement, Method

if TYPE_CHECKING:
    from convsv_cli.model.kernel import Kernel


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A layer whose spectral norm is asked for.

    Attributes:
        kernel: reduced, with the layer's geometry.
        input_size: of the layer; empty where unknown, or where there is no spatial axis.
        tolerance: relative width of an enclosure that is good enough.
        work_limit: multiplications after which each search stops, with a wider enclosure.
    """

    kernel: Kernel
    input_size: tuple[int, ...] = ()
    tolerance: float = 1e-4
    work_limit: float = math.inf


@dataclass(frozen=True, kw_only=True)
class Calculator:
    """A way to say how large the spectral norm of a layer is.

    Attributes:
        method: what it is called and what it proves.
        calculate: the norm.
        work: estimate of the multiplications that will take; looks at shapes only, never at values.
    """

    method: Method
    calculate: Callable[[Problem], Measurement]
    work: Callable[[Problem], int]
