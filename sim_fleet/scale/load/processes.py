"""A receiver of one's own as a process, and the CPU time of processes, from `/proc`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cloud_ingest.postgres import EmbeddedPostgres
from contracts.clock import NS_PER_S, Clock
from contracts.errors import TransientError

_PROGRAM = "import sys; from cloud_ingest.cli import app; app(sys.argv[1:])"
_START_S = 90
_LOOK_S = 0.05


@dataclass(frozen=True, slots=True)
class OwnReceiver:
    """A running service: where it is, and its database; the pids of both."""

    url: str
    pid: int
    database_url: str
    database_pid: int


@contextmanager
def own_receiver(
    folder: Path, clock: Clock, settings: Mapping[str, str] | None = None
) -> Iterator[OwnReceiver]:
    """`longtail cloud serve` on its defaults under `folder`, on a free loopback port.

    Args:
        settings: environment variables that change a default.

    Raises `TransientError`, with the end of its log, when it does not start.
    """
    ready, log_path = folder / "ready", folder / "receiver.log"
    kept = {name: text for name, text in os.environ.items() if name != "DATABASE_URL"}
    kept |= settings or {}
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, "serve", "--port", "0", "--folder",
             str(folder / "cloud"), "--ready-file", str(ready)],
            stdout=log, stderr=log, env=kept,
        )  # fmt: skip
    try:
        end_ns = clock.mono_ns() + _START_S * NS_PER_S
        while not ready.exists():
            try:
                process.wait(_LOOK_S)
            except subprocess.TimeoutExpired:
                if clock.mono_ns() < end_ns:
                    continue
            tail = log_path.read_text("utf-8", "replace")[-2000:]
            raise TransientError(f"the receiver did not start: {tail}")
        database = folder / "cloud" / "postgres"
        (lock,) = database.glob("*/postmaster.pid")
        database_pid = int(lock.read_text("ascii").split("\n", 1)[0])
        url = ready.read_text("utf-8").strip()
        yield OwnReceiver(url, process.pid, EmbeddedPostgres(database).url, database_pid)
    finally:
        process.terminate()
        process.wait()


def cpu_seconds(pid: int) -> float:
    """CPU time so far, user and system, of a process and of all its descendants.

    Raises `TransientError` where there is no such process, or no `/proc`.
    """
    rows = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            text = (entry / "stat").read_text()
        except OSError:
            continue  # it ended meanwhile
        fields = text[text.rindex(")") + 2 :].split()
        # Of the process itself and of its children that have ended.
        rows[int(entry.name)] = int(fields[1]), sum(int(each) for each in fields[11:15])
    if pid not in rows:
        raise TransientError(f"there is no process {pid}")
    family, grown = {pid}, True
    while grown:
        children = {each for each, (parent, _) in rows.items() if parent in family}
        grown = not children <= family
        family |= children
    return sum(rows[each][1] for each in family) / os.sysconf("SC_CLK_TCK")


def memory_bytes(pid: int) -> int:
    """Resident memory of a process, without its children's. Raises `TransientError`."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError as error:
        raise TransientError(f"there is no process {pid}") from error
    return pages * os.sysconf("SC_PAGE_SIZE")
