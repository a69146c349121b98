"""A model that was brought under limits: what became of its layers, of its bound, and of its accuracy."""

from __future__ import annotations

from dataclasses import dataclass

from convsv_cli.report.audit import Model
from convsv_cli.report.layer import Interval, LayerAudit

CLIP, SCALE = CLIP_METHODS = ("clip", "scale")
WRITTEN = ("onnx", "checkpoint", "pickled_module", "torchscript", "safetensors")
"""The formats of files of which copies can be brought under limits."""
KEPT = "kept"
"""What was done with a layer's singular values: those above the limit lowered, all of them, or nothing."""


@dataclass(frozen=True, kw_only=True)
class ClipSettings:
    """What a model is to keep to.

    Attributes:
        max_layer: limit of the certified norm of each layer; None for none.
        max_lipschitz: limit of the certified Lipschitz bound of the network; None for none.
        method: `CLIP` or `SCALE`.
        layers: globs of the layers that may be changed; empty for all.
        data: path of samples and classes by which accuracies are measured; empty for none.
        batchnorm: path of samples by which the statistics of BatchNorm are estimated anew; empty for none.
        input_mean, input_std, normalized: of the samples, as of `CertifySettings`.
        limit: only this many samples of each file; None for all.
    """

    max_layer: float | None = None
    max_lipschitz: float | None = None
    method: str = CLIP
    layers: tuple[str, ...] = ()
    data: str = ""
    batchnorm: str = ""
    input_mean: tuple[float, ...] = ()
    input_std: tuple[float, ...] = ()
    normalized: bool = False
    limit: int | None = None


@dataclass(frozen=True, kw_only=True)
class ClippedLayer:
    """One layer.

    Attributes:
        row: of the audit of what was written.
        before, after: the certified norm; None where it has none.
        limit: of it; None where it had none of its own.
        method: what was done: `CLIP`, `SCALE` or `KEPT`.
        change: the Frobenius norm of the difference by that of the weight before.
        reason: why nothing was done although the limit is exceeded, or another thing than was asked for.
    """

    row: LayerAudit
    before: Interval | None
    after: Interval | None
    limit: float | None = None
    method: str = KEPT
    change: float = 0.0
    reason: str = ""

    @property
    def kept(self) -> bool:
        """Whether its limit, if it has one, is proven to be kept."""
        return self.limit is None or (self.after is not None and self.after.upper <= self.limit)


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """How often a classifier is right.

    Attributes:
        samples: how many there are.
        before, after: how many of them it classifies as they are said to be.
    """

    samples: int
    before: int
    after: int


@dataclass(frozen=True, kw_only=True)
class Clipping:
    """A model that was brought under limits.

    Attributes:
        version: of convsv.
        model: the one that was read.
        output: the one that was written.
        settings: what was asked for.
        layers: those that have a limit, or were changed, in the order of the file.
        lipschitz_before, lipschitz_after: certified bounds of the network, infinite for none; None where none
            was asked for.
        unbounded: why the network written has no bound, where one was asked for.
        accuracy: None where there were no samples.
        notes: what a reader should know, in plain words.
        seconds: how long it took.
    """

    version: str
    model: Model
    output: Model
    settings: ClipSettings
    layers: tuple[ClippedLayer, ...]
    lipschitz_before: float | None = None
    lipschitz_after: float | None = None
    unbounded: str = ""
    accuracy: Accuracy | None = None
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def network_kept(self) -> bool:
        """Whether the limit of the network, if it has one, is proven to be kept."""
        most, found = self.settings.max_lipschitz, self.lipschitz_after
        return most is None or (found is not None and found <= most)

    @property
    def kept(self) -> bool:
        """Whether every limit is proven to be kept."""
        return self.network_kept and all(layer.kept for layer in self.layers)
