"""Adapters: rows of the updates, by their factors, against dense products."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from convsv_cli import audit
from convsv_cli.errors import ConvsvError, UnreadableModelError, UsageError
from convsv_cli.report import Audit, Interval, LayerAudit, exit_code
from convsv_cli.report import Report as Whole
from tests.support.adapter_files import (
    TORCH,
    circular_norm,
    cored,
    drawn,
    loha,
    lokr,
    lora,
    peft_folder,
    product,
    single_file,
)

A, B = drawn(4, 12), drawn(8, 4)
"""Factors of a linear layer, 12 to 8."""
CONV_A, CONV_B, MID = drawn(4, 5, 3, 3), drawn(6, 4, 1, 1), drawn(4, 4, 3, 3)
HADA = {"w1_a": drawn(8, 2), "w1_b": drawn(2, 12), "w2_a": drawn(8, 2, seed=1), "w2_b": drawn(2, 12, seed=1)}
CORES = {"t1": drawn(2, 2, 3, 3), "t2": drawn(2, 2, 3, 3, seed=1)}
CORED = {"w1_a": drawn(2, 6), "w1_b": drawn(2, 5), "w2_a": drawn(2, 6, seed=1), "w2_b": drawn(2, 5, seed=1)}


def rows_of(found: Audit) -> dict[str, LayerAudit]:
    return {row.name: row for row in found.layers}


def only(path: Path, **asked) -> LayerAudit:
    (row,) = audit(path, **asked).layers
    return row


def named(prefix: str, parts) -> dict[str, np.ndarray]:
    return {f"{prefix}{name}": value for name, value in parts.items()}


def check(row: LayerAudit, dense: np.ndarray) -> None:
    """Certified norm, its unfolding and the Frobenius norm enclose those of the dense update, tightly."""
    assert (row.status, row.reason, row.kernel_shape) == ("audited", "", dense.shape)
    certified, truth = row.measurement("certified").enclosure, circular_norm(dense)
    near = 1e-9 if dense.ndim == 2 else 5e-3  # a circle has fewer frequencies than a line
    assert certified.lower <= truth * (1 + near)
    assert truth * (1 - 1e-15) <= certified.upper <= truth * (1 + near)
    exact = row.measurement("exact")
    assert exact is None or exact.value == pytest.approx(truth, rel=1e-9)
    size = np.linalg.norm(dense)
    assert row.update.frobenius.lower <= size * (1 + 1e-12) <= row.update.frobenius.upper * (1 + 2e-12)
    flat = np.linalg.norm(dense.reshape(len(dense), -1), 2)
    assert row.measurement("heuristic").value == pytest.approx(flat, rel=1e-9)
    assert row.update.stable_rank.upper == pytest.approx((size / flat) ** 2, rel=1e-9)
    assert row.measurement("bound").value >= truth


@pytest.mark.parametrize(
    ("names", "dense", "kind"),
    [
        ({"q.lora_down.weight": A, "q.lora_up.weight": B}, lora(A, B), "LoRA"),
        ({"q.lora_down.weight": CONV_A, "q.lora_up.weight": CONV_B}, lora(CONV_A, CONV_B), "LoRA"),
        (
            {"q.lora_down.weight": drawn(4, 5, 1, 1), "q.lora_up.weight": CONV_B, "q.lora_mid.weight": MID},
            lora(drawn(4, 5, 1, 1), CONV_B, MID),
            "LoRA",
        ),
        (named("q.hada_", HADA), loha(*HADA.values()), "LoHa"),
        (named("q.hada_", {**CORED, **CORES}), loha(*CORED.values(), *CORES.values()), "LoHa"),
        (
            {"q.lokr_w1": drawn(2, 3), "q.lokr_w2_a": drawn(4, 2), "q.lokr_w2_b": drawn(2, 5)},
            lokr(drawn(2, 3), product(drawn(4, 2), drawn(2, 5))),
            "LoKr",
        ),
        (
            {
                "q.lokr_w1_a": drawn(5, 2),
                "q.lokr_w1_b": drawn(2, 4),
                "q.lokr_w2_a": CORED["w1_a"],
                "q.lokr_w2_b": CORED["w1_b"],
                "q.lokr_t2": CORES["t1"],
            },
            lokr(product(drawn(5, 2), drawn(2, 4)), cored(CORES["t1"], CORED["w1_a"], CORED["w1_b"])),
            "LoKr",
        ),
    ],
)
def test_a_single_file_is_a_row_a_module(names, dense, kind, tmp_path):
    alpha = {"q.alpha": np.array(3.0, np.float32)}
    path = single_file(tmp_path / "a.safetensors", named("lora_unet_", {**names, **alpha}))
    found = audit(path, exact=dense.ndim > 2, input_size=48)
    (row,) = found.layers
    rank = {"lora": 4, "hada": 2, "lokr": 2}[next(iter(names))[2:6]]
    assert (found.model.format, row.name, row.update.kind) == ("adapter", "lora_unet_q", kind)
    assert (row.update.rank, row.update.scale) == (rank, 3 / rank)
    check(row, dense * 3 / rank)
    assert {product for _, product in found.network.product} == {None}
    assert "not what that network is" in found.bound.reason


def test_factors_that_are_whole_are_not_scaled_but_by_peft(tmp_path):
    parts = {"q.lokr_w1": drawn(2, 3), "q.lokr_w2": drawn(4, 5)}
    dense = lokr(*parts.values())
    check(only(single_file(tmp_path / "a.safetensors", named("lora_unet_", parts))), dense)
    check(only(peft_folder(tmp_path / "p", parts, peft_type="LOKR", alpha=3, r=4)), dense * 0.75)
    difference = single_file(tmp_path / "d.safetensors", {"lora_unet_q.diff": drawn(6, 5, 3, 3)})
    check(only(difference), drawn(6, 5, 3, 3))


def test_a_folder_of_peft(tmp_path):
    tensors = {
        "layers.0.q.lora_A.weight": A,
        "layers.0.q.lora_B.weight": B,
        "layers.1.q.lora_A.weight": drawn(3, 12),
        "layers.1.q.lora_B.weight": drawn(8, 3),
        "emb.lora_embedding_A": drawn(4, 30),
        "emb.lora_embedding_B": drawn(6, 4),
        "head.weight": drawn(3, 8),
        "head.bias": drawn(3),
    }
    config = {"rank_pattern": {r"layers\.1.q": 3}, "alpha_pattern": {"1.q": 5, "q": 6}, "use_rslora": True}
    folder = peft_folder(tmp_path / "p", tensors, modules_to_save=["head"], **config)
    shares: list[float] = []
    rows = rows_of(audit(folder, progress=lambda _, share: shares.append(share)))
    assert sorted(rows) == ["emb", "head", "layers.0.q", "layers.1.q"]
    assert len(set(shares)) >= len(rows), "each of them is a part of the work"
    assert shares[-1] == pytest.approx(1)
    check(rows["layers.0.q"], lora(A, B) * 3)
    check(rows["layers.1.q"], lora(drawn(3, 12), drawn(8, 3)) * 5 / np.sqrt(3))
    check(rows["emb"], product(drawn(6, 4), drawn(4, 30)).T * 4)
    assert rows["head"].update is None
    assert any("saved whole" in line for line in rows["head"].assumed)
    by_file = audit(folder / "adapter_model.safetensors")
    assert [row.weight_sha256 for row in by_file.layers] == [row.weight_sha256 for row in rows.values()]
    assert by_file.model.files == ("adapter_config.json", "adapter_model.safetensors")


@pytest.mark.parametrize(
    ("down", "up"),
    [
        ("unet.b.0.to_q.lora_A.weight", "unet.b.0.to_q.lora_B.weight"),
        ("unet.b.0.to_q.lora.down.weight", "unet.b.0.to_q.lora.up.weight"),
        ("unet.b.0.to_q.lora_linear_layer.down.weight", "unet.b.0.to_q.lora_linear_layer.up.weight"),
        ("unet.b.0.processor.to_q_lora.down.weight", "unet.b.0.processor.to_q_lora.up.weight"),
        ("lora_unet_b_0_to_q.lora_down.weight", "lora_unet_b_0_to_q.lora_up.weight"),
        ("base_model.model.b.0.to_q.lora_A.x.weight", "base_model.model.b.0.to_q.lora_B.x.weight"),
    ],
)
def test_names_of_other_writers_find_their_base(down, up, tmp_path):
    base = single_file(tmp_path / "base.safetensors", {"b.0.to_q.weight": drawn(8, 12, seed=3)})
    path = single_file(tmp_path / "a.safetensors", {down: A, up: B})
    row = only(path, base=base)
    if down.startswith(TORCH):  # PEFT has the scale elsewhere
        assert "adapter_config.json" in row.reason
        return
    whole, update = drawn(8, 12, seed=3).astype(float), lora(A, B)
    check(row, update)
    assert row.update.base == "b.0.to_q.weight"
    for found, truth in (
        (row.update.base_norm, np.linalg.norm(whole, 2)),
        (row.update.merged, np.linalg.norm(whole + update, 2)),
        (row.update.share, np.linalg.norm(update, 2) / np.linalg.norm(whole, 2)),
    ):
        assert found.lower <= truth <= found.upper <= truth * (1 + 1e-9)


def test_diffusers_says_the_scale_in_the_metadata(tmp_path):
    names = ("unet.q.lora_A.weight", "unet.q.lora_B.weight", "te.q.lora_A.weight", "te.q.lora_B.weight")
    tensors = dict(zip(names, (A, B, A, B), strict=True))
    said = {"unet.r": 4, "unet.lora_alpha": 3, "unet.alpha_pattern": {"^q": 6}, "unet.use_rslora": True}
    path = single_file(tmp_path / "a.safetensors", tensors, lora_adapter_metadata=json.dumps(said))
    rows = rows_of(audit(path))
    check(rows["unet.q"], lora(A, B) * 3)
    check(rows["te.q"], lora(A, B))
    assert any("not scaled" in line for line in rows["te.q"].assumed)


def test_dora_needs_its_base(tmp_path):
    lengths = np.abs(drawn(8)) + 1
    tensors = {"q.lora_A.weight": A, "q.lora_B.weight": B, "q.lora_magnitude_vector": lengths}
    folder = peft_folder(tmp_path / "p", tensors, use_dora=True)
    assert "--base MODEL" in only(folder).reason
    whole = drawn(8, 12, seed=3)
    base = single_file(tmp_path / "base.safetensors", {"model.q.weight": whole})
    row = only(folder, base=base)
    total = whole + lora(A, B) * 2
    made = lengths[:, None] * total / np.linalg.norm(total, axis=1, keepdims=True)
    check(row, made - whole)
    assert row.update.merged.upper == pytest.approx(np.linalg.norm(made, 2), rel=1e-9)
    flipped = single_file(tmp_path / "gpt2.safetensors", {"q.weight": np.ascontiguousarray(whole.T)})
    row = only(peft_folder(tmp_path / "t", tensors, fan_in_fan_out=True), base=flipped)
    check(row, (made - whole).T)


def test_matrices_of_gpt2_are_turned_once(tmp_path):
    """The base's are read as [out, in], which of a square one no shape tells."""
    attention, projection = drawn(12, 36, seed=1), drawn(12, 12, seed=2)
    base = {"h.0.attn.c_attn.weight": attention, "h.0.attn.c_attn.bias": drawn(36)}
    base |= {"h.0.attn.c_proj.weight": projection, "h.0.attn.c_proj.bias": drawn(12)}
    names = [
        f"{module}.lora_{part}.weight" for module in ("h.0.attn.c_attn", "h.0.attn.c_proj") for part in "AB"
    ]
    tensors = dict(zip(names, (A, drawn(36, 4), A, drawn(12, 4)), strict=True))
    folder = peft_folder(tmp_path / "p", tensors, fan_in_fan_out=True)
    rows = rows_of(audit(folder, base=single_file(tmp_path / "base.safetensors", base)))
    for weight, up, row in zip(
        (attention, projection), (drawn(36, 4), drawn(12, 4)), rows.values(), strict=True
    ):
        check(row, lora(A, up) * 2)
        truth = np.linalg.norm(weight + 2 * lora(A, up).T, 2)
        assert row.update.merged.upper == pytest.approx(truth, rel=1e-9)
    base = {f"x.{name}": value for name, value in base.items() if "proj.weight" in name}
    row = rows_of(audit(folder, base=single_file(tmp_path / "one.safetensors", base)))["h.0.attn.c_proj"]
    assert row.update.merged is None
    assert "other way round" in row.update.no_base


