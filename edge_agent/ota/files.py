"""Files of releases on the vehicle, named by their digest.

Guarantees: a name appears only when its whole content is durable and has that digest; each read
verifies it again; nothing here is overwritten. What is half fetched lies apart, under the digest
that it is to become, and survives a restart; it is worth nothing until it is adopted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from contracts.errors import CorruptError
from contracts.ids import parse_sha256_hex, sha256_hex
from edge_agent.disk import Disk, move_file, remove_file, translated
from edge_agent.ota.state import HeldFile

READ_BYTES = 1024 * 1024


class FileStore:
    """Whole files in `folder/files`, half fetched ones in `folder/partial`."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._files = folder / "files"
        self._partial = folder / "partial"
        self._disk = disk
        for made in (self._files, self._partial):
            made.mkdir(parents=True, exist_ok=True)

    def path(self, file: HeldFile) -> Path:
        parse_sha256_hex(file.sha256)
        return self._files / file.sha256

    def partial_path(self, file: HeldFile) -> Path:
        parse_sha256_hex(file.sha256)
        return self._partial / file.sha256

    def has(self, file: HeldFile) -> bool:
        """Whether a file of that name and size is here; `read` tells whether it is sound."""
        try:
            return self.path(file).stat().st_size == file.size_bytes
        except FileNotFoundError:
            return False

    def read(self, file: HeldFile) -> bytes:
        """The content, verified. Raises `CorruptError` when it is gone or not what was signed."""
        path = self.path(file)
        try:
            with translated(path):
                content = path.read_bytes()
        except FileNotFoundError as error:
            raise CorruptError("the file is gone", file.path) from error
        if (len(content), sha256_hex(content)) != (file.size_bytes, file.sha256):
            raise CorruptError("the file on the disk is not what was signed", file.path)
        return content

    def partial_bytes(self, file: HeldFile) -> int:
        """How much of a file was fetched so far."""
        try:
            return self.partial_path(file).stat().st_size
        except FileNotFoundError:
            return 0

    def free_bytes(self) -> int:
        return self._disk.free_bytes(self._partial)

    def adopt(self, file: HeldFile) -> None:
        """Make a fetched file whole: verified, synced, then named.

        Raises `CorruptError` when it is not what was signed; what was fetched is removed then.
        """
        path = self.partial_path(file)
        if (self.partial_bytes(file), _digest(path)) != (file.size_bytes, file.sha256):
            self.drop_partial(file)
            raise CorruptError("what was fetched is not what was signed", file.path)
        self._disk.sync_file(path)
        move_file(self._disk, path, self.path(file))

    def drop_partial(self, file: HeldFile) -> None:
        remove_file(self._disk, self.partial_path(file))

    def drop(self, file: HeldFile) -> None:
        """Remove a file that was found to be damaged, so that it is fetched anew."""
        remove_file(self._disk, self.path(file))

    def collect(self, keep: Iterable[str]) -> int:
        """Remove all that nobody needs any more; how many files that were."""
        kept = frozenset(keep)
        removed = 0
        for folder in (self._files, self._partial):
            for path in sorted(folder.iterdir()):
                if path.name not in kept:
                    remove_file(self._disk, path)
                    removed += 1
        return removed


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with translated(path), path.open("rb") as file:
        while chunk := file.read(READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
