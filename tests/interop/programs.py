"""Processes of the product and of other people, bounded in time and ended by their own id."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

SIM = "sim:seed=7,duration_s=24"
"""A simulated drive in which triggers fire: camera, lidar, the bundled model."""

START_S = 90.0
STOP_S = 20.0
_STEP_S = 0.1
# Settings of the shell that runs the tests must not reach the servers under test.
_FOREIGN = ("DATABASE_URL", "OBJECT_STORE_URL", "PUBLIC_URL")


def clean_environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without Longtail's settings, and with `changes`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in _FOREIGN and not name.startswith("LONGTAIL_")
    }
    return kept | dict(changes or {})


def longtail(*arguments: str) -> list[str]:
    """The command line of `longtail ...` in this environment's Python."""
    return [sys.executable, "-m", "cli.main", *arguments]


def find_program(name: str, how_to_get: str) -> str:
    """The program's path; skips the test, saying why, where it is not installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed ({how_to_get})")
    return found


def free_port() -> int:
    """A loopback port that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@contextmanager
def running(
    command: Sequence[str | Path], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program for the length of the block; SIGTERM, and SIGKILL when that is ignored."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            env=clean_environment(environment),
        )  # fmt: skip
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(STOP_S)


def pause(process: subprocess.Popen[bytes], deadline_s: float, log: Path) -> None:
    """A short wait that fails as soon as the process has ended or its time is over."""
    try:
        code = process.wait(_STEP_S)
    except subprocess.TimeoutExpired:
        if time.monotonic() < deadline_s:
            return
        pytest.fail(f"did not start in {START_S:g} s:\n{log.read_text()[-4000:]}")
    pytest.fail(f"ended with {code}:\n{log.read_text()[-4000:]}")


@contextmanager
def serving_cloud(**environment: str) -> Iterator[str]:
    """`longtail cloud serve` on a free port, laptop mode unless told otherwise; its own URL."""
    # Not pytest's folder: each pytest that starts closes it to the database's own account.
    with tempfile.TemporaryDirectory(prefix="lt-interop-") as folder:
        yield from _serve(Path(folder), environment)


def _serve(folder: Path, environment: Mapping[str, str]) -> Iterator[str]:
    ready, log = folder / "ready", folder / "cloud.log"
    command = longtail(
        "cloud", "serve", "--port", "0", "--folder", str(folder / "cloud"), "--ready-file",
        str(ready),
    )  # fmt: skip
    with running(command, log, environment) as process:
        deadline_s = time.monotonic() + START_S
        while not ready.exists():
            pause(process, deadline_s, log)
        yield ready.read_text().strip()


def run_agent(state: Path, source: str, *more: str) -> subprocess.CompletedProcess[str]:
    """`longtail agent run --once` over a source. Fails the test when the agent fails."""
    command = longtail("agent", "run", "--source", source, "--once", "--json")
    done = subprocess.run(
        [*command, "--state", str(state), *more],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False,
        env=clean_environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return done


def clips_of(state: Path) -> list[Path]:
    """Clips in the spool of an agent's state folder, the biggest first."""
    found = sorted((state / "spool" / "clips").glob("*.mcap"), key=lambda p: -p.stat().st_size)
    assert found, f"the agent kept no clip in {state}"
    return found


@dataclass(frozen=True, slots=True)
class Drive:
    """A drive that the agent made: its state folder and the biggest of its clips."""

    state: Path
    clip: Path

    @property
    def clip_id(self) -> str:
        return self.clip.stem
