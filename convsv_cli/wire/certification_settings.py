"""What a certification was asked for, in its documents."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from convsv_cli.wire.form import ADDED, Form, Pair, Text, Texts

Positive = Annotated[float, Meta(gt=0)]
Arithmetic = Literal["real", "float32", "float16", "bfloat16"]
NormName = Literal["2", "inf"]


class Settings(Form, frozen=True, kw_only=True):
    """What the user asked for.

    Attributes:
        eps: Radii at which accuracy is certified, in units of the data before any normalization.
        input_mean: Of the normalization before the network, one entry or one a channel; empty for none.
        input_std: Likewise.
        limit: Only so many samples; null for all.
        graph: The file with the graph of a checkpoint.
        network_effort: How long to search for a small bound of the network: quick, normal or thorough.
        effort: How long to search for local certificates: none, quick, normal or thorough.
        arithmetic: In which the network is run.
        pixel_range: What all samples are known to be in before any normalization; null for anything.
        radii: Whether radii are looked for; else a local radius is the largest of eps that is certified.
        norm: In which distances are measured: Euclidean (2), or the largest change of an entry (inf).
        source: The input that takes the samples; null for the only one that can.
        target: The output that holds the logits; null likewise.
        eps_given: Each of eps as it was written, such as 36/255.
    """

    data: str
    eps: Annotated[tuple[Positive, ...], Meta(min_length=1)]
    input_mean: tuple[float, ...]
    input_std: tuple[Positive, ...]
    normalized: bool
    limit: Annotated[int, Meta(ge=1)] | None
    attack: bool
    input_range: Pair | None
    tolerance: float
    device: str
    graph: Text
    network_effort: str
    effort: str
    arithmetic: Arithmetic
    pixel_range: Pair | None
    radii: bool
    norm: NormName
    source: Text = field(name="from", default=None)
    target: Text = field(name="to", default=None)
    eps_given: Annotated[Texts, ADDED] = ()
