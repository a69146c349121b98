"""`convsv audit` as users and pipes meet it: documents, files, errors, exit codes."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from tests.support.command_line import COMMAND_LINE, convsv, convsv_anew


@pytest.fixture(scope="module")
def sample(root: Path) -> Path:
    return root / "sample_models" / "resnet20.onnx"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "model.pt"
    torch.manual_seed(0)
    torch.save({"conv.weight": torch.randn(4, 3, 3, 3), "fc.weight": torch.randn(2, 4)}, path)
    return path


def assert_one_line(process, *fragments: str, code: int = 2) -> None:
    assert process.returncode == code, process.stderr
    assert process.stdout == ""
    assert process.stderr.startswith("convsv: ")
    assert process.stderr.count("\n") == 1
    assert "Traceback" not in process.stderr
    for fragment in fragments:
        assert fragment in process.stderr


def test_stdout_is_exactly_the_json_document(sample: Path) -> None:
    process = convsv_anew("audit", sample, "--network-effort", "quick", "--format", "json")
    assert process.returncode == 0
    assert process.stderr == ""
    (document,) = json.loads(process.stdout)["audits"]
    assert document["summary"]["audited"] == document["summary"]["layers"] == 22


def test_stdout_is_exactly_the_csv_document_also_with_remarks(checkpoint: Path) -> None:
    process = convsv("audit", checkpoint, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(process.stdout)))
    assert [row["name"] for row in rows] == ["conv", "fc", ""]
    assert "stride 1" in rows[0]["assumed"]


def test_totals_of_table_json_and_csv_agree(sample: Path, tmp_path: Path) -> None:
    files = {suffix: tmp_path / f"audit.{suffix}" for suffix in ("json", "csv", "txt")}
    outputs = [argument for path in files.values() for argument in ("-o", path)]
    process = convsv("audit", sample, "--exact", "--quiet", "--network-effort", "quick", *outputs)
    assert (process.returncode, process.stdout, process.stderr) == (0, "", "")
    (document,) = json.loads(files["json"].read_text())["audits"]
    rows = list(csv.DictReader(files["csv"].read_text().splitlines()))
    for name, total in document["network"]["product"].items():
        field = {"exact": "value", "certified": "upper"}.get(name)
        of = [layer[name][field] if field else layer[name] for layer in document["layers"]]
        assert total == pytest.approx(math.prod(of), rel=1e-12)
        column = "certified_upper" if name == "certified" else name
        assert [float(row[column]) for row in rows if row["kind"] == "layer"] == of
    line = next(row for row in files["txt"].read_text().splitlines() if row.startswith("product"))
    printed = dict(part.split() for part in line.split(": ")[1].split(", "))
    for name, text in printed.items():
        assert float(text) == pytest.approx(document["network"]["product"][name], rel=1e-3)
    assert set(printed) == set(document["network"]["product"])


def test_a_file_is_replaced_whole_and_keeps_its_mode(checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.json"
    output.write_text("old")
    output.chmod(0o640)
    assert convsv("audit", checkpoint, "-o", output).returncode == 0
    assert json.loads(output.read_text())["command"] == "audit"
    assert stat.S_IMODE(output.stat().st_mode) == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.pt", "out.json"]


def test_a_failed_audit_leaves_the_old_file(tmp_path: Path) -> None:
    output = tmp_path / "out.json"
    output.write_text("old")
    assert_one_line(convsv("audit", tmp_path / "absent.onnx", "-o", output), "absent.onnx")
    assert output.read_text() == "old"


def test_the_model_is_never_overwritten(checkpoint: Path) -> None:
    before = checkpoint.read_bytes()
    process = convsv("audit", checkpoint, "--format", "json", "-o", checkpoint)
    assert_one_line(process, "would replace an input")
    assert checkpoint.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (["-o", "out.xyz"], ["out.xyz", ".json"]),
        (["-o", "/nowhere/out.json"], ["/nowhere"]),
        (["--input-size", "0"], ["'0'", "224x160"]),
        (["--input-size", "big"], ["'big'", "224x160"]),
        (["--input-shape", "1x3x8x8"], ["NAME:1x3x224x224"]),
        (["--input-shape", "x:1", "--input-shape", "x:2"], ["'x'", "twice"]),
        (["-o", "a" * 300 + ".json"], ["File name too long"]),
        (["--input-shape", "x:1x3x8x8"], ["state dict", "--input-size"]),
        (["--layers", "layer9.*"], ["'layer9.*'", "conv", "fc"]),
        (["--exact"], ["--input-size"]),
        (["--device", "cuda"], ["CUDA", "--device cpu"]),
        (["--device", "mps"], ["float64", "--device cpu"]),
        (["--format", "yaml"], ["yaml", "json"]),
        (["--no-such-option"], ["--no-such-option"]),
    ],
)
def test_usage_errors_are_one_line(checkpoint: Path, arguments: list[str], fragments: list[str]) -> None:
    if arguments == ["--device", "cuda"] and torch.cuda.is_available():
        assert convsv("audit", checkpoint, *arguments).returncode == 0
        return
    assert_one_line(convsv("audit", checkpoint, *arguments), *fragments)


@pytest.mark.parametrize("size", ["3", "1x1", "32x32x32"])
def test_an_impossible_input_size_is_one_line(size: str, tmp_path: Path) -> None:
    path = tmp_path / "valid.onnx"
    _convolution(path)
    assert_one_line(
        convsv("audit", path, "--exact", "--input-size", size), "valid.onnx", size.split("x", maxsplit=1)[0]
    )


@pytest.mark.parametrize("special", ["pipe.json", "device.json"])
def test_what_is_no_file_is_never_replaced(special: str, checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / special
    os.mkfifo(path) if special.startswith("pipe") else path.symlink_to(os.devnull)
    assert_one_line(convsv("audit", checkpoint, "-o", path), special, "cannot be replaced")
    assert not path.is_file()


def test_a_circle_of_links_is_replaced(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "a.json").symlink_to("b.json")
    (tmp_path / "b.json").symlink_to("a.json")
    assert convsv("audit", checkpoint, "-o", tmp_path / "a.json").returncode == 0
    assert json.loads((tmp_path / "a.json").read_text())["command"] == "audit"


def test_an_encoding_without_lines_and_crosses_will_do(checkpoint: Path) -> None:
    command = [sys.executable, "-m", "convsv_cli", "audit", checkpoint]
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    process = subprocess.run(command, capture_output=True, check=False, env=environment)
    assert (process.returncode, process.stderr) == (0, b"")
    assert "4×3×3×3".encode("cp1252") in process.stdout


@pytest.mark.parametrize(("redirection", "code"), [(">/dev/full", 2), (">&-", 0)])
def test_a_full_disk_is_one_line_and_a_closed_stdout_none(redirection, code, checkpoint: Path) -> None:
    command = f'"{sys.executable}" -m convsv_cli audit "{checkpoint}" {redirection}'
    process = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert process.returncode == code, process.stderr
    assert process.stderr == ("convsv: stdout: cannot write: No space left on device\n" if code else "")


@pytest.mark.filterwarnings("ignore")
def test_warnings_of_libraries_stay_out_of_stderr(tmp_path: Path) -> None:
    path = tmp_path / "quantised.pt"
    torch.save({"fc.weight": torch.quantize_per_tensor(torch.ones(2, 2), 0.1, 0, torch.qint8)}, path)
    process = convsv_anew("audit", path)
    assert (process.returncode, process.stderr) == (0, "")


def test_without_a_command_it_prints_the_help() -> None:
    process = convsv()
    assert (process.returncode, process.stdout) == (0, convsv("--help").stdout)


def test_layers_selects_by_glob(sample: Path) -> None:
    process = convsv("audit", sample, "--format", "json", "--layers", "layer3.*.conv1", "--layers", "fc")
    names = [layer["name"] for layer in json.loads(process.stdout)["audits"][0]["layers"]]
    assert names == ["layer3.0.conv1", "layer3.1.conv1", "layer3.2.conv1", "fc"]


def test_as_stride_1_never_lowers_a_norm_and_says_so(sample: Path) -> None:
    strided, plain = (
        json.loads(
            convsv("audit", sample, "--exact", "--network-effort", "quick", "--format", "json", *extra).stdout
        )["audits"][0]["layers"]
        for extra in ([], ["--as-stride-1"])
    )
    for a, b in zip(strided, plain, strict=True):
        assert b["exact"]["upper"] >= a["exact"]["lower"]
        assert any("stride 1 instead of 2" in line for line in b["assumed"]) == (2 in a["stride"])


def test_layers_that_cannot_be_audited_exit_with_3(tmp_path: Path) -> None:
    path = tmp_path / "broken.pt"
    torch.save({"a.weight": torch.full((2, 2, 3, 3), torch.nan), "b.weight": torch.ones(2, 2)}, path)
    process = convsv("audit", path, "--format", "json")
    assert process.returncode == 3
    first, second = json.loads(process.stdout)["audits"][0]["layers"]
    assert (first["status"], first["bound"]) == ("invalid", None)
    assert "NaN" in first["reason"]
    assert second["status"] == "audited"
    assert "not audited: a: the weight holds NaN" in convsv("audit", path).stdout
    assert convsv("audit", path, "--exit-zero").returncode == 0


def test_hostile_names_reach_no_terminal_and_no_spreadsheet(tmp_path: Path) -> None:
    path = tmp_path / "hostile.pt"
    names = ["\x1b[31mred", "[link=http://x]a", "=cmd()|x", "a\u202eb", "line\nbreak"]
    torch.save({f"{name}.weight": torch.ones(2, 2) for name in names}, path)
    table = convsv("audit", path).stdout
    assert "\x1b" not in table
    assert "\u202e" not in table
    assert "[link=http://x]a" in table
    assert "line\\nbreak" in table
    rows = list(csv.DictReader(io.StringIO(convsv("audit", path, "--format", "csv").stdout)))
    assert [row["name"] for row in rows][2] == "'=cmd()|x"
    layers = json.loads(convsv("audit", path, "--format", "json").stdout)["audits"][0]["layers"]
    assert [layer["name"] for layer in layers] == names


def test_an_internal_error_is_one_line_with_exit_code_70(checkpoint: Path, monkeypatch, capsys) -> None:
    from convsv_cli import auditing, cli

    def fail(*_args: object, **_options: object) -> None:
        raise RuntimeError("a planted\nfault")

    monkeypatch.setattr(auditing, "audit_file", fail)
    monkeypatch.setattr("sys.argv", ["convsv", "audit", str(checkpoint)])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    assert exit_.value.code == 70
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("convsv: internal error: RuntimeError: a planted fault (")


def _convolution(path: Path) -> None:
    """An ONNX graph of one valid 7x7 convolution."""
    weight = helper.make_tensor("w", TensorProto.FLOAT, [1, 1, 7, 7], [1.0] * 49)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [weight],
    )
    onnx.save(helper.make_model(graph), path)


@pytest.mark.parametrize("limit", ["0", "1e3", "1e8", "inf"])
def test_any_work_limit_gives_intervals_that_hold_the_same_norms(checkpoint: Path, limit: str) -> None:
    arguments = ("audit", checkpoint, "--exact", "--input-size", "64", "--format", "json")
    free, limited = (
        json.loads(convsv(*arguments, *more).stdout)["audits"][0]["layers"][0]
        for more in ((), ("--work-limit", limit))
    )
    for name in ("exact", "certified"):
        assert limited[name]["lower"] <= free[name]["upper"]
        assert limited[name]["upper"] >= free[name]["lower"]


def test_a_work_limit_that_came_first_is_a_finding(checkpoint: Path) -> None:
    (document,) = json.loads(convsv("audit", checkpoint, "--work-limit", "0", "--format", "json").stdout)[
        "audits"
    ]
    (finding,) = (f for f in document["findings"] if f["rule"] == "work-limit")
    assert (finding["node"], finding["severity"]) == ("conv", "warning")
    assert "raise --work-limit" in finding["message"]


def test_the_tolerance_is_kept(checkpoint: Path) -> None:
    for tolerance in (1e-2, 1e-7):
        process = convsv("audit", checkpoint, "--tolerance", str(tolerance), "--format", "json")
        for layer in json.loads(process.stdout)["audits"][0]["layers"]:
            assert layer["certified"]["upper"] <= layer["certified"]["lower"] * (1 + tolerance)


@pytest.mark.parametrize("option", ["--tolerance", "--work-limit"])
@pytest.mark.parametrize("value", ["-1", "nan"])
def test_impossible_limits_are_one_line(checkpoint: Path, option: str, value: str) -> None:
    assert_one_line(convsv("audit", checkpoint, option, value), "must be")


def test_an_interrupt_that_a_library_turns_into_an_error_is_one(checkpoint: Path) -> None:
    code = COMMAND_LINE.replace(
        "main()",
        """
