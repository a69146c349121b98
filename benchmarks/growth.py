"""Time and memory of one exact norm, in a process of its own: `python -m benchmarks.growth CHANNELS N`."""

from __future__ import annotations

import json
import sys

import torch

from benchmarks.measuring import peak_bytes, reset_peak, timed
from benchmarks.sample_kernels import gaussian
from convsv_cli import spectral_norm


def main() -> None:
    """Print value, seconds, and the bytes by which the first run raised the process's peak."""
    channels, n = map(int, sys.argv[1:])
    spectral_norm(torch.from_numpy(gaussian(4, seed=1)), input_size=8)  # what is loaded on first use
    spectral_norm(torch.from_numpy(gaussian(4, seed=1)), input_size=64)
    kernel = torch.from_numpy(gaussian(channels))
    reset_peak()
    before = peak_bytes()
    spectral_norm(kernel, input_size=n)
    growth = peak_bytes() - before
    run = timed(lambda: spectral_norm(kernel, input_size=n))
    print(json.dumps({"value": run.result.upper, "seconds": run.seconds, "bytes": growth}))


if __name__ == "__main__":
    main()