def test_a_flat_update_has_the_taps_of_its_base(tmp_path):
    parts = {
        "w1_a": drawn(6, 2),
        "w1_b": drawn(2, 45),
        "w2_a": drawn(6, 2, seed=1),
        "w2_b": drawn(2, 45, seed=1),
    }
    path = single_file(tmp_path / "a.safetensors", named("lora_unet_conv_in.hada_", parts))
    assert "--base" in only(path).reason
    base = single_file(tmp_path / "base.safetensors", {"conv_in.weight": drawn(6, 5, 3, 3)})
    check(only(path, base=base), loha(*parts.values()).reshape(6, 5, 3, 3))
    kron = {"lokr_w1": drawn(2, 5), "lokr_w2_a": drawn(3, 2), "lokr_w2_b": drawn(2, 9)}
    path = single_file(tmp_path / "k.safetensors", named("lora_unet_conv_in.", kron))
    dense = lokr(kron["lokr_w1"], product(kron["lokr_w2_a"], kron["lokr_w2_b"]).reshape(3, 1, 3, 3))
    check(only(path, base=base), dense)


def test_a_weight_of_groups_is_formed(tmp_path):
    import torch

    convolution = torch.nn.Conv2d(10, 6, 3, groups=2)
    torch.save(torch.nn.ModuleDict({"q": convolution}), tmp_path / "base.pt")
    path = single_file(tmp_path / "a.safetensors", {"q.lora_down.weight": CONV_A, "q.lora_up.weight": CONV_B})
    row = only(path, base=tmp_path / "base.pt")
    dense = lora(CONV_A, CONV_B)
    assert row.groups == 2
    truth = max(circular_norm(dense[:3]), circular_norm(dense[3:]))
    assert truth <= row.measurement("certified").value <= truth * 1.01


