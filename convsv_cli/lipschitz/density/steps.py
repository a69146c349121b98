"""What a network is made of here: linear maps of fields, activations, gains and functionals, in order.

A field is a tensor whose entries are channels at positions of a window; the window lies in a torus, at its
first positions. Values outside the window are zero where the field is `cropped`; else they are anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch


@dataclass(frozen=True, kw_only=True, eq=False)
class Convolution:
    """y(q) = sum_t K_t x(stride q + offset_t), or its adjoint, on all positions of a torus.

    Attributes:
        kernel: float64 [groups, c_out / groups, c_in / groups, *taps], what maps channels to channels.
        offsets: of the taps along each axis; of the adjoint, y(stride p + offset_t) += K_t x(p).
        stride: along each axis.
        transposed: it is the adjoint, whose output lies on the finer torus.
        error: bounds the Frobenius norm of what rounding did to the kernel.
    """

    kernel: torch.Tensor
    offsets: tuple[tuple[int, ...], ...] = ()
    stride: tuple[int, ...] = ()
    transposed: bool = False
    error: float = 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Scaling:
    """y_c = factor_c x_c.

    Attributes:
        factors: float64 [1], or [channels].
    """

    factors: torch.Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Placement:
    """y[targets] = x[sources], and nothing elsewhere: concatenations, splits, permutations of channels.

    Attributes:
        sources, targets: int64, of equal length; no index is there twice.
        channels: of the output.
    """

    sources: torch.Tensor
    targets: torch.Tensor
    channels: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Windowed:
    """A convolution from all entries of a window to all of another, channels first, with zeros around.

    Attributes:
        convolution: what it does on a torus.
        source, target: the windows.
    """

    convolution: Convolution
    source: tuple[int, ...]
    target: tuple[int, ...]


LinearPart = Convolution | Scaling | Placement | Windowed


@dataclass(frozen=True, kw_only=True)
class Linear:
    """Outputs that are sums of linear maps of inputs.

    Attributes:
        outputs: by name of the output, the terms: names of inputs and what maps them.
        stride: by which the outputs are coarser than the inputs, along each axis; () for none.
        upward: the outputs are finer by `stride`, not coarser.
    """

    outputs: Mapping[str, tuple[tuple[str, LinearPart], ...]]
    stride: tuple[int, ...] = ()
    upward: bool = False

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of what is mapped, each once."""
        return tuple(dict.fromkeys(name for terms in self.outputs.values() for name, _ in terms))


@dataclass(frozen=True, kw_only=True, eq=False)
class Activation:
    """a_c = phi(z_c) position by position, and zero outside the window.

    Attributes:
        source, output: the fields z and a.
        lower, upper: float64 [channels], what all difference quotients of phi lie in, with 0 included where z
            is not zero outside the window. One channel at least has two different ends.
        inside: the same for the window alone, without 0.
    """

    source: str
    output: str
    lower: torch.Tensor
    upper: torch.Tensor
    inside: tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class Gain:
    """What is known of y by its gain only: |difference of y_c|^2 <= kappa |difference of z_c|^2.

    Attributes:
        source, output: the fields z and y.
        kappa: float64 [1], or one per channel, positive.
    """

    source: str
    output: str
    kappa: torch.Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Functional:
    """y = sum over the window of K_p x(p): a field of one position.

    Attributes:
        source, output: the fields x and y.
        kernel: float64 [out, in, *window]; for `diagonal` [in, 1, *window], a sum for each channel.
        diagonal: each output sees its own channel only.
        error: bounds the Frobenius norm of what rounding did to the kernel.
    """

    source: str
    output: str
    kernel: torch.Tensor
    diagonal: bool = False
    error: float = 0.0


Step = Linear | Activation | Gain | Functional


@dataclass(frozen=True, kw_only=True, eq=False)
class Field:
    """A tensor as channels at positions.

    Attributes:
        channels: how many.
        window: positions along each spatial axis; () for none.
        reach: the positions along each axis that a torus must have, so that nothing wraps around.
    """

    channels: int
    window: tuple[int, ...] = ()
    reach: tuple[int, ...] = field(default=())
