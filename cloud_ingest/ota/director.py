"""The director: tells each vehicle, signed online, what it shall hold.

Guarantees: a vehicle's metadata is signed when its assignment has changed or half of the
shortest life has gone, with its row locked, so versions rise one by one whatever replicas do;
else a fetch reads one row. The same `release_counter` never stands over two contents: a release
that was withdrawn since is left out under a higher counter.

Only the newest version is kept: one who reads the timestamp just before a change finds its
snapshot gone, and begins again. Snapshot and timestamp name versions without digests, since one
key signs all three.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from tuf.api.metadata import (
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from cloud_ingest.database import for_single_reads, to_time
from cloud_ingest.fleet.assignments import make_rows
from cloud_ingest.fleet_schema import assignments
from cloud_ingest.ota import lifetimes, publishing, store
from cloud_ingest.ota.image import ImageRepository, MetadataFile, root_state
from cloud_ingest.ota.keyring import Keyring
from cloud_ingest.ota.publishing import Desk
from cloud_ingest.ota.signed import SignedT, parse, sign
from cloud_ingest.problems import AbsentError
from cloud_ingest.schema import vehicles
from contracts.clock import NS_PER_S, Clock
from contracts.fleet import RoleState, RoleUpdate
from contracts.ota import (
    NOTE_FIELD,
    TIME_CONTEXT,
    DirectorNote,
    ReleaseId,
    SignedTime,
    TargetNote,
    TimeStatement,
    parse_slot,
)

RENEWAL = lifetimes.TIMESTAMP / 2
_REMEMBERED_NS = NS_PER_S
_Row = sa.Row[*tuple[Any, ...]]
_row = assignments.c


@dataclass(frozen=True, slots=True)
class _Word:
    """What the director says to one vehicle, before its counter."""

    targets: dict[str, TargetFile]
    killed: tuple[str, ...]

    def note(self, vehicle_id: str, counter: int) -> dict[str, Any]:
        note = DirectorNote(vehicle_id=vehicle_id, release_counter=counter, killed=self.killed)
        return note.model_dump(mode="json")


class Director:
    """Serves and signs the director's repository."""

    def __init__(
        self, engine: AsyncEngine, image: ImageRepository, keys: Keyring, clock: Clock
    ) -> None:
        self._engine = engine
        self._reads = for_single_reads(engine)
        self._image = image
        self._keys = keys
        self._clock = clock
        self._late: tuple[int, Metadata[Root]] | None = None

    async def metadata(self, vehicle_id: str, file: MetadataFile) -> bytes:
        """A file of one vehicle's repository. Raises `AbsentError`."""
        if file.role == "root":
            async with self._reads.connect() as connection:
                found = await store.exact(connection, "director", "root", file.version or 0)
        elif file.version is None:
            found = await self._timestamp(vehicle_id)
        else:
            found = await self._versioned(vehicle_id, file.role, file.version)
        if found is None:
            raise AbsentError("there is no such version", f"{file.version}.{file.role}.json")
        return found

    async def root(self) -> RoleState:
        """The director's root, and what waits to follow it."""
        async with self._reads.connect() as connection:
            current = await self._root(connection)
            return await root_state(connection, store.WAITING_DIRECTOR_ROOT, current)

    async def update_root(self, update: RoleUpdate) -> RoleState:
        """Take up the next root; all vehicles' metadata is then signed anew when asked for.

        Raises as `publishing.update_root`; `TransientError` when its online key is not here.
        """
        async with self._engine.begin() as connection:
            await store.lock(connection, store.DIRECTOR_LOCK)
            desk = Desk(connection, self._keys, self._clock.utc_ns())
            before = await self._root(connection)
            posted = await publishing.checked_root(
                desk, store.WAITING_DIRECTOR_ROOT, before, update
            )
            if posted is not None:
                await take_up_root(desk, posted)
        self._late = None
        return await self.root()

    async def signed_time(
        self, vehicle_id: str, nonce: str, fleet_scenes: str | None = None
    ) -> SignedTime:
        """The time now, for one vehicle's one question, and the newest list of common scenes."""
        root = (await self._root_of_late()).signed
        statement = TimeStatement(
            vehicle_id=vehicle_id,
            nonce=nonce,
            utc_ns=self._clock.utc_ns(),
            fleet_scenes=fleet_scenes,
        )
        text = statement.model_dump_json()
        (signer, *_) = self._keys.enough_for(root.roles["timestamp"], "timestamp")
        signature = signer.sign(TIME_CONTEXT + text.encode())
        return SignedTime(statement=text, keyid=signature.keyid, signature=signature.signature)

    async def _versioned(self, vehicle_id: str, role: str, version: int) -> bytes | None:
        content, held = {
            "targets": (_row.targets, _row.targets_version),
            "snapshot": (_row.snapshot, _row.snapshot_version),
        }.get(role, (None, None))
        if content is None or held is None:
            return None
        query = sa.select(content).where(_row.vehicle_id == vehicle_id, held == version)
        async with self._reads.connect() as connection:
            found = (await connection.execute(query)).scalar_one_or_none()
        return None if found is None else bytes(found)

    async def _timestamp(self, vehicle_id: str) -> bytes:
        query = sa.select(_row.timestamp, _row.counter, _row.signed_counter, _row.renew_utc).where(
            _row.vehicle_id == vehicle_id
        )
        async with self._reads.connect() as connection:
            row = (await connection.execute(query)).one_or_none()
        if row is not None and _is_current(row, self._clock.utc_ns()):
            return bytes(row.timestamp)
        return await self._sign(vehicle_id)

    async def _sign(self, vehicle_id: str) -> bytes:
        """Sign what is due with the vehicle's row locked; the timestamp."""
        async with self._engine.begin() as connection:
            await store.lock(connection, store.DIRECTOR_LOCK, shared=True)
            known = sa.select(vehicles.c.vehicle_id).where(vehicles.c.vehicle_id == vehicle_id)
            if (await connection.execute(known)).scalar_one_or_none() is None:
                raise AbsentError("there is no such vehicle", vehicle_id)
            await make_rows(connection, [vehicle_id])
            query = sa.select(assignments).where(_row.vehicle_id == vehicle_id).with_for_update()
            row = (await connection.execute(query)).one()
            now = self._clock.utc_ns()
            if _is_current(row, now):
                return bytes(row.timestamp)  # another replica was first
            root = (await self._root(connection)).signed
            word = await self._word(connection, row)
            signed = _Signing(root, self._keys, now).next(row, word)
            change = sa.update(assignments).where(_row.vehicle_id == vehicle_id)
            await connection.execute(change.values(signed))
        timestamp: bytes = signed["timestamp"]
        return timestamp

    async def _word(self, connection: AsyncConnection, row: _Row) -> _Word:
        """The vehicle's files as the image repository names them; what it does not is left out.

        A release in both modes is named for the active one alone: a path stands once.
        """
        slots = sorted((parse_slot(text) for text in row.slots), key=lambda slot: slot.shadow)
        held = {slot: row.slots[slot.text] for slot in slots}
        releases = {
            slot: ReleaseId(order["kind"], order["name"], order["version"])
            for slot, order in held.items()
        }
        published = await self._image.published(connection, releases.values())
        targets: dict[str, TargetFile] = {}
        for slot, release in releases.items():
            note = TargetNote(slot=slot.text, attempt=held[slot].get("attempt", 1)).model_dump()
            for file in published[release]:
                target = TargetFile(
                    file.size_bytes, {"sha256": file.sha256}, file.path, {"custom": note}
                )
                targets.setdefault(file.path, target)
        return _Word(targets, tuple(sorted(row.killed)))

    async def _root(self, connection: AsyncConnection) -> Metadata[Root]:
        kept = await store.newest(connection, "director", ("root",))
        return parse(Root, kept["root"].content, "root")

    async def _root_of_late(self) -> Metadata[Root]:
        """The root as it was within the last second: a check-in asks, and it changes in years."""
        now_ns = self._clock.mono_ns()
        if self._late is None or not 0 <= now_ns - self._late[0] < _REMEMBERED_NS:
            async with self._reads.connect() as connection:
                self._late = now_ns, await self._root(connection)
        return self._late[1]