def test_a_whole_model_with_an_adapter_in_it_replaces_nothing(tmp_path):
    """As `torch.save(get_peft_model(model).state_dict())` has it: its own weights, and the factors."""
    layer = "base_model.model.fc"
    state = {
        f"{layer}.base_layer.weight": torch.eye(3),
        f"{layer}.lora_A.default.weight": torch.ones(1, 3),
        f"{layer}.lora_B.default.weight": torch.ones(3, 1),
        "base_model.model.head.weight": torch.eye(3),
    }
    torch.save(state, tmp_path / "model.pt")
    rows = audit(tmp_path / "model.pt").layers
    assert not any("saved whole" in line for row in rows for line in row.assumed)
    assert [row.status for row in rows].count("audited") == 2
    (reason,) = [row.reason for row in rows if row.status == "unsupported"]
    assert "merge_and_unload" in reason


def test_what_is_nearly_one_direction_is_a_finding(tmp_path):
    left, right = drawn(64, 1), drawn(1, 64)
    up = np.concatenate([left, 1e-3 * drawn(64, 3)], 1)
    down = np.concatenate([right, drawn(3, 64)], 0)
    found = audit(peft_folder(tmp_path / "p", {"q.lora_A.weight": down, "q.lora_B.weight": up}))
    (finding,) = [each for each in found.findings if each.rule == "rank-1-spike"]
    assert finding.node == "q"
    assert "rank 4" in finding.message
    spread = audit(peft_folder(tmp_path / "s", {"q.lora_A.weight": A, "q.lora_B.weight": B}))
    one = audit(
        single_file(tmp_path / "1.safetensors", {"q.lora_down.weight": right, "q.lora_up.weight": left})
    )
    assert not [each for each in (*spread.findings, *one.findings) if each.rule == "rank-1-spike"]


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"r": 5}, "its rank is 5; its factors have 4"),
        ({"r": "4"}, "its rank is '4'"),
        ({"r": True}, "its rank is True"),
        ({"r": 0}, "its rank is 0"),
        ({"lora_alpha": float("nan")}, "its alpha is nan"),
        ({"lora_alpha": 1e305}, "its alpha is 1e+305"),
        ({"lora_alpha": None}, "its alpha is None"),
        ({"rank_pattern": {"(a+)+$": 4}}, "no plain name"),
        ({"rank_pattern": [1]}, "rank_pattern [1]"),
        ({"use_qalora": True}, "use_qalora True"),
        ({"alora_invocation_tokens": [1]}, "alora_invocation_tokens"),
        ({"target_parameters": ["w"]}, "target_parameters"),
        ({"init_lora_weights": "pissa"}, "changed when training began"),
        ({"some_day": {"x": 1}}, "which convsv does not know"),
        ({"peft_type": "OFT"}, "of the kind 'OFT'"),
    ],
)
def test_a_configuration_that_may_mean_anything(config, reason, tmp_path):
    found = audit(peft_folder(tmp_path / "p", {"q.lora_A.weight": A, "q.lora_B.weight": B}, **config))
    assert all(row.status == "unsupported" and reason in row.reason for row in found.layers)
    assert exit_code(Whole(command="audit", audits=(found,))) == 3


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"lora_down.weight": A}, "lacks lora_B (lora_up)"),
        ({"lora_down.weight": A, "lora_up.weight": drawn(8, 3)}, "do not fit each other: 4x12, 8x3"),
        ({"lora_down.weight": A, "lora_up.weight": B, "lora_A.weight": A}, "two tensors for one part"),
        ({"lora_down.weight": A, "lora_up.weight": B, "lokr_w1": A}, "a part 'lokr_w1'"),
        ({"lora_down.weight": A, "lora_up.weight": B, "alpha": np.array(np.nan)}, "alpha is nan"),
        ({"lora_down.weight": A, "lora_up.weight": B, "alpha": drawn(2)}, "alpha is no number"),
        ({"lora_down.weight": A, "lora_up.weight": B, "dora_scale": drawn(9, 1)}, "do not fit its update"),
        ({"lora_down.weight": A[:0], "lora_up.weight": B[:, :0]}, "factors are empty"),
        ({"hada_w1_a": A}, "lacks hada_w1_b"),
        ({"lokr_w1": A}, "lacks lokr_w2_a"),
        ({"lokr_w1": A, "lokr_w2": drawn(3)}, "do not fit"),
        ({"lora_down.weight": A, "lora_up.weight": B.astype(np.int8)}, "int8 weights"),
        (
            {"lora_down.weight": drawn(2, 1, 1, 1, 1, 3), "lora_up.weight": drawn(3, 2)},
            "a weight with 6 axes",
        ),
    ],
)
def test_parts_that_are_no_update(parts, reason, tmp_path):
    path = single_file(
        tmp_path / "a.safetensors",
        {**named("lora_unet_q.", parts), **named("lora_unet_k.lora_", {"down.weight": A, "up.weight": B})},
    )
    rows = rows_of(audit(path))
    assert reason in rows["lora_unet_q"].reason
    check(rows["lora_unet_k"], lora(A, B))


