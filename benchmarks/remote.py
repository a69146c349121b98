"""Two layers of a large model in a real S3-compatible server on loopback: how much is transferred.

    pip install 'convsv[s3]' 'moto[server]'
    python -m benchmarks.remote [--size 1e9]

moto and s3fs take minutes to install, so that no test does; tests have a web server of their own, and a file
system of fsspec's. This starts moto's server, has it keep a sparse model, and counts what it sends.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from convsv_cli import audit
from tests.support.sparse_models import sparse_safetensors

BUCKET, NAME, MOST = "models", "model.safetensors", 0.05


def main() -> None:
    """Print the share of the file that was sent, and that the figures are those of the local file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=float, default=1e9)
    size = int(parser.parse_args().size)
    keys = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "none")
    os.environ |= {**keys, "AWS_DEFAULT_REGION": "us-east-1"}
    with tempfile.TemporaryDirectory() as folder:
        path = sparse_safetensors(Path(folder, NAME), size)
        server, sent = _server()
        try:
            _upload(path)
            sent.clear()
            start = time.perf_counter()
            remote = audit(f"s3://{BUCKET}/{NAME}", layers=["a.*"])
            seconds = time.perf_counter() - start
            local = audit(path, layers=["a.*"])
        finally:
            server.stop()
    share = sum(sent) / size
    print(f"{sum(sent):,} of about {size:,} bytes ({share:.3%}) in {len(sent)} answers, {seconds:.2f} s")
    print(remote.findings[0].message)
    assert share < MOST
    for one, other in zip(remote.layers, local.layers, strict=True):
        assert one.weight_sha256 == other.weight_sha256
        for (name, here), (_, there) in zip(one.measurements, other.measurements, strict=True):
            assert (here.value, here.enclosure) == (there.value, there.enclosure), name
    print("the figures are those of the local file")


def _server() -> tuple[Any, list[int]]:
    """A started server, and the bytes of each body that it sends."""
    from moto.moto_server import werkzeug_app
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    sent: list[int] = []
    original = werkzeug_app.DomainDispatcherApplication.__call__

    def counting(self: Any, environ: Any, start_response: Any) -> Any:  # noqa: ANN401
        for piece in original(self, environ, start_response):
            sent.append(len(piece))
            yield piece

    werkzeug_app.DomainDispatcherApplication.__call__ = counting
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    os.environ["AWS_ENDPOINT_URL"] = f"http://{host}:{port}"
    return server, sent


def _upload(path: Path) -> None:
    """In parts, as tools do with large files."""
    import boto3

    client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    client.create_bucket(Bucket=BUCKET)
    client.upload_file(str(path), BUCKET, NAME)


if __name__ == "__main__":
    main()