import os, signal, time
from convsv_cli import auditing

def imported(*_, **__):
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)
    except KeyboardInterrupt:
        raise ImportError("a library is half imported")

auditing.audit_file = imported
main()
""",
    )
    arguments = [sys.executable, "-c", code, "audit", str(checkpoint)]
    process = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert (process.returncode, process.stdout) == (130, "")
    assert process.stderr.strip() == "convsv: interrupted"


@pytest.mark.parametrize("seconds", [1.5, 4.0])
def test_an_interrupt_leaves_no_file_that_is_not_whole(tmp_path: Path, seconds: float) -> None:
    torch.manual_seed(0)
    path = tmp_path / "model.pt"
    torch.save({f"conv{i}.weight": torch.randn(256, 256, 3, 3) for i in range(40)}, path)
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND_LINE, "audit", str(path), "-o", str(tmp_path / "audit.json")],
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    try:
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode in (130, 1, -signal.SIGINT), "before the command line runs, Python itself ends"
    assert process.returncode != 130 or errors.strip() == "convsv: interrupted"
    found = {entry.name for entry in tmp_path.iterdir()}
    assert found in ({"model.pt"}, {"model.pt", "audit.json"}), "nothing, or what was measured by then"
    if "audit.json" in found:
        (audit,) = json.loads((tmp_path / "audit.json").read_text())["audits"]
        assert audit["status"] == "interrupted"
