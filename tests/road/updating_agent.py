"""Agents that are updated on their way, each in a process that can be told where to die.

Every change of the file system below `<state>/ota` is counted as the interpreter is about to make
it, python-tuf's own included; at the one that was asked for the process kills itself, as a power
cut would. What runs is told as it changes: a line of JSON each, the report, the exit code.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from contracts.clock import NS_PER_S
from contracts.samples import Sample
from edge_agent.app import Agent
from edge_agent.config import AgentConfig
from edge_agent.drive.warmup import warm_up
from edge_agent.health.status import AgentReport
from edge_agent.ota.status import running_digests
from edge_agent.ports import SensorSource, SourceDescription
from edge_agent.setup import state_lock
from edge_agent.sources.registry import open_source
from tests.road.updates_rig import LOOK_S, HastyClock

_CHANGES = frozenset(
    {"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.truncate"}
)
HALF_NS = 3 * NS_PER_S
LONGEST_SAMPLE_S = 0.02
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Writes:
    """Counts changes below a folder; dies at number `kill_at`, of which nothing happens then."""

    def __init__(self, folder: Path, kill_at: int | None) -> None:
        self._folder = os.fspath(folder)
        self._kill_at = kill_at
        self.count = 0

    def see(self, event: str, arguments: tuple[Any, ...]) -> None:
        """An audit hook."""
        if event == "open":
            is_change = isinstance(arguments[2], int) and bool(arguments[2] & _WRITING)
        else:
            is_change = event in _CHANGES
        if not is_change or not any(self._is_inside(each) for each in arguments[:2]):
            return
        self.count += 1
        if self.count == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def _is_inside(self, path: object) -> bool:
        return isinstance(path, str | Path) and os.fspath(path).startswith(self._folder)


def tell(line: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


class Lasting:
    """A source whose second half takes its time until `enough` is set, a minute at most."""

    def __init__(self, source: SensorSource, enough: threading.Event) -> None:
        self._source = source
        self._enough = enough

    def describe(self) -> SourceDescription:
        return self._source.describe()

    def samples(self) -> Iterator[Sample]:
        first_ns: int | None = None
        for sample in self._source.samples():
            first_ns = sample.mono_ns if first_ns is None else first_ns
            if sample.mono_ns - first_ns > HALF_NS:
                self._enough.wait(LONGEST_SAMPLE_S)
            yield sample


@dataclass(frozen=True)
class Wanted:
    """What shall come to run in a slot."""

    slot: str
    digest: str
    runs: threading.Event = field(default_factory=threading.Event)


async def watched(agent: Agent, wanted: Wanted, writes: Writes) -> AgentReport:
    """Run to the source's end, telling what runs in the slot from the first sample on."""
    done = asyncio.create_task(agent.run(stay=False))
    last: object = ()
    while not done.done():
        await asyncio.wait([done], timeout=LOOK_S)
        report = agent.runtime.report()
        if report.driving_ns == 0:
            continue
        found = running_digests(report).get(wanted.slot)
        if found != last:
            tell({"running": found, "writes": writes.count})
            last = found
        if found == wanted.digest:
            wanted.runs.set()
    return done.result()


def drive(config: AgentConfig, wanted: Wanted, kill_at: int | None) -> None:
    writes = Writes(config.state / "ota", kill_at)
    sys.addaudithook(writes.see)
    with state_lock(config.state):
        source = config.source or ""
        lasting = Lasting(open_source(source), wanted.runs)
        agent = Agent(config, lasting, source, HastyClock())
        report = asyncio.run(watched(agent, wanted, writes))
    tell({"report": report.model_dump(mode="json"), "writes": writes.count})


def in_a_process(job: dict[str, Any]) -> int:
    """Carry a job out in a fork of this process; its exit code, below zero for a signal."""
    process_id = os.fork()
    if process_id == 0:
        code = 1
        try:
            config = AgentConfig.model_validate(job["config"])
            drive(config, Wanted(job["slot"], job["digest"]), job["kill_at"])
            code = 0
        finally:
            if code:
                traceback.print_exc()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(process_id, 0)[1])


def main() -> None:
    """Take jobs from standard input, a line of JSON each.

    All that an agent loads is loaded once; each job then runs in a process of its own.
    """
    structlog.configure(
        processors=[structlog.processors.JSONRenderer()],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    warm_up(None, camera=False, lidar=False)
    for line in sys.stdin:
        tell({"exit_code": in_a_process(json.loads(line))})


if __name__ == "__main__":
    main()
