"""The folder of a key ceremony.

| path                                  | what                                               |
|---------------------------------------|----------------------------------------------------|
| offline/*.pem                         | people's keys; belong on media that are put away   |
| online/{image,director}.pem           | the service's                                      |
| metadata/image/N.{root,targets,...}   | what people have signed, every version             |
| metadata/director/N.root.json         | as well                                            |
| trust/{image,director}.root.json      | newest roots: what a vehicle is provisioned with   |

Metadata files are never written over; all files appear whole or not at all.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

from cloud_ingest.stores.files import disk_errors, make_folder, sync_folder
from contracts.errors import ConflictError, InputError

Repository = Literal["image", "director"]
REPOSITORIES: tuple[Repository, ...] = ("image", "director")
DELEGATED = ("triggers", "models")
_VERSIONED = re.compile(r"([1-9][0-9]{0,8})\.([a-z]+)\.json")
_MAX_METADATA_BYTES = 5_000_000  # what python-tuf's client takes of a targets file


class KeyFolder:
    """Paths and metadata files of one folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offline = path / "offline"
        self.online = path / "online"
        self.trust = path / "trust"

    @property
    def holds_keys(self) -> bool:
        return any(folder.exists() for folder in (self.offline, self.online, self._metadata))

    @property
    def has_metadata(self) -> bool:
        """True when both repositories have a root here."""
        return all(self.newest(repository, "root") for repository in REPOSITORIES)

    @property
    def _metadata(self) -> Path:
        return self.path / "metadata"

    def versions(self, repository: Repository, role: str) -> list[int]:
        """Versions of a role's metadata that lie here, rising."""
        names = (path.name for path in (self._metadata / repository).glob("*.json"))
        found = (_VERSIONED.fullmatch(name) for name in names)
        return sorted(int(match[1]) for match in found if match and match[2] == role)

    def read(self, repository: Repository, role: str, version: int) -> bytes:
        """One file. Raises `InputError` when it is missing or too large."""
        path = self._file(repository, role, version)
        try:
            with path.open("rb") as file:
                content = file.read(_MAX_METADATA_BYTES + 1)
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", str(path)) from error
        if len(content) > _MAX_METADATA_BYTES:
            raise InputError(f"longer than {_MAX_METADATA_BYTES} bytes", str(path))
        return content

    def newest(self, repository: Repository, role: str) -> bytes | None:
        """The newest version's bytes; None when there is none."""
        versions = self.versions(repository, role)
        return self.read(repository, role, versions[-1]) if versions else None

    def add(self, repository: Repository, role: str, version: int, content: bytes) -> Path:
        """Keep a new version. Raises `ConflictError` when another one has its place."""
        path = self._file(repository, role, version)
        if path.exists():
            if path.read_bytes() == content:
                return path
            raise ConflictError("there is another file of this version", str(path))
        write_whole(path, content)
        return path

    def renew_trust(self) -> None:
        """Put the newest roots where provisioning takes them from."""
        for repository in REPOSITORIES:
            newest = self.newest(repository, "root")
            if newest is not None:
                write_whole(self.trust / f"{repository}.root.json", newest)

    def place(self, repository: Repository, role: str, version: int) -> str:
        return str(self._file(repository, role, version))

    def _file(self, repository: Repository, role: str, version: int) -> Path:
        return self._metadata / repository / f"{version}.{role}.json"


def write_whole(path: Path, content: bytes) -> None:
    """Write or replace a file atomically and durably."""
    with disk_errors(str(path)):
        make_folder(path.parent)
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        with fresh.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        sync_folder(path.parent)
