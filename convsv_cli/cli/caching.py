"""The options of commands that keep what they compute, and what is said of that."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

from convsv_cli.cli.helping import LIMITS, Decorator, option
from convsv_cli.cli.running import note
from convsv_cli.cli.values import memory

if TYPE_CHECKING:
    from convsv_cli.cache import Store
    from convsv_cli.sweeping import Tally

T = TypeVar("T")
OFF = "off"
VARIABLE = "CONVSV_CACHE"
READ, WRITE = "read", "write"


def cache_option(otherwise: str) -> Decorator:
    """`--cache`, with what is done where neither it nor the environment says anything."""
    return option(
        "--cache",
        section=LIMITS,
        metavar="FOLDER",
        envvar=VARIABLE,
        help="Keep what is computed in this folder, and compute nothing twice."
        f" {OFF}: do not.  [default: {VARIABLE} in the environment, or {otherwise}]",
    )


CACHE = cache_option(OFF)
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
            tell_of_cache(store, cache)

    return with_cache


def tell_of_cache(found: Store | Tally, folder: str) -> None:
    """What of a cache was of no use, perhaps somebody's attempt to change a verdict; what was not kept."""
    if found.rejected:
        note(
            f"{folder}: {found.rejected:,} entries were not written by this user's convsv, or are damaged: "
            "computed again"
        )
    if found.unkept:
        note(f"{folder}: cannot write: {found.unkept} (nothing new is kept; --cache-mode read only reads)")