class _Signing:
    """One signing of one vehicle's metadata."""

    def __init__(self, root: Root, keys: Keyring, now_utc_ns: int) -> None:
        self._root = root
        self._keys = keys
        self._now = now_utc_ns

    def next(self, row: _Row, word: _Word) -> dict[str, Any]:
        """The row's new values: what is due is signed, the timestamp always."""
        values: dict[str, Any] = {}
        counter: int = row.counter
        old = None if row.targets is None else Metadata[Targets].from_bytes(bytes(row.targets))
        # A counter of 0 orders nothing; what is signed begins with 1.
        same = old is not None and (
            old.signed.targets == word.targets
            and old.signed.unrecognized_fields.get(NOTE_FIELD)
            == word.note(row.vehicle_id, row.signed_counter)
        )
        if counter == row.signed_counter and not same:
            counter += 1
        if counter != row.signed_counter or self._is_due(old, lifetimes.DIRECTOR_TARGETS):
            version = row.targets_version + 1
            note = {NOTE_FIELD: word.note(row.vehicle_id, counter)}
            targets = Targets(
                version, None, self._ends(lifetimes.DIRECTOR_TARGETS), word.targets, None, note
            )
            values |= {"targets": self._signed(targets), "targets_version": version}
        snapshot = None if row.snapshot is None else Metadata[Snapshot].from_bytes(row.snapshot)
        if values or self._is_due(snapshot, lifetimes.SNAPSHOT):
            version = row.snapshot_version + 1
            meta = {"targets.json": MetaFile(values.get("targets_version", row.targets_version))}
            body = Snapshot(version, None, self._ends(lifetimes.SNAPSHOT), meta)
            values |= {"snapshot": self._signed(body), "snapshot_version": version}
        version = row.timestamp_version + 1
        meta_file = MetaFile(values.get("snapshot_version", row.snapshot_version))
        timestamp = Timestamp(version, None, self._ends(lifetimes.TIMESTAMP), meta_file)
        return values | {
            "timestamp": self._signed(timestamp), "timestamp_version": version,
            "counter": counter, "signed_counter": counter,
            "renew_utc": to_time(self._now) + RENEWAL,
        }  # fmt: skip

    def _is_due(
        self, metadata: Metadata[Targets] | Metadata[Snapshot] | None, life: dt.timedelta
    ) -> bool:
        """Absent, in the second half of its life, or signed by a key that was replaced."""
        if metadata is None or lifetimes.is_due(metadata.signed.expires, self._now, life):
            return True
        role = self._root.roles[metadata.signed.type]
        return len(set(role.keyids) & set(metadata.signatures)) < role.threshold

    def _ends(self, life: dt.timedelta) -> dt.datetime:
        return lifetimes.expiry(self._now, life)

    def _signed(self, body: SignedT) -> bytes:
        signers = self._keys.enough_for(self._root.roles[body.type], body.type)
        return sign(Metadata(body), signers)


async def take_up_root(desk: Desk, root: Metadata[Root]) -> None:
    """Keep a checked root, and have every vehicle's metadata signed by its keys.

    The caller holds the director's lock. Raises `TransientError` when its keys are not here.
    """
    for role in ("targets", "snapshot", "timestamp"):
        desk.keys.enough_for(root.signed.roles[role], role)
    version, content = root.signed.version, root.to_bytes()
    await store.add(desk.connection, "director", "root", version, content, desk.now_utc_ns)
    due = sa.update(assignments).values(renew_utc=to_time(desk.now_utc_ns))
    await desk.connection.execute(due)


def _is_current(row: _Row, now_utc_ns: int) -> bool:
    return (
        row.timestamp is not None
        and row.signed_counter == row.counter
        and row.renew_utc > to_time(now_utc_ns)
    )
