"""The two signed repositories, in memory, by python-tuf's own metadata API; replays as data."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from contracts.clock import NS_PER_S
from contracts.ids import sha256_hex
from contracts.ota import (
    DELEGATED_PATHS,
    DEMO_FIELD,
    NOTE_FIELD,
    DirectorNote,
    ReleaseId,
    TargetNote,
)

YEAR = dt.timedelta(days=365)
DAY = dt.timedelta(days=1)
FIRST = dt.datetime(2027, 1, 1, tzinfo=dt.UTC)
FIRST_UTC_NS = int(FIRST.timestamp()) * NS_PER_S


def spec_bytes(trigger_id: str, version: int = 1, decel: float = 3.0) -> bytes:
    return (
        f"apiVersion: longtail/v1\nkind: hard_brake\nid: {trigger_id}\nversion: {version}\n"
        f"owner: tests\nwhen: {{decel_mps2: {decel}}}\n"
    ).encode()


def unsigned_targets() -> Targets:
    """A role that was never signed: its first version will be 1."""
    made = Targets()
    made.version = 0
    return made


class SignedRepository:
    """One repository: a root of 2 of 3 keys, online roles, versions as they come.

    `served` maps a file's name to the bytes that the server gives. With `shared` the root and
    all keys are another's, as those of one director's vehicles are.
    """

    def __init__(self, *, demo: bool = False, shared: SignedRepository | None = None) -> None:
        self.served: dict[str, bytes] = {}
        self.now = FIRST
        self.demo = demo
        if shared is not None:
            self.signers, self.root_signers = shared.signers, shared.root_signers
            self.root, self.roots = shared.root, shared.roots
        else:
            self.root_signers = [CryptoSigner.generate_ed25519() for _ in range(3)]
            self.signers = {
                role: CryptoSigner.generate_ed25519()
                for role in (Targets.type, Snapshot.type, Timestamp.type, "triggers", "models")
            }
            self.root = Root(expires=self.now + 5 * YEAR, consistent_snapshot=True)
            self.root.version = 0
            self.roots: dict[str, bytes] = {}
            for signer in self.root_signers:
                self.root.add_key(signer.public_key, Root.type)
            self.root.roles[Root.type].threshold = 2
            for role in (Targets.type, Snapshot.type, Timestamp.type):
                self.root.add_key(self.signers[role].public_key, role)
            self.sign_root()
        self.versions = {Snapshot.type: 0, Timestamp.type: 0}
        self.roles: dict[str, Targets] = {Targets.type: unsigned_targets()}

    def sign_root(self, signers: list[CryptoSigner] | None = None) -> None:
        """The next version of the root, signed by old and new keys as the chain demands."""
        self.root.version += 1
        if self.demo:
            self.root.unrecognized_fields[DEMO_FIELD] = True
        held = Metadata(self.root)
        for signer in (signers or self.root_signers)[:2]:
            held.sign(signer, append=True)
        self.roots[f"{self.root.version}.root.json"] = held.to_bytes()

    def rotate(self, role: str) -> CryptoSigner:
        """Give a top-level role a new key; the old one is revoked. Returns the old signer."""
        old, new = self.signers[role], CryptoSigner.generate_ed25519()
        self.root.revoke_key(old.public_key.keyid, role)
        self.root.add_key(new.public_key, role)
        self.signers[role] = new
        self.sign_root()
        return old

    def commit(self, lifetime: dt.timedelta = 7 * DAY, *changed: str) -> None:
        """Sign the changed target roles (all when none is named), then snapshot and timestamp."""
        meta = {}
        for name, role in self.roles.items():
            if not changed or name in changed or role.version == 0:
                role.version += 1
                role.expires = self.now + YEAR
                self.served[f"{role.version}.{name}.json"] = self.signed(role, name)
            content = self.served[f"{role.version}.{name}.json"]
            meta[f"{name}.json"] = MetaFile.from_data(role.version, content, ["sha256"])
        self.versions[Snapshot.type] += 1
        snapshot = Snapshot(
            version=self.versions[Snapshot.type], expires=self.now + lifetime, meta=meta
        )
        content = self.signed(snapshot, Snapshot.type)
        self.served[f"{snapshot.version}.snapshot.json"] = content
        self.stamp(MetaFile.from_data(snapshot.version, content, ["sha256"]), lifetime)

    def stamp(self, meta: MetaFile, lifetime: dt.timedelta) -> None:
        self.versions[Timestamp.type] += 1
        timestamp = Timestamp(
            version=self.versions[Timestamp.type],
            expires=self.now + lifetime,
            snapshot_meta=meta,
        )
        self.served["timestamp.json"] = self.signed(timestamp, Timestamp.type)

    def signed(self, role: Targets | Snapshot | Timestamp, name: str) -> bytes:
        held = Metadata(role)
        held.sign(self.signers[name])
        return held.to_bytes()

    def anchor(self) -> bytes:
        return self.roots["1.root.json"]

    def file(self, name: str) -> bytes | None:
        return self.served.get(name) or self.roots.get(name)


class ImageRepository(SignedRepository):
    """Holds files; people's roles are delegated."""

    def __init__(self, *, demo: bool = False) -> None:
        super().__init__(demo=demo)
        self.files: dict[str, bytes] = {}
        targets = self.roles[Targets.type]
        targets.delegations = Delegations({}, {})
        for name, paths in DELEGATED_PATHS.items():
            key = self.signers[name].public_key
            targets.delegations.keys[key.keyid] = key
            assert targets.delegations.roles is not None
            targets.delegations.roles[name] = DelegatedRole(
                name, [key.keyid], 1, True, paths=list(paths)
            )
            self.roles[name] = unsigned_targets()
        self.commit()

    def publish(self, release: ReleaseId, *contents: bytes) -> None:
        """Sign the release's files in the role of its kind."""
        for path, content in zip(release.paths, contents, strict=True):
            self.files[f"{sha256_hex(content)}.{path}"] = content
            target = TargetFile.from_data(path, content, ["sha256"])
            self.roles[release.role].targets[path] = target
        self.commit(7 * DAY, release.role)


