"""convsv: how much can the layers of a neural network amplify a perturbation?

The public API; everything is imported on first use, so that `import convsv_cli` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from convsv_cli.version import __version__

if TYPE_CHECKING:
    from convsv_cli.api import audit, certify, clip, load, network_bound, spectral_norm
    from convsv_cli.certification.curvature_bounds import curvature_bounds
    from convsv_cli.certification.routes.curvature import curvature_radii
    from convsv_cli.certification.routes.margin import margin_radii
    from convsv_cli.errors import ConvsvError
    from convsv_cli.report import Audit, Certification, Clipping, Interval, NetworkBound
    from convsv_cli.training.callbacks import lightning_callback, transformers_callback
    from convsv_cli.training.curvature import CurvatureBound, CurvatureLoss
    from convsv_cli.training.limit import limit_norm
    from convsv_cli.training.logs import CsvLog, MlflowLog, TensorBoardLog, WandbLog
    from convsv_cli.training.monitor import NormMonitor
    from convsv_cli.training.network_loss import NetworkBoundLoss
    from convsv_cli.training.pair_bounds import PairBounds
    from convsv_cli.training.penalty import LipschitzPenalty
    from convsv_cli.training.unfoldings import PowerState

__all__ = [
    "Audit",
    "Certification",
    "Clipping",
    "ConvsvError",
    "CsvLog",
    "CurvatureBound",
    "CurvatureLoss",
    "Interval",
    "LipschitzPenalty",
    "MlflowLog",
    "NetworkBound",
    "NetworkBoundLoss",
    "NormMonitor",
    "PairBounds",
    "PowerState",
    "TensorBoardLog",
    "WandbLog",
    "__version__",
    "audit",
    "certify",
    "clip",
    "curvature_bounds",
    "curvature_radii",
    "lightning_callback",
    "limit_norm",
    "load",
    "margin_radii",
    "network_bound",
    "spectral_norm",
    "transformers_callback",
]

_HOME = {
    "Audit": "report",
    "Certification": "report",
    "Clipping": "report",
    "ConvsvError": "errors",
    "CsvLog": "training.logs",
    "CurvatureBound": "training.curvature",
    "CurvatureLoss": "training.curvature",
    "Interval": "report",
    "LipschitzPenalty": "training.penalty",
    "MlflowLog": "training.logs",
    "NetworkBound": "report",
    "NetworkBoundLoss": "training.network_loss",
    "NormMonitor": "training.monitor",
    "PairBounds": "training.pair_bounds",
    "PowerState": "training.unfoldings",
    "TensorBoardLog": "training.logs",
    "WandbLog": "training.logs",
    "audit": "api",
    "certify": "api",
    "clip": "api",
    "curvature_bounds": "certification.curvature_bounds",
    "curvature_radii": "certification.routes.curvature",
    "lightning_callback": "training.callbacks",
    "limit_norm": "training.limit",
    "load": "api",
    "margin_radii": "certification.routes.margin",
    "network_bound": "api",
    "spectral_norm": "api",
    "transformers_callback": "training.callbacks",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401  (PEP 562)
    if name not in _HOME:
        raise AttributeError(f"module 'convsv_cli' has no attribute {name!r}")
    return getattr(importlib.import_module(f"convsv_cli.{_HOME[name]}"), name)
