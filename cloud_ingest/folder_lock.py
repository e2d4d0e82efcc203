"""One process at a time on a service's folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contracts.errors import ConflictError


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold the folder. Raises `ConflictError` when another process does."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConflictError("another service runs on this folder", str(folder)) from error
        yield
    finally:
        os.close(descriptor)
