"""The tensors of a file that holds nothing else, as a `Network`: what all such formats share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from convsv_cli.errors import UnreadableModelError, UsageError
from convsv_cli.layer_names import plain_names, without_trainer
from convsv_cli.loaders.effective import effective
from convsv_cli.loaders.limits import check_tensors
from convsv_cli.loaders.scaled import dequantised
from convsv_cli.loaders.state_dict import StoredTensor, layers, no_layers
from convsv_cli.loaders.training_state import notes_on, training_state, without_training_state
from convsv_cli.model.network import InputSize, Network


@dataclass(frozen=True, kw_only=True)
class NamedTensors:
    """The tensors of a network.

    Attributes:
        tensors: by name, as they are stored.
        format: of the `Network`.
        files: names of further files that they are in.
        notes: what was left out.
        left_out: those of the notes that are about what could be weights.
        trained: whether a trainer may have put "model." before all names.
    """

    tensors: dict[str, StoredTensor]
    format: str
    files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    trained: bool = False

    @property
    def plain(self) -> dict[str, StoredTensor]:
        """The tensors by their names in the network, without wrappers around parts of it."""
        names = without_trainer(self.tensors) if self.trained else plain_names(self.tensors)
        return {names[name]: tensor for name, tensor in self.tensors.items()}


def network_of(path: Path, input_size: InputSize, read: Callable[[Path], NamedTensors], hint: str) -> Network:
    """The layers among the tensors of a file.

    Args:
        path: of the file.
        input_size: what the user asks for.
        read: gives the tensors.
        hint: what to do where no weights are among them.

    Raises:
        UsageError: named input shapes, which a state dict cannot have.
        UnreadableModelError: there are no weights; or as `read`.
        UnsafeModelError: more than any network has; or as `read`.
    """
    if input_size.shapes:
        hint_ = "leave --input-shape out" if input_size.size else "use --input-size"
        raise UsageError("a state dict or module has no named inputs", where=str(path), hint=hint_)
    found = read(path)
    check_tensors(((name, tensor.shape) for name, tensor in found.tensors.items()), str(path))
    tensors = effective(dequantised(without_training_state(found.plain)))
    rows = layers(tensors, input_size)
    if not rows:
        besides = f"; it {found.left_out[0]}" if found.left_out else ""
        raise UnreadableModelError(f"no weights found in this file{besides}", where=str(path), hint=hint)
    directions = notes_on(training_state(found.tensors))
    return Network(
        path=str(path),
        format=found.format,
        files=(path.name, *found.files),
        layers=rows,
        notes=tuple(dict.fromkeys((*found.notes, *directions, *no_layers(tensors, rows)))),
        left_out=found.left_out,
    )
