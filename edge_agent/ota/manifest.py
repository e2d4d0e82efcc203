"""What the vehicle says of itself: gathered from its parts, bounded, signed.

Guarantees: a manifest holds what truly runs, from the runtime's own report, and what the updater
holds and refused; it stays within `MAX_CHECK_IN_BYTES`, and where something had to be left out
it says what and how much. Sequence numbers only rise, over crashes too: they are reserved on the
disk in blocks before they are used, so some may be skipped.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from contracts.check_in import (
    CHECK_IN_CONTEXT,
    MAX_CHECK_IN_BYTES,
    BudgetUse,
    CheckIn,
    DiskSpace,
    HeldRelease,
    QueueDepth,
    RejectedRelease,
    SignedCheckIn,
    Suppressed,
)
from contracts.clock import Clock, ClockQuality
from contracts.errors import CorruptError
from edge_agent.disk import Disk, replace_file, translated
from edge_agent.identity import Signer, base64url
from edge_agent.ledger import Ledger
from edge_agent.ota.ports import RuntimeReport
from edge_agent.ota.state import OtaState
from edge_agent.ota.step import pending
from edge_agent.selection.budget import VehicleLimits
from edge_agent.spool import Spool
from edge_agent.upload.policy import CellularLimits

SUPPRESSED_DAYS = 2
SEQUENCE_BLOCK = 100
_HIGHEST_SEQUENCE = 2**53
_SHEDDABLE = {
    "suppressed": "suppression counts",
    "shadow_triggers": "shadow counts",
    "rejected": "rejected releases",
    "held": "held releases",
    "triggers": "triggers",
}
"""What may be left out of a manifest that is too long, in this order, the first rows first."""
_MOST_ROWS = {
    "suppressed": 5000, "shadow_triggers": 1000, "rejected": 200, "held": 1000, "triggers": 1000
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class VehicleFacts:
    """What does not change during a run, and how far the clock can be trusted now."""

    boot_id: str
    clock_quality: Callable[[], ClockQuality]
    limits: VehicleLimits
    cellular: CellularLimits
    spool_quota_bytes: int
    labels: Mapping[str, str] = field(default_factory=dict)


class Sequence:
    """Numbers of check-ins, from a file. A damaged file is told and begun anew; the service's
    answer then puts the numbers right (`at_least`)."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self._path = path
        self._disk = disk
        self.problem = ""
        self._last = self._reserved = self._read()

    def _read(self) -> int:
        try:
            number = json.loads(self._path.read_bytes())["reserved"]
            if not isinstance(number, int) or not 0 <= number <= _HIGHEST_SEQUENCE:
                raise CorruptError("not a sequence number", str(self._path))
        except FileNotFoundError:
            return 0
        except (
            OSError, ValueError, KeyError, TypeError, RecursionError, CorruptError
        ) as error:  # fmt: skip
            self.problem = f"the check-ins' sequence cannot be read: {error}"
            return 0
        return number

    def next(self) -> int:
        """A number above all before. Raises `ExhaustedError` when it cannot be kept."""
        number = self._last + 1
        if number > self._reserved:
            reserved = number + SEQUENCE_BLOCK - 1
            content = json.dumps({"schema_version": 1, "reserved": reserved})
            replace_file(self._disk, self._path, content.encode() + b"\n")
            self._reserved = reserved
        self._last = number
        return number

    def at_least(self, number: int) -> None:
        """The service has seen this number: go on above it."""
        if self._last < number < _HIGHEST_SEQUENCE:
            self._last = number


class Figures:
    """Reads the ledger, the spool and the disk for a manifest."""

    def __init__(self, ledger: Ledger, spool: Spool, state: Path, facts: VehicleFacts) -> None:
        self._ledger = ledger
        self._spool = spool
        self._state = state
        self._facts = facts
        self._tombstones = 0
        self._last_tombstone = 0

    def queue(self) -> QueueDepth:
        waiting = self._spool.queue()
        while rows := self._ledger.tombstones.after(self._last_tombstone):
            self._tombstones += len(rows)
            self._last_tombstone = rows[-1][0]
        return QueueDepth(
            clips=len(waiting),
            size_bytes=sum(entry.size_bytes for entry in waiting),
            waiting_events=self._ledger.outbox.count(),
            tombstones=self._tombstones,
        )

    def disk(self) -> DiskSpace:
        with translated(self._state):
            usage = shutil.disk_usage(self._state)
        return DiskSpace(
            free_bytes=usage.free,
            total_bytes=usage.total,
            spool_quota_bytes=self._facts.spool_quota_bytes,
        )

    def budget(self) -> BudgetUse:
        # Pools are the vehicle's, whichever trigger is asked about.
        today = self._ledger.spending.of("")
        cellular = self._ledger.cellular.spent()
        facts = self._facts
        return BudgetUse(
            day=today.day,
            clips=sum(pool.clips for pool in today.pools.values()),
            size_bytes=sum(pool.size_bytes for pool in today.pools.values()),
            clips_per_day=facts.limits.clips_per_day,
            bytes_per_day=facts.limits.bytes_per_day,
            cellular_day_bytes=cellular.day_bytes,
            cellular_month_bytes=cellular.month_bytes,
            cellular_bytes_per_day=facts.cellular.bytes_per_day,
            cellular_bytes_per_month=facts.cellular.bytes_per_month,
        )

    def suppressed(self) -> tuple[Suppressed, ...]:
        since_day = self._ledger.budget_day() - SUPPRESSED_DAYS + 1
        rows = self._ledger.suppressions.rows(since_day)
        return tuple(
            Suppressed(day=row.day, trigger_id=row.trigger_id, reason=row.reason, fires=row.fires)
            for row in rows
        )


