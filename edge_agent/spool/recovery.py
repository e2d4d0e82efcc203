"""What a spool does at open with what a crash left behind.

Guarantees: no clip is deleted. A crash between any two steps of a commit leaves a file that
is adopted here (its bytes digested again, its manifest read) or quarantined with a reason; a
whole clip whose sidecar is damaged is adopted too. A sidecar whose clip is gone or damaged is
told in `lost`, and stays until `forget`: the spool puts that on record in between. Running it
twice is the same as once.

A disk that refuses one of these steps (full, failing, one file unreadable) costs that step and no
other: the file stays where it is until the next open, and what is whole is in the spool.

It must run alone: it takes a clip that is still being written for a left-over.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from contracts.clock import Clock
from contracts.errors import CorruptError, InputError, LongtailError
from contracts.ids import digest_file
from contracts.upload import UploadRequest
from edge_agent.disk import TEMP_SUFFIX, Disk, move_file, remove_file, replace_file
from edge_agent.spool.entry import Describe, Entry, Sidecar, entry_of
from edge_agent.spool.folder import (
    ACTIVE_SUFFIX,
    CLIP_SUFFIX,
    REASON_SUFFIX,
    SIDECAR_SUFFIX,
    SpoolPaths,
    is_clip_id,
    read_sidecar,
    reason_of,
    size_of,
    was_dropped,
    write_sidecar,
)

FORMER_INDEX = "index.sqlite*"
"""Files that earlier versions kept: a cache that is in memory now."""

_log = structlog.get_logger(__name__)


@contextmanager
def one_step(path: Path) -> Iterator[None]:
    """A step that may fail without holding up the others; it is tried again at the next open."""
    try:
        yield
    except (LongtailError, OSError) as error:
        _log.error("spool not in order", file=path.name, reason=str(error))


def trim_quarantine(paths: SpoolPaths, disk: Disk, clock: Clock, most_bytes: int) -> None:
    """Drop the oldest quarantined bytes above a bound; their reason files stay and say so."""
    kept = [path for path in paths.quarantine.iterdir() if not path.name.endswith(REASON_SUFFIX)]
    kept.sort(key=lambda path: (path.stat().st_mtime_ns, path.name))
    over_bytes = sum(path.stat().st_size for path in kept) - most_bytes
    for path in kept:
        if over_bytes <= 0:
            break
        size_bytes = path.stat().st_size
        reason_path = path.with_name(path.name + REASON_SUFFIX)
        body = {
            "reason": reason_of(path),
            "dropped_bytes": size_bytes,
            "dropped_utc_ns": clock.utc_ns(),
        }
        replace_file(disk, reason_path, (json.dumps(body) + "\n").encode())
        remove_file(disk, path)
        over_bytes -= size_bytes


class Recovery:
    """One pass over a spool's folder.

    `lost` are the sidecars whose clip is gone or quarantined, each with the reason.
    """

    def __init__(self, paths: SpoolPaths, disk: Disk, clock: Clock, describe: Describe) -> None:
        self._paths = paths
        self._disk = disk
        self._clock = clock
        self._describe = describe
        self._sequence = 0
        self.lost: list[tuple[Sidecar, str]] = []

    def run(self) -> tuple[Entry, ...]:
        """Bring the folder to order; the entries of all whole clips, in order of commit."""
        for folder in (self._paths.active, self._paths.clips, self._paths.quarantine):
            folder.mkdir(parents=True, exist_ok=True)
            self._remove_temp(folder, f"*{TEMP_SUFFIX}")
        self._remove_temp(self._paths.root, FORMER_INDEX)
        sidecars = self._read_sidecars()
        self._sequence = max((sidecar.sequence for sidecar in sidecars.values()), default=0)
        entries = [
            entry
            for path in sorted(self._paths.clips.glob(f"*{CLIP_SUFFIX}"))
            if (entry := self._check_clip(path, sidecars.get(path.stem))) is not None
        ]
        for path in sorted(self._paths.active.glob(f"*{ACTIVE_SUFFIX}")):
            entry = self._adopt(path, sidecars)
            if entry is not None and all(entry.clip_id != known.clip_id for known in entries):
                entries.append(entry)
        told = {sidecar.request.clip_id for sidecar, _ in self.lost}
        self.lost += [
            (sidecar, "missing")
            for clip_id, sidecar in sorted(sidecars.items())
            if clip_id not in told and not self._paths.clip(clip_id).exists()
        ]
        return tuple(sorted(entries, key=lambda entry: entry.sequence))

    def _remove_temp(self, folder: Path, pattern: str) -> None:
        left_over = sorted(folder.glob(pattern))
        with one_step(folder):
            for path in left_over:
                self._disk.remove(path)
            if left_over:
                self._disk.sync_folder(folder)

    def _read_sidecars(self) -> dict[str, Sidecar]:
        found: dict[str, Sidecar] = {}
        for path in sorted(self._paths.clips.glob(f"*{SIDECAR_SUFFIX}")):
            try:
                found[path.stem] = read_sidecar(path)
            except CorruptError as error:
                with one_step(path):
                    self.quarantine(path, error.message)
        return found

    def _check_clip(self, path: Path, sidecar: Sidecar | None) -> Entry | None:
        if sidecar is None:
            return self._adopt(path, {})
        size_bytes = size_of(path)
        if size_bytes == sidecar.request.size_bytes:
            return entry_of(sidecar)
        with one_step(path):
            why = f"{size_bytes} bytes where {sidecar.request.size_bytes} were kept"
            self.quarantine(path, why)
            self.lost.append((sidecar, "damaged"))
        return None

    def forget(self, sidecar: Sidecar) -> None:
        """Remove the sidecar of a clip that is not here."""
        remove_file(self._disk, self._paths.sidecar(sidecar.request.clip_id))

    def readopt(self, path: Path, reason: str) -> Entry | None:
        """Make a damaged sidecar anew from its clip, or quarantine that too: then None."""
        sidecar_path = path.with_suffix(SIDECAR_SUFFIX)
        if sidecar_path.exists():
            self.quarantine(sidecar_path, reason)
        return self._adopt(path, {})

    def _adopt(self, path: Path, sidecars: dict[str, Sidecar]) -> Entry | None:
        """Give a clip without a sidecar its place, or quarantine it."""
        with one_step(path):
            try:
                sidecar = self._sidecar_for(path, sidecars)
            except (CorruptError, InputError) as error:
                self.quarantine(path, error.message)
                return None
            except OSError as error:
                self.quarantine(path, f"cannot be read: {error.strerror}")
                return None
            return self._place(path, sidecar, known=sidecar.request.clip_id in sidecars)
        return None

    def _place(self, path: Path, sidecar: Sidecar, *, known: bool) -> Entry:
        clip_id = sidecar.request.clip_id
        target = self._paths.clip(clip_id)
        if target != path and target.exists():
            if digest_file(target).clip_id() == clip_id:
                # The same bytes are there under their id: this is a second copy, not a clip.
                remove_file(self._disk, path)
                return entry_of(sidecar)
            self.quarantine(target, "other bytes than its name says, which a second copy has")
        self._disk.sync_file(path)
        if not known:
            write_sidecar(self._disk, self._paths.sidecar(clip_id), sidecar)
        if target != path:
            move_file(self._disk, path, target)
        return entry_of(sidecar)

    def _sidecar_for(self, path: Path, sidecars: dict[str, Sidecar]) -> Sidecar:
        hasher = digest_file(path)
        if hasher.size_bytes == 0:
            raise CorruptError("the file is empty", str(path))
        clip_id = hasher.clip_id()
        if clip_id in sidecars:
            return sidecars[clip_id]
        if is_clip_id(path.stem) and path.suffix == CLIP_SUFFIX and path.stem != clip_id:
            raise CorruptError(f"the bytes are those of clip {clip_id}", str(path))
        described = self._describe(path)
        self._sequence += 1
        return Sidecar(
            request=UploadRequest(
                clip_id=clip_id,
                size_bytes=hasher.size_bytes,
                part_digests=tuple(digest.hex() for digest in hasher.part_digests()),
                event=described.event,
                window=described.window,
                trigger_ids=described.trigger_ids,
                safety=described.safety,
                stream=described.stream,
                scene_hash=described.scene_hash,
                scenes=described.scenes,
            ),
            priority=described.priority,
            cellular=described.cellular,
            value=described.value,
            sequence=self._sequence,
            utc_ns=self._clock.utc_ns(),
            note="recovered",
        )

    def quarantine(self, path: Path, reason: str) -> Path:
        """Set a file aside with the reason; the reason is there before the file is."""
        target = self._paths.quarantine / path.name
        number = 1
        while target.exists() or was_dropped(target):
            number += 1
            target = self._paths.quarantine / f"{path.stem}.{number}{path.suffix}"
        body = {"reason": reason, "from": path.parent.name, "utc_ns": self._clock.utc_ns()}
        reason_path = target.with_name(target.name + REASON_SUFFIX)
        replace_file(self._disk, reason_path, (json.dumps(body) + "\n").encode())
        move_file(self._disk, path, target)
        return target
