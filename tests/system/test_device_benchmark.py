"""What a GPU's owner runs: here, where there is none, and with the CPU as the device."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks import device
from benchmarks.measuring import Timed
from convsv_cli.report import Interval


def test_without_a_device_it_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.main([]) == device.main(["--device", "mps"]) == 2
    out, err = capsys.readouterr()
    assert not out
    first, second = err.splitlines()
    assert "no CUDA device" in first
    assert "mps" in second


def test_a_device_agrees_unless_its_intervals_are_elsewhere(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "timed", lambda call, *_: Timed(result=call(), seconds=1.0))
    asked = ["--device", "cpu", "--quick", "--threads", str(torch.get_num_threads())]
    assert device.main(asked) == 0
    assert capsys.readouterr().out.count("  yes  ") == 3
    honest, calls = device.api.spectral_norm, iter(range(9))

    def planted(*given: Any, **asked: Any) -> Interval:
        """Of three calls for a norm, the last one's is doubled."""
        found = honest(*given, **asked)
        return Interval(lower=2 * found.lower, upper=2 * found.upper) if next(calls) % 3 == 2 else found

    monkeypatch.setattr(device.api, "spectral_norm", planted)
    assert device.main(asked) == 1
    assert capsys.readouterr().out.count(device.DISJOINT) == 3