def test_what_is_not_finite_is_invalid_and_what_is_zero_is_zero(tmp_path):
    broken = A.copy()
    broken[1, 2] = np.inf
    parts = {
        "a.lora_down.weight": broken,
        "a.lora_up.weight": B,
        "b.lora_down.weight": A,
        "b.lora_up.weight": B * 0,
        "c.lora_down.weight": (A * 1e-30).astype(np.float64) * 1e-200,
        "c.lora_up.weight": B.astype(np.float64) * 1e-200,
    }
    rows = rows_of(audit(single_file(tmp_path / "a.safetensors", parts)))
    assert (rows["a"].status, rows["a"].reason) == ("invalid", "the weight holds NaN or infinity")
    assert rows["b"].measurement("certified").value == 0
    assert rows["b"].update.stable_rank is None
    assert 0 < rows["c"].measurement("certified").value < 1e-300


def test_adapters_that_are_active_together_add_up(tmp_path):
    first = peft_folder(
        tmp_path / "p", {"m.q.lora_A.weight": A, "m.q.lora_B.weight": B, "head.weight": drawn(3, 8)}
    )
    third = {"lora_unet_m_q.lokr_w1": drawn(2, 3), "lora_unet_m_q.lokr_w2": drawn(4, 4)}
    own = {"lora_unet_k.lora_down.weight": A, "lora_unet_k.lora_up.weight": B}
    second = single_file(tmp_path / "2.safetensors", {**named("unet.m.q.hada_", HADA), **own})
    base = single_file(tmp_path / "base.safetensors", {"m.q.weight": drawn(8, 12, seed=3)})
    rows = rows_of(audit(first, stacked=[second], base=base))
    sum_of_two = lora(A, B) * 2 + loha(*HADA.values())
    check(rows["m.q"], sum_of_two)
    check(rows["lora_unet_k"], lora(A, B))
    assert rows["head"].update is None
    update = rows["m.q"].update
    assert (update.kind, update.rank) == ("LoRA + LoHa", 6)
    whole = np.linalg.norm(drawn(8, 12, seed=3) + sum_of_two, 2)
    assert update.merged.lower <= whole <= update.merged.upper <= whole * (1 + 1e-9)
    files = [second, single_file(tmp_path / "3.safetensors", third)]
    found = audit(first, stacked=files)
    check(rows_of(found)["m.q"], sum_of_two + lokr(*third.values()))
    assert found.model.files[-2:] == ("2.safetensors", "3.safetensors")
    zero = single_file(tmp_path / "0.safetensors", {"m.q.lora_down.weight": A, "m.q.lora_up.weight": B * 0})
    check(rows_of(audit(zero, stacked=[zero, second]))["m.q"], loha(*HADA.values()))
    assert rows_of(audit(zero, stacked=[zero]))["m.q"].measurement("certified").value == 0
    other = single_file(tmp_path / "4.safetensors", {"m.q.lora_down.weight": A, "m.q.lora_up.weight": B[:7]})
    assert "another shape: 7x12 beside 8x12" in rows_of(audit(first, stacked=[other]))["m.q"].reason


