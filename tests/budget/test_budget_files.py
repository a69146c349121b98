"""Budget files: what they may say, where they are found, and errors that name file, line and key."""

from __future__ import annotations

import time
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convsv_cli.budget import nearest_configuration, read_configuration
from convsv_cli.budget.toml import key_lines
from convsv_cli.errors import ConfigurationError
from convsv_cli.report import Place

FULL = """\
# a comment
models = [
  "a.onnx",
  "nets/b.onnx",
]
input-size = "224x160"
input-shape = { image = [1, 3, 224, 160], "a.b" = "1x7" }
input-range = [0, 1.5]
exact = true
device = "cpu"
tolerance = 1e-5
network-effort = "thorough"
max-lipschitz = 1_000_000
max-layer = 12.0

[[layer]]
match = "layer4.*"
max = 20.0
[[layer]]
max = 3
match = '''
*'''

[[ignore]]  # for now
match = "fc"
reason = "calibrated"
expires = 2027-01-01
[[ignore]]
match = "head"
reason = "new"
"""


def written(folder: Path, text: str, name: str = "convsv.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_everything_is_read_with_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, FULL)
    found = read_configuration(path)
    lines = FULL.splitlines()

    def line(start: str, nth: int = 0) -> Place:
        return Place(path=str(path), line=[i for i, t in enumerate(lines, 1) if t.startswith(start)][nth])

    assert found.models == (tmp_path / "a.onnx", tmp_path / "nets" / "b.onnx")
    assert (found.input_size, found.input_range) == ((224, 160), (0, 1.5))
    assert dict(found.input_shapes) == {"image": (1, 3, 224, 160), "a.b": (1, 7)}
    assert (found.exact, found.device, found.tolerance) == (True, "cpu", 1e-5)
    assert found.network_effort == "thorough"
    budget = found.budget
    assert (budget.network.value, budget.network.place) == (1e6, line("max-lipschitz"))
    assert (budget.layer.value, budget.layer.place) == (12, line("max-layer"))
    assert [(b.match, b.limit.value) for b in budget.layers] == [("layer4.*", 20), ("*", 3)]
    assert [b.limit.place for b in budget.layers] == [line("max ="), line("max =", 1)]
    assert [(g.match, g.reason, g.expires) for g in budget.ignores] == [
        ("fc", "calibrated", date(2027, 1, 1)),
        ("head", "new", None),
    ]
    assert [g.place for g in budget.ignores] == [line("[[ignore]]"), line("[[ignore]]", 1)]


def test_globs_of_models(tmp_path: Path) -> None:
    """In the order of names; each once, none that is hidden; a name that looks like a glob may be one."""
    for name in (
        "b/x.onnx",
        "a/x.onnx",
        "a/deep/er/y.onnx",
        "a/x.txt",
        "odd[1].onnx",
        ".git/z.onnx",
        "a/.w.onnx",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "round").symlink_to(tmp_path, target_is_directory=True)
    path = written(tmp_path, 'models = ["b/x.onnx", "**/**/*.onnx", "odd[1].onnx", "absent.onnx"]')
    found = [str(model.relative_to(tmp_path)) for model in read_configuration(path).models]
    assert found == ["b/x.onnx", "a/deep/er/y.onnx", "a/x.onnx", "odd[1].onnx", "absent.onnx"]
    path = written(tmp_path, 'models = ["?/x.*", ".git/*"]')
    found = [str(model.relative_to(tmp_path)) for model in read_configuration(path).models]
    assert found == ["a/x.onnx", "a/x.txt", "b/x.onnx", ".git/z.onnx"]


def test_pyproject_has_the_same_below_its_table(tmp_path: Path) -> None:
    head = '[project]\nname = "x"\n[tool.convsv]\n'
    text = head + FULL.replace("[[", "[[tool.convsv.")
    found = read_configuration(written(tmp_path, text, "pyproject.toml"))
    plain = read_configuration(written(tmp_path, FULL))
    assert found.models == plain.models
    for one, other in zip(found.budget.ignores, plain.budget.ignores, strict=True):
        assert (one.match, one.place.line) == (other.match, other.place.line + head.count("\n"))


@pytest.mark.parametrize(
    ("text", "line", "fragments"),
    [
        ("max-layer = 1\nmax-lipshitz = 2", 2, ["max-lipshitz", "did you mean max-lipschitz?"]),
        ("max_layer = 1", 1, ["max_layer", "did you mean max-layer?"]),
        ("\n\nzzz = 1", 3, ["zzz", "max-layer"]),
        ("[[layer]]\nmatch = 'a'\nmaximum = 1", 3, ["layer[1].maximum", "did you mean max?"]),
        ("[[layer]]\nmatch = 'a'\nmax = 1\n[[layer]]\nmatch = 'b'", 4, ["layer[2]", "'max'"]),
        ("[[ignore]]\nmatch = 'a'", 1, ["ignore[1]", "'reason'"]),
        ("[[ignore]]\nmatch = 'a'\nreason = ' '", 3, ["ignore[1].reason", "blank"]),
        ("[[ignore]]\nmatch = 'a'\nreason = 'b'\nexpires = '2027-01-01'", 4, ["expires", "without quotes"]),
        ("[[ignore]]\nmatch = 'a'\nreason = 'b'\nexpires = 2027-01-01T00:00:00", 4, ["expires", "date"]),
        ("[[layer]]\nmatch = ''\nmax = 1", 2, ["layer[1].match", "blank"]),
        ("max-layer = 'big'", 1, ["max-layer", "number", "'big'"]),
        ("max-layer = true", 1, ["max-layer", "number"]),
        ("max-layer = 0", 1, ["max-layer", "above 0"]),
        ("max-layer = nan", 1, ["max-layer", "finite"]),
        ("max-lipschitz = inf", 1, ["max-lipschitz", "finite"]),
        (f"max-layer = {10**400}", 1, ["max-layer", "finite"]),
        ("layer = 3", 1, ["layer", "[[layer]]"]),
        ("[layer]\nmatch = 'a'\nmax = 1", 1, ["layer", "[[layer]]"]),
        ("models = 'a.onnx'", 1, ["models", "array"]),
        ("models = [\n 'a',\n 3]", 1, ["models[2]", "text"]),
        ("models = ['a', 'nets/*.onnx']", 1, ["models[2] matches no file: 'nets/*.onnx'"]),
        ("models = ['/**/*.onnx']", 1, ["models[1] leaves the folder of the budget"]),
        ("models = ['../*.onnx']", 1, ["models[1] leaves the folder of the budget"]),
        ("input-size = 0", 1, ["input-size", "224x160"]),
        ("input-size = [2, true]", 1, ["input-size"]),
        ("input-range = [1, 0]", 1, ["input-range", "[0, 1]"]),
        ("input-range = [0, 1, 2]", 1, ["input-range"]),
        ("device = 'tpu'", 1, ["device", "cpu"]),
        ("exact = 1", 1, ["exact", "true or false"]),
        ("tolerance = -1", 1, ["tolerance"]),
        ("network-effort = 'hard'", 1, ["network-effort", "thorough"]),
        ("max-layer = 1\nmax-layer = 2", 2, ["invalid TOML"]),
        ("a = 1\nb = = 2\n", 2, ["invalid TOML"]),
        ("a = 1\nb = [1,\n", 3, ["invalid TOML"]),
    ],
)
def test_errors_name_file_line_and_key(text: str, line: int, fragments: list[str], tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigurationError) as caught:
        read_configuration(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:{line}: ")
    assert all(fragment in message for fragment in fragments), message
    assert caught.value.exit_code == 2


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b"a = '\xff'")
    for path in (tmp_path / "latin.toml", tmp_path / "absent.toml", tmp_path):
        with pytest.raises(ConfigurationError, match=str(path)):
            read_configuration(path)
    with pytest.raises(ConfigurationError, match=r"tool\.convsv"):
        read_configuration(written(tmp_path, "[tool]\n", "pyproject.toml"))
    with pytest.raises(ConfigurationError, match="TOML"):
        read_configuration(written(tmp_path, f"a = {'[' * 5000}", "deep.toml"))
    with pytest.raises(ConfigurationError, match="nested"):
        read_configuration(written(tmp_path, f"{'a.' * 5000}a = 1", "deep.toml"))


def test_long_arrays_and_strings_take_no_long_time(tmp_path: Path) -> None:
    budgets = "".join(f'  {{ match = "layer{i}[0-9].*", max = {i + 1} }},\n' for i in range(2000))
    models = "  'model.onnx',\n" * 2000
    text = f"models = [\n{models}]\nlayer = [\n{budgets}]  # [end]\nmax-layer = 3\n"
    start = time.perf_counter()
    found = read_configuration(written(tmp_path, text)).budget
    assert time.perf_counter() - start < 2
    assert found.layer.place.line == 4005
    assert found.layers[-1].limit.place.line == 2003


def test_the_nearest_file_counts_and_a_pyproject_without_the_table_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "a" / "b" / "c"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    assert nearest_configuration(Path()) is None or tmp_path not in nearest_configuration(Path()).parents
    written(tmp_path, "[tool.convsv]\n", "pyproject.toml")
    written(inner, "[project]\n", "pyproject.toml")
    assert nearest_configuration(Path()) == Path("../../../pyproject.toml")
    written(inner.parent, "[tool.convsv]\n", "pyproject.toml")
    assert nearest_configuration(Path()) == Path("../pyproject.toml")
    written(inner.parent, "")
    assert nearest_configuration(Path()) == Path("../convsv.toml")
    written(inner, "[tool\n", "pyproject.toml")
    with pytest.raises(ConfigurationError, match=r"^pyproject.toml:1"):
        nearest_configuration(Path())


KEY = st.text("abc-_", min_size=1, max_size=3)
VALUE = st.sampled_from(
    [
        "1",
        '"x"',
        "2027-01-01",
        "[\n 1,\n [2, 3],\n]",
        '"""\nz = 1\n[a]\n"""',
        "'''\n[[b]]\n'''",
        "{ q = [1] }",
    ]
)


@given(st.data())
def test_lines_of_drawn_documents(data: st.DataObject) -> None:
    """Statements of known lines, among blank lines and comments that look like statements."""
    text, expected = "", {}
    for table in range(data.draw(st.integers(1, 4))):
        name = f"t{table % 2}"
        number = table // 2
        text += data.draw(st.sampled_from(["", "\n", "# [[t0]]\n", "# k = [\n\n"]))
        expected[name, number] = text.count("\n") + 1
        text += f"[[ {name} ]] # x\n"
        for key in data.draw(st.lists(KEY, unique=True, max_size=3)):
            text += data.draw(st.sampled_from(["", "\n", "  "]))
            expected[name, number, key] = text.count("\n") + 1
            text += f"{key} = {data.draw(VALUE)}  # = [\n"
    found = key_lines(text)
    assert {keys: found[keys] for keys in expected} == expected


def test_lines_of_dotted_keys_and_tables_of_tables() -> None:
    text = '[a]\nb.c = 1\n"x.y" = 2\n[[a.list]]\nz = 1\n[a.list.inner]\nw = 1\n[[a.list]]\nz = 2\n'
    found = key_lines(text)
    assert found["a", "b", "c"] == 2
    assert found["a", "x.y"] == 3
    assert found["a", "list", 0, "inner", "w"] == 7
    assert found["a", "list", 1, "z"] == 9
