"""From journals, counts and facts to the rows of the report. Pure but for the counts' files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sim_fleet.fleet.facts import FleetFacts, VehicleFacts
from sim_fleet.fleet.faults import PlannedFault
from sim_fleet.fleet.job import VehicleSettings
from sim_fleet.fleet.journal import read_counts
from sim_fleet.fleet.report import FaultReport, LinkBytes, Moment, VehicleReport
from sim_fleet.fleet.schedule import VehiclePlan

Record = Mapping[str, Any]
_SHOWN = frozenset({"start", "end", "fire", "packed", "uploaded", "fault", "power_cut", "lost"})


def vehicle_report(
    plan: VehiclePlan, vehicle: VehicleFacts, facts: FleetFacts, journal: Sequence[Record],
    settings: VehicleSettings,
) -> VehicleReport:  # fmt: skip
    """One vehicle's row: what it did on the journal's starts, and all clips that it has made."""
    starts = [str(r["boot"]) for r in journal if r["what"] == "start"]
    models = [str(r["model"]) for r in journal if r["what"] == "end" and r.get("model")]
    driven = [r for r in journal if r["what"] == "driven"]
    outcomes = Counter(str(r.get("outcome")) for r in journal if r["what"] == "fire")
    stored = {clip.clip_id for clip in facts.cloud_clips if clip.vehicle_id == plan.vehicle_id}
    held = {clip.clip_id for clip in vehicle.spool}
    gone = {tomb.clip_id for tomb in vehicle.ledger.tombstones}
    return VehicleReport(
        vehicle_id=plan.vehicle_id, home=plan.home, starts=len(starts),
        trips=sum(trip.drive_s > 0 for trip in plan.trips),
        driven_s=round(sum(r["drive_s"] for r in driven), 2),
        km=round(sum(r["km"] for r in driven), 3),
        disengagements=sum(r["disengagements"] for r in driven),
        fires=outcomes.total(), kept=outcomes.pop("kept", 0), suppressed=dict(outcomes),
        clips=len(stored | held | gone), uploaded=len(stored), in_spool=len(held - stored),
        evicted=len(gone - stored), lost=sum(r["what"] == "lost" for r in journal),
        bytes_by_link=_bytes(starts, settings), models=tuple(dict.fromkeys(models)),
    )  # fmt: skip


def _bytes(starts: Sequence[str], settings: VehicleSettings) -> dict[str, LinkBytes]:
    total: dict[str, list[int]] = {}
    for boot_id in starts:
        for link, carried in read_counts(settings.counts(boot_id)).items():
            row = total.setdefault(link, [0, 0, 0])
            row[0] += carried.up_bytes
            row[1] += carried.down_bytes
            row[2] += carried.again_bytes
    return {
        link: LinkBytes(up_bytes=up, down_bytes=down, again_bytes=again)
        for link, (up, down, again) in total.items()
    }


def fault_reports(
    faults: Sequence[PlannedFault], journals: Mapping[str, Sequence[Record]]
) -> tuple[FaultReport, ...]:
    """What became of each planned fault."""
    return tuple(_fault_report(fault, journals[fault.vehicle_id]) for fault in faults)


def _fault_report(fault: PlannedFault, journal: Sequence[Record]) -> FaultReport:
    mine = [i for i, r in enumerate(journal) if r.get("fault") == fault.name]
    plain = FaultReport(
        name=fault.name, kind=fault.spec.kind, vehicle_id=fault.vehicle_id, trip=fault.trip
    )
    if not mine:
        return plain
    first = journal[mine[0]]
    note = str(first.get("note", f"SIGKILL during {fault.spec.during}"))
    answers = [str(journal[i]["note"]) for i in mine if journal[i]["what"] == "followed"]
    after = journal[mine[0] + 1 :]
    return plain.model_copy(
        update={"at_s": float(first["at_s"]), "note": note,
                "followed": "; ".join([*answers, *_aftermath(fault, first, after)])}
    )  # fmt: skip


def _aftermath(fault: PlannedFault, strike: Record, after: Sequence[Record]) -> list[str]:
    """What the vehicle did until the end of its next start, in a few words."""
    boot = strike.get("boot")
    same = [r for r in after if r.get("boot") == boot]
    later = [r for r in after if r.get("boot") != boot]
    match fault.spec.kind:
        case "power_cut":
            sent = sum(r["what"] == "uploaded" for r in later)
            return [f"started again, {sent} clips sent since"] if later else ["never started again"]
        case "disk_full":
            lost = sum(r["what"] == "lost" for r in same)
            refused = sum(r["what"] == "fire" and r.get("outcome") == "disk" for r in same)
            return [f"{refused} fires suppressed for the disk, {lost} clips told as lost"]
        case "sensor_dropout":
            silenced = sum(r.get("silenced", 0) for r in same)
            return [f"{silenced} samples did not come"]
        case "corrupted_part" | "server_restart":
            sent = next((r for r in (*same, *later) if r["what"] == "uploaded"), None)
            if sent is None:
                return ["nothing was sent after it"]
            return [f"next clip sent {float(sent['at_s']) - float(strike['at_s']):.0f} s later"]
        case "clock_jump":
            kept = sum(r["what"] == "fire" and r.get("outcome") == "kept" for r in later)
            return [f"{kept} fires kept in later starts"]
    fires = sum(r["what"] == "fire" for r in same)
    return [f"{fires} fires on that trip"]


def moments_of(journals: Mapping[str, Sequence[Record]]) -> tuple[Moment, ...]:
    """What a timeline shows."""
    return tuple(
        Moment(vehicle_id=vehicle_id, what=_kind(record), at_s=float(record["at_s"]))
        for vehicle_id, rows in journals.items()
        for record in rows
        if record["what"] in _SHOWN
    )


def _kind(record: Record) -> str:
    if record["what"] == "fire":
        return "fire" if record.get("outcome") == "kept" else "suppressed"
    return str(record["what"])
