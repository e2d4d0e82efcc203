"""Takes signed check-ins: who signed, whether it is newer, and what to write down.

Guarantees: only a manifest that the calling vehicle signed with its enrolled key, about itself,
is kept; of several the one with the highest sequence, so that a replayed or late one changes
nothing but the time of contact; manifest, counter reading and a newcomer's first orders are
written together, before the answer. The answer's `sequence` is the newest that the service holds:
a vehicle that lost count goes on from there.

Check-ins that come while others are being written are written together (`gathering`): one
transaction with the rows of all of them locked, in which each is judged by itself. Newcomers have
transactions of their own, since their first orders may have to wait for a rollout's step.

A vehicle whose key an operator replaced begins anew (`auth.vehicles` forgets its check-ins).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import structlog
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncEngine

from cloud_ingest.auth.keys import decode_base64url
from cloud_ingest.database import to_time
from cloud_ingest.fleet import baseline, check_in_rows
from cloud_ingest.fleet.check_in_rows import NewCheckIn, Present
from cloud_ingest.fleet.counting import checked, running_of
from cloud_ingest.fleet.ports import SceneLists, TimeAttestor
from cloud_ingest.fleet.readings import next_reading
from cloud_ingest.gathering import Gathered
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
class _Taken:
    """What became of a check-in. `sequence` is the newest now; `news` what is to be written.

    `is_news`: rollouts may have something to do.
    """

    manifest: CheckIn
    sequence: int
    assignment_counter: int
    news: NewCheckIn | None = None
    is_first: bool = False
    is_news: bool = False


class _NewcomerError(Exception):
    """The vehicle's first check-in: not for this batch."""


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
        attestor: TimeAttestor,
        poll_s: float,
        on_news: Callable[[], None],
        scene_lists: SceneLists | None = None,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._attestor = attestor
        self._poll_s = poll_s
        self._on_news = on_news
        self._scene_lists = scene_lists
        self._known = Gathered[SignedCheckIn, _Taken](self._take_known)
        self._newcomers = Gathered[SignedCheckIn, _Taken](self._take)

    async def accept(self, vehicle_id: str, signed: SignedCheckIn) -> CheckInAnswer:
        """Take a check-in of the vehicle that a token names.

        Raises `UnknownCallerError` for one that is not enrolled, or revoked, `RefusedError` for
        another's word or signature, `InputError` for a manifest that cannot be read,
        `ConflictError` for another manifest of the same sequence.
        """
        if len(signed.manifest.encode()) > MAX_CHECK_IN_BYTES:
            raise TooLargeError(f"a manifest has at most {MAX_CHECK_IN_BYTES} bytes", "manifest")
        try:
            taken = await self._known.ask(vehicle_id, signed)
        except _NewcomerError:
            taken = await self._newcomers.ask(vehicle_id, signed)
        if taken.is_news:
            self._on_news()
        return CheckInAnswer(
            sequence=taken.sequence,
            assignment_counter=taken.assignment_counter,
            poll_s=self._poll_s,
            time=await self._signed_time(vehicle_id, taken.manifest.nonce),
        )

    async def _signed_time(self, vehicle_id: str, nonce: str) -> SignedTime | None:
        """None also when signing fails: the check-in is kept, so it is answered."""
        try:
            digest = None if self._scene_lists is None else await self._scene_lists.newest()
            return await self._attestor.signed_time(vehicle_id, nonce, digest)
        except LongtailError as error:
            _log.warning("the time cannot be signed", error=str(error))
            return None

    async def _take_known(
        self, batch: Mapping[str, SignedCheckIn]
    ) -> dict[str, _Taken | Exception]:
        return await self._take(batch, newcomers=False)

    async def _take(
        self, batch: Mapping[str, SignedCheckIn], *, newcomers: bool = True
    ) -> dict[str, _Taken | Exception]:
        """Judge each, and write what is new, in one transaction."""
        found: dict[str, _Taken | Exception] = {}
        async with self._engine.begin() as connection:
            keys = await check_in_rows.lock(connection, batch)
            present = await check_in_rows.read(connection, keys)
            now_ns = self._clock.utc_ns()
            for vehicle_id, signed in batch.items():
                known = present.get(vehicle_id)
                if known is not None and known.sequence is None and not newcomers:
                    found[vehicle_id] = _NewcomerError()
                    continue
                try:
                    found[vehicle_id] = _judged(
                        vehicle_id, signed, keys.get(vehicle_id), known, now_ns
                    )
                except LongtailError as error:
                    found[vehicle_id] = error
            taken = {name: each for name, each in found.items() if isinstance(each, _Taken)}
            news = {name: each.news for name, each in taken.items() if each.news is not None}
            if taken:
                await check_in_rows.write(connection, to_time(now_ns), news, list(taken))
            firsts = {name: each.manifest.labels for name, each in taken.items() if each.is_first}
            if firsts:
                counters = await baseline.welcome(connection, firsts)
                for name in firsts:
                    found[name] = replace(taken[name], assignment_counter=counters[name])
        return found


def _judged(
    vehicle_id: str, signed: SignedCheckIn, key: bytes | None, present: Present | None, now_ns: int
) -> _Taken:
    """What is to become of a check-in, from what is known of the vehicle. Raises as `accept`."""
    if key is None or present is None:
        raise UnknownCallerError("this vehicle is not enrolled, or was revoked")
    _check_signature(key, signed.manifest.encode(), signed.signature)
    manifest = _read(signed.manifest)
    if manifest.vehicle_id != vehicle_id:
        raise RefusedError("a vehicle speaks only for itself", "vehicle_id")
    sequence, counter = manifest.sequence, present.assignment_counter
    if present.sequence is not None and sequence <= present.sequence:
        if sequence == present.sequence and signed.manifest != present.manifest:
            raise ConflictError("another manifest of this sequence was signed before", "sequence")
        return _Taken(manifest, present.sequence, counter)
    before = None if present.manifest is None else CheckIn.model_validate_json(present.manifest)
    previous = None if before is None else checked(before.counters)
    reading, replaces = next_reading(
        present.reading, sequence, now_ns, (previous, checked(manifest.counters)),
        running_of(manifest),
    )  # fmt: skip
    news = NewCheckIn(sequence, signed.manifest, signed.signature, reading, replaces)
    is_news = before is None or _differs(before, manifest)
    return _Taken(manifest, sequence, counter, news, before is None, is_news)


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
