"""How much may be computed to see what the constant expressions of one model are."""

from __future__ import annotations

from dataclasses import dataclass, field

from onnx import SparseTensorProto, TensorProto

STEP = 2**15
"""Elements in the time that any node takes."""
FIRST = 2**30
"""Elements for any model, which takes seconds."""
TIMES = 64
"""How often every stored element may be computed with."""


class SpentError(Exception):
    """There is no more."""


@dataclass
class Budget:
    """Elements of results, which grow with what is stored."""

    left: int = FIRST
    _seen: dict[int, TensorProto | SparseTensorProto] = field(default_factory=dict)

    def credit(self, stored: TensorProto | SparseTensorProto, elements: int) -> None:
        """For a stored tensor, once."""
        if id(stored) not in self._seen:
            self._seen[id(stored)] = stored  # which keeps the number its own
            self.left += TIMES * elements

    def spend(self, elements: int) -> None:
        """For a result.

        Raises:
            SpentError: it is too much.
        """
        self.left -= elements + STEP
        if self.left < 0:
            raise SpentError
