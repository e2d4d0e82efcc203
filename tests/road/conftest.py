"""A real cloud service in a process of its own, shared by the tests of the whole road."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from client import CloudClient

START_TIMEOUT_S = 120.0
LONGTAIL = (sys.executable, "-m", "cli.main")


@contextmanager
def serving(folder: Path, port: int = 0, **environment: str) -> Iterator[tuple[str, int]]:
    """Run `longtail cloud serve`; gives its URL and process id. Killed hard if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    ready = folder / "ready"
    ready.unlink(missing_ok=True)
    dropped = ("DATABASE_URL", "OBJECT_STORE_URL", "PUBLIC_URL", "LONGTAIL_OPERATOR_TOKEN")
    clean = {k: v for k, v in os.environ.items() if k not in dropped}
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [
                *LONGTAIL, "cloud", "serve", "--port", str(port),
                "--folder", str(folder / "cloud"), "--ready-file", str(ready),
            ],
            stdout=log, stderr=log, env={**clean, **environment},
        )  # fmt: skip
        try:
            yield _url(process, ready, folder / "log"), process.pid
        finally:
            process.terminate()
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _url(process: subprocess.Popen[bytes], ready: Path, log: Path) -> str:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not ready.exists():
        try:
            process.wait(timeout=0.05)
        except subprocess.TimeoutExpired:
            if time.monotonic() < deadline:
                continue
        raise RuntimeError(f"the cloud did not start:\n{log.read_text()[-3000:]}")
    return ready.read_text().strip()


@pytest.fixture
def cloud_folder() -> Iterator[Path]:
    """A folder that PostgreSQL can reach when root runs the tests; pytest's own is closed."""
    with tempfile.TemporaryDirectory(prefix="longtail-road-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def cloud_url() -> Iterator[str]:
    with (
        tempfile.TemporaryDirectory(prefix="longtail-road-") as folder,
        serving(Path(folder)) as (url, _),
    ):
        yield url


@pytest.fixture(scope="session")
def cloud(cloud_url: str) -> CloudClient:
    return CloudClient(cloud_url)
