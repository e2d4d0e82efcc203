"""Files whose bytes a disk does not give: every read of them fails with `EIO`."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path
from typing import Any

import pytest


class FailingReads:
    """While it is in place, reads of the files in `paths` fail, the kernel's copies included."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.paths: set[Path] = set()
        opened, sendfile = Path.open, os.sendfile

        def open_it(path: Path, mode: str = "r", *rest: Any, **options: Any) -> Any:
            if path in self.paths and mode == "rb":
                return _FailingFile(path)
            return opened(path, mode, *rest, **options)

        def send_it(out: int, file: int, offset: int, count: int) -> int:
            if Path(f"/proc/self/fd/{file}").readlink() in self.paths:
                raise _eio(None)
            return sendfile(out, file, offset, count)

        monkeypatch.setattr(Path, "open", open_it)
        monkeypatch.setattr(os, "sendfile", send_it)


class _FailingFile(io.FileIO):
    def readinto(self, buffer: Any, /) -> int:
        raise _eio(self.name)

    def read(self, size: int | None = -1, /) -> bytes:
        raise _eio(self.name)


def _eio(name: object) -> OSError:
    return OSError(errno.EIO, os.strerror(errno.EIO), name)
