"""How large the cases of a run are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.sample_kernels import SIZES


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How large the cases are.

    Attributes:
        shared: folder of the real models.
        measured_work: multiplications, about n^2 c^3; where Sedghi's SVDs take more, their time is
            extrapolated from a sample.
    """

    shared: Path
    layers: tuple[str, ...] = tuple(SIZES)
    large_layers: tuple[str, ...] = tuple(layer for layer in SIZES if layer.startswith("layer1."))
    measured_work: float = 2e10
    random_channels: int = 64
    random_n: int = 56
    growth_sizes: tuple[int, ...] = (7, 14, 28, 56, 112, 224, 1024, 4096)
    channels: tuple[tuple[int, int], ...] = ((16, 14), (32, 14), (64, 14), (128, 14), (256, 14), (512, 7))
    flat_channels: int = 256
    worst_channels: int = 512
    audited_layers: str = "*"


def quick(shared: Path) -> Plan:
    """The same sections in seconds."""
    return Plan(
        shared=shared,
        layers=("conv1", "layer1.0.conv1"),
        large_layers=("layer1.0.conv1",),
        measured_work=2e9,
        random_channels=16,
        random_n=14,
        growth_sizes=(7, 1024),
        channels=((8, 14), (16, 14), (32, 7)),
        flat_channels=16,
        worst_channels=32,
        audited_layers="*downsample*",
    )
