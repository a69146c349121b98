"""Small files that want minutes or gigabytes, each with a builder: a module per kind of file."""

from tests.support.small_files import (
    arrays,
    checkpoints,
    documents,
    graph_attributes,
    graph_chains,
    graph_constants,
    graphs,
    kernels,
    programs,
    scripts,
)
from tests.support.small_files.small_file import SIZE, SmallFile

MODULES = (
    arrays,
    checkpoints,
    documents,
    graph_attributes,
    graph_chains,
    graph_constants,
    graphs,
    kernels,
    programs,
    scripts,
)
SMALL_FILES: dict[str, SmallFile] = {each.name: each for module in MODULES for each in module.FILES}

__all__ = ["SIZE", "SMALL_FILES", "SmallFile"]
