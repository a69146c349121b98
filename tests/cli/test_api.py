"""The Python API, checked against dense matrices and the file's own tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from convsv_cli import Audit, ConvsvError, Interval, audit, load, spectral_norm
from convsv_cli.auditing.guarding import digest
from convsv_cli.errors import UsageError
from convsv_cli.spectral.costs import CHUNK_BYTES
from convsv_cli.spectral.gram_symbol import GramSymbol


def test_spectral_norm_encloses_the_norm_of_numpy_symbols() -> None:
    kernel = torch.randn(5, 4, 3, 2, generator=torch.Generator().manual_seed(0))
    symbols = np.fft.fft2(kernel.double().numpy(), (7, 6), axes=(2, 3)).transpose(2, 3, 0, 1)
    truth = np.linalg.norm(symbols, 2, axis=(2, 3)).max()
    norm = spectral_norm(kernel, input_size=(7, 6))
    assert isinstance(norm, Interval)
    assert norm.lower <= truth * (1 + 1e-14)
    assert norm.upper >= truth * (1 - 1e-14)
    assert norm.upper - norm.lower < 1e-10 * truth


def test_spectral_norm_of_a_matrix() -> None:
    matrix = torch.diag(torch.tensor([1.0, 3.0, 2.0]))
    assert spectral_norm(matrix, input_size=1).lower == pytest.approx(3.0, rel=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_size": 7, "stride": 2}, "does not divide"),
        ({"input_size": (8, 8, 8)}, "2 spatial axes"),
        ({"input_size": 0}, "positive"),
        ({"input_size": 8, "groups": 3}, "groups"),
    ],
)
def test_spectral_norm_says_what_is_wrong(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConvsvError, match=message):
        spectral_norm(torch.ones(4, 4, 3, 3), **options)


def test_what_is_no_layer_and_no_model_says_what_to_pass() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    with pytest.raises(UsageError, match="Sequential has no weight of its own") as caught:
        spectral_norm(model)
    assert "pass one of its layers" in caught.value.hint
    with pytest.raises(UsageError, match="a dict is no model") as caught:
        audit(model.state_dict())
    assert "pass the module" in caught.value.hint


def test_spectral_norm_refuses_what_is_not_finite() -> None:
    with pytest.raises(ConvsvError, match="NaN"):
        spectral_norm(torch.full((1, 1, 3), torch.inf), input_size=8)


def test_spectral_norm_takes_whole_numbers() -> None:
    for kind in (torch.uint8, torch.uint16, torch.int64):
        found = spectral_norm(torch.full((2, 2, 1), 3).to(kind), input_size=8)
        assert found.lower <= 6 <= found.upper < 6.001


def test_spectral_norm_loses_no_imaginary_part() -> None:
    with pytest.raises(ConvsvError, match="the kernel is complex"):
        spectral_norm(torch.ones(2, 2, 3, dtype=torch.complex64) * 1j)


def test_load_gives_lazy_layers_and_audit_measures_them(root: Path) -> None:
    path = root / "sample_models" / "resnet20.pt"
    state = torch.load(path, weights_only=True)
    network = load(path)
    assert [layer.weight for layer in network.layers] == [k for k, v in state.items() if v.ndim > 1]
    for layer in network.layers:
        assert torch.equal(layer.read(), state[layer.weight])
    seen = []
    result = audit(path, layers=["layer1.*"], progress=lambda name, share: seen.append((name, share)))
    assert isinstance(result, Audit)
    assert {layer.name for layer in result.layers} == {name for name, _ in seen}
    shares = [share for _, share in seen]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)


def test_sizes_must_be_positive(root: Path) -> None:
    with pytest.raises(ConvsvError, match="positive"):
        audit(root / "sample_models" / "resnet20.pt", input_size=(0,))


def test_memory_of_the_exact_norm_does_not_grow_with_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Gram symbols at hand take no more than a few MiB, whatever the size."""
    largest: list[int] = []
    original = GramSymbol.at

    def watched(gram: GramSymbol, *args: object) -> torch.Tensor:
        found = original(gram, *args)
        largest.append(found.numel() * found.element_size())
        return found

    monkeypatch.setattr(GramSymbol, "at", watched)
    kernel = torch.randn(16, 16, 3, 3, generator=torch.Generator().manual_seed(0))
    for n in (64, 512, 4096):
        spectral_norm(kernel, input_size=n)
    assert len(largest) > 10
    assert max(largest) <= CHUNK_BYTES


def test_a_weight_has_the_same_digest_in_every_format_and_another_for_other_values(root: Path) -> None:
    folder = root / "sample_models"
    audits = (
        audit(folder / f"resnet20.{suffix}", work_limit=0, network_effort="quick")
        for suffix in ("onnx", "pt")
    )
    graph, state = ({row.name: row.weight_sha256 for row in each.layers} for each in audits)
    assert graph == state
    assert len(set(graph.values())) == len(graph)
    one = torch.arange(8.0).reshape(2, 4)
    assert digest(one.double()) == digest(one.double().t().contiguous().t())
    assert digest(one.double()) != digest(one.double().reshape(4, 2))
    assert digest(torch.empty(0, 3).double())
