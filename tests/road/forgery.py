"""What one can make who holds an online key: copies of a repository's metadata, signed anew."""

from __future__ import annotations

import copy
import datetime as dt
from dataclasses import dataclass
from typing import TypeVar

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Snapshot, TargetFile, Targets, Timestamp

from contracts.ota import NOTE_FIELD, TargetNote
from tests.road.updates_rig import VEHICLE, Office

IMAGE = "/v1/ota/image/metadata/"
FAR_AHEAD = 10**6
"""Versions and counters that no honest service reaches."""

Body = TypeVar("Body", Targets, Snapshot, Timestamp)
Contents = dict[str, bytes]
"""Files of a repository by name, without roots."""


def director_of(vehicle_id: str = VEHICLE) -> str:
    return f"/v1/ota/director/{vehicle_id}/metadata/"


def signed(body: Body, key: CryptoSigner) -> bytes:
    held = Metadata(body)
    held.sign(key)
    return held.to_bytes()


@dataclass(frozen=True)
class Copied:
    """A repository as it stood."""

    timestamp: Timestamp
    snapshot: Snapshot
    roles: dict[str, Targets]
    contents: Contents

    def with_older(self, role: str, old: Copied, key: CryptoSigner) -> Contents:
        """A new snapshot, rightly signed, that names an earlier version of a targets role."""
        snapshot = copy.deepcopy(self.snapshot)
        version = old.roles[role].version
        snapshot.meta[f"{role}.json"] = MetaFile(version)
        name = f"{version}.{role}.json"
        return {name: old.contents[name], **self.with_snapshot(snapshot, key)}

    def with_older_snapshot(self, old: Copied, key: CryptoSigner) -> Contents:
        """A new timestamp, rightly signed, that names an earlier snapshot."""
        name = f"{old.snapshot.version}.snapshot.json"
        return {
            name: old.contents[name],
            "timestamp.json": self._stamp(old.snapshot.version, 1, key),
        }

    def with_role(
        self, name: str, role: Targets, role_key: CryptoSigner, key: CryptoSigner, ahead: int = 1
    ) -> Contents:
        """A role's next version under a new snapshot."""
        role = copy.deepcopy(role)
        role.version += ahead
        snapshot = copy.deepcopy(self.snapshot)
        snapshot.meta[f"{name}.json"] = MetaFile(role.version)
        return {
            f"{role.version}.{name}.json": signed(role, role_key),
            **self.with_snapshot(snapshot, key, ahead),
        }

    def with_snapshot(self, snapshot: Snapshot, key: CryptoSigner, ahead: int = 1) -> Contents:
        """The snapshot as a next version, under a new timestamp."""
        snapshot.version = self.snapshot.version + ahead
        return {
            f"{snapshot.version}.snapshot.json": signed(snapshot, key),
            "timestamp.json": self._stamp(snapshot.version, ahead, key),
        }

    def frozen(self, key: CryptoSigner) -> Contents:
        """The timestamp that the service had signed two days ago, had it been asked then."""
        timestamp = copy.deepcopy(self.timestamp)
        timestamp.version += 1
        timestamp.expires -= dt.timedelta(days=2)
        return {"timestamp.json": signed(timestamp, key)}

    def _stamp(self, snapshot_version: int, ahead: int, key: CryptoSigner) -> bytes:
        timestamp = copy.deepcopy(self.timestamp)
        timestamp.version += ahead
        timestamp.snapshot_meta = MetaFile(snapshot_version)
        return signed(timestamp, key)


def copied(office: Office, path: str) -> Copied:
    """The newest metadata below `path`, as the service shows it."""
    contents = {"timestamp.json": office.read(path + "timestamp.json")}
    timestamp = Metadata[Timestamp].from_bytes(contents["timestamp.json"]).signed
    name = f"{timestamp.snapshot_meta.version}.snapshot.json"
    contents[name] = office.read(path + name)
    snapshot = Metadata[Snapshot].from_bytes(contents[name]).signed
    roles = {}
    for file, meta in snapshot.meta.items():
        name = f"{meta.version}.{file}"
        contents[name] = office.read(path + name)
        roles[file.removesuffix(".json")] = Metadata[Targets].from_bytes(contents[name]).signed
    return Copied(timestamp, snapshot, roles, contents)


def ordering(director: Copied, slot: str, file: TargetFile, key: CryptoSigner) -> Contents:
    """The director's word with one more order, far ahead of all that was said before."""
    targets = copy.deepcopy(director.roles["targets"])
    file.unrecognized_fields["custom"] = TargetNote(slot=slot).model_dump()
    targets.targets[file.path] = file
    note = {**targets.unrecognized_fields[NOTE_FIELD]}
    note["release_counter"] += FAR_AHEAD
    targets.unrecognized_fields[NOTE_FIELD] = note
    return director.with_role("targets", targets, key, key, FAR_AHEAD)
