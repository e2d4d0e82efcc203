"""Snapshot and timestamp of the image repository: signed online, on the caller's transaction.

The caller holds the image lock, so versions rise one by one whatever replicas do.
"""

from __future__ import annotations

import hashlib

from sqlalchemy.ext.asyncio import AsyncConnection
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Timestamp

from cloud_ingest.database import to_time
from cloud_ingest.ota import lifetimes, store
from cloud_ingest.ota.image_state import PEOPLES_ROLES
from cloud_ingest.ota.keyring import Keyring
from cloud_ingest.ota.signed import parse, sign
from cloud_ingest.ota.store import Kept


def meta_file(kept: Kept) -> MetaFile:
    """A file as snapshot and timestamp name it: version, length and digest."""
    digest = hashlib.sha256(kept.content).hexdigest()
    return MetaFile(kept.version, len(kept.content), {"sha256": digest})


async def sign_snapshot(
    connection: AsyncConnection, root: Root, keys: Keyring, now_utc_ns: int
) -> None:
    """Sign what is newest as the next snapshot, and the timestamp that names it."""
    kept = await store.newest(connection, "image", (*PEOPLES_ROLES, "snapshot"))
    version = kept["snapshot"].version + 1 if "snapshot" in kept else 1
    snapshot = Snapshot(
        version=version,
        expires=lifetimes.expiry(now_utc_ns, lifetimes.SNAPSHOT),
        meta={f"{role}.json": meta_file(kept[role]) for role in PEOPLES_ROLES},
    )
    content = sign(Metadata(snapshot), keys.enough_for(root.roles["snapshot"], "snapshot"))
    await store.add(connection, "image", "snapshot", version, content, now_utc_ns)
    # One who fetched the timestamp before may still ask for the snapshot that it names.
    horizon = to_time(now_utc_ns) - lifetimes.SNAPSHOT
    await store.forget_before(connection, "snapshot", version, horizon)
    await sign_timestamp(connection, root, keys, now_utc_ns)


async def sign_timestamp(
    connection: AsyncConnection, root: Root, keys: Keyring, now_utc_ns: int
) -> None:
    """Sign the next timestamp of the newest snapshot; the one before is dropped."""
    kept = await store.newest(connection, "image", ("snapshot", "timestamp"))
    version = kept["timestamp"].version + 1 if "timestamp" in kept else 1
    timestamp = Timestamp(
        version=version,
        expires=lifetimes.expiry(now_utc_ns, lifetimes.TIMESTAMP),
        snapshot_meta=meta_file(kept["snapshot"]),
    )
    content = sign(Metadata(timestamp), keys.enough_for(root.roles["timestamp"], "timestamp"))
    await store.add(connection, "image", "timestamp", version, content, now_utc_ns)
    await store.forget_before(connection, "timestamp", version, to_time(now_utc_ns))


async def renew(connection: AsyncConnection, keys: Keyring, now_utc_ns: int) -> bytes:
    """Sign anew what has less than half of its life left; the timestamp as it is then."""
    kept = await store.newest(connection, "image", ("root", "snapshot", "timestamp"))
    root = parse(Root, kept["root"].content, "root").signed
    if due(Snapshot, kept["snapshot"].content, now_utc_ns):
        await sign_snapshot(connection, root, keys, now_utc_ns)
    elif due(Timestamp, kept["timestamp"].content, now_utc_ns):
        await sign_timestamp(connection, root, keys, now_utc_ns)
    else:
        return kept["timestamp"].content  # another replica was first
    return (await store.newest(connection, "image", ("timestamp",)))["timestamp"].content


def due(kind: type[Snapshot] | type[Timestamp], content: bytes, now_utc_ns: int) -> bool:
    life = lifetimes.SNAPSHOT if kind is Snapshot else lifetimes.TIMESTAMP
    expires = Metadata.from_bytes(content).signed.expires
    return lifetimes.is_due(expires, now_utc_ns, life)
