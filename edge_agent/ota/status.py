"""What the updater tells of itself to the agent's status report, and one that does nothing."""

from __future__ import annotations

import asyncio

from contracts.check_in import HeldRelease, RejectedRelease
from contracts.clip import Wire
from edge_agent.ota.ports import RuntimeReport
from edge_agent.upload.transport import Transport


class OtaStatus(Wire):
    """For the agent's status report. `note` tells what is wrong, or why there is no updater."""

    enabled: bool
    note: str = ""
    assignment_counter: int = 0
    time_attested: bool = False
    killed: tuple[str, ...] = ()
    held: tuple[HeldRelease, ...] = ()
    rejected: tuple[RejectedRelease, ...] = ()
    check_ins: int = 0


def running_digests(report: RuntimeReport) -> dict[str, str]:
    """What runs, by slot; a spec that cannot work on this vehicle counts, a killed one does not."""
    running = {}
    for trigger in report.triggers:
        if trigger.state != "killed":
            mode = "@shadow" if trigger.state == "shadow" else ""
            running[f"trigger:{trigger.trigger_id}{mode}"] = trigger.digest
    for model in report.models:
        running["model@shadow" if model.shadow else "model"] = model.digest
    return running


class NoUpdater:
    """Stands for the updater where there is none; `reason` tells why. Built-in parts run."""

    def __init__(self, reason: str, transport: Transport | None = None) -> None:
        self._reason = reason
        self._transport = transport

    @property
    def is_in_contact(self) -> bool:
        """Nothing that this one knows speaks against it."""
        return True

    async def run(self, stop: asyncio.Event) -> None:
        await stop.wait()

    async def start(self) -> None:
        return None

    async def check_in_now(self) -> bool:
        return False

    async def close(self) -> None:
        if self._transport is not None:
            await self._transport.close()

    def status(self) -> OtaStatus:
        return OtaStatus(enabled=False, note=self._reason)
