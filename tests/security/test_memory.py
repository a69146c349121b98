"""Peak memory of a whole audit, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.memory import FORMATS, peak
from tests.support.resnet18 import export, random_resnet18
from tests.support.sampling import one_in

SCRIPT = """
import re, sys
from convsv_cli import audit
result = audit(sys.argv[1], exact=True, input_size=224, layers=sys.argv[2:], work_limit=2e9)
kilobytes = re.search(r"VmHWM:\\s*([0-9]+) kB", open("/proc/self/status").read()).group(1)
print(len(result.layers), result.audited, int(kilobytes) * 1024)
"""
"""ru_maxrss would begin with what the process of the tests held when this one was born."""


PARTS = pytest.param(("conv1", "layer1.*", "fc"), 6, 0.9e9, id="parts")
WHOLE = pytest.param(("*",), 21, 1.5e9, id="whole", marks=[pytest.mark.exhaustive, pytest.mark.long])
"""All layers: where these are chosen, the network has no bound, which may take what its plan allows."""


@pytest.mark.parametrize(("layers", "count", "most"), [PARTS, WHOLE])
def test_an_exact_audit_of_resnet18_at_224_needs_little(
    layers: tuple[str, ...], count: int, most: float, tmp_path: Path
) -> None:
    path = tmp_path / "resnet18.onnx"
    export(random_resnet18(), path)
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path), *layers], capture_output=True, text=True, check=True
    )
    found, audited, peak = map(int, process.stdout.split())
    assert (found, audited) == (count, count)
    assert peak < most


LONG = {f"layer{i}.weight": (64, 65536) if i % 2 == 0 else (65536, 64) for i in range(12)}
"""201 MB in layers of 17 MB."""


@pytest.fixture(scope="module")
def one_layer() -> int:
    name = next(iter(LONG))
    return peak(FORMATS["checkpoint"], {name: LONG[name]})


@pytest.mark.parametrize("name", one_in(3, FORMATS))
def test_layers_are_audited_one_after_the_other(name: str, one_layer: int) -> None:
    assert peak(FORMATS[name], LONG) - one_layer < 80e6
