"""Where the recordings of review tasks lie: a task's clip, its frames' times, its cameras.

A task's frame n is the n-th label file of its clip's folder, in the order of time.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from contracts.errors import InputError
from contracts.labels import read_labels
from contracts.samples import CalibrationSample
from offline.labels.formats.cameras import Picture, read_cameras, read_pictures
from offline.labels.formats.sequence import CLIP_FILE, LABEL_FOLDER

_MAX_DRIVES = 100_000


class ClipView:
    """One clip's folder, read as far as it is asked for."""

    def __init__(self, clip_id: str, folder: Path) -> None:
        self.clip_id, self.folder = clip_id, folder

    @property
    def clip(self) -> Path:
        return self.folder / CLIP_FILE

    @cached_property
    def instants(self) -> tuple[int, ...]:
        """`mono_ns` of the clip's labelled frames."""
        names = [path.stem for path in (self.folder / LABEL_FOLDER).glob("*.npz")]
        if not names or not all(name.isdecimal() for name in names):
            raise InputError("no labelled frames", str(self.folder / LABEL_FOLDER))
        return tuple(sorted(int(name) for name in names))

    @cached_property
    def cameras(self) -> dict[str, CalibrationSample]:
        """Calibrations by channel. Raises `InputError` for a clip without cameras."""
        return read_cameras(self.clip)

    def instant(self, frame: int) -> int:
        """A frame's time. Raises `InputError` for a frame that the clip does not have."""
        if frame >= len(self.instants):
            raise InputError(f"has {len(self.instants)} labelled frames, not frame {frame}",
                             str(self.folder))  # fmt: skip
        return self.instants[frame]

    def pictures(self, frames: Sequence[int]) -> list[Picture]:
        """The pictures of some frames, by all cameras."""
        return list(read_pictures(self.clip, [self.instant(frame) for frame in frames]))


class ClipFolders:
    """All labelled drives under some folders; a clip is known by its folder's name or by the
    drive that its labels tell.
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        self._roots = tuple(roots)
        self._known: dict[str, ClipView] = {}

    @cached_property
    def _folders(self) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for root in self._roots:
            clips = sorted(root.glob(f"**/{CLIP_FILE}"))
            if len(clips) > _MAX_DRIVES:
                raise InputError(f"more than {_MAX_DRIVES} drives", str(root))
            for folder in (path.parent for path in clips if not path.parent.name.startswith(".")):
                found.setdefault(folder.name, folder)
                first = min((folder / LABEL_FOLDER).glob("*.npz"), default=None)
                if first is not None:
                    found.setdefault(read_labels(first).record.drive_id, folder)
        return found

    def view(self, clip_id: str) -> ClipView:
        """Raises `InputError` when no folder holds the clip."""
        if clip_id not in self._known:
            folder = self._folders.get(clip_id)
            if folder is None:
                where = ", ".join(str(root) for root in self._roots) or "no folder was named"
                raise InputError(f"no recording of clip {clip_id!r} in: {where}", "--drives")
            self._known[clip_id] = ClipView(clip_id, folder)
        return self._known[clip_id]
