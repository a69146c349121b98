"""Certified norms of layers that are being trained: of copies of their weights, in a thread of its own."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch

from convsv_cli.model.kernel import reduce_kernel
from convsv_cli.model.layer import Geometry
from convsv_cli.report import Interval
from convsv_cli.spectral.cores import NAME, one_thread_each
from convsv_cli.spectral.norms import norms_of
from convsv_cli.training.layers import TrainedLayer

MOST = 2
"""Snapshots at a time: one that is being worked on, and one that waits."""


@dataclass(frozen=True, kw_only=True)
class Certified:
    """What is proven of the weights as they were at one step.

    Attributes:
        step: of the training.
        norms: by the names of the layers, over all input sizes and paddings.
    """

    step: int
    norms: Mapping[str, Interval]


@dataclass(frozen=True, kw_only=True)
class Search:
    """How long norms are searched for.

    Attributes:
        tolerance: relative width of an enclosure that is good enough.
        work_limit: multiplications after which that of a layer stays as wide as it is.
    """

    tolerance: float
    work_limit: float

    def norm(self, weight: torch.Tensor, geometry: Geometry) -> Interval:
        """The supremum over all input sizes and paddings; nothing is proven of NaN and infinity."""
        if not weight.isfinite().all():
            return Interval()
        norms = norms_of(reduce_kernel(weight.detach(), geometry))
        return norms.supremum(tolerance=self.tolerance, limit=self.work_limit)

    def upper(self, weight: torch.Tensor, geometry: Geometry) -> float:
        """The upper end of that."""
        return self.norm(weight, geometry).upper


class Certifier:
    """Certifies snapshots, one after the other, beside the training.

    The thread belongs to the process that offers the snapshots: in a process that was forked, and in a copy,
    there is none, and none of its work, until a snapshot is offered there. A program that ends without
    `close` waits for the one layer that is being searched.

    Args:
        search: how long.
    """

    _thread: ThreadPoolExecutor | None
    _begun: deque[Future[Certified | None]]

    def __init__(self, search: Search) -> None:
        self._search = search
        self._forget()

    def offer(self, step: int, layers: Sequence[TrainedLayer]) -> bool:
        """Copy the weights, which may change from then on; False, and nothing is copied, where one waits.

        The copies are on the CPU when this returns. Those of weights on an accelerator wait for it.
        """
        self._own()
        if sum(not each.done() for each in self._begun) >= MOST:
            return False
        copies = {
            layer.name: (layer.weight.detach().to("cpu", copy=True), layer.geometry) for layer in layers
        }
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"{NAME}-monitor")
        self._begun.append(self._thread.submit(_certified, step, copies, self._search, self._stopped))
        return True

    def finished(self, *, wait: bool = False) -> list[Certified]:
        """What has been certified since this was last asked, in the order of the steps.

        Args:
            wait: for all that were offered.

        Raises:
            Exception: whatever ended the work on a snapshot; the next call goes on with the one after it.
        """
        self._own()
        found = []
        while self._begun and (wait or self._begun[0].done()):
            result = self._begun.popleft().result()
            found += [] if result is None else [result]
        return found

    def close(self) -> None:
        """End the thread, after the layer that it is at; what is not certified by then will not be."""
        self._own()
        self._stopped.set()
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)
        self._forget()

    def _own(self) -> None:
        if self._process != os.getpid():
            self._forget()

    def _forget(self) -> None:
        self._process = os.getpid()
        self._thread, self._begun, self._stopped = None, deque(), threading.Event()

    def __getstate__(self) -> dict[str, Any]:
        return {"_search": self._search}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._search = state["_search"]
        self._forget()


@torch.no_grad()
def _certified(
    step: int, copies: Mapping[str, tuple[torch.Tensor, Geometry]], search: Search, stopped: threading.Event
) -> Certified | None:
    """Of all layers; None where the thread, or the program, is to end."""
    norms = {}
    with one_thread_each():
        for name, (weight, geometry) in copies.items():
            if stopped.is_set() or not threading.main_thread().is_alive():
                return None
            norms[name] = search.norm(weight, geometry)
    return Certified(step=step, norms=norms)
