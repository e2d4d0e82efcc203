"""The image repository as the routes ask for it: metadata, files, roles, releases.

The order of locks is always: image lock, then rows. Reading takes no lock; a timestamp that has
come into its second half is signed anew by whoever reads it first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from cloud_ingest.database import for_single_reads, to_ns
from cloud_ingest.fleet_schema import releases
from cloud_ingest.ota import image_state, online, publishing, store
from cloud_ingest.ota.keyring import Keyring
from cloud_ingest.ota.publishing import Desk
from cloud_ingest.ota.release_rules import NamedFile, files_of
from cloud_ingest.ota.signed import parse, signed_by
from cloud_ingest.problems import AbsentError
from contracts.clock import Clock
from contracts.errors import InputError
from contracts.fleet import ReleasePage, ReleaseRow, RoleName, RoleState, RoleUpdate
from contracts.ota import Kind, ReleaseId, release_of_path


class PublishedFiles:
    """What each people's role names, parsed once for each of its versions."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, dict[ReleaseId, dict[str, NamedFile]]]] = {}

    async def of_role(
        self, connection: AsyncConnection, role: str
    ) -> dict[ReleaseId, dict[str, NamedFile]]:
        """Files by release and path. A version never changes, so that replicas agree."""
        version = await store.newest_version(connection, "image", role)
        if version is None:
            raise InputError("the image repository is not complete", role)
        known = self._known.get(role)
        if known is None or known[0] != version:
            content = await store.exact(connection, "image", role, version)
            signed = parse(Targets, content or b"", role).signed
            known = self._known[role] = (version, files_of(role, signed))
        return known[1]


@dataclass(frozen=True, slots=True)
class MetadataFile:
    """`timestamp.json` (version None) or `7.snapshot.json`."""

    role: str
    version: int | None


class ImageRepository:
    """Serves and changes the image repository."""

    def __init__(self, engine: AsyncEngine, keys: Keyring, clock: Clock) -> None:
        self._engine = engine
        self._reads = for_single_reads(engine)
        self._keys = keys
        self._clock = clock
        self._published = PublishedFiles()

    async def metadata(self, file: MetadataFile) -> bytes:
        """A file's exact bytes. Raises `AbsentError`."""
        if file.version is None:
            return await self._timestamp()
        async with self._reads.connect() as connection:
            found = await store.exact(connection, "image", file.role, file.version)
        if found is None:
            raise AbsentError("there is no such version", f"{file.version}.{file.role}.json")
        return found

    async def _timestamp(self) -> bytes:
        now = self._clock.utc_ns()
        async with self._reads.connect() as connection:
            kept = await store.newest(connection, "image", ("snapshot", "timestamp"))
        is_due = online.due(Snapshot, kept["snapshot"].content, now) or online.due(
            Timestamp, kept["timestamp"].content, now
        )
        if not is_due:
            return kept["timestamp"].content
        async with self._engine.begin() as writing:
            await store.lock(writing, store.IMAGE_LOCK)
            return await online.renew(writing, self._keys, now)

    async def target(self, path: str, sha256: str) -> NamedFile:
        """A published file, by the path and digest that signed metadata gives.

        Raises `AbsentError` for one that is not published, or withdrawn.
        """
        async with self._reads.connect() as connection:
            try:
                release = release_of_path(path)
            except InputError as error:
                raise AbsentError("there is no such file", path[:400]) from error
            published = await self._published.of_role(connection, release.role)
        file = published.get(release, {}).get(path)
        if file is None or file.sha256 != sha256:
            raise AbsentError("there is no such file", path)
        return file

    async def role(self, role: RoleName) -> RoleState:
        """A role as it stands, and what waits for more signatures."""
        async with self._reads.connect() as connection:
            state = await image_state.load(connection)
            if role == "root":
                return await root_state(connection, "root", state.root)
            current = state.roles[role]
            delegator = state.delegator(role)
            told = RoleState(
                role=role,
                version=current.signed.version,
                metadata=current.to_bytes().decode(),
                threshold=delegator.get_delegated_role(role).threshold,
            )
            found = await store.waiting(connection, role)
        if found is None:
            return told
        waiting = parse(Targets, found.content, role)
        result = signed_by(delegator, role, waiting)
        if waiting.signed.version != told.version + 1 or not result.signed:
            return told  # overtaken, or signed by keys that were replaced since
        changes = {"waiting": found.content.decode(), "missing_signatures": result.missing}
        return told.model_copy(update=changes)

    async def update_role(self, role: RoleName, update: RoleUpdate) -> RoleState:
        """Take up what people have signed; see `publishing`."""
        async with self._engine.begin() as connection:
            desk = Desk(connection, self._keys, self._clock.utc_ns())
            if role == "root":
                await publishing.update_root(desk, update)
            else:
                await publishing.update_role(desk, role, update)
        return await self.role(role)

    async def releases(self, kind: Kind | None = None, name: str | None = None) -> ReleasePage:
        """Releases by kind, name and version."""
        table = releases.c
        query = sa.select(releases).order_by(table.kind, table.name, table.version)
        if kind is not None:
            query = query.where(table.kind == kind)
        if name is not None:
            query = query.where(table.name == name)
        async with self._reads.connect() as connection:
            rows = (await connection.execute(query)).all()
        return ReleasePage(releases=tuple(_release_row(row) for row in rows))

    async def published(
        self, connection: AsyncConnection, wanted: Iterable[ReleaseId]
    ) -> dict[ReleaseId, tuple[NamedFile, ...]]:
        """Files of releases as the image repository names them now; none of withdrawn ones."""
        releases = list(wanted)
        by_role = {
            role: await self._published.of_role(connection, role)
            for role in {release.role for release in releases}
        }
        return {
            release: tuple(by_role[release.role].get(release, {}).values()) for release in releases
        }


async def root_state(
    connection: AsyncConnection, waiting_as: str, current: Metadata[Root]
) -> RoleState:
    """The newest root of either repository, and what waits to follow it."""
    told = RoleState(
        role="root",
        version=current.signed.version,
        metadata=current.to_bytes().decode(),
        threshold=current.signed.roles["root"].threshold,
    )
    found = await store.waiting(connection, waiting_as)
    if found is None:
        return told
    waiting = parse(Root, found.content, "root")
    if waiting.signed.version != told.version + 1:
        return told
    _, missing = image_state.check_next_root(current, waiting)
    changes = {"waiting": found.content.decode(), "missing_signatures": missing}
    return told.model_copy(update=changes)


def _release_row(row: sa.Row[tuple[object, ...]]) -> ReleaseRow:
    return ReleaseRow(
        kind=row.kind,
        name=row.name,
        version=row.version,
        digest=row.digest,
        size_bytes=row.size_bytes,
        published_utc_ns=to_ns(row.published_utc),
        published_by=row.published_by,
        withdrawn=row.withdrawn_utc is not None,
    )
