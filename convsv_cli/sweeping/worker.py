"""What a worker does with an order: everything that may go wrong with a model is part of the answer."""

from __future__ import annotations

import os
from dataclasses import replace

from convsv_cli.auditing import audit_network, loaded, reached
from convsv_cli.auditing.cached import Known
from convsv_cli.auditing.measure import measure
from convsv_cli.auditing.plan import Meter, declared, plan, resolve_device
from convsv_cli.cache import Store, open_cache
from convsv_cli.errors import ConvsvError
from convsv_cli.limits import allowing, granting
from convsv_cli.model.network import Network
from convsv_cli.remote import beside
from convsv_cli.report import Audit, Failure, Report
from convsv_cli.report.verdict import INTERNAL
from convsv_cli.sweeping.executor import Answer, Order
from convsv_cli.wire.audit import document
from convsv_cli.wire.form import text


class Carried:
    """Entries that come with an order, and those that go with its answer, before those of a cache."""

    def __init__(self, entries: tuple[tuple[str, bytes], ...], store: Store | None) -> None:
        self._given, self.store = dict(entries), store
        self.new: dict[str, bytes] = {}

    def get(self, key: str) -> bytes | None:
        """As `Store.get`."""
        return self._given.get(key) or (self.store.get(key) if self.store else None)

    def put(self, key: str, content: bytes) -> None:
        """As `Store.put`."""
        self.new[key] = content
        if self.store:
            self.store.put(key, content)


def answer(order: Order) -> Answer:
    """What is found."""
    if not order.cache:
        return _answer(order, Carried(order.known, None))
    store = open_cache(order.cache, mode=order.cache_mode, most=order.cache_size)
    try:
        found = _answer(order, Carried(order.known, store))
        return replace(found, rejected=store.rejected, unkept=store.unkept)
    finally:
        store.close()


def _answer(order: Order, carried: Carried) -> Answer:
    try:
        with granting(*order.limits), allowing():
            if order.plan:
                return Answer(work=_planned(order))
            if order.layers:
                _measured(order, carried)
                return Answer(known=tuple(carried.new.items()))
        audit = reached(
            lambda file, graph: audit_network(
                loaded(file, order.settings, graph), order.settings, cache=carried
            ),
            order.path,
            order.graph or None,
        )
        return _reported(audit, order)
    except ConvsvError as error:
        return _failed(order, str(error), error.exit_code)
    except Exception as error:
        if os.environ.get("CONVSV_TRACEBACK"):
            raise
        return _failed(order, f"internal error: {type(error).__name__}: {error}", INTERNAL)


def _planned(order: Order) -> tuple[tuple[str, float], ...]:
    network = _declared(order)
    return tuple((task.layer.name, float(task.work)) for task in plan(network, order.settings))


def _measured(order: Order, carried: Carried) -> None:
    network = _declared(order)
    device, wanted = resolve_device(order.settings.device), set(order.layers)
    meter, settings = Meter(), replace(order.settings, spread=False)  # of which no cache has figures
    for task in plan(network, settings):
        if task.layer.name in wanted:
            measure(task, device, meter, Known(carried))


def _declared(order: Order) -> Network:
    return declared(loaded(order.path, order.settings, order.graph or None), order.settings)


def _reported(audit: Audit, order: Order) -> Answer:
    files = tuple(beside(order.path, name) for name in audit.model.files)
    report = Report(command="audit", audits=(audit,))
    return Answer(document=_document(report), files=files, layers=len(audit.layers))


def _failed(order: Order, message: str, code: int) -> Answer:
    failure = Failure(path=order.path, message=" ".join(message.split()), exit_code=code)
    return Answer(document=_document(Report(command="audit", audits=(), failures=(failure,))))


def _document(report: Report) -> bytes:
    return text(document(report)).encode()
