"""Carries out what `edge_agent.power.step` decides: park and resume the drive, open and shut the
link.

At key-off the drive's open windows close, so that their clips can go home from the garage; at
the end all that was counted is written, and the agent leaves or waits for ignition.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from contracts.clock import NS_PER_S, Clock
from edge_agent.config import PowerConfig
from edge_agent.power.step import PowerLimits, PowerReading, PowerSource, PowerState, step
from edge_agent.upload.links_gate import GatedLinks

LOOK_EVERY_NS = NS_PER_S // 2

log = structlog.get_logger(__name__)


class Parkable(Protocol):
    """What power needs of the drive. Both may block, and are called off the event loop."""

    def park(self) -> None: ...

    def resume(self) -> None: ...

    def flush(self) -> None: ...


class PowerTask:
    """The task that watches ignition, supply and heat.

    Args:
        drive: recorded while driving, parked otherwise.
        links: shut when nothing may be sent.
        all_sent: nothing waits any more.
        wake: the uploader looks again.
        end: the agent ends with this reason; None stays and waits for ignition.

    Attributes:
        state, reading: as of the last look.
    """

    def __init__(
        self,
        source: PowerSource,
        limits: PowerLimits,
        clock: Clock,
        drive: Parkable,
        links: GatedLinks,
        all_sent: Callable[[], bool],
        wake: Callable[[], object],
        end: Callable[[str], object] | None,
    ) -> None:
        self._source = source
        self._limits = limits
        self._clock = clock
        self._drive = drive
        self._links = links
        self._all_sent = all_sent
        self._wake = wake
        self._end = end
        self._records = True
        self.state = PowerState()
        self.reading = PowerReading()

    async def run(self) -> None:
        """Look and act until cancelled."""
        while True:
            await self.look()
            await self._clock.sleep_ns(LOOK_EVERY_NS)

    async def look(self) -> None:
        """One reading, and what follows from it."""
        self.reading = self._source.read()
        before = self.state
        state = step(
            before, self.reading, self._limits, self._clock.mono_ns(),
            before.phase == "parked" and self._all_sent(),
        )  # fmt: skip
        self.state = state
        # Before anything that takes time: what is being sent stops at its next piece.
        self._links.shut = state.shut
        if state.records != self._records:
            await asyncio.to_thread(self._drive.resume if state.records else self._drive.park)
            self._records = state.records
        if (before.phase, before.shut) != (state.phase, state.shut):
            log.info("power", phase=state.phase, shut=state.shut, was=before.phase)
            self._wake()
        if state.phase == "ended" and before.phase != "ended":
            await asyncio.to_thread(self._drive.flush)
            if self._end is not None:
                self._end(state.ended)


def open_power_task(
    config: PowerConfig,
    source: PowerSource,
    clock: Clock,
    drive: Parkable,
    links: GatedLinks,
    all_sent: Callable[[], bool],
    wake: Callable[[], object],
    leave: Callable[[str], object],
) -> PowerTask:
    """The task as configured; `leave` ends the agent, where that is wanted."""
    limits = PowerLimits(
        config.key_off, config.deadline, config.linger, config.floor_v, config.floor_for,
        config.hot_c, config.cool_c,
    )  # fmt: skip
    end = leave if config.at_end == "exit" else None
    return PowerTask(source, limits, clock, drive, links, all_sent, wake, end)
