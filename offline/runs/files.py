"""Durable files: complete under their name or not there, and there after a power cut."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from cloud_ingest.stores.files import disk_errors, make_folder, sync_folder


def write_durably(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Make or replace a file. Its temporary file starts with a dot and ends in `.tmp`.

    Raises `ExhaustedError` on a full disk, `TransientError` for other failures of the disk.
    """
    with disk_errors(str(path)):
        make_folder(path.parent)
        descriptor, name = tempfile.mkstemp(".tmp", f".{path.name}.", path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
