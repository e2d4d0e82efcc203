"""Files under the SHA-256 of their content: `ab/abcdef…`, read-only, written once.

Several processes may write to one store: the same content is the same file.
"""

from __future__ import annotations

from pathlib import Path

from cloud_ingest.stores.files import disk_errors
from contracts.errors import CorruptError, InputError
from contracts.ids import parse_sha256_hex, sha256_hex
from offline.runs.files import write_durably


class Objects:
    """A content-addressed folder; it is made with the first object."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, content: bytes) -> str:
        """Keep it durably and return its digest. A damaged object of that name is replaced."""
        digest = sha256_hex(content)
        if not self.holds(digest):
            write_durably(self.path(digest), content, 0o444)
        return digest

    def get(self, digest: str) -> bytes:
        """Raises `InputError` when there is no such object, `CorruptError` for a damaged one."""
        path = self.path(digest)
        with disk_errors(str(path)):
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                raise InputError("there is no such object", str(path)) from None
        if sha256_hex(content) != digest:
            raise CorruptError("the object is not what its name says", str(path))
        return content

    def holds(self, digest: str) -> bool:
        """Whether it is there and whole: its bytes are read."""
        try:
            self.get(digest)
        except (InputError, CorruptError):
            return False
        return True

    def path(self, digest: str) -> Path:
        """Where the object lies, or would. Raises `InputError` for what is no digest."""
        parse_sha256_hex(digest, str(self._folder))
        return self._folder / digest[:2] / digest
