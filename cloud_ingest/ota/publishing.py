"""Takes up what people have signed for the image repository: roots, delegations, releases.

One transaction under the image lock for each: the role's metadata, the rows of `releases`, the
audit log, and the new snapshot and timestamp appear together or not at all. Metadata that too
few have signed waits, and changes nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, JSONPATH, insert
from sqlalchemy.ext.asyncio import AsyncConnection
from tuf.api.metadata import Metadata, Root, Targets

from cloud_ingest import audit
from cloud_ingest.database import among, to_time
from cloud_ingest.fleet_schema import assignments, releases
from cloud_ingest.ota import files, image_state, lifetimes, online, release_rules, store
from cloud_ingest.ota.keyring import Keyring
from cloud_ingest.ota.release_rules import Change
from cloud_ingest.ota.signed import parse, signed_by
from cloud_ingest.ota.store import Waiting
from contracts.errors import ConflictError, RefusedError
from contracts.fleet import RoleUpdate
from contracts.ota import DEMO_FIELD, ReleaseId


@dataclass(frozen=True, slots=True)
class Desk:
    """What a step of publishing works with."""

    connection: AsyncConnection
    keys: Keyring
    now_utc_ns: int


async def update_role(desk: Desk, role: str, update: RoleUpdate) -> None:
    """Take up a people's role, or let it wait for further signatures.

    Raises `InputError` for what breaks a rule, `RefusedError` without any valid signature,
    `ConflictError` when it is not the next version.
    """
    await store.lock(desk.connection, store.IMAGE_LOCK)
    state = await image_state.load(desk.connection)
    posted = parse(Targets, update.metadata.encode(), role)
    before = state.roles[role]
    if posted.signed_bytes == before.signed_bytes:
        return  # an answer was lost on its way
    check_next(role, before.signed.version, posted.signed.version)
    lifetimes.check_expiry(posted.signed.expires, desk.now_utc_ns, lifetimes.LONGEST_PEOPLES_ROLE)
    actor = await _with_waiting(desk.connection, role, posted, update.actor)
    missing = missing_signatures(state.delegator(role), role, posted)
    change = await check_role(desk, role, before.signed, posted.signed)
    if missing:
        content = posted.to_bytes()
        await store.put_waiting(desk.connection, role, Waiting(content, actor), desk.now_utc_ns)
        await _audit(desk, actor, "sign", _subject(role, posted), update.reason)
        return
    state.with_role(role, posted).check()
    await take_up_role(desk, role, posted, change, actor, update.reason)
    await online.sign_snapshot(desk.connection, state.root.signed, desk.keys, desk.now_utc_ns)


async def update_root(desk: Desk, update: RoleUpdate) -> None:
    """Take up the image repository's next root, or let it wait. Raises as `update_role`."""
    await store.lock(desk.connection, store.IMAGE_LOCK)
    state = await image_state.load(desk.connection)
    posted = await checked_root(desk, "root", state.root, update)
    if posted is None:
        return
    after = state.with_root(posted)
    after.check()
    await store.add(
        desk.connection, "image", "root", posted.signed.version, posted.to_bytes(), desk.now_utc_ns
    )
    await online.sign_snapshot(desk.connection, posted.signed, desk.keys, desk.now_utc_ns)


async def checked_root(
    desk: Desk, waiting_as: str, before: Metadata[Root], update: RoleUpdate
) -> Metadata[Root] | None:
    """The posted root when enough have signed it; None when it waits, or is there already."""
    posted = parse(Root, update.metadata.encode(), "root")
    if posted.signed_bytes == before.signed_bytes:
        return None
    check_next("root", before.signed.version, posted.signed.version)
    lifetimes.check_expiry(posted.signed.expires, desk.now_utc_ns, lifetimes.LONGEST_ROOT)
    actor = await _with_waiting(desk.connection, waiting_as, posted, update.actor)
    signed, missing = image_state.check_next_root(before, posted)
    if not signed:
        raise RefusedError("signed by no key of role root", "metadata")
    fields = (root.signed.unrecognized_fields for root in (before, posted))
    if len({bool(each.get(DEMO_FIELD)) for each in fields}) > 1:
        raise RefusedError("a root cannot become or cease to be one for trying out", DEMO_FIELD)
    subject = f"{waiting_as} version {posted.signed.version}"
    if missing:
        found = Waiting(posted.to_bytes(), actor)
        await store.put_waiting(desk.connection, waiting_as, found, desk.now_utc_ns)
        await _audit(desk, actor, "sign", subject, update.reason)
        return None
    await store.drop_waiting(desk.connection, waiting_as)
    await _audit(desk, actor, "new root", subject, update.reason)
    return posted


def check_next(role: str, current: int, posted: int) -> None:
    if posted != current + 1:
        raise ConflictError(
            f"version {posted} of role {role} is not next: the service holds {current}; fetch it, "
            "and sign again",
            "metadata",
        )


