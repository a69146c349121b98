"""An executor that runs orders where it is, so that tests see what is asked for."""

from __future__ import annotations

from concurrent.futures import Future

from convsv_cli.sweeping.executor import Answer, Order
from convsv_cli.sweeping.worker import answer


class InlineExecutor:
    """Runs each order at once; those on a path in `deadly` end as if the worker had died."""

    def __init__(self, slots: int = 1, deadly: frozenset[str] = frozenset()) -> None:
        self._slots, self._deadly = slots, deadly
        self.orders: list[Order] = []

    @property
    def slots(self) -> int:
        """As many as asked for."""
        return self._slots

    @property
    def waiting(self) -> int:
        """None: each is answered at once."""
        return 0

    def submit(self, order: Order) -> Future[Answer]:
        """The answer, which is there already."""
        self.orders.append(order)
        future: Future[Answer] = Future()
        future.set_result(Answer(died="killed") if order.path in self._deadly else answer(order))
        return future

    def close(self) -> None:
        """Nothing runs."""