@dataclass(frozen=True)
class Ordered:
    """A slot's order: the release with its contents."""

    slot: str
    release: ReleaseId
    contents: tuple[bytes, ...]
    attempt: int = 1


class VehicleRepository(SignedRepository):
    """The director's metadata for one vehicle."""

    def __init__(self, vehicle_id: str, shared: SignedRepository | None = None) -> None:
        super().__init__(shared=shared)
        self.vehicle_id = vehicle_id
        self.counter = 0

    def order(self, *ordered: Ordered, killed: tuple[str, ...] = (), counter: int = 0) -> None:
        self.counter = counter or self.counter + 1
        targets = self.roles[Targets.type]
        targets.targets = {}
        for one in ordered:
            for path, content in zip(one.release.paths, one.contents, strict=True):
                target = TargetFile.from_data(path, content, ["sha256"])
                note = TargetNote(slot=one.slot, attempt=one.attempt)
                target.unrecognized_fields["custom"] = note.model_dump()
                targets.targets[path] = target
        note = DirectorNote(vehicle_id=self.vehicle_id, release_counter=self.counter, killed=killed)
        targets.unrecognized_fields[NOTE_FIELD] = note.model_dump(mode="json")
        self.commit()


def flipped(content: bytes) -> bytes:
    """The same length, another byte."""
    return bytes([content[0] ^ 1]) + content[1:]


def with_signed(content: bytes, **changes: object) -> bytes:
    """Metadata whose signed part was changed, its signature left as it was."""
    document = json.loads(content)
    document["signed"].update(changes)
    return json.dumps(document).encode()


def older_snapshot(repository: SignedRepository) -> None:
    """A new timestamp, rightly signed, that points to an earlier snapshot."""
    version = repository.versions[Snapshot.type] - 1
    content = repository.served[f"{version}.snapshot.json"]
    repository.stamp(MetaFile.from_data(version, content, ["sha256"]), 7 * DAY)


def older_role(repository: SignedRepository, name: str) -> None:
    """A new snapshot, rightly signed, that names an earlier version of a targets role."""
    repository.versions[Snapshot.type] += 1
    meta = {}
    for held, role in repository.roles.items():
        version = role.version - (held == name)
        content = repository.served[f"{version}.{held}.json"]
        meta[f"{held}.json"] = MetaFile.from_data(version, content, ["sha256"])
    snapshot = Snapshot(
        version=repository.versions[Snapshot.type], expires=repository.now + 7 * DAY, meta=meta
    )
    content = repository.signed(snapshot, Snapshot.type)
    repository.served[f"{snapshot.version}.snapshot.json"] = content
    repository.stamp(MetaFile.from_data(snapshot.version, content, ["sha256"]), 7 * DAY)
