"""One row of an audit."""

from __future__ import annotations

from dataclasses import dataclass

from convsv_cli.report.measurement import Measurement

AUDITED, UNSUPPORTED, INVALID = "audited", "unsupported", "invalid"


@dataclass(frozen=True, kw_only=True)
class LayerAudit:
    """One row: a layer, and either its measurements by calculator name or why there are none.

    `weight_sha256` is of the shape and the values (see `auditing.measure`), whatever file and precision they
    are stored in; empty where the weight was not read.
    """

    name: str
    weight: str
    aliases: tuple[str, ...] = ()
    op: str
    kernel_shape: tuple[int, ...]
    stride: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1
    transposed: bool = False
    padding: tuple[int, ...] = ()
    padding_mode: str = "zeros"
    input_size: tuple[int, ...] | None = None
    dtype: str
    assumed: tuple[str, ...] = ()
    weight_sha256: str = ""
    status: str = AUDITED
    reason: str = ""
    measurements: tuple[tuple[str, Measurement], ...] = ()

    def measurement(self, calculator: str) -> Measurement | None:
        """What the named calculator said; None where it did not run."""
        return dict(self.measurements).get(calculator)
