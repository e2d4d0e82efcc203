"""Reads what is true after a run: vehicles' files, and the cloud through its own interface."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

from client import CloudClient
from contracts.clip_search import ClipRow
from contracts.clock import NS_PER_DAY
from contracts.errors import CorruptError
from contracts.ids import digest_file
from contracts.upload import EventRecord
from edge_agent.ledger import Tombstone
from edge_agent.spool.folder import list_spool
from kernels.clip.reader import read_manifest
from sim_fleet.fleet.facts import (
    BootFacts,
    ClipFacts,
    FireKey,
    LedgerFacts,
    TombFacts,
    VehicleFacts,
)
from sim_fleet.fleet.job import VehicleSettings
from sim_fleet.fleet.journal import read_counts, read_journal

METERED = ("cellular", "metered wifi")


def _fires(path: Path) -> tuple[FireKey, ...]:
    manifest = read_manifest(path)
    return tuple(
        (manifest.event.boot_id, cause.trigger_id, cause.fired_mono_ns) for cause in manifest.causes
    )


def ledger_day(state: Path) -> int:
    """The day that the newest boot is charged to."""
    with closing(sqlite3.connect(state / "ledger.sqlite")) as ledger:
        found = ledger.execute("SELECT value FROM meta WHERE key = 'anchor_utc_ns'").fetchone()
    return int(found[0]) // NS_PER_DAY


def read_ledger(path: Path) -> LedgerFacts:
    """The ledger's tables as they lie on the disk."""
    with closing(sqlite3.connect(path)) as ledger:

        def rows(query: str) -> list[tuple[int, ...]]:
            return ledger.execute(query).fetchall()

        tombs = [Tombstone.model_validate_json(str(body))
                 for (body,) in rows("SELECT body FROM tombstone")]  # fmt: skip
        outbox = rows("SELECT body, refused FROM outbox")
        ever = rows("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'")
        dropped = rows("SELECT fires FROM suppressed WHERE reason = 'outbox'")
        return LedgerFacts(
            settled=frozenset(str(event) for (event,) in rows("SELECT event FROM settled")),
            reservations={
                (str(trigger), at): size
                for trigger, at, size in rows(
                    "SELECT trigger_id, fired_mono_ns, bytes FROM reservation"
                )
            },
            spent={(day, str(scope)): (clips, size) for day, scope, clips, size
                   in rows("SELECT day, scope, clips, bytes FROM spent")},
            cellular=dict(rows("SELECT day, bytes FROM cellular")),  # type: ignore[arg-type]
            tombstones=tuple(
                TombFacts(tomb.clip_id, tomb.event.text() if tomb.event else "",
                          tomb.size_bytes, tomb.uploaded, tomb.reason)
                for tomb in tombs
            ),
            waiting=tuple(EventRecord.model_validate_json(str(b)) for b, no in outbox if not no),
            refused=tuple(EventRecord.model_validate_json(str(b)) for b, no in outbox if no),
            outbox_ever=ever[0][0] if ever else 0,
            outbox_dropped=sum(fires for (fires,) in dropped),
        )  # fmt: skip


def read_boots(vehicle: VehicleSettings, days: dict[str, int]) -> tuple[BootFacts, ...]:
    """Every start of a vehicle, from its journal and the relay's counts."""
    kept: dict[str, int] = {}
    untold: dict[str, int] = {}
    cut: dict[str, int] = {}
    for record in read_journal(vehicle.journal):
        boot = str(record.get("boot"))
        if record["what"] == "start":
            kept.setdefault(boot, 0)
        elif record["what"] == "fire":
            kept[boot] += record.get("outcome") == "kept"
        elif record["what"] == "untold":
            untold[boot] = untold.get(boot, 0) + 1
        elif record["what"] == "power_cut":
            cut.setdefault(boot, int(record["mono_ns"]))
    boots = []
    for boot, fires in kept.items():
        carried = read_counts(vehicle.counts(boot))
        metered = sum(carried[link].up_bytes + carried[link].down_bytes
                      for link in METERED if link in carried)  # fmt: skip
        boots.append(
            BootFacts(boot, cut.get(boot), days.get(boot, 0), metered, fires, untold.get(boot, 0))
        )
    return tuple(boots)


def read_vehicle(vehicle: VehicleSettings, days: dict[str, int]) -> VehicleFacts:
    """All of a vehicle that has been put to sleep. `days`: the ledger's day of each boot."""
    spool = vehicle.state / "spool"
    clips, others = [], {"active": [], "quarantined": []}  # type: ignore[var-annotated]
    for row in list_spool(spool):
        if row.kind in others:
            others[row.kind].append(f"{row.name}: {row.reason}".removesuffix(": "))
            continue
        path = spool / "clips" / f"{row.name}.mcap"
        state = row.entry.state if row.entry is not None else "orphan"
        manifest = read_manifest(path)
        clips.append(
            ClipFacts(row.name, vehicle.vehicle_id, manifest.event.text(), _fires(path),
                      row.size_bytes, state, digest_file(path).clip_id() == row.name,
                      row.entry.note if row.entry is not None else row.reason)
        )  # fmt: skip
    return VehicleFacts(
        vehicle.vehicle_id, read_boots(vehicle, days), tuple(clips),
        read_ledger(vehicle.state / "ledger.sqlite"), tuple(others["active"]),
        tuple(others["quarantined"]),
    )  # fmt: skip


def read_clips(cloud: CloudClient, rows: Iterable[ClipRow], folder: Path) -> tuple[ClipFacts, ...]:
    """Every clip's row with its bytes fetched and digested. `folder` for one at a time."""
    found = []
    for row in rows:
        fires: tuple[FireKey, ...] = ()
        sound = True
        try:
            path = cloud.pull(row.clip_id, folder)
            fires = _fires(path)
            path.unlink()
        except CorruptError:
            sound = False
        found.append(
            ClipFacts(row.clip_id, row.vehicle_id, row.event_key or "", fires, row.size_bytes,
                      row.state, sound, row.state_reason or "")
        )  # fmt: skip
    return tuple(found)


def read_cloud(
    url: str, folder: Path, vehicles: Sequence[str] | None = None
) -> tuple[tuple[ClipFacts, ...], tuple[EventRecord, ...]]:
    """All clips and event records that the cloud has; of `vehicles` where it has others too."""
    cloud = CloudClient(url)
    rows = [row for row in cloud.search(include_quarantined=True)
            if vehicles is None or row.vehicle_id in vehicles]  # fmt: skip
    events = [row.record for row in cloud.events()
              if vehicles is None or row.record.event.vehicle_id in vehicles]  # fmt: skip
    return read_clips(cloud, rows, folder), tuple(events)
