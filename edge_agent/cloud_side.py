"""The cloud's half of the agent: enrolment, uploads and updates, each over its own connection.

Nothing here can stop the drive: a cloud that is away, refuses or lies costs uploads and updates
and nothing else.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from pathlib import Path

import structlog

from contracts.clock import Clock
from contracts.errors import LongtailError, TransientError
from edge_agent.config import AgentConfig
from edge_agent.disk import RealDisk, replace_file
from edge_agent.drive_side import DriveSide
from edge_agent.identity import Signer
from edge_agent.ota.manifest import VehicleFacts
from edge_agent.ota.opening import open_updater
from edge_agent.ports import LinkMonitor
from edge_agent.setup import vehicle_labels
from edge_agent.supervisor.supervisor import Task
from edge_agent.upload import (
    CellularLimits,
    Receiver,
    Transport,
    TransportLimits,
    Uploader,
    WireMeter,
)

ENROL_RETRY_S = 15.0
ENROL_FIRST_S = 10.0
"""How long the updater lets enrolment go first before it tries by itself."""
BREAK_OFF_S = 5.0
"""How long what is under way has to come to an end, once it must; the event loop's time."""
POLICY_WAITS = frozenset({"queue_empty", "no_link", "cellular_forbidden", "cellular_budget"})
"""Reasons to keep a clip that are as intended, and no failure of a run."""

log = structlog.get_logger(__name__)


class CloudSide:
    """What one vehicle does with its cloud.

    Attributes:
        meter: wire bytes of uploads.
        note: why something waits or went wrong, for the status; empty when all is well.
        failed_to_send: whether the last drain left what should have gone.
    """

    def __init__(
        self,
        config: AgentConfig,
        url: str,
        state: Path,
        signer: Signer,
        drive: DriveSide,
        links: LinkMonitor,
        clock: Clock,
        meter: WireMeter,
    ) -> None:
        self._config = config
        self._url = url
        self._state = state
        self._signer = signer
        self._clock = clock
        self._enrolled = asyncio.Event()
        self._at_once = asyncio.Event()
        self.note = ""
        self.failed_to_send = True
        rng = random.Random()  # jitter, so that a fleet does not come back as one
        caps = CellularLimits(
            config.upload.cellular_bytes_per_day, config.upload.cellular_bytes_per_month
        )
        transport = self._transport(meter, config.upload.spans)
        self._receiver = Receiver(transport, signer, clock, rng)
        self.uploader = Uploader(
            drive.spool, drive.ledger, transport, self._receiver, links, clock, caps, rng,
            config.upload.spans,
        )  # fmt: skip
        self.uploader.send_logs_of(state / "signals", drive.signal_log.writing)
        facts = VehicleFacts(
            drive.description.boot_id, drive.source.machine_clock, drive.limits, caps,
            config.spool.quota, vehicle_labels(config),
        )  # fmt: skip
        self.updater = open_updater(
            config.ota, state, signer=signer, transport=self._transport(WireMeter()),
            runtime=drive.runtime, ledger=drive.ledger, spool=drive.spool, links=links,
            facts=facts, floor_free_bytes=config.spool.floor_free, clock=clock, rng=rng,
            opener=drive.open_released,
        )  # fmt: skip

    def _transport(self, meter: WireMeter, connections: int = 1) -> Transport:
        return Transport(
            self._url, self._clock, meter,
            TransportLimits(bytes_per_s=self._config.upload.bytes_per_second),
            other_origins=self._config.upload.other_origins, connections=connections,
        )  # fmt: skip

    @property
    def is_in_contact(self) -> bool:
        """Whether the cloud knows this vehicle, and answered when it was last asked."""
        return self._enrolled.is_set() and self.updater.is_in_contact

    def tasks(self, stop: asyncio.Event, at_once: asyncio.Event) -> list[Task]:
        """Rows of the supervisor's table. They end once `stop` is set, with the request under way;
        seconds after `at_once` in any case.
        """
        self._at_once = at_once
        return [
            Task("upload", lambda: _broken_off(at_once, self._upload(stop))),
            Task("ota", lambda: self._update(stop)),
        ]

    async def _upload(self, stop: asyncio.Event) -> None:
        while not stop.is_set() and not await self._enrol():
            await _wait(ENROL_RETRY_S, stop)
        await self.uploader.run(stop, self._at_once)

    async def _update(self, stop: asyncio.Event) -> None:
        await _wait(ENROL_FIRST_S, self._enrolled, stop)
        await self.updater.run(stop)

    async def _enrol(self) -> bool:
        """True once the cloud knows this vehicle. Raises `RefusedError` when it never will."""
        mark = self._state / "enrolled"
        wanted = f"{self._url} {self._signer.vehicle_id}\n"
        if not (mark.exists() and mark.read_text() == wanted):
            try:
                await self.uploader.enrol(self._config.enrolment_token)
            except TransientError as error:
                self.note = str(error)
                log.warning("cloud cannot be reached", reason=str(error))
                return False
            replace_file(RealDisk(), mark, wanted.encode())
        self.note = ""
        self._enrolled.set()
        return True

    async def drain(self) -> None:
        """Send what may go, then tell the newest counters."""
        await _broken_off(self._at_once, self._drain())

    async def _drain(self) -> None:
        try:
            if not await self._enrol():
                return
        except LongtailError as error:
            self.note = str(error)
            log.error("vehicle is not enrolled", reason=str(error))
            return
        deadline_ns = self._clock.mono_ns() + self._config.drain_timeout
        drained = await self.uploader.drain(deadline_ns, self._at_once)
        reasons = sorted({reason for _, reason in drained.kept})
        failures = [reason for reason in reasons if reason not in POLICY_WAITS]
        self.failed_to_send = bool(failures)
        self.note = "; ".join(failures or reasons)
        await self.updater.check_in_now()

    async def close(self) -> None:
        await self.uploader.close()
        await self.updater.close()


async def _broken_off(at_once: asyncio.Event, work: Coroutine[None, None, None]) -> None:
    """Do `work`. What of it is still under way `BREAK_OFF_S` after `at_once` was set is cancelled:
    a service manager that has asked for the end kills what does not come to one.
    """
    doing = asyncio.ensure_future(work)
    asked = asyncio.ensure_future(at_once.wait())
    try:
        await asyncio.wait({doing, asked}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({doing}, timeout=BREAK_OFF_S)
        if doing.done():
            doing.result()
    finally:
        for task in (doing, asked):
            task.cancel()
        await asyncio.gather(doing, asked, return_exceptions=True)


async def _wait(longest_s: float, *events: asyncio.Event) -> None:
    """Until one of the events is set, or the time is over."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=longest_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for waiting in waits:
            waiting.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
