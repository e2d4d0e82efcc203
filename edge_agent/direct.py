"""A file written around the page cache, where the file system can.

A clip is written once and read once, hours later: through the page cache it costs a copy that
pushes other things out, and the sync at its end waits for all of it at once. Here whole blocks go
to the disk while the next ones are being made. Only the last, odd bytes go the usual way.

Guarantees: the same bytes as any other file; not durable before it is synced. `None` from
`open_direct` means that the file system has no such way (tmpfs, some network ones).
"""

from __future__ import annotations

import errno
import fcntl
import io
import mmap
import os
from pathlib import Path
from typing import Any

BUFFER_BYTES = 4 * 1024 * 1024
ALIGN_BYTES = 4096
_DIRECT = getattr(os, "O_DIRECT", 0)


def open_direct(path: Path) -> DirectStream | None:
    """An empty file written around the page cache, None where that is not possible.

    Raises `OSError` as `open` does.
    """
    if not _DIRECT:
        return None
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | _DIRECT
        return DirectStream(os.open(path, flags, 0o644))
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
            return None
        raise


class DirectStream(io.RawIOBase):
    """Gathers what is written into aligned blocks. Forwards only; close it to have all written."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        # Anonymous memory is page-aligned, as the kernel asks for.
        self._view = memoryview(mmap.mmap(-1, BUFFER_BYTES))
        self._filled = 0
        self._failed = False

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, content: Any) -> int:
        view = memoryview(content).cast("B")
        taken = 0
        while taken < len(view):
            count = min(BUFFER_BYTES - self._filled, len(view) - taken)
            self._view[self._filled : self._filled + count] = view[taken : taken + count]
            self._filled += count
            taken += count
            if self._filled == BUFFER_BYTES:
                self._put(BUFFER_BYTES)
        return taken

    def _put(self, count: int) -> None:
        """Write the buffer's first bytes; after a failure nothing more is written."""
        try:
            done = 0
            while done < count:
                done += os.write(self._descriptor, self._view[done:count])
        except OSError:
            self._failed = True
            raise
        self._filled -= count

    def close(self) -> None:
        """Write what is left, the end of it through the page cache. Raises `OSError`."""
        if self.closed:
            return
        try:
            if not self._failed:
                self._finish()
        finally:
            os.close(self._descriptor)
            del self._view  # and with it the memory, once no traceback holds a piece of it
            super().close()

    def _finish(self) -> None:
        whole = self._filled // ALIGN_BYTES * ALIGN_BYTES
        rest = bytes(self._view[whole : self._filled])
        if whole:
            self._put(whole)
        if rest:
            flags = fcntl.fcntl(self._descriptor, fcntl.F_GETFL)
            fcntl.fcntl(self._descriptor, fcntl.F_SETFL, flags & ~_DIRECT)
            self._view[: len(rest)] = rest
            self._put(len(rest))
