"""Modules as TorchScript archives, and modules whose code does what straight lines do not."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Optional, Union

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from convsv_cli.loaders import load
from convsv_cli.model.network import InputSize, Network

FORMS: Mapping[str, Callable[[nn.Module, Tensor], torch.jit.ScriptModule]] = {
    "traced": lambda module, x: torch.jit.trace(module, x, check_trace=False),
    "scripted": lambda module, _: torch.jit.script(module),
    "traced and frozen": lambda module, x: torch.jit.freeze(torch.jit.trace(module, x, check_trace=False)),
    "scripted and frozen": lambda module, _: torch.jit.freeze(torch.jit.script(module)),
}


def saved(module: nn.Module, x: Tensor, path: Path, form: str = "scripted") -> tuple[Path, str]:
    """The archive, and what its code calls its first input.

    Raises:
        RuntimeError: torch does not take such code.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script = FORMS[form](module, x)
    torch.jit.save(script, path)
    return path, script.forward.schema.arguments[1].name


def scripts_of(module: nn.Module, x: Tensor, folder: Path) -> Iterator[tuple[Path, str]]:
    """Archives as torch traces it, and as it compiles its code where it can."""
    for form in ("traced", "scripted"):
        path = folder / f"{form}.pt"
        with suppress(RuntimeError, torch.jit.Error, torch.jit.frontend.NotSupportedError):
            made = saved(module, x, path, form)
            torch.jit.load(path)(x)  # raises where the code is there, and does not run
            yield made


def network(path: Path, name: str, x: Tensor | None) -> Network:
    """What is read of it, with that input; None for what the file says."""
    return load(path, InputSize() if x is None else InputSize(shapes=((name, tuple(x.shape)),)))


def computed(found: Network, folder: Path, x: Tensor) -> list[np.ndarray]:
    """What onnxruntime computes of its graph, whose constants are in the archive."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    session = onnxruntime.InferenceSession(found.executable(), options)
    return list(session.run(None, {session.get_inputs()[0].name: x.numpy()}))


def edited(path: Path, word: str, code: str, ending: str = ".py") -> Path:
    """The archive with other code in the file that has a word, of those whose names end so."""
    with zipfile.ZipFile(path) as file:
        records = {name: file.read(name) for name in file.namelist()}
    (name,) = (each for each, data in records.items() if each.endswith(ending) and word.encode() in data)
    records[name] = code.encode()
    with zipfile.ZipFile(path, "w") as file:
        for each, data in records.items():
            file.writestr(each, data)
    return path


class Base(nn.Module):
    """What they work with."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.layers = nn.ModuleList([nn.Linear(4, 4), nn.ReLU()])
        self.scale = nn.Parameter(torch.ones(4))
        self.register_buffer("three", torch.tensor(3.0))
        self.items = [1, 2, 3]
        self.state = torch.zeros(4)


class State(Base):
    def forward(self, x: Tensor) -> Tensor:
        self.state = self.state + x.mean(0)
        return self.linear(x) + self.state


class StateInPlace(Base):
    def forward(self, x: Tensor) -> Tensor:
        self.state.add_(x.mean(0))
        return self.linear(x) + self.state


class ParameterInPlace(Base):
    def forward(self, x: Tensor) -> Tensor:
        part = self.scale.view(2, 2).detach()
        part.mul_(2.0)
        return self.linear(x) * self.scale


class ListOfModule(Base):
    def forward(self, x: Tensor) -> Tensor:
        self.items.append(4)
        return self.linear(x) * len(self.items)


class ViewInPlace(Base):
    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x)
        y[:, 0].add_(1.0)
        return y


class CopyThatIsNone(Base):
    def forward(self, x: Tensor) -> Tensor:
        y = x.contiguous()
        y.relu_()
        return self.linear(x) + y


class NumberInPlace(Base):
    def forward(self, x: Tensor) -> Tensor:
        number = torch.tensor(2.0)
        number.view(1).add_(1.0)
        return self.linear(x) * number.item()


class Turned(Base):
    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x)
        y.t_()
        return y * 2


class Branch(Base):
    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x)
        if y.sum() > 0:
            return y * 100
        return y


class NumberOfData(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) * x.sum().item()


class TwoInOne(Base):
    def forward(self, x: Tensor) -> Tensor:
        y = x.view(2, 4)
        return self.linear(x) * 5 if y is x else self.linear(x)


