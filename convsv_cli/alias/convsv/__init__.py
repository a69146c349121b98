"""convsv under its own name: `convsv.audit` is `convsv_cli.audit`, and so for every public name.

Packaging puts this folder beside `convsv_cli` (see `tool.hatch.build` in pyproject.toml). Each name is looked
up when it is used, so that `import convsv` is as quick as `import convsv_cli`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import convsv_cli
from convsv_cli import __all__
from convsv_cli import __version__ as __version__  # for type checkers: exported

if TYPE_CHECKING:
    from convsv_cli import *  # noqa: F403  (all that __all__ names)
else:

    def __getattr__(name: str) -> Any:  # noqa: ANN401  (PEP 562)
        if name not in __all__:
            raise AttributeError(f"module 'convsv' has no attribute {name!r}")
        return getattr(convsv_cli, name)


def __dir__() -> list[str]:
    return sorted(__all__)
