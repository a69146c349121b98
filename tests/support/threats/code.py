"""Pickles that run code, wherever model files hold pickles."""

from __future__ import annotations

import json
import logging
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tests.support.threats.threat import AUDITED, CANARY, UNSAFE, Threat

RUN = "mkdir; nothing of it was run"
STATE = {"conv.weight": torch.ones(2, 2, 3, 3)}


class Bomb:
    """Unpickled carelessly, it makes a folder."""

    def __init__(self, folder: Path, function: Callable[..., Any] = os.mkdir) -> None:
        self.call = function, (function_argument(function, folder / CANARY),)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def function_argument(function: Callable[..., Any], path: Path) -> Any:
    return path if function is Path.touch else str(path)


class Network(nn.Module):
    """A whole module with a bomb among its attributes."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3)
        self.bomb = Bomb(folder)


def _saved(value: Any, folder: Path, *, zipped: bool = True) -> Path:
    torch.save(value, folder / "model.pt", _use_new_zipfile_serialization=zipped)
    return folder / "model.pt"


def _checkpoint(folder: Path, *, zipped: bool) -> Path:
    return _saved({"state_dict": STATE, "hparams": Bomb(folder)}, folder, zipped=zipped)


def _module(folder: Path, *, zipped: bool) -> Path:
    return _saved(Network(folder), folder, zipped=zipped)


def _plain(folder: Path, *, name: str, protocol: int) -> Path:
    (folder / name).write_bytes(pickle.dumps(Bomb(folder), protocol))
    return folder / name


def _unknown(folder: Path) -> Path:
    """A call of a function that nobody has on a list."""
    return _saved({"state_dict": STATE, "hparams": Bomb(folder, Path.touch)}, folder)


def _sharded(folder: Path) -> Path:
    torch.save(STATE, folder / "a.bin")
    (folder / "b.bin").write_bytes(pickle.dumps({"fc.weight": Bomb(folder)}, 2))
    index = folder / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {"conv.weight": "a.bin", "fc.weight": "b.bin"}}))
    return index


def _repacked(path: Path, **records: bytes) -> Path:
    """The archive with these records put in the place of those whose names end so."""
    with zipfile.ZipFile(path) as old:
        contents = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, content in contents.items():
            base = name.rpartition("/")[2].replace(".", "_")
            new.writestr(name, records.get(base, content))
    return path


def _script(folder: Path, *, record: str) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(nn.Conv2d(2, 2, 3)).save(folder / "model.pt")
    return _repacked(folder / "model.pt", **{record: pickle.dumps(Bomb(folder), 2)})


def _program(folder: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(nn.Conv2d(2, 2, 3).eval(), (torch.ones(1, 2, 4, 4),))
        torch.export.save(program, folder / "model.pt2")
    return folder / "model.pt2"


def _sample_inputs(folder: Path) -> Path:
    path = _program(folder)
    torch.save(((Bomb(folder),), {}), folder / "inputs")
    return _repacked(path, model_pt=(folder / "inputs").read_bytes())


def _pickled_weights(folder: Path) -> Path:
    path = _program(folder)
    with zipfile.ZipFile(path) as archive:
        name = next(each for each in archive.namelist() if each.endswith("model_weights_config.json"))
        config = json.loads(archive.read(name))
    config["config"]["weight"]["use_pickle"] = True
    return _repacked(path, model_weights_config_json=json.dumps(config).encode())


def _old_program(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "model.pt2", "w") as archive:
        archive.writestr("serialized_exported_program.json", b"{}")
        archive.writestr("serialized_state_dict.pt", pickle.dumps(Bomb(folder), 2))
    return folder / "model.pt2"


def _torch_load(path: Path) -> object:
    return torch.load(path, weights_only=False)


def _pickle_load(path: Path) -> object:
    return pickle.loads(path.read_bytes())


def _shard_load(path: Path) -> object:
    return _pickle_load(path.with_name("b.bin"))


def _export_load(path: Path) -> object:
    logging.raiseExceptions = False  # torch 2.10 logs a wrong message when it falls back to trusting the file
    try:
        return torch.export.load(path)
    finally:
        logging.raiseExceptions = True


THREATS = (
    Threat(name="code in a checkpoint", make=partial(_checkpoint, zipped=True), code=UNSAFE, says=RUN,
           reckless=_torch_load),
    Threat(name="code in a legacy checkpoint", make=partial(_checkpoint, zipped=False), code=UNSAFE, says=RUN,
           reckless=_torch_load),
    Threat(name="code in a module", make=partial(_module, zipped=True), code=UNSAFE, says=RUN,
           reckless=_torch_load),
    Threat(name="code in a legacy module", make=partial(_module, zipped=False), code=UNSAFE, says=RUN,
           reckless=_torch_load),
    Threat(name="code in a plain pickle", make=partial(_plain, name="model.bin", protocol=2), code=UNSAFE,
           says=RUN, reckless=_pickle_load),
    Threat(name="code in a pickle of protocol 0", make=partial(_plain, name="model.pt", protocol=0), code=2,
           says="not a PyTorch checkpoint", reckless=_pickle_load),
    Threat(name="code in a pickle named .onnx", make=partial(_plain, name="model.onnx", protocol=4),
           code=UNSAFE, says=RUN, reckless=_pickle_load),
    Threat(name="code in a pickle named .safetensors",
           make=partial(_plain, name="model.safetensors", protocol=4), code=2, says="damaged",
           reckless=_pickle_load),
    Threat(name="code in a shard", make=_sharded, code=UNSAFE, says=RUN, reckless=_shard_load),
    Threat(name="code in TorchScript", make=partial(_script, record="data_pkl"), code=UNSAFE, says=RUN),
    Threat(name="code in TorchScript's constants", make=partial(_script, record="constants_pkl"), code=UNSAFE,
           says=RUN),
    Threat(name="code in the sample inputs of a .pt2", make=_sample_inputs, code=AUDITED, says="weight",
           reckless=_export_load),
    Threat(name="pickled weights of a .pt2", make=_pickled_weights, code=UNSAFE, says="is a pickle"),
    Threat(name="an old .pt2", make=_old_program, code=UNSAFE, says="its weights are pickled"),
    Threat(name="code that no list knows", make=_unknown, code=AUDITED, says="conv", reckless=_torch_load),
)  # fmt: skip