def missing_signatures(delegator: Root | Targets, role: str, metadata: Metadata[Targets]) -> int:
    """How many signatures are missing; what does not verify is dropped.

    Raises `RefusedError` when there is not one.
    """
    result = signed_by(delegator, role, metadata)
    if not result.signed:
        raise RefusedError(f"signed by no key of role {role}", "metadata")
    for keyid in result.unsigned:
        metadata.signatures.pop(keyid, None)
    return result.missing


async def _with_waiting(
    connection: AsyncConnection,
    role: str,
    posted: Metadata[Root] | Metadata[Targets],
    actor: str,
) -> str:
    """Add the signatures of what waits, when it is the same; who has signed so far."""
    found = await store.waiting(connection, role)
    if found is None:
        return actor
    kept: Metadata[Root] | Metadata[Targets] = Metadata.from_bytes(found.content)
    if kept.signed_bytes != posted.signed_bytes:
        return actor
    for keyid, signature in kept.signatures.items():
        posted.signatures.setdefault(keyid, signature)
    return found.actor if actor in found.actor.split(", ") else f"{found.actor}, {actor}"


async def check_role(desk: Desk, role: str, before: Targets, after: Targets) -> Change:
    """Everything about a role's next version but its signatures."""
    if role == "targets":
        release_rules.check_delegations(after)
        return Change({}, ())
    change = release_rules.change(role, before, after)
    for release, named in change.published.items():
        stored = await files.sizes(desk.connection, (file.sha256 for file in named))
        release_rules.check_stored(named, stored)
        if await _digest_before(desk.connection, release) not in (None, named[0].sha256):
            raise ConflictError("this version was published with other bytes before", release.text)
        content = await files.content(desk.connection, named[0].sha256)
        await asyncio.to_thread(release_rules.check_words, release, named, content)
    return change


async def _digest_before(connection: AsyncConnection, release: ReleaseId) -> str | None:
    """The digest by which the release was published once; None for a new one."""
    query = sa.select(releases.c.digest).where(_is(release))
    digest: str | None = (await connection.execute(query)).scalar_one_or_none()
    return digest


async def take_up_role(
    desk: Desk,
    role: str,
    metadata: Metadata[Targets],
    change: Change,
    actor: str,
    reason: str,
) -> None:
    """Write a checked version, its releases, and who did it."""
    version, now = metadata.signed.version, to_time(desk.now_utc_ns)
    await store.add(desk.connection, "image", role, version, metadata.to_bytes(), desk.now_utc_ns)
    await store.drop_waiting(desk.connection, role)
    moved = list(change.withdrawn)
    for release, named in change.published.items():
        if await _digest_before(desk.connection, release) is not None:
            moved.append(release)  # comes back as it was
        row = {
            "kind": release.kind, "name": release.name, "version": release.version,
            "digest": named[0].sha256, "size_bytes": sum(file.size_bytes for file in named),
            "published_by": actor, "published_utc": now,
        }  # fmt: skip
        again = (
            insert(releases)
            .values(row)
            .on_conflict_do_update(
                index_elements=["kind", "name", "version"], set_={"withdrawn_utc": None}
            )
        )
        await desk.connection.execute(again)
        await _audit(desk, actor, "publish", release.text, reason)
    for release in change.withdrawn:
        gone = sa.update(releases).where(_is(release)).values(withdrawn_utc=now)
        await desk.connection.execute(gone)
        await _audit(desk, actor, "withdraw", release.text, reason)
    for release in moved:
        await _tell_director(desk.connection, release)
    if not change.published and not change.withdrawn:
        await _audit(desk, actor, "renew role", _subject(role, metadata), reason)


async def _tell_director(connection: AsyncConnection, release: ReleaseId) -> None:
    """Vehicles that are assigned the release get a new word: their files have changed.

    Rows are locked in one order, so that two such changes cannot wait for each other.
    """
    slot = {"kind": release.kind, "name": release.name, "version": release.version}
    path = "$.* ? (@.kind == $kind && @.name == $name && @.version == $version)"
    holds = sa.func.jsonb_path_exists(
        assignments.c.slots, sa.cast(path, JSONPATH), sa.cast(slot, JSONB)
    )
    column = assignments.c.vehicle_id
    query = sa.select(column).where(holds).order_by(column).with_for_update()
    found = list((await connection.execute(query)).scalars())
    rise = sa.update(assignments).where(among(column, found))
    await connection.execute(rise.values(counter=assignments.c.counter + 1))


def _is(release: ReleaseId) -> sa.ColumnElement[bool]:
    return sa.and_(
        releases.c.kind == release.kind,
        releases.c.name == release.name,
        releases.c.version == release.version,
    )


def _subject(role: str, metadata: Metadata[Targets]) -> str:
    return f"role {role} version {metadata.signed.version}"


async def _audit(desk: Desk, actor: str, action: str, subject: str, reason: str) -> None:
    await audit.record(desk.connection, desk.now_utc_ns, actor, action, subject, reason)
