"""Ways to a radius, one per module, in the order of the report; of equal radii, the later one counts."""

from __future__ import annotations

from convsv_cli.certification.routes import curvature, local, margin
from convsv_cli.certification.routes.certifier import Certifier

ROUTES: tuple[Certifier, ...] = (margin.ROUTE, curvature.ROUTE, local.ROUTE)