def held_releases(
    state: OtaState, waiting_for: str, reasons: Mapping[str, str]
) -> tuple[HeldRelease, ...]:
    """What slots hold, and what is on its way to them with the reason why it is not there."""
    held = [
        HeldRelease(
            slot=one.slot,
            digest=one.current.digest,
            attempt=one.current.attempt,
            state=one.phase,
            reason=waiting_for[:500] if one.phase == "waiting" else "",
        )
        for one in state.slots
        if one.current is not None
    ]
    coming = [
        HeldRelease(
            slot=slot,
            digest=release.digest,
            attempt=release.attempt,
            state="waiting",
            reason=reasons.get(slot, "being fetched")[:500],
        )
        for slot, release in pending(state)
    ]
    return (*held, *coming)


def rejected_releases(state: OtaState) -> tuple[RejectedRelease, ...]:
    return tuple(
        RejectedRelease(
            slot=one.slot,
            digest=one.digest,
            attempt=one.attempt,
            stage=one.stage,
            reason=one.reason[:500],
        )
        for one in state.rejected
    )


def build_check_in(
    *,
    vehicle_id: str,
    facts: VehicleFacts,
    clock: Clock,
    sequence: int,
    nonce: str,
    state: OtaState,
    report: RuntimeReport,
    figures: Figures,
    reasons: Mapping[str, str],
    note: str,
) -> CheckIn:
    """The manifest of this moment. Raises `LongtailError` when ledger or disk do not answer."""
    return CheckIn(
        vehicle_id=vehicle_id,
        boot_id=facts.boot_id,
        sequence=sequence,
        nonce=nonce,
        utc_ns=clock.utc_ns(),
        mono_ns=clock.mono_ns(),
        clock=facts.clock_quality(),
        labels=dict(facts.labels),
        assignment_counter=state.taken_up_counter,
        triggers=report.triggers[-_MOST_ROWS["triggers"] :],
        models=report.models[:8],
        held=held_releases(state, report.waiting_for, reasons)[-_MOST_ROWS["held"] :],
        rejected=rejected_releases(state)[-_MOST_ROWS["rejected"] :],
        shadow_triggers=report.shadow_triggers[-_MOST_ROWS["shadow_triggers"] :],
        shadow_model=report.shadow_model,
        latency=report.latency,
        queue=figures.queue(),
        disk=figures.disk(),
        budget=figures.budget(),
        suppressed=figures.suppressed()[-_MOST_ROWS["suppressed"] :],
        counters=report.counters,
        ota_note=note[:500],
    )


def bounded_text(manifest: CheckIn, most_bytes: int = MAX_CHECK_IN_BYTES) -> str:
    """The JSON text, with rows left out from the front of its longest lists until it fits."""
    text = manifest.model_dump_json()
    for name, words in _SHEDDABLE.items():
        if len(text.encode()) <= most_bytes:
            break
        rows = getattr(manifest, name)
        # Fewest rows to leave out, by halving: what fits is monotone in it.
        low, high = 0, len(rows)
        while low < high:
            middle = (low + high) // 2
            if _fits(_without(manifest, name, words, middle), most_bytes):
                high = middle
            else:
                low = middle + 1
        manifest = _without(manifest, name, words, low)
        text = manifest.model_dump_json()
    return text


def _fits(manifest: CheckIn, most_bytes: int) -> bool:
    return len(manifest.model_dump_json().encode()) <= most_bytes


def _without(manifest: CheckIn, name: str, words: str, count: int) -> CheckIn:
    rows = getattr(manifest, name)
    note = f"too long: {count} {words} left out; {manifest.ota_note}"[:500]
    return manifest.model_copy(update={name: rows[count:], "ota_note": note})


def sign(manifest: str, signer: Signer) -> SignedCheckIn:
    """The manifest's exact text with the vehicle's signature."""
    signature = signer.sign(CHECK_IN_CONTEXT + manifest.encode())
    return SignedCheckIn(manifest=manifest, signature=base64url(signature))
