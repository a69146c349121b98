"""Audits of many model files: found, given to workers, and kept one by one, so that a run can go on later.

One way for all machines: an `Executor` runs `Order`s, in processes of this machine or on a Dask cluster.
"""

from __future__ import annotations

from convsv_cli.sweeping.cluster import ClusterExecutor
from convsv_cli.sweeping.discovery import Found, discover
from convsv_cli.sweeping.driver import Tally, sweep
from convsv_cli.sweeping.executor import Executor, LocalExecutor
from convsv_cli.sweeping.outcomes import Outcome, Outcomes, outcomes_in
from convsv_cli.sweeping.summary import summary_of
from convsv_cli.sweeping.tables import Totals, update_tables, write_tables
from convsv_cli.sweeping.watching import Watch

__all__ = [
    "ClusterExecutor",
    "Executor",
    "Found",
    "LocalExecutor",
    "Outcome",
    "Outcomes",
    "Tally",
    "Totals",
    "Watch",
    "discover",
    "outcomes_in",
    "summary_of",
    "sweep",
    "update_tables",
    "write_tables",
]
