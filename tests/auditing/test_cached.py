"""An audit with a cache is the audit without one."""

import importlib
from dataclasses import replace

import pytest
import torch
from torch import nn

from convsv_cli.auditing import audit_file, cached
from convsv_cli.cache import Store
from convsv_cli.limits import granting
from convsv_cli.report import Settings

SECRET = b"a secret of tests"
MEASURING = importlib.import_module("convsv_cli.auditing.measure")


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.pt"
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 3, stride=2))
    torch.save(net, path)
    return path


def bare(audit):
    """An audit without what differs between two runs."""
    rows = tuple(
        replace(row, measurements=tuple((name, replace(m, seconds=0)) for name, m in row.measurements))
        for row in audit.layers
    )
    return replace(audit, seconds=0, layers=rows, bound=replace(audit.bound, seconds=0))


SETTINGS = Settings(exact=True, input_size=(13,), network_effort="quick")
"""At this size the exact norm of the second layer is another one's, which is noted."""


def test_a_second_audit_is_the_first_one_and_measures_nothing(model, tmp_path, monkeypatch):
    first = audit_file(model, SETTINGS, cache=Store(tmp_path / "cache", SECRET))
    monkeypatch.setattr(MEASURING, "_computed", None)
    monkeypatch.setattr("convsv_cli.auditing.bound_of", None)
    store = Store(tmp_path / "cache", SECRET)
    assert bare(audit_file(model, SETTINGS, cache=store)) == bare(first)
    assert (store.hits, store.rejected) == (1, 0)


def test_a_file_with_the_same_weights_has_their_figures(model, tmp_path, monkeypatch):
    audit_file(model, SETTINGS, cache=Store(tmp_path / "cache", SECRET))
    other = tmp_path / "other.pt"
    torch.save(torch.load(model, weights_only=False), other, _use_new_zipfile_serialization=False)
    plain = audit_file(other, SETTINGS)
    monkeypatch.setattr(MEASURING, "_computed", None)
    store = Store(tmp_path / "cache", SECRET)
    assert bare(audit_file(other, SETTINGS, cache=store)) == bare(plain)
    assert store.hits == 2


@pytest.mark.parametrize(
    "change",
    [
        {"tolerance": 1e-3},
        {"input_size": (14,)},
        {"work_limit": 1e3},
        {"as_stride_1": True},
        {"exact": False},
    ],
)
def test_what_is_asked_in_another_way_is_not_that(model, tmp_path, change):
    audit_file(model, SETTINGS, cache=Store(tmp_path / "cache", SECRET))
    asked = replace(SETTINGS, **change)
    store = Store(tmp_path / "cache", SECRET)
    assert bare(audit_file(model, asked, cache=store)) == bare(audit_file(model, asked))


def test_a_limit_counts_for_layers_too(model, tmp_path):
    asked, store = replace(SETTINGS, exact=False), Store(tmp_path / "cache", SECRET)
    audit_file(model, asked, cache=store)
    with granting(steps=3e4):
        assert bare(audit_file(model, asked, cache=store)) == bare(audit_file(model, asked))


def test_other_code_does_not_believe_it(model, tmp_path, monkeypatch):
    audit_file(model, SETTINGS, cache=Store(tmp_path / "cache", SECRET))
    monkeypatch.setattr("convsv_cli.cache.key.fingerprint", lambda: "another")
    store = Store(tmp_path / "cache", SECRET)
    audit_file(model, SETTINGS, cache=store)
    assert store.hits == 0


def test_what_a_limit_cut_short_is_not_kept(model, tmp_path):
    with granting(steps=3e4):
        short = audit_file(
            model, replace(SETTINGS, input_size=None, exact=False), cache=Store(tmp_path / "c", SECRET)
        )
    assert any("--step-limit" in line for row in short.layers for line in (*row.assumed, row.reason)), short
    assert not list((tmp_path / "c").iterdir())
    torch.save(nn.Conv2d(16, 16, 3, padding=1), model)
    with granting(steps=1e7):  # enough for all norms but that with the layer's own zero padding
        short = audit_file(model, replace(SETTINGS, input_size=(40,)), cache=Store(tmp_path / "c", SECRET))
    (row,) = short.layers
    assert {name for name, _ in row.measurements} >= {"certified", "exact", "zero_padded"}
    assert any("zero padding is enclosed less narrowly" in note for note in row.assumed)
    assert not list((tmp_path / "c").iterdir())


def test_an_entry_of_the_right_signature_is_read_by_its_form(model, tmp_path, monkeypatch):
    """Signed by this user, and still data: an older convsv whose entry lacks a figure does no harm."""
    store = Store(tmp_path / "cache", SECRET)
    first = audit_file(model, SETTINGS, cache=store)
    monkeypatch.setattr(cached, "_audit_key", lambda *_: "f" * 64)
    keys = [path.stem for path in (tmp_path / "cache").iterdir()]
    for key in keys:
        store.put(key, b'{"name": "", "op": "", "seconds": {"certified": 1}, "certified": null}')
    assert bare(audit_file(model, SETTINGS, cache=store)) == bare(first)


def test_a_file_that_changes_meanwhile_is_not_kept(model, tmp_path, monkeypatch):
    """Its digest and its figures may be of two contents."""
    honest = MEASURING.measure

    def overtaken(*arguments):
        model.write_bytes(other)
        return honest(*arguments)

    before = model.read_bytes()
    net = torch.load(model, weights_only=False)
    net[0].weight.data *= 2
    torch.save(net, model)
    other = model.read_bytes()
    model.write_bytes(before)
    with monkeypatch.context() as planted:
        planted.setattr(importlib.import_module("convsv_cli.auditing"), "measure", overtaken)
        audit_file(model, SETTINGS, cache=Store(tmp_path / "cache", SECRET))
    model.write_bytes(before)
    store = Store(tmp_path / "cache", SECRET)
    assert bare(audit_file(model, SETTINGS, cache=store)) == bare(audit_file(model, SETTINGS))
