"""The norms of layers while they are being trained, from the training loop, for its logs and its limits."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from convsv_cli import arguments
from convsv_cli.errors import UsageError
from convsv_cli.report import WORK_LIMIT, Interval
from convsv_cli.training import power
from convsv_cli.training.certifying import Certifier, Search
from convsv_cli.training.enforcing import UNNAMED, Action, Limits, is_first
from convsv_cli.training.layers import untouched, watched
from convsv_cli.training.peaks import WARM_UP, Estimate, Peaks, advance, peaks_of

Log = Callable[[dict[str, float], int], object]
"""Called with figures by name, and the step that they are of."""
MOST_ROUNDS = 8
PRODUCT = "product_of_layer_norms"


class NormMonitor:
    """Follows how much each layer amplifies, by a `step()` after each step of the optimiser.

    For example:

        with NormMonitor(model, certified_every=1000, log=CsvLog("norms.csv")) as monitor:
            for images, labels in batches:
                ...
                optimiser.step()
                monitor.step()

    All norms are over every input size, with any zero padding, or circular padding of at most the kernel's
    extent: what `convsv audit` encloses as `certified`. (`exact`, at one size, is at most that.)

    * `norm_estimate/LAYER`: an *estimate from below*, and no proof. One step of an iteration a call, from
      where the last one ended, on the weights as they are now; data play no part. On weights that stay the
      same, tests find it within 1 % of the norm after 50 calls, for layers of all kinds; as the search is a
      local one, from many starts, nothing guarantees it.
    * `stable_rank/LAYER`: |K|_F^2 / norm^2 with that estimate, hence from above.
    * `norm_certified/LAYER`: *proven* from above, of a copy of the weights that is made between two steps of
      the optimiser, and reported with the step of that copy. A thread searches, on the CPU; while it is at
      one copy one more waits, and what would come after that is skipped, with a warning.
    * `product_of_layer_norms/estimate` and `.../certified`: the product of either over all layers. It is *no
      bound of the network*, with proven factors either: sums, normalizations, attention and whatever else
      lies between layers have no part in it. `convsv audit` bounds networks.

    Layers are those of `LipschitzPenalty`; a warning names what else has weights. What they multiply by is
    what counts, with parametrisations, whose state is left alone. float16 and bfloat16 are computed in
    float32, also under autocast. Models inside torch.compile and DistributedDataParallel are taken out. In a
    training of several processes, call `step` in all of them: the first does all the work, logs, and tells
    the others by which factors to rescale, or to stop. Weights that FSDP spreads are refused.

    A layer is above its limit where the estimate is, or a certified norm is not within it. `on_limit` is

    * "warn": a warning, when a layer comes to be above.
    * "rescale": the warning, and the weight is multiplied, in place, by a factor with which its norm is
      *proven* to be within the limit. That holds until the next step of the optimiser, and what is above by
      less than the estimate misses goes unnoticed: so `close` proves it of all layers, and rescales, and
      `enforce` does at any time. The optimiser's state stays as it is. A search takes milliseconds a small
      layer, and seconds for hundreds of channels; `limit_norm` is better for layers that are always at it.
    * "stop": the warning, and `should_stop` is true from then on, for the loop to look at.

    A monitor that is pickled, copied or forked goes on without the work of its thread.

    Args:
        model: not copied.
        every: steps from one estimate to the next, which takes as many steps of the iteration, at most 8.
        certified_every: steps from one certified copy to the next; None for none.
        layers: globs on names of layers, or of the modules that hold them; none for all.
        limit: of norms, positive; for all these layers, or by globs, of which the first that matches counts.
        on_limit: as above.
        log: one or several functions of a dict of figures and a step, such as a `TensorBoardLog`. They are
            called in the thread of `step` and `close`. Certified figures come after those of later steps.
        tolerance: relative width of a certified enclosure that is good enough; its upper end is logged.
        work_limit: multiplications after which a search stops with the wider enclosure that it has by then.

    Attributes:
        estimates: the newest ones by layer, each with `norm` and `stable_rank`.
        certified: the newest enclosures by layer.
        certified_step: the step of these; None before the first.
        skipped: number of copies that were due while one waited.
        should_stop: whether a limit was exceeded that was to stop the training.

    Raises:
        UsageError: no layer is left, a glob matches none, a number is out of its range, there is something to
            do on a limit and none, a log is no function, or a weight is spread over processes, or is to be
            rescaled and no plain parameter.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        every: int = 1,
        certified_every: int | None = None,
        layers: Sequence[str] = (),
        limit: float | Mapping[str, float] | None = None,
        on_limit: Action = "warn",
        log: Log | Sequence[Log] = (),
        tolerance: float = 1e-3,
        work_limit: float = WORK_LIMIT,
    ) -> None:
        if every < 1 or (certified_every is not None and certified_every < 1):
            raise UsageError("every and certified_every must be 1 or more")
        self._layers = watched(model, layers)
        self._modules = [layer.module for layer in self._layers]
        search = Search(tolerance=arguments.tolerance(tolerance), work_limit=arguments.work_limit(work_limit))
        self._certifier, self._limits = Certifier(search), Limits(self._layers, limit, on_limit, search)
        self._every, self._certified_every = every, certified_every
        self._logs = functions(log)
        self._peaks: list[Peaks] = []
        self._now = self.skipped = 0
        self.estimates: dict[str, Estimate] = {}
        self.certified: Mapping[str, Interval] = {}
        self.certified_step: int | None = None
        self.should_stop = False

    @torch.no_grad()
    def step(self, step: int | None = None) -> dict[str, float]:
        """Call it after each step of the optimiser, in all processes.

        Args:
            step: of the training; None for the number of calls so far, the first one being 1.

        Returns:
            The figures of this step, as they were logged; none where `every` leaves it out, and in all
            processes but the first.

        Raises:
            Exception: whatever ended the work on a certified snapshot.
        """
        self._now = self._now + 1 if step is None else step
        figures: dict[str, float] = {}
        if self._now % self._every == 0:
            above = set()
            if is_first():
                figures = self._estimated()
                norms = {name: each.norm for name, each in self.estimates.items()}
                above = self._limits.above(self._now, norms, self._reported())
            figures |= self._acted(above)
            self._log(figures, self._now)
        if self._certified_every and self._now % self._certified_every == 0 and is_first():
            self._offer()
        return figures

    def enforce(self) -> dict[str, float]:
        """Prove that all layers are within their limits, and rescale those that are not; in all processes.

        Returns:
            The factors by which weights were multiplied, by layer.

        Raises:
            UsageError: a weight with a limit is no plain parameter.
        """
        return self._limits.rescale()

    def close(self, *, finish: bool = True) -> None:
        """End the thread; with "rescale", `enforce`. As a context manager, that is done at the end.

        Args:
            finish: certify and log the copies that were made; else they are dropped, and nothing enforced.

        Raises:
            Exception: as of `step`.
        """
        try:
            if finish and is_first():
                self._limits.above(self._now, {}, self._reported(wait=True))
            if finish and self._limits.action == "rescale":
                self._log(_named("norm_rescaled", self.enforce()), self._now)
        finally:
            self._certifier.close()

    def __enter__(self) -> NormMonitor:  # noqa: PYI034  (Self is of Python 3.11)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(finish=kind is None)

    def _estimated(self) -> dict[str, float]:
        device = self._layers[0].device.type
        with untouched(self._modules), torch.autocast(device, enabled=False), power.few_threads(device):
            rounds = min(self._every, MOST_ROUNDS)
            if not self._peaks:
                self._peaks, rounds = peaks_of(self._layers), WARM_UP
            found = advance(self._peaks, rounds)
        self.estimates = {layer.name: found[layer.name] for layer in self._layers}
        norms = {name: each.norm for name, each in self.estimates.items()}
        ranks = {name: each.stable_rank for name, each in self.estimates.items()}
        product = {f"{PRODUCT}/estimate": math.prod(norms.values())}
        return _named("norm_estimate", norms) | _named("stable_rank", ranks) | product

    def _offer(self) -> None:
        with untouched(self._modules):
            taken = self._certifier.offer(self._now, self._layers)
        if not taken and not self.skipped:
            warnings.warn(
                f"the weights of step {self._now} are not certified, for those of earlier steps still are:"
                " certified_every is less than that takes",
                stacklevel=3,
            )
        self.skipped += not taken

    def _reported(self, *, wait: bool = False) -> dict[str, float]:
        """Log what has been certified since: the newest upper ends."""
        uppers: dict[str, float] = {}
        for found in self._certifier.finished(wait=wait):
            self.certified, self.certified_step = found.norms, found.step
            uppers = {name: norm.upper for name, norm in found.norms.items()}
            product = {f"{PRODUCT}/certified": math.prod(uppers.values())}
            self._log(_named("norm_certified", uppers) | product, found.step)
        return uppers

    def _acted(self, above: set[str]) -> dict[str, float]:
        """What is done about layers above their limits, as figures."""
        if self._limits.action == "rescale":
            return _named("norm_rescaled", self._limits.rescale(above))
        if self._limits.action == "stop":
            self.should_stop |= self._limits.is_over(above)
        return {}

    def _log(self, figures: dict[str, float], step: int) -> None:
        if figures and is_first():
            for log in self._logs:
                log(figures, step)


def functions(log: Log | Sequence[Log]) -> tuple[Log, ...]:
    """One or several, as several.

    Raises:
        UsageError: one is no function.
    """
    logs = tuple(log) if isinstance(log, Sequence) and not isinstance(log, str) else (log,)
    for each in logs:
        if not callable(each):
            raise UsageError(f"log {each!r} cannot be called", hint='e.g. log=CsvLog("norms.csv")')
    return logs


def _named(kind: str, figures: Mapping[str, float]) -> dict[str, float]:
    return {f"{kind}/{name or UNNAMED}": value for name, value in figures.items()}
