"""How each vehicle stands for one slot: `VehicleView` from contacts, readings and events.

What a view claims, and from what:

- *installed*: what the newest signed manifest says runs in the slot; a killed trigger runs
  nothing. For a return to the built-in release, `BUILT_IN_DIGEST` stands for whatever runs there
  that did not come over the air.
- *driving since applied*: the growth of the signed connected-driving counter since the first
  reading that told the digest, after the release was offered; plus silent driving, which `rollout`
  takes off again.
- *silent driving*: connected driving that no manifest tells. The service cannot see it; what it
  sees are event records, which a vehicle sends while it drives. Each ten minutes of the service's
  time in which one arrived, later than `SILENCE_AFTER_NS` after the newest check-in, count as ten
  minutes. That is a lower bound for a vehicle that fires at most now and then, and it counts a
  late record as driving at its arrival. Token requests and uploads are no evidence: a parked
  vehicle makes them too. A vehicle of which nothing at all is heard may be parked or dead; nobody
  here can tell, and it counts as parked (the sample-ratio check sees many such).
- *failure*: the manifest's rejection of this digest in this slot, of the highest attempt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_ingest.database import to_time
from cloud_ingest.fleet.manifests import Contact, Manifest
from cloud_ingest.rollout.observation import InstallFailure, VehicleView
from cloud_ingest.rollout.state import Outcome, VehicleRecord
from contracts.clock import NS_PER_S

BUILT_IN_DIGEST = hashlib.sha256(b"longtail: the release that is built in").hexdigest()
SILENCE_AFTER_NS = 600 * NS_PER_S
_SLOT_OF_TIME_S = 600
_EVENTS_LOOKED_AT = 500


async def views(
    connection: AsyncConnection,
    contacts: Sequence[Contact],
    slot: str,
    target_digest: str,
    records: Mapping[str, VehicleRecord],
    attempts_before: int,
) -> list[VehicleView]:
    """All contacts as the rollout of `target_digest` in `slot` sees them.

    `attempts_before` were given for this release in this slot by earlier rollouts: the director
    counts on, the rollout begins at 1.
    """
    manifests = {
        contact.vehicle_id: contact.manifest for contact in contacts if contact.manifest is not None
    }
    driving_s = await _driving_s(connection, slot, target_digest, records.values())
    silent_s = await _silent_s(connection, manifests, records.values())
    return [
        _view(
            contact,
            slot,
            target_digest,
            attempts_before,
            driving_s.get(contact.vehicle_id, 0.0),
            silent_s.get(contact.vehicle_id, 0),
        )
        for contact in contacts
    ]


def _view(
    contact: Contact,
    slot: str,
    target_digest: str,
    attempts_before: int,
    driving_s: float,
    silent_s: int,
) -> VehicleView:
    manifest = contact.manifest
    return VehicleView(
        vehicle_id=contact.vehicle_id,
        labels={} if manifest is None else manifest.labels,
        # Enrolment alone is no contact, nor is an update check without a word of what runs.
        first_contact_ns=None if manifest is None else contact.first_contact_ns,
        last_contact_ns=contact.last_contact_ns,
        installed_digest=_installed(manifest, slot, target_digest),
        manifest_utc_ns=None if manifest is None else manifest.received_utc_ns,
        driving_since_applied_ns=round((driving_s + silent_s) * NS_PER_S),
        silent_driving_ns=silent_s * NS_PER_S,
        failure=_failure(manifest, slot, target_digest, attempts_before),
    )


def _installed(manifest: Manifest | None, slot: str, target_digest: str) -> str | None:
    if manifest is None:
        return None
    if target_digest == BUILT_IN_DIGEST and slot not in manifest.ordered:
        return BUILT_IN_DIGEST
    return manifest.running.get(slot)


def _failure(
    manifest: Manifest | None, slot: str, target_digest: str, attempts_before: int
) -> InstallFailure | None:
    if manifest is None:
        return None
    told = [
        rejected
        for rejected in manifest.rejected
        if rejected.slot == slot
        and rejected.digest == target_digest
        and rejected.attempt > attempts_before
    ]
    if not told:
        return None
    last = max(told, key=lambda rejected: rejected.attempt)
    return InstallFailure(last.attempt - attempts_before, f"{last.stage}: {last.reason}")


# Totals only rise, so that their greatest less their least is what was driven.
_DRIVING = sa.text("""
    SELECT w.vehicle_id, max((r.counters ->> 'connected_driving_s')::double precision)
        - min((r.counters ->> 'connected_driving_s')::double precision)
            FILTER (WHERE :any OR r.running ->> :slot = :digest) AS driving_s
    FROM unnest(:vehicle_ids, :since) AS w (vehicle_id, since)
    JOIN counter_readings r ON r.vehicle_id = w.vehicle_id AND r.received_utc >= w.since
    GROUP BY w.vehicle_id
""").bindparams(
    sa.bindparam("vehicle_ids", type_=ARRAY(sa.Text)),
    sa.bindparam("since", type_=ARRAY(sa.DateTime(timezone=True))),
    sa.bindparam("any", type_=sa.Boolean),
)
_SILENT = sa.text("""
    SELECT w.vehicle_id,
        count(DISTINCT floor(extract(epoch FROM e.received_utc) / :slot_s)) AS slots
    FROM unnest(:vehicle_ids, :since) AS w (vehicle_id, since)
    CROSS JOIN LATERAL (
        SELECT received_utc FROM events WHERE vehicle_id = w.vehicle_id
        ORDER BY sequence DESC LIMIT :most) e
    WHERE e.received_utc > w.since
    GROUP BY w.vehicle_id
""").bindparams(
    sa.bindparam("vehicle_ids", type_=ARRAY(sa.Text)),
    sa.bindparam("since", type_=ARRAY(sa.DateTime(timezone=True))),
)


async def _driving_s(
    connection: AsyncConnection, slot: str, digest: str, records: Iterable[VehicleRecord]
) -> dict[str, float]:
    """Of those whose soak is not decided: once it is, driving changes nothing."""
    is_built_in = digest == BUILT_IN_DIGEST
    soaking = [r for r in records if r.outcome in (Outcome.OFFERED, Outcome.APPLIED)]
    if is_built_in:
        soaking = [r for r in soaking if r.applied_ns is not None]
    if not soaking:
        return {}
    values = {
        "vehicle_ids": [record.vehicle_id for record in soaking],
        "since": [
            to_time((record.applied_ns if is_built_in else None) or record.offered_ns)
            for record in soaking
        ],
        "slot": slot,
        "digest": digest,
        "any": is_built_in,
    }
    rows = (await connection.execute(_DRIVING, values)).all()
    return {row.vehicle_id: row.driving_s or 0.0 for row in rows}


async def _silent_s(
    connection: AsyncConnection,
    manifests: Mapping[str, Manifest],
    records: Iterable[VehicleRecord],
) -> dict[str, int]:
    watched = [
        record.vehicle_id
        for record in records
        if record.outcome in (Outcome.APPLIED, Outcome.SUCCEEDED) and record.vehicle_id in manifests
    ]
    if not watched:
        return {}
    values = {
        "vehicle_ids": watched,
        "since": [
            to_time(manifests[vehicle_id].received_utc_ns + SILENCE_AFTER_NS)
            for vehicle_id in watched
        ],
        "slot_s": _SLOT_OF_TIME_S,
        "most": _EVENTS_LOOKED_AT,
    }
    rows = (await connection.execute(_SILENT, values)).all()
    return {row.vehicle_id: row.slots * _SLOT_OF_TIME_S for row in rows}
