"""Which of many cases the default run has: all of them are in the exhaustive one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def one_in(step: int, cases: Iterable[Any]) -> list[Any]:
    """All cases, to be parametrised by; each but the first of so many is marked as exhaustive."""
    return [
        pytest.param(
            *(case if isinstance(case, tuple) else (case,)),
            marks=[pytest.mark.exhaustive] if index % step else [],
        )
        for index, case in enumerate(cases)
    ]
