"""Peers of the update checks: the same orders for all vehicles in one TUF repository.

Held in memory and signed with one key; `Client` is a stock python-tuf client that counts what it
fetches, of a peer's repository as of ours.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import (
    Delegations,
    Key,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    SuccinctRoles,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from contracts.clock import SystemClock
from contracts.errors import TransientError
from contracts.ota import TargetNote

SPECS = 6
"""Trigger specs that each vehicle is ordered to hold."""
BIN_BITS = 8
_LIFE = dt.timedelta(days=7)


class Fetched(FetcherInterface):
    """Counts what a stock client fetches through `get`."""

    def __init__(self, get: Callable[[str], bytes | None]) -> None:
        self._get = get
        self.requests = 0
        self.size_bytes = 0

    def _fetch(self, url: str) -> Iterator[bytes]:
        self.requests += 1
        content = self._get(url)
        if content is None:
            raise DownloadHTTPError("absent", 404)
        self.size_bytes += len(content)
        return iter([content])


@dataclass(frozen=True, slots=True)
class Check:
    """One update check."""

    seconds: float
    requests: int
    size_bytes: int


class Client:
    """A stock client of one repository; its metadata stays between checks."""

    def __init__(
        self, folder: Path, url: str, root: bytes, get: Callable[[str], bytes | None]
    ) -> None:
        folder.mkdir(parents=True)
        self._folder, self._url, self._root, self._get = folder, url, root, get

    def check(self, path: str | None = None) -> Check:
        """Refresh, and look for a target where it matters in which role it stands."""
        fetched = Fetched(self._get)
        begin_s = time.perf_counter()
        updater = Updater(
            str(self._folder), self._url, fetcher=fetched, bootstrap=self._root,
            config=UpdaterConfig(targets_max_length=2**30, snapshot_max_length=2**30),
        )  # fmt: skip
        updater.refresh()
        if path is not None and updater.get_targetinfo(path) is None:
            raise TransientError("the peer does not hold its own file", path)
        return Check(time.perf_counter() - begin_s, fetched.requests, fetched.size_bytes)


def vehicle_name(index: int) -> str:
    return f"car-{index:05d}"


@dataclass(frozen=True, slots=True)
class Peer:
    """One repository for all: a check after any vehicle's change, and what signing it took."""

    idle: Check
    changed: Check
    signing_s: float


class _Repository:
    """A repository in memory, signed with one key."""

    def __init__(self) -> None:
        self._key = CryptoSigner.generate_ed25519()
        self._ends = dt.datetime.fromtimestamp(SystemClock().utc_ns() // 10**9, dt.UTC) + _LIFE
        self.files: dict[str, bytes] = {}
        root = Root(expires=self._ends)
        for role in ("root", "targets", "snapshot", "timestamp"):
            root.add_key(self._key.public_key, role)
        self.root = self._sign(Metadata(root))

    def get(self, url: str) -> bytes | None:
        return self.files.get(url.rpartition("/")[2])

    def _sign(self, metadata: Metadata[Root]) -> bytes:
        metadata.sign(self._key)
        return metadata.to_bytes()

    def put(self, name: str, signed: Targets | Snapshot | Timestamp) -> None:
        signed.expires = self._ends
        metadata: Metadata[Targets] = Metadata(signed)  # type: ignore[arg-type]
        metadata.sign(self._key)
        self.files[name] = metadata.to_bytes()

    def publish(self, version: int, roles: dict[str, Targets]) -> float:
        """Sign the changed roles, the snapshot and the timestamp; seconds that it took."""
        begin_s = time.perf_counter()
        for role, signed in roles.items():
            self.put(f"{signed.version}.{role}.json", signed)
        meta = {f"{role}.json": MetaFile(self._versions(role)) for role in self._roles()}
        self.put(f"{version}.snapshot.json", Snapshot(version, meta=meta))
        self.put("timestamp.json", Timestamp(version, snapshot_meta=MetaFile(version)))
        return time.perf_counter() - begin_s

    def _roles(self) -> set[str]:
        names = (name.split(".") for name in self.files)
        return {parts[1] for parts in names if len(parts) == 3} - {"snapshot"}

    def _versions(self, role: str) -> int:
        return max(int(name.split(".")[0]) for name in self.files if f".{role}." in name)

    @property
    def key(self) -> CryptoSigner:
        return self._key


def _orders(index: int) -> dict[str, TargetFile]:
    """One vehicle's files in a repository of all."""
    found = {}
    for spec in range(SPECS):
        path = f"{vehicle_name(index)}/triggers/brake-{spec}/1/spec.yaml"
        note = TargetNote(slot=f"trigger:brake-{spec}").model_dump()
        found[path] = TargetFile(120, {"sha256": f"{spec:064x}"}, path, {"custom": note})
    return found


def common_targets(folder: Path, count: int) -> Peer:
    """One targets file that names all vehicles' files."""
    repository = _Repository()
    targets = {path: file for index in range(count) for path, file in _orders(index).items()}
    repository.publish(1, {"targets": Targets(1, targets=targets)})
    path = next(iter(targets))
    client = Client(folder / "common", "memory:/", repository.root, repository.get)
    client.check(path)
    idle = client.check(path)
    signing_s = repository.publish(2, {"targets": Targets(2, targets=targets)})
    return Peer(idle, client.check(path), signing_s)


def hash_bins(folder: Path, count: int) -> Peer:
    """Files spread over hash bins by path. Of the vehicle's bins one is counted."""
    repository = _Repository()
    bins = SuccinctRoles([repository.key.public_key.keyid], 1, BIN_BITS, "bin")
    keys: dict[str, Key] = {repository.key.public_key.keyid: repository.key.public_key}
    roles = {name: Targets(1) for name in bins.get_roles()}
    paths = []
    for index in range(count):
        for path, file in _orders(index).items():
            roles[bins.get_role_for_target(path)].targets[path] = file
            paths.append(path)
    top = Targets(1, delegations=Delegations(keys, succinct_roles=bins))
    repository.publish(1, {"targets": top, **roles})
    client = Client(folder / "bins", "memory:/", repository.root, repository.get)
    mine = paths[0]
    client.check(mine)
    idle = client.check(mine)
    changed_bin = bins.get_role_for_target(mine)
    roles[changed_bin].version = 2
    signing_s = repository.publish(2, {changed_bin: roles[changed_bin]})
    return Peer(idle, client.check(mine), signing_s)
