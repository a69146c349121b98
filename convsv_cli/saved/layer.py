"""One row of a saved audit."""

from __future__ import annotations

from convsv_cli.report import (
    AUDITED,
    ESTIMATE,
    EXACT,
    INVALID,
    NOT_APPLICABLE,
    PADDED,
    UNSUPPORTED,
    UPPER,
    Interval,
    LayerAudit,
    Measurement,
    Method,
)
from convsv_cli.saved.value import Value


def layer_of(value: Value, methods: tuple[Method, ...]) -> LayerAudit:
    """The row, with the measurements by these methods."""
    return LayerAudit(
        name=value["name"].text(),
        weight=value["weight"].text(""),
        aliases=value["aliases"].texts(),
        op=value["op"].text(),
        kernel_shape=value["kernel_shape"].integers(),
        stride=value["stride"].integers(),
        dilation=value["dilation"].integers(),
        groups=value["groups"].integer(1),
        transposed=value["transposed"].flag(),
        padding=tuple(_whole(item) for item in value["padding"].items()),
        padding_mode=value["padding_mode"].text("zeros"),
        output_padding=value["output_padding"].integers(),
        input_size=_size(value["input_size"]),
        dtype=value["dtype"].text(""),
        assumed=value["assumed"].texts(),
        weight_sha256=value["weight_sha256"].text(""),
        status=value["status"].choice((AUDITED, UNSUPPORTED, INVALID, NOT_APPLICABLE), AUDITED),
        reason=value["reason"].text(""),
        measurements=_measurements(value, {method.name: method for method in methods}),
    )


def interval_of(value: Value) -> Interval:
    """An enclosure; null is infinity."""
    lower, upper = value["lower"].norm(), value["upper"].norm()
    if lower > upper:
        raise value.fault("the lower end is above the upper one")
    return Interval(lower=lower, upper=upper)


def _measurements(layer: Value, methods: dict[str, Method]) -> tuple[tuple[str, Measurement], ...]:
    """Of the calculators that ran, which are those that took time: a figure that is null may be infinite."""
    ran = [name for name, _ in layer["seconds"].members()] or [n for n in methods if layer[n].present]
    return tuple((name, _measurement(layer, methods[name])) for name in ran if name in methods)


def _measurement(layer: Value, method: Method) -> Measurement:
    figure, seconds = layer[method.name], layer["seconds"][method.name].norm(0.0)
    if method.kind == ESTIMATE:
        return Measurement(value=figure.norm(), parts=_parts(layer, method), seconds=seconds)
    if method.kind == UPPER:
        upper = figure.norm()
        return Measurement(
            value=upper, enclosure=Interval(upper=upper), parts=_parts(layer, method), seconds=seconds
        )
    enclosure = interval_of(figure)
    if method.kind == EXACT:
        size = _size(figure["size"])
        return Measurement(value=figure["value"].norm(), enclosure=enclosure, size=size, seconds=seconds)
    size = _size(layer["input_size"]) if method.kind == PADDED else None
    return Measurement(value=enclosure.upper, enclosure=enclosure, size=size, seconds=seconds)


def _parts(layer: Value, method: Method) -> tuple[tuple[str, float], ...]:
    return tuple((name, part.norm()) for name, part in layer[f"{method.name}s"].members())


def _size(value: Value) -> tuple[int, ...] | None:
    return value.integers() if value.present else None


def _whole(value: Value) -> int:
    """Paddings may be negative."""
    number = value.number()
    if not isinstance(number, int):
        raise value.fault("not a whole number")
    return number
