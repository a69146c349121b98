"""Where the tests find the real models and data, and the threads that they do without."""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

# One thread per process, and in those that tests start: pytest runs a process per core already, and threads
# that wait for each other there take several times as long. NumPy and torch read it when they are loaded.
os.environ.update({f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM")})

import pytest
import torch
from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
# Tests in the background are born deaf to Ctrl-C, and what they start would be so, too.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files of what takes longest, or all processes but one would wait for it at the end.

    With whole files: a process each would make what all tests of a file share.
    """
    long = {item.path for item in items if item.get_closest_marker("long")}
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """What a test does not seed itself is the same in every run."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real models and data; a test that needs it fails loudly where it is absent."""
    path = Path(os.environ.get("CONVSV_SHARED", ROOT.parent / "shared"))
    if not (path / "models").is_dir():
        pytest.fail(f"no real models at {path}/models: set CONVSV_SHARED to the shared folder")
    return path


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, bool], Path]:
    """Gives the file of a well-known network by name and exporter, written once for all processes."""
    from tests.support import exported_nets

    own = tmp_path_factory.getbasetemp()
    nets = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "nets"
    nets.mkdir(exist_ok=True)

    def path(name: str, dynamo: bool) -> Path:
        folder = nets / f"{name}-{dynamo}"
        if not folder.exists():
            new = tmp_path_factory.mktemp(folder.name)
            exported_nets.export(*exported_nets.network(name), new / "net.onnx", dynamo=dynamo)
            with suppress(OSError):  # another process was faster
                new.rename(folder)
        return folder / "net.onnx"

    return path
