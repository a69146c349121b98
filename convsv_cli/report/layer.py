"""One row of an audit."""

from __future__ import annotations

from dataclasses import dataclass

from convsv_cli.report.measurement import Measurement

AUDITED, UNSUPPORTED, INVALID = "audited", "unsupported", "invalid"
NOT_APPLICABLE = "not_applicable"
"""The status of what is stored like a weight and is no layer, such as an embedding table."""


@dataclass(frozen=True, kw_only=True)
class LayerAudit:
    """One row: a layer, and either its measurements by calculator name or why there are none.

    Attributes:
        name: unique in the network.
        weight: name of the weight tensor in the file.
        aliases: further names of the same layer.
        op: ONNX operator type.
        kernel_shape: [c_out, c_in / groups, *k]; [c_in, c_out / groups, *k] where transposed.
        stride, dilation: one entry a spatial axis; empty for a matrix.
        groups: number of diagonal blocks in which channels are mapped.
        transposed: the layer is the adjoint of the convolution with these weights.
        padding: at the beginning of each axis, then at the end of each; empty where unknown.
        padding_mode: "zeros", "reflect", "replicate" or "circular".
        output_padding: of a transposed layer, further outputs at the end of each axis; empty for none.
        input_size: spatial size of the layer's input; None where unknown.
        dtype: as stored, e.g. "float16".
        assumed: what the file does not say and was taken for granted, in plain words.
        weight_sha256: of the shape and the values (see `auditing.measure`), whatever file and precision they
            are stored in; empty where the weight was not read.
        status: "audited", or why it has no figures: "unsupported", "invalid".
        reason: the same in words; empty where it was audited.
        measurements: by the calculator's name, in the order of the report's columns.
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
    output_padding: tuple[int, ...] = ()
    input_size: tuple[int, ...] | None = None
    dtype: str
    assumed: tuple[str, ...] = ()
    weight_sha256: str = ""
    status: str = AUDITED
    reason: str = ""
    measurements: tuple[tuple[str, Measurement], ...] = ()

    def measurement(self, calculator: str) -> Measurement | None:
        """What the named calculator said; None where it did not run.

        Args:
            calculator: "heuristic", "exact", "certified", "zero_padded" or "bound"; see `convsv methods`.
        """
        return dict(self.measurements).get(calculator)