class Chance(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + torch.rand_like(x)


class Flag(Base):
    def forward(self, x: Tensor, flag: bool) -> Tensor:
        return self.linear(x) if flag else x


class Device(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) if x.device == torch.device("cuda:0") else self.linear(x) * 100


@torch.jit.script
class Box:
    """An object of the code's own."""

    def __init__(self, inside: Tensor) -> None:
        self.inside = inside


class Object(Base):
    def forward(self, x: Tensor) -> tuple[Tensor, Box]:
        return self.linear(x), Box(x * 100)


class Restored(nn.Module):
    """What makes its weight of what it stores."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.weight = nn.Linear(4, 4), torch.ones(4)

    @torch.jit.export
    def __getstate__(self) -> dict[str, Tensor]:
        return {"weight": self.weight / 100}

    @torch.jit.export
    def __setstate__(self, state: dict[str, Tensor]) -> None:
        self.weight, self.training = state["weight"] * 100, False

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


class Restoring(Base):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Restored()

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.inner(x))


class Message(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) * (2 if f"{x.size(0)}" == "2" else 3)


class Loops(Base):
    def forward(self, x: Tensor) -> Tensor:
        for i in range(5):
            if i == 1:
                continue
            if i == 4:
                break
            for layer in self.layers:
                x = layer(x)
            x = x * i + 1
        i = 0
        while i < 3 and x.size(0) > 0:
            x, i = x + i, i + 1
        return x


class Numbers(Base):
    def forward(self, x: Tensor) -> Tensor:
        half, rest = x.shape[-1] // 2, -7 % 3
        sizes = [x.size(0), -7 // 2, int(-3.5), max(1, rest), abs(-4)]
        for number in self.items + sizes[1:]:
            x = x + number
        n = torch.tensor(x.size(1)) * 2
        return self.linear(x)[:, :half] * (2.0**-1 if n > 7 else 3.0) * self.three.item()


class Containers(Base):
    def forward(self, x: Tensor, extra: Optional[Tensor] = None) -> tuple[Tensor, dict[str, Tensor]]:  # noqa: UP045
        found = {"a": x, "b": self.linear(x)}
        parts = [x]
        same = parts
        for key, value in found.items():
            parts.append(value * (2.0 if key == "a" else 3.0))
        if extra is not None:
            x = x * extra
        return torch.cat(same, 1), found


class Odd(Base):
    def forward(self, x: Tensor, some: Union[int, bool] = True) -> tuple[Tensor, Tensor]:  # noqa: UP007
        y = self.linear(x) * (1.0 // (self.items[0] / 10.0)) + -0.1 % 3.0
        if isinstance(some, int):
            y = y * 100
        y = y * (torch.tensor(self.items[2] ** 2) / 2) * round(self.items[0] + 1.5)
        return y, y


class Shared(Base):
    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(self.linear(x))
        z = y
        z += x[:, [1, 0, 3, 2]]
        with torch.no_grad():
            y = y * 2
        return self.layers[0](y) * z


REFUSED: Sequence[tuple[type[Base], str]] = (
    (State, "forward keeps a state: it changes the attribute 'state' at line"),
    (StateInPlace, "forward changes a stored tensor by torch.add_"),
    (ParameterInPlace, "forward changes a stored tensor by torch.mul_"),
    (ListOfModule, "forward changes a list of its module"),
    (ViewInPlace, "it changes in place what another tensor shares with it"),
    (CopyThatIsNone, "it changes in place what another tensor shares with it"),
    (NumberInPlace, "forward changes a stored tensor by torch.add_"),
    (Turned, "forward changes the shape of a tensor by torch.t_"),
    (Branch, "forward branches on data at line "),
    (NumberOfData, "forward takes a number out of its data"),
    (TwoInOne, "forward asks whether two tensors are one"),
    (Chance, "forward calls torch.rand_like, which convsv does not translate, at line"),
    (Flag, "forward takes 'flag', which is no tensor, and has no default"),
    (Device, "forward asks which device it runs on"),
    (Restoring, "a module makes its attributes of what is stored (Restored)"),
    (Object, "forward returns an object"),
    (Message, "forward compares a text that it writes"),
)
"""With what is said of them."""
FOLLOWED: Sequence[type[Base]] = (Loops, Numbers, Containers, Shared, Odd)
