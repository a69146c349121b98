"""Every kind of hostile file, each with a builder: the threats of the design, and what else was found."""

from tests.support.threats import code, graphs, headers, names, pickles, places
from tests.support.threats.threat import Threat

MODULES = (code, pickles, places, graphs, headers, names)
THREATS: dict[str, Threat] = {threat.name: threat for module in MODULES for threat in module.THREATS}
