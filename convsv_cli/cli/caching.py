"""The options of commands that keep what they compute, and what is said of that."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

from convsv_cli.cli.helping import LIMITS, option
from convsv_cli.cli.running import note
from convsv_cli.cli.values import memory

if TYPE_CHECKING:
    from convsv_cli.cache import Store

T = TypeVar("T")
OFF = "off"
VARIABLE = "CONVSV_CACHE"
READ, WRITE = "read", "write"

CACHE = option(
    "--cache",
    section=LIMITS,
    metavar="FOLDER",
    envvar=VARIABLE,
    help="Keep what is computed in this folder, and compute nothing twice."
    f" {OFF}: do not.  [default: {VARIABLE} in the environment, or {OFF}]",
)
CACHE_MODE = option(
    "--cache-mode",
    section=LIMITS,
    type=click.Choice([READ, WRITE]),
    default=WRITE,
    help="read: only use what is there.  [default: write]",
)
CACHE_SIZE = option(
    "--cache-size",
    section=LIMITS,
    metavar="SIZE",
    callback=memory,
    help="What was not used for longest goes where the folder takes more.  [default: 1G]",
)


def caching(command: Callable[..., T]) -> Callable[..., T]:
    """A command that is given the cache which its options ask for, or None, as `cache`."""

    @CACHE
    @CACHE_MODE
    @CACHE_SIZE
    @wraps(command)
    def with_cache(*, cache: str | None, cache_mode: str, cache_size: float | None, **asked: Any) -> T:  # noqa: ANN401
        if not cache or cache == OFF:
            return command(cache=None, **asked)
        from convsv_cli.cache import SIZE, open_cache

        store = open_cache(cache, mode=cache_mode, most=SIZE if cache_size is None else cache_size)
        try:
            return command(cache=store, **asked)
        finally:
            store.close()
            _tell(store, cache)

    return with_cache


def _tell(store: Store, folder: str) -> None:
    """What of the cache was of no use, which may be somebody's attempt to change a verdict."""
    if store.rejected:
        note(
            f"{folder}: {store.rejected:,} entries were not written by this user's convsv, or are damaged: "
            "computed again"
        )
