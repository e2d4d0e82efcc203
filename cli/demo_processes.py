"""The cloud and the agent as processes of their own, for demonstrations on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from cli.output import absolute
from contracts.errors import TransientError

START_TIMEOUT_S = 90.0
STEP_TIMEOUT_S = 120.0
POLL_S = 0.1
QUICK = {"LONGTAIL_CHECK_IN_POLL_S": "1", "LONGTAIL_ROLLOUT_STEP_S": "0.5"}
"""A vehicle that checks in every second: nobody waits a minute for a demonstration."""
_OTHERS = ("DATABASE_URL", "OBJECT_STORE_URL", "PUBLIC_URL", "LONGTAIL_OPERATOR_TOKEN")

Found = TypeVar("Found")


def longtail(*arguments: str) -> list[str]:
    """The command line of a `longtail` call in this very environment."""
    return [sys.executable, "-m", "cli.main", *arguments]


@contextmanager
def cloud_process(folder: Path) -> Iterator[str]:
    """A cloud on a free port, its data under `folder`; gives its URL, stops it at the end."""
    ready, log_path = folder / "cloud.url", folder / "cloud.log"
    ready.unlink(missing_ok=True)
    clean = {name: value for name, value in os.environ.items() if name not in _OTHERS}
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            longtail(
                "cloud", "serve", "--port", "0", "--folder", str(folder / "cloud"),
                "--ready-file", str(ready),
            ),
            stdout=log, stderr=log, env=clean | QUICK,
        )  # fmt: skip
        try:
            yield _wait_for_url(process, ready, log_path)
        finally:
            process.terminate()
            process.wait()


@contextmanager
def agent_process(folder: Path, url: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """An agent whose state lies under `folder`; ended in order at the end."""
    with (folder / "agent.log").open("ab") as log, (folder / "agent.json").open("wb") as out:
        process = subprocess.Popen(
            longtail(
                "agent", "run", "--cloud", url, "--state", str(folder / "agent"), "--json",
                *arguments,
            ),
            stdout=out, stderr=log,
        )  # fmt: skip
        try:
            yield process
        finally:
            process.terminate()
            process.wait()


def wait_until(what: str, look: Callable[[], Found | None], process: subprocess.Popen[bytes],
               log_path: Path) -> Found:  # fmt: skip
    """What `look` finds. Raises `TransientError` when the process ends or the time is over."""
    deadline = time.monotonic() + STEP_TIMEOUT_S
    while (found := look()) is None:
        try:
            process.wait(timeout=POLL_S)
        except subprocess.TimeoutExpired:
            if time.monotonic() < deadline:
                continue
        raise TransientError(f"waited in vain for {what}; the log tells why", absolute(log_path))
    return found


def _wait_for_url(process: subprocess.Popen[bytes], ready: Path, log_path: Path) -> str:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not ready.exists():
        try:
            process.wait(timeout=POLL_S)
        except subprocess.TimeoutExpired:
            if time.monotonic() < deadline:
                continue
        raise TransientError("the cloud did not start; its log tells why", absolute(log_path))
    return ready.read_text().strip()
