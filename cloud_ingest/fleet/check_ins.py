"""Takes signed check-ins: who signed, whether it is newer, and what to write down.

Guarantees: only a manifest that the calling vehicle signed with its enrolled key, about itself,
is kept; of several the one with the highest sequence, so that a replayed or late one changes
nothing but the time of contact; manifest, counter reading and a newcomer's first orders are
written together. The answer's `sequence` is the newest that the service holds: a vehicle that
lost count goes on from there.

A vehicle whose key an operator replaced begins anew (`auth.vehicles` forgets its check-ins).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa
import structlog
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import ValidationError
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cloud_ingest.auth.keys import decode_base64url
from cloud_ingest.auth.vehicles import Vehicles
from cloud_ingest.database import to_time
from cloud_ingest.fleet import assignments, baseline, readings
from cloud_ingest.fleet.counting import checked, running_of
from cloud_ingest.fleet.ports import SceneLists, TimeAttestor
from cloud_ingest.fleet_schema import check_ins
from cloud_ingest.problems import TooLargeError, UnknownCallerError
from contracts.check_in import (
    CHECK_IN_CONTEXT,
    MAX_CHECK_IN_BYTES,
    CheckIn,
    CheckInAnswer,
    SignedCheckIn,
)
from contracts.clock import Clock
from contracts.errors import ConflictError, InputError, LongtailError, RefusedError
from contracts.ota import SignedTime

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Kept:
    """The check-in that is newest now. `is_news`: rollouts may have something to do."""

    sequence: int
    is_news: bool


class CheckIns:
    """The table of newest check-ins, and what hangs on it.

    Args:
        poll_s: how often vehicles are told to come back.
        on_news: called after a check-in that shows something else than the one before it.
        scene_lists: whose newest digest is told beside the time.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        clock: Clock,
        vehicles: Vehicles,
        attestor: TimeAttestor,
        poll_s: float,
        on_news: Callable[[], None],
        scene_lists: SceneLists | None = None,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._vehicles = vehicles
        self._attestor = attestor
        self._poll_s = poll_s
        self._on_news = on_news
        self._scene_lists = scene_lists

    async def accept(self, vehicle_id: str, signed: SignedCheckIn) -> CheckInAnswer:
        """Take a check-in of the authenticated vehicle.

        Raises `RefusedError` for another's word or signature, `InputError` for a manifest that
        cannot be read, `ConflictError` for another manifest of the same sequence.
        """
        text = signed.manifest.encode()
        if len(text) > MAX_CHECK_IN_BYTES:
            raise TooLargeError(f"a manifest has at most {MAX_CHECK_IN_BYTES} bytes", "manifest")
        async with self._engine.begin() as connection:
            key = await self._vehicles.contact(connection, vehicle_id, self._clock.utc_ns())
            if key is None:
                raise UnknownCallerError("this vehicle is not enrolled, or was revoked")
            _check_signature(key, text, signed.signature)
            manifest = _read(signed.manifest)
            if manifest.vehicle_id != vehicle_id:
                raise RefusedError("a vehicle speaks only for itself", "vehicle_id")
            kept = await self._keep(connection, manifest, signed)
            counter = await assignments.counter_of(connection, vehicle_id)
        if kept.is_news:
            self._on_news()
        return CheckInAnswer(
            sequence=kept.sequence,
            assignment_counter=counter,
            poll_s=self._poll_s,
            time=await self._signed_time(vehicle_id, manifest.nonce),
        )

    async def _signed_time(self, vehicle_id: str, nonce: str) -> SignedTime | None:
        """None also when signing fails: the check-in is kept, so it is answered."""
        try:
            digest = None if self._scene_lists is None else await self._scene_lists.newest()
            return await self._attestor.signed_time(vehicle_id, nonce, digest)
        except LongtailError as error:
            _log.warning("the time cannot be signed", error=str(error))
            return None

    async def _keep(
        self, connection: AsyncConnection, manifest: CheckIn, signed: SignedCheckIn
    ) -> _Kept:
        vehicle_id, sequence = manifest.vehicle_id, manifest.sequence
        query = sa.select(check_ins).where(check_ins.c.vehicle_id == vehicle_id)
        present = (await connection.execute(query)).one_or_none()
        if present is not None and sequence <= present.sequence:
            if sequence == present.sequence and signed.manifest != present.manifest:
                raise ConflictError(
                    "another manifest of this sequence was signed before", "sequence"
                )
            return _Kept(present.sequence, is_news=False)
        before = None if present is None else CheckIn.model_validate_json(present.manifest)
        now_ns, counters = self._clock.utc_ns(), checked(manifest.counters)
        row = {
            "vehicle_id": vehicle_id,
            "sequence": sequence,
            "received_utc": to_time(now_ns),
            "manifest": signed.manifest,
            "signature": signed.signature,
        }
        statement = insert(check_ins).values(row)
        await connection.execute(
            statement.on_conflict_do_update(index_elements=[check_ins.c.vehicle_id], set_=row)
        )
        previous = None if before is None else checked(before.counters)
        await readings.add(
            connection, vehicle_id, sequence, now_ns, (previous, counters), running_of(manifest)
        )
        if before is None:
            await baseline.welcome(connection, vehicle_id, manifest.labels)
        return _Kept(sequence, before is None or _differs(before, manifest))


def _differs(before: CheckIn, now: CheckIn) -> bool:
    """Whether a rollout would see more than time and counters."""
    return (
        running_of(before) != running_of(now)
        or before.rejected != now.rejected
        or before.labels != now.labels
    )


def _read(text: str) -> CheckIn:
    try:
        manifest = CheckIn.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in ("manifest", *first["loc"]))
        raise InputError(first["msg"], place) from error
    if manifest.sequence >= 2**63:
        raise InputError("a sequence is below 2^63", "manifest.sequence")
    return manifest


def _check_signature(public_key: bytes, text: bytes, signature: str) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(
            decode_base64url(signature, "signature"), CHECK_IN_CONTEXT + text
        )
    except (InvalidSignature, ValueError) as error:
        raise RefusedError("not signed with this vehicle's key", "signature") from error
