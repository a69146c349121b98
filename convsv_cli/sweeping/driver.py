"""Which orders a sweep is made of, and in which order: whole models, or large ones layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence, Sized
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace

from convsv_cli import deadline, limits
from convsv_cli.cache import SIZE
from convsv_cli.report import Failure, Report, Settings
from convsv_cli.report.verdict import INTERNAL
from convsv_cli.sweeping.discovery import Found
from convsv_cli.sweeping.executor import Answer, Executor, Order, size_of
from convsv_cli.sweeping.outcomes import Outcomes

LARGE = 64 * 2**20
"""Bytes of a file whose layers are worth being measured by several workers."""

Steps = Generator[Sequence[Order], Sequence[Answer], Answer]


@dataclass(frozen=True, kw_only=True)
class Tally:
    """How far a sweep is.

    Attributes:
        models: how many there are, links left out.
        done: how many of these are done, those of earlier runs among them.
        before: how many were done by earlier runs.
        layers: how many layers this run has looked at.
        rejected: how many entries of the cache were not to be believed.
        unkept: why what is new was not kept in the cache; empty where it was.
    """

    models: int
    done: int
    before: int
    layers: int = 0
    rejected: int = 0
    unkept: str = ""


def sweep(
    found: Iterable[Found],
    settings: Settings,
    outcomes: Outcomes,
    executor: Executor,
    *,
    cache: str = "",
    cache_mode: str = "",
    cache_size: float = SIZE,
    graph: str = "",
    progress: Callable[[Tally], None] = lambda _tally: None,
    keep: Callable[[Order, Answer], None] | None = None,
    in_turn: bool = False,
) -> Tally:
    """Audit models, and keep what becomes of each; what was kept before is not done again.

    Where the time of the run is over (see `deadline`), it ends, and the executor has what still runs.

    Args:
        found: the models, in any order.
        settings: as for one audit.
        outcomes: where they are kept.
        executor: what runs the audits.
        cache, cache_mode, cache_size, graph: see `Order`.
        progress: called after each model.
        keep: what is done with each answer; None for `Outcomes.keep`.
        in_turn: whether models are begun in the order in which they come, instead of the largest first.

    Raises:
        UsageError: an outcome cannot be written.
    """
    models = list(_without_links(found, outcomes))
    left = [path for path in models if not outcomes.has(path)]
    if not in_turn:
        left.sort(key=size_of, reverse=True)
    tally = Tally(models=len(models), done=len(models) - len(left), before=len(models) - len(left))
    progress(tally)
    blank = Order(
        path="",
        settings=settings,
        cache=cache,
        cache_mode=cache_mode,
        cache_size=cache_size,
        limits=limits.granted(),
        graph=graph,
    )

    def orders() -> Iterator[Order]:
        for path in left:
            outcomes.begin(path)
            yield replace(blank, path=path)

    for order, answer in _run(orders(), executor):
        (keep or outcomes.keep)(order, answer)
        tally = _with(tally, answer)
        progress(tally)
    return tally


def _without_links(found: Iterable[Found], outcomes: Outcomes) -> Iterator[str]:
    """The paths of models, each once; other names of them are written down."""
    for each in found:
        if each.same_as:
            outcomes.keep_link(each.path, each.same_as)
        else:
            yield each.path


def _with(tally: Tally, answer: Answer) -> Tally:
    return replace(
        tally,
        done=tally.done + 1,
        layers=tally.layers + answer.layers,
        rejected=tally.rejected + answer.rejected,
        unkept=tally.unkept or answer.unkept,
    )


@dataclass
class _Job:
    """A model that is being worked on: the steps that are left, and the answers of the current one."""

    order: Order
    steps: Steps
    answers: list[Answer | None] = field(default_factory=list)


def _run(orders: Iterable[Order], executor: Executor) -> Generator[tuple[Order, Answer], None, None]:
    """The answer to each order, as they come; so many are begun as keep all slots busy."""
    running: dict[Future[Answer], tuple[_Job, int]] = {}
    waiting = iter(orders)
    while True:
        while _is_room(running, executor) and (order := next(waiting, None)):
            job = _Job(order=order, steps=_steps(order, executor.slots))
            _begin(job, next(job.steps), executor, running)
        if not running:
            return
        done, _ = wait(running, timeout=deadline.left(), return_when=FIRST_COMPLETED)
        if not done:  # the time is over
            return
        for future in done:
            job, index = running.pop(future)
            job.answers[index] = future.result()
            if None in job.answers:
                continue
            try:
                answers = [answer for answer in job.answers if answer is not None]
                _begin(job, job.steps.send(answers), executor, running)
            except StopIteration as end:
                yield job.order, end.value


def _is_room(running: Sized, executor: Executor) -> bool:
    return len(running) < executor.slots + executor.waiting and not deadline.ended()


def _begin(
    job: _Job, orders: Sequence[Order], executor: Executor, running: dict[Future[Answer], tuple[_Job, int]]
) -> None:
    job.answers = [None] * len(orders)
    for index, order in enumerate(orders):
        running[executor.submit(order)] = job, index


def _steps(order: Order, slots: int) -> Steps:
    """The orders that answer one, batch by batch; each batch needs the answers of the one before."""
    known: list[tuple[str, bytes]] = []
    if slots > 1 and size_of(order.path) >= LARGE:
        (planned,) = yield [replace(order, plan=True)]
        if planned.died:
            return _explained(order, planned)
        groups = _groups(planned.work, slots)
        answers = (yield [replace(order, layers=names) for names in groups]) if len(groups) > 1 else []
        known = [entry for answer in answers for entry in answer.known]
    (answer,) = yield [replace(order, known=tuple(known))]
    return _explained(order, answer)


def _groups(work: Sequence[tuple[str, float]], slots: int) -> list[tuple[str, ...]]:
    """Layers in a group for each slot, of about the same work: the longest first, each to the least."""
    groups: list[tuple[float, list[str]]] = [(0.0, []) for _ in range(slots)]
    for name, cost in sorted(work, key=lambda each: -each[1]):
        if cost:
            least = min(range(slots), key=lambda index: groups[index][0])
            total, names = groups[least]
            groups[least] = total + cost, [*names, name]
    return [tuple(names) for _, names in groups if names]


def _explained(order: Order, answer: Answer) -> Answer:
    """The answer; of a worker that has died, a failure of the model."""
    if not answer.died:
        return answer
    from convsv_cli.wire.audit import document
    from convsv_cli.wire.form import text

    failure = Failure(path=order.path, message=answer.died, exit_code=INTERNAL)
    report = Report(command="audit", audits=(), failures=(failure,))
    return replace(answer, document=text(document(report)).encode())
