"""A disk that stops at its k-th step, and forgets what was never synced.

`CrashError` is not an `Exception` that code under test could handle: nothing runs after a
power cut. With `forget`, what a real disk may lose at that moment is lost: content that was
not synced (cut to half), and renames and removals whose folder was not synced (undone).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from contracts.errors import ExhaustedError
from edge_agent.disk import RealDisk


class CrashError(BaseException):
    """The power is cut."""


class FailingDisk(RealDisk):
    """Carries out `stop_at` steps, then crashes, or is full for ever from `full_at` on."""

    def __init__(
        self, stop_at: int | None = None, forget: bool = False, full_at: int | None = None
    ) -> None:
        self.stop_at = stop_at
        self.full_at = full_at
        self.forget = forget
        self.steps = 0
        self.free = 10**12
        self._synced_files: set[Path] = set()
        self._unsynced_files: set[Path] = set()
        self._undo: list[tuple[Path, Callable[[], None]]] = []

    def _step(self, allocates: bool = False) -> None:
        if self.stop_at is not None and self.steps >= self.stop_at:
            self.crash()
            raise CrashError
        if allocates and self.full_at is not None and self.steps >= self.full_at:
            raise ExhaustedError("the disk is full")
        self.steps += 1

    def crash(self) -> None:
        """Lose what was never synced."""
        if self.forget:
            for _, undo in reversed(self._undo):
                undo()
            for path in self._unsynced_files:
                if path.exists():
                    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        self._undo.clear()
        self._synced_files.clear()
        self._unsynced_files.clear()

    def free_bytes(self, folder: Path) -> int:
        return self.free

    def write(self, path: Path, content: bytes, mode: int) -> None:
        self._step(allocates=True)
        super().write(path, content, mode)
        self._synced_files.discard(path)
        self._unsynced_files.add(path)

    def sync_file(self, path: Path) -> None:
        self._step()
        super().sync_file(path)
        self._synced_files.add(path)
        self._unsynced_files.discard(path)

    def rename(self, source: Path, target: Path) -> None:
        self._step()
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
        self._step()
        content = path.read_bytes() if path.exists() else None
        super().remove(path)
        if content is not None:
            self._undo.append((path.parent, lambda: self._restore(path, content)))

    @staticmethod
    def _restore(path: Path, content: bytes) -> None:
        path.write_bytes(content)

    def sync_folder(self, folder: Path) -> None:
        self._step()
        super().sync_folder(folder)
        self._undo = [(parent, undo) for parent, undo in self._undo if parent != folder]
