"""A disk that fails at its k-th durable step: cut off, full, or with an error of the device.

Every step that code under test takes is counted and named in `trace`: each piece written to a
clip, each small file, sync, rename, removal, and each commit of the ledger's transactions
(`connection`, for `Ledger(connection=)`). So that a test may fail at every one of them in turn.

No real sync is waited for: what an unsynced file may lose is modelled.

`CrashError` is not an `Exception` that code under test could handle: nothing runs after a power
cut, and every later step raises it again. What is left then is what `loss` says:

| loss       | after the cut                                                                   |
|------------|---------------------------------------------------------------------------------|
| `nothing`  | all that was done (the process was killed), the write under way half done         |
| `unsynced` | contents that were not synced cut to half, names whose folder was not synced undone |
| `content`  | contents that were not synced cut to half, though their new names have lasted       |
"""

from __future__ import annotations

import errno
import io
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from edge_agent.disk import RealDisk, translated

Loss = Literal["nothing", "unsynced", "content"]

_SQLITE_CODES = {errno.ENOSPC: sqlite3.SQLITE_FULL, errno.EIO: sqlite3.SQLITE_IOERR}


class CrashError(BaseException):
    """The power is cut."""


class FailingDisk(RealDisk):
    """Carries out `stop_at` steps, then crashes; or fails otherwise.

    Args:
        stop_at: the step that is not done any more, None for no crash.
        forget: short for the loss `unsynced`.
        full_at: the disk is full for ever from this step on, for steps that allocate.
        fail_at: a step that fails once, with `fail_errno`.
    """

    def __init__(
        self,
        stop_at: int | None = None,
        forget: bool = False,
        full_at: int | None = None,
        loss: Loss = "nothing",
        fail_at: int | None = None,
        fail_errno: int = errno.EIO,
    ) -> None:
        self.stop_at = stop_at
        self.full_at = full_at
        self.fail_at = fail_at
        self.fail_errno = fail_errno
        self.loss: Loss = "unsynced" if forget else loss
        self.steps = 0
        self.trace: list[str] = []
        self.failed: list[str] = []
        self.free = 10**12
        self.is_crashed = False
        self._synced_files: set[Path] = set()
        self._unsynced_files: set[Path] = set()
        self._undo: list[tuple[Path, Callable[[], None]]] = []
        self._connections: list[sqlite3.Connection] = []

    def step(
        self, what: str, allocates: bool = False, half: Callable[[], None] | None = None
    ) -> None:
        """Count a step. Raises `CrashError`, or `OSError` for a step that fails.

        `half` is done when the crash comes in the middle of the step.
        """
        number = self.steps
        if self.is_crashed or (self.stop_at is not None and number >= self.stop_at):
            if half is not None and not self.is_crashed:
                half()
            self.crash()
            raise CrashError(what)
        self.steps += 1
        self.trace.append(what)
        if allocates and self.full_at is not None and number >= self.full_at:
            self._fail(what, errno.ENOSPC)
        if number == self.fail_at and (allocates or self.fail_errno != errno.ENOSPC):
            self._fail(what, self.fail_errno)

    def _fail(self, what: str, code: int) -> None:
        self.failed.append(what)
        raise OSError(code, "scripted")

    def crash(self) -> None:
        """Lose what was never synced."""
        self.is_crashed = True
        if self.loss == "unsynced":
            for _, undo in reversed(self._undo):
                undo()
        if self.loss != "nothing":
            for path in self._unsynced_files:
                if path.exists():
                    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        self._undo.clear()
        self._synced_files.clear()
        self._unsynced_files.clear()

    def abandon(self) -> None:
        """Close what a process that is no more had open."""
        for connection in self._connections:
            sqlite3.Connection.close(connection)
        self._connections.clear()

    @property
    def connection(self) -> type[sqlite3.Connection]:
        """The class of connections whose commits are steps of this disk."""
        disk = self

        class FailingConnection(sqlite3.Connection):
            def __init__(self, *arguments: Any, **options: Any) -> None:
                super().__init__(*arguments, **options)
                disk._connections.append(self)

            def execute(self, query: str, *values: Any) -> sqlite3.Cursor:
                if query == "COMMIT":
                    try:
                        disk.step("commit ledger", allocates=True)
                    except OSError as failure:
                        error = sqlite3.OperationalError("scripted")
                        error.sqlite_errorcode = _SQLITE_CODES[failure.errno or 0]
                        raise error from failure
                # What a disk has not synced is modelled here; the real one need not be waited for.
                query = query.replace("synchronous=FULL", "synchronous=OFF")
                return super().execute(query, *values)

        return FailingConnection

    def free_bytes(self, folder: Path) -> int:
        return self.free

    def write(self, path: Path, content: bytes, mode: int) -> None:
        with translated(path):
            self._wrote(path)
            half = content[: len(content) // 2]
            self.step(f"write {_name(path)}", True, lambda: RealDisk.write(self, path, half, mode))
        super().write(path, content, mode)

    def create(self, path: Path) -> BinaryIO:
        with translated(path):
            self.step(f"create {_name(path)}", True)
        self._wrote(path)
        return cast(BinaryIO, FailingStream(path, self))

    def _wrote(self, path: Path) -> None:
        self._synced_files.discard(path)
        self._unsynced_files.add(path)

    def sync_file(self, path: Path) -> None:
        with translated(path):
            self.step(f"sync {_name(path)}")
        self._synced_files.add(path)
        self._unsynced_files.discard(path)

    def rename(self, source: Path, target: Path) -> None:
        with translated(target):
            self.step(f"rename {_name(source)} {_name(target)}")
        before = target.read_bytes() if target.exists() else None
        content = source.read_bytes()
        super().rename(source, target)
        for files in (self._synced_files, self._unsynced_files):
            files.discard(target)
        if source in self._synced_files:
            self._synced_files.remove(source)
            self._synced_files.add(target)
        else:
            # Whoever wrote it: what was never synced may be lost under its new name too.
            self._unsynced_files.discard(source)
            self._unsynced_files.add(target)

        def undo() -> None:
            source.write_bytes(content)
            if before is None:
                target.unlink(missing_ok=True)
            else:
                target.write_bytes(before)

        self._undo.append((target.parent, undo))

    def remove(self, path: Path) -> None:
        with translated(path):
            self.step(f"remove {_name(path)}")
        content = path.read_bytes() if path.exists() else None
        super().remove(path)
        if content is not None:
            self._undo.append((path.parent, lambda: self._restore(path, content)))

    @staticmethod
    def _restore(path: Path, content: bytes) -> None:
        path.write_bytes(content)

    def sync_folder(self, folder: Path) -> None:
        with translated(folder):
            self.step(f"sync {folder.name}/")
        self._undo = [(parent, undo) for parent, undo in self._undo if parent != folder]


class FailingStream(io.RawIOBase):
    """A file whose every write is a step."""

    def __init__(self, path: Path, disk: FailingDisk) -> None:
        self._file = path.open("wb", buffering=0)
        self._path = path
        self._disk = disk

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        view = memoryview(content).cast("B")

        def half() -> None:
            self._file.write(view[: len(view) // 2])

        self._disk.step(f"write {_name(self._path)}", True, half)
        return self._file.write(view)

    def close(self) -> None:
        self._file.close()
        super().close()


def _name(path: Path) -> str:
    """A file by its kind: those of the spool are many, the others have names of their own."""
    if path.parent.name in ("active", "clips", "quarantine"):
        return f"{path.parent.name}/*{''.join(path.suffixes)}"
    return path.name