def test_bases_that_do_not_fit(tmp_path):
    path = single_file(tmp_path / "a.safetensors", {"q.lora_down.weight": A, "q.lora_up.weight": B})
    for tensors, reason in (
        ({"k.weight": drawn(8, 12)}, "no weight of its name"),
        ({"q.weight": drawn(8, 11)}, "is 8x11, the update 8x12"),
        ({"a.q.weight": drawn(8, 12), "b.q.weight": drawn(8, 12)}, "several weights of its name"),
        ({"q.weight": np.full((8, 12), np.nan, np.float32)}, "NaN"),
    ):
        base = single_file(tmp_path / "base.safetensors", tensors)
        row = only(path, base=base)
        check(row, lora(A, B))
        assert reason in row.update.no_base
        assert row.update.share is None
    with pytest.raises(UsageError, match="no adapter"):
        audit(base, base=base)
    with pytest.raises(UsageError, match="an adapter itself"):
        audit(path, base=path)
    with pytest.raises(UsageError, match="leave out --graph, or these"):
        audit(path, base=base, graph=base)


def test_folders_that_are_none(tmp_path):
    for name in "xy":
        peft_folder(tmp_path / "several" / name, {"q.lora_A.weight": A, "q.lora_B.weight": B})
    with pytest.raises(UsageError, match="in folders of their own: x, y"):
        audit(tmp_path / "several")
    folder = peft_folder(tmp_path / "p", {"q.lora_A.weight": A, "q.lora_B.weight": B})
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(UnreadableModelError, match="beside this configuration"):
        audit(folder)
    for text in ('{"peft_type": 3, "auto_mapping": 1}', '{"peft_type": "LORA"', '["peft_type"]'):
        (folder / "adapter_config.json").write_text(text)
        with pytest.raises(ConvsvError):
            audit(folder)


