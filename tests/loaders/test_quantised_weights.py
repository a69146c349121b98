"""Weights in several tensors, as quantisers store them: the values that they stand for, or why not."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from convsv_cli import audit, load
from convsv_cli.errors import UnreadableModelError
from convsv_cli.model.layer import Layer, UnsupportedLayer
from convsv_cli.report import Report
from tests.support.quantised_layouts import (
    IN,
    LAYOUTS,
    OUT,
    Layout,
    State,
    awq,
    bitsandbytes,
    compressed,
    gpt_oss,
    gptq,
    llm_int8,
    mxfp4,
    nvfp4,
    text,
    torchao,
    unpacked_bytes,
)
from tests.support.rendered import rendered


def written(state: State, folder: Path, config: dict[str, Any] | None = None) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / "model.safetensors")
    if config is not None:
        (folder / "config.json").write_text(json.dumps({"quantization_config": config, "model_type": "x"}))
    return folder / "model.safetensors"


def only(path: Path) -> Layer | UnsupportedLayer:
    (row,) = load(path).layers
    return row


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_values_are_those_of_the_format(name: str, tmp_path: Path) -> None:
    layout = LAYOUTS[name]()
    state = layout.named | {"a.bias": torch.ones(OUT), "b.weight": torch.eye(3)}
    found = {row.name: row for row in load(written(state, tmp_path, layout.config)).layers}
    row = found["a"]
    assert isinstance(row, Layer), row.reason
    assert (set(found), row.weight, row.kernel_shape) == ({"a", "b"}, "a.weight", (OUT, IN))
    assert (row.read() - layout.real).abs().max() <= 1e-15 * layout.real.abs().max()
    assert name.removesuffix(" of ModelOpt").startswith(row.dtype)
    assert any(line.startswith(f"dequantised weights: {row.dtype}") for line in row.assumed)


def test_the_rows_of_an_audit(tmp_path: Path) -> None:
    """In a checkpoint and in shards, too; what was read beside the model is one of its files."""
    layout = gptq(4)
    torch.save(layout.named, tmp_path / "model.pt")
    (tmp_path / "quantize_config.json").write_text(json.dumps(layout.config))
    homes = {name: f"{i}.safetensors" for i, name in enumerate(layout.named)}
    for name, home in homes.items():
        save_file({name: layout.named[name]}, tmp_path / home)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": homes}))
    norm = float(torch.linalg.matrix_norm(layout.real, 2))
    for file in ("model.pt", "model.safetensors.index.json"):
        report = audit(tmp_path / file)
        enclosure = report.layers[0].measurement("certified").enclosure
        assert enclosure.lower <= norm <= enclosure.upper
        assert "32×64 GPTQ int4" in rendered("table", Report(command="audit", audits=(report,)))
        assert (report.layers[0].dtype, report.model.files[-1]) == ("GPTQ int4", "quantize_config.json")
    (tmp_path / "quantize_config.json").unlink()
    assert "put the quantization config beside the file" in only(tmp_path / "model.pt").reason


class Int8Tensor:
    """What torchao pickles its tensors as, which are classes of its own."""

    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state

    def __reduce_ex__(self, _: Any) -> tuple[Any, ...]:
        made = (Int8Tensor, torch.float32, (OUT, IN), (IN, 1), 0, torch.strided, torch.device("cpu"), False)
        rebuild = torch._utils._rebuild_wrapper_subclass
        return torch._tensor._rebuild_from_type_v2, (rebuild, Int8Tensor, made, self.state)


@pytest.mark.parametrize("home", ["torchao.quantization", "somewhere.else"])
@pytest.mark.parametrize("scaled", [False, True])
def test_tensors_of_torchao_in_a_checkpoint(
    home: str, scaled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType(home)
    module.Int8Tensor = Int8Tensor  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, home.partition(".")[0], ModuleType(home.partition(".")[0]))
    monkeypatch.setitem(sys.modules, home, module)
    monkeypatch.setattr(Int8Tensor, "__module__", home)
    layout = torchao(torch.int8, (1, 16), before="")
    state = layout.state | {"act_pre_scale": torch.ones(IN) if scaled else None}
    torch.save({"a.weight": Int8Tensor(state), "b.weight": torch.eye(3)}, tmp_path / "model.pt")
    found = {row.weight: row for row in load(tmp_path / "model.pt").layers}
    if home.startswith("torchao") and not scaled:
        row = found["a.weight"]
        assert isinstance(row, Layer)
        assert torch.equal(row.read(), layout.real)
    else:
        assert f"part of a {home}.Int8Tensor" in str({getattr(row, "reason", "") for row in found.values()})
        assert [name for name, row in found.items() if isinstance(row, Layer)] == ["b.weight"]


def test_experts_are_one_row(tmp_path: Path) -> None:
    state, real = gpt_oss()
    (row,) = audit(written(state, tmp_path)).layers
    norm = float(torch.linalg.matrix_norm(real, 2).max())
    enclosure = row.measurement("certified").enclosure
    assert (row.name, row.groups, enclosure.lower <= norm <= enclosure.upper) == ("e.gate_up_proj", 3, True)


Damage = Callable[[Layout], State]


def without(name: str) -> Damage:
    return lambda layout: {part: tensor for part, tensor in layout.state.items() if part != name}


def other(name: str, tensor: torch.Tensor) -> Damage:
    return lambda layout: layout.state | {name: tensor}


GPTQ, AWQ, NF4, TWICE = gptq(4), awq(), bitsandbytes("nf4", twice=False), bitsandbytes("nf4", twice=True)
PACKED, ZEROS, BYTES = compressed(4), compressed(4, zero=True), unpacked_bytes(zero=True)
AO = torchao(torch.int8, (1, 16))
NV, MX, INT8 = nvfp4(divided=True), mxfp4(), llm_int8()


def told(**said: Any) -> Damage:
    """The description of a weight of four bits says something else."""
    whole = {"blocksize": 64, "shape": [OUT, IN]} | said
    return raw(json.dumps({name: value for name, value in whole.items() if value is not None}))


def raw(said: str) -> Damage:
    return other("weight.quant_state.bitsandbytes__nf4", text(said))


def ints(*shape: int) -> torch.Tensor:
    return torch.ones(shape).int()


REFUSED: dict[str, tuple[Layout, Damage, str]] = {
    "GPTQ: no zero points": (GPTQ, without("qzeros"), "has no qzeros"),
    "GPTQ: floats": (GPTQ, other("qweight", torch.ones(8, OUT)), "its qweight is of float32"),
    "GPTQ: cut": (GPTQ, other("qweight", ints(7, OUT)), "g_idx has"),
    "GPTQ: other scales": (GPTQ, other("scales", torch.ones(3, OUT)), "do not fit each other"),
    "GPTQ: an axis more": (GPTQ, other("scales", torch.ones(4, OUT, 1)), "scales has the shape 4x32x1"),
    "GPTQ: no such bits": (GPTQ, other("qzeros", ints(4, 7)), "do not say how long 32 codes are"),
    "GPTQ: beyond": (GPTQ, other("g_idx", ints(IN) * 4), "names groups that are not there"),
    "GPTQ: below": (GPTQ, other("g_idx", -ints(IN)), "names groups that are not there"),
    "GPTQ: two meanings": (GPTQ, other("qzeros", -ints(4, 4)), "a zero point of 16 has two meanings"),
    "AWQ: other zeros": (AWQ, other("qzeros", ints(3, 4)), "do not fit each other"),
    "AWQ: groups": (
        AWQ,
        lambda a: a.state | {"qzeros": ints(5, 4), "scales": torch.ones(5, OUT)},
        "64 columns cannot be split into 5 groups",
    ),
    "nf4: no JSON": (NF4, raw("{"), "cannot be read"),
    "nf4: a list": (NF4, raw("[]"), "cannot be read"),
    "nf4: nested": (NF4, raw("[" * 4000), "cannot be read"),
    "nf4: long": (NF4, raw(" " * 5000), "too long"),
    "nf4: no shape": (NF4, told(shape=None), "no shape"),
    "nf4: huge": (NF4, told(shape=[2**60, 1]), "no sizes"),
    "nf4: many axes": (NF4, told(shape=[1] * 99), "no shape"),
    "nf4: larger": (NF4, told(shape=[OUT, IN + 1]), "do not fit"),
    "nf4: blocks": (NF4, told(blocksize=32), "do not fit"),
    "nf4: no blocks": (NF4, told(blocksize=0), "no sizes"),
    "nf4: other type": (NF4, told(quant_type="fp4"), "another type"),
    "nf4: codebook": (NF4, other("weight.quant_map", torch.ones(15)), "do not fit"),
    "nf4: no scales": (TWICE, without("weight.nested_absmax"), "the scales of its scales are missing"),
    "nf4: other scales": (TWICE, other("weight.absmax", torch.ones(32).half()), "absmax is of float16"),
    "nf4: no offset": (TWICE, told(nested_blocksize=16), "the scales of its scales are missing"),
    "nf4: fewer": (TWICE, told(nested_blocksize=8, nested_offset=0), "do not fit these"),
    "int8: rows": (INT8, other("SCB", torch.ones(IN)), "do not fit its rows"),
    "int8: tiles": (INT8, other("weight_format", ints(1).byte()), "one kind of processor"),
    "packed: shape": (PACKED, other("weight_shape", torch.tensor([-1, IN])), "shape is impossible"),
    "packed: no shape": (PACKED, without("weight_shape"), "has no weight_shape"),
    "packed: wide": (PACKED, other("weight_shape", torch.tensor([OUT, 2**39])), "do not say how long"),
    "packed: scales": (PACKED, other("weight_scale", torch.ones(OUT, 5)), "cannot be split into 5"),
    "packed: tall": (PACKED, other("weight_scale", torch.ones(OUT + 1, 4)), "do not fit its rows"),
    "packed: zeros": (ZEROS, other("weight_zero_point", ints(5, 4)), "do not fit"),
    "packed: order": (PACKED, other("weight_g_idx", 0 * ints(IN)), "does not name each as often"),
    "packed: far": (PACKED, other("weight_g_idx", torch.full((IN,), 2**40)), "does not name each"),
    "bytes: zeros": (BYTES, other("weight_zero_point", torch.ones(OUT, 3)), "do not fit"),
    "NVFP4: blocks": (NV, other("weight_scale", torch.ones(OUT, 5).to(torch.float8_e4m3fn)), "not fit"),
    "NVFP4: no number": (NV, other("weight_global_scale", torch.zeros(1)), "not one positive number"),
    "torchao: groups": (AO, other("_weight_scale", torch.ones(OUT, 5)), "64 entries are no 32x5 blocks"),
    "torchao: zeros": (AO, other("_weight_zero_point", ints(OUT, 5)), "do not fit its scales"),
    "torchao: packed": (AO, other("_weight_qdata", ints(OUT, IN).byte()), "its qdata is of uint8"),
    "torchao: inputs": (AO, other("_weight_act_pre_scale", torch.ones(IN)), "its inputs are scaled, too"),
    "MXFP4: floats": (MX, other("weight_scale", torch.ones(OUT, 2)), "its weight_scale is of float32"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_parts_that_do_not_fit_are_a_row_with_a_reason(case: str, tmp_path: Path) -> None:
    layout, damage, reason = REFUSED[case]
    state = {f"a.{name}": tensor for name, tensor in damage(layout).items()}
    row = only(written(state, tmp_path, layout.config))
    assert isinstance(row, UnsupportedLayer)
    assert reason in row.reason
    assert row.applicable
    assert row.weight == "a.weight"


CONFIGS: dict[str, tuple[Layout, dict[str, Any] | None, str]] = {
    "none": (gptq(4), None, "no config.json"),
    "other version": (gptq(4), {"checkpoint_format": "marlin"}, "'marlin' is not known"),
    "other bits": (gptq(4), {"bits": 8}, "says 8 bits, the tensors 4"),
    "other method": (gptq(4), {"quant_method": "awq"}, "says 'awq'"),
    "AWQ version": (awq(), {"version": "gemv"}, "'gemv' is not known"),
    "bytes": (unpacked_bytes(zero=False), None, "nothing beside the file says"),
    "bits": (compressed(3), {"config_groups": {"g": {"weights": {"num_bits": 7}}}}, "do not say how long"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_nothing_is_guessed(case: str, tmp_path: Path) -> None:
    layout, config, reason = CONFIGS[case]
    row = only(written(layout.named, tmp_path, config))
    assert isinstance(row, UnsupportedLayer)
    assert reason in row.reason


def test_what_the_order_of_columns_needs(tmp_path: Path) -> None:
    state = without("g_idx")(gptq(4))
    named = {f"a.{name}": tensor for name, tensor in state.items()}
    row = only(written(named, tmp_path, gptq(4).config))
    assert isinstance(row, Layer)
    assert torch.allclose(row.read(), gptq(4).real)
    row = only(written(named, tmp_path, gptq(4, act_order=True).config))
    assert isinstance(row, UnsupportedLayer)
    assert "(g_idx)" in row.reason


def test_a_configuration_that_is_damaged(tmp_path: Path) -> None:
    path = written(gptq(4).named, tmp_path)
    (tmp_path / "config.json").write_text("[" * 10_000)
    with pytest.raises(UnreadableModelError, match=r"config\.json is damaged"):
        load(path)
    written({"b.weight": torch.eye(2)}, tmp_path)
    assert len(load(path).layers) == 1, "it is not looked at without need"


def test_another_tensor_of_the_same_name_is_not_hidden(tmp_path: Path) -> None:
    names = {row.weight for row in load(written(gptq(4).named | {"a.weight": torch.eye(4)}, tmp_path)).layers}
    assert names == {"a.qweight", "a.weight"}


def test_a_further_scale_is_not_forgotten(tmp_path: Path) -> None:
    row = only(written(gptq(4).named | {"a.weight_scale_2": torch.ones(1)}, tmp_path, gptq(4).config))
    assert isinstance(row, UnsupportedLayer)
    assert row.reason == "quantised: what its values stand for depends on a.weight_scale_2"