def exact(*products: tuple[np.ndarray, np.ndarray]) -> Fraction:
    """A sum of products of vectors of floats, without rounding."""
    return sum(
        (
            Fraction(float(a)) * Fraction(float(b))
            for left, right in products
            for a, b in zip(left, right, strict=True)
        ),
        Fraction(0),
    )


def test_sums_that_cancel_are_no_more_exact_than_their_terms(tmp_path):
    import torch

    def holds(interval: Interval, truth: Fraction | Decimal) -> bool:
        kind = type(truth)
        return truth > 0 and kind(interval.lower) <= truth <= kind(interval.upper)

    weight, generator = drawn(1, 12), np.random.default_rng(0)
    magnitude = np.linalg.norm(weight.astype(np.float64), axis=1).astype(np.float32)
    dora = {"q.lora_A.weight": A, "q.lora_B.weight": 0 * B[:1], "q.lora_magnitude_vector": magnitude}
    base = single_file(tmp_path / "base.safetensors", {"q.weight": weight})
    row = only(peft_folder(tmp_path / "dora", dora, use_dora=True), base=base)
    length = sum(Decimal(float(each)) ** 2 for each in weight[0]).sqrt()
    moved = abs(Decimal(float(magnitude[0])) - length)
    assert moved < 1e-6
    assert holds(row.measurement("certified").enclosure, moved)
    assert holds(row.update.frobenius, moved)

    up, down = generator.standard_normal((2, 3)), generator.standard_normal((3, 1))
    lora_of = {"q.lora_up.weight": up[:1], "q.lora_down.weight": down}
    path, undone = single_file(tmp_path / "lora.safetensors", lora_of), -(up[:1] @ down)
    base = single_file(tmp_path / "undone.safetensors", {"q.weight": undone})
    rest = abs(exact((up[0], down[:, 0]), (undone[0], np.ones(1))))
    assert holds(only(path, base=base).update.merged, rest)

    down[2] = -(up[0, :2] @ down[:2]) / up[0, 2]
    up[1] = up[0]
    convolution = torch.nn.Conv1d(2, 2, 1, groups=2)
    torch.save(torch.nn.ModuleDict({"q": convolution}), tmp_path / "groups.pt")
    path = single_file(
        tmp_path / "conv.safetensors",
        {"q.lora_up.weight": up[..., None], "q.lora_down.weight": down[..., None]},
    )
    row = only(path, base=tmp_path / "groups.pt")
    assert holds(row.measurement("certified").enclosure, abs(exact((up[0], down[:, 0]))))

    large = [
        single_file(tmp_path / f"{n}.safetensors", {"lora_q.diff": np.array([[value]])})
        for n, value in enumerate((2.0**60, 1.0, -(2.0**60)))
    ]
    row = only(large[0], stacked=large[1:])
    assert holds(row.measurement("certified").enclosure, Fraction(1))
