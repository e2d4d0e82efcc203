"""The spool: where packed clips wait on the vehicle's disk, bounded, and survive any crash.

Guarantees: after `commit` has returned the clip and its sidecar are durable; a crash before
leaves nothing visible or something that the next open brings to order. The same clip twice
is one entry. Only a `Receipt` marks a clip as uploaded. The quota and the floor of free disk
hold: under pressure clips are given up by `edge_agent.spool.eviction`, each with a tombstone
in the ledger written before its bytes go; what finds no room raises `ExhaustedError` and
changes nothing. A clip that is damaged or missing leaves a tombstone that says so, whether that
is found at open or later.

One process owns a spool and opens it; others may list it with `list_spool`.
"""

from __future__ import annotations

import math
import threading
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from contracts.clock import Clock
from contracts.errors import CorruptError, ExhaustedError, InputError, LongtailError
from contracts.ids import EventKey
from contracts.upload import UploadRequest
from edge_agent.disk import TEMP_SUFFIX, Disk, move_file
from edge_agent.ledger import Ledger, Pool
from edge_agent.spool.entry import (
    CellularRule,
    Describe,
    Entry,
    Priority,
    Receipt,
    Sidecar,
    State,
    entry_of,
)
from edge_agent.spool.eviction import (
    Rank,
    choose_victims,
    eviction_rank,
    newcomer_rank,
    tombstone_of,
)
from edge_agent.spool.folder import (
    ACTIVE_SUFFIX,
    REASON_SUFFIX,
    SpoolPaths,
    SpoolRow,
    list_spool,
    read_sidecar,
    size_of,
    write_sidecar,
)
from edge_agent.spool.holds import Holds
from edge_agent.spool.index import Index
from edge_agent.spool.recovery import Recovery, one_step, trim_quarantine

QUARANTINE_RATIO = 0.2
"""The part of the quota that quarantined files may take."""


class Spool:
    """Clips on disk. Safe to share between threads.

    Args:
        folder: made when absent, with its sub-folders on one file system.
        quota_bytes: the most that clips, active and quarantined files take together.
        floor_free_bytes: free disk that is left to the rest of the vehicle.
        clock: labels entries.
        disk: where durable steps go.
        ledger: takes tombstones.
        describe: reads a clip's manifest, for recovery.
    """

    def __init__(
        self,
        folder: Path,
        quota_bytes: int,
        floor_free_bytes: int,
        clock: Clock,
        disk: Disk,
        ledger: Ledger,
        describe: Describe,
    ) -> None:
        self._paths = SpoolPaths(folder)
        self._quota_bytes = quota_bytes
        self._floor_free_bytes = floor_free_bytes
        self._clock = clock
        self._disk = disk
        self._ledger = ledger
        self._lock = threading.RLock()
        self._holds = Holds()
        self._recovery = Recovery(self._paths, disk, clock, describe)
        entries = self._recovery.run()
        for sidecar, reason in self._recovery.lost:
            with one_step(self._paths.sidecar(sidecar.request.clip_id)):
                self._bury(sidecar, reason)
                self._recovery.forget(sidecar)
        self._index = Index(entries)
        self._sequence = max((entry.sequence for entry in entries), default=0)
        with one_step(self._paths.quarantine):
            self._trim_quarantine()

    def begin(
        self, name: str, expected_bytes: int = 0, pool: Pool = "ordinary", value: float = 0.0
    ) -> Path:
        """Where to write a clip, with room made for `expected_bytes` where they are known.

        Only clips worth less than this `value` in this `pool` are given up. Raises
        `ExhaustedError` when that is not enough.
        """
        if expected_bytes > 0:
            with self._lock:
                self._make_room(expected_bytes, newcomer_rank(pool, value / expected_bytes))
        return self._paths.active / f"{name}{ACTIVE_SUFFIX}"

    def create(self, active_path: Path) -> BinaryIO:
        """Open what `begin` gave, for writing."""
        return self._disk.create(active_path)

    def commit(
        self,
        active_path: Path,
        request: UploadRequest,
        priority: Priority,
        cellular: CellularRule,
        value: float,
    ) -> Entry:
        """Make a written clip an entry, durably. Its content must match `request`.

        Raises:
            InputError: the file's size is not the declared one, or it is not in `active/`.
            ExhaustedError: no room without giving up clips worth more, or the disk is full.
                The file is left in `active/`: the caller drops it with `discard`, or retries.
        """
        with self._lock:
            known = self._index.get(request.clip_id)
            if known is not None:
                self._disk.remove(active_path)
                return known
            self._check_active(active_path, request)
            sidecar = Sidecar(
                request=request,
                priority=priority,
                cellular=cellular,
                value=value,
                sequence=self._sequence + 1,
                utc_ns=self._clock.utc_ns(),
            )
            entry = entry_of(sidecar)
            # The file's bytes are on the disk already, so what it needs is what is over.
            self._make_room(0, below=eviction_rank(entry))
            self._disk.sync_file(active_path)
            write_sidecar(self._disk, self._paths.sidecar(request.clip_id), sidecar)
            try:
                move_file(self._disk, active_path, self._paths.clip(request.clip_id))
            except LongtailError:
                if not self._paths.clip(request.clip_id).exists():
                    with suppress(LongtailError):
                        self._disk.remove(self._paths.sidecar(request.clip_id))
                raise
            self._sequence = sidecar.sequence
            self._index.put(entry)
            return entry

    def _check_active(self, active_path: Path, request: UploadRequest) -> None:
        if active_path.parent != self._paths.active:
            raise InputError("a clip is committed from the spool's active folder", str(active_path))
        size_bytes = size_of(active_path)
        if size_bytes != request.size_bytes:
            raise InputError(
                f"the file has {size_bytes} bytes, the request {request.size_bytes}",
                str(active_path),
            )

    def discard(self, active_path: Path) -> None:
        """Drop a clip that was begun and will not be committed."""
        if active_path.parent != self._paths.active:
            raise InputError("not a clip being written", str(active_path))
        self._disk.remove(active_path)

    def used_bytes(self) -> int:
        """Bytes of all clips, active and quarantined files."""
        others = sum(
            size_of(path) or 0
            for folder in (self._paths.active, self._paths.quarantine)
            for path in folder.iterdir()
            if not path.name.endswith((TEMP_SUFFIX, REASON_SUFFIX))
        )
        return others + sum(entry.size_bytes for entry in self._index.entries())

    def has_room(self, pool: Pool, size_bytes: int = 0) -> bool:
        """Whether a clip of the pool could find room, were its value high enough."""
        with self._lock:
            below = newcomer_rank(pool, math.inf)
            needed_bytes = self._needed_bytes(size_bytes, self._free_bytes())
            return choose_victims(self._evictable(), needed_bytes, below) is not None

    def _free_bytes(self) -> int:
        return self._disk.free_bytes(self._paths.root)

    def _needed_bytes(self, size_bytes: int, free_bytes: int) -> int:
        over_quota = self.used_bytes() + size_bytes - self._quota_bytes
        under_floor = self._floor_free_bytes + size_bytes - free_bytes
        return max(0, over_quota, under_floor)

    def _evictable(self) -> tuple[Entry, ...]:
        entries = self._index.entries()
        return tuple(entry for entry in entries if entry.clip_id not in self._holds)

    def _make_room(self, size_bytes: int, below: Rank) -> None:
        # What an eviction frees is reckoned, not measured: some file systems tell it late.
        free_bytes = self._free_bytes()
        while (needed_bytes := self._needed_bytes(size_bytes, free_bytes)) > 0:
            victims = choose_victims(self._evictable(), needed_bytes, below)
            if victims is None:
                raise ExhaustedError(
                    f"no room: {needed_bytes} bytes are missing and what is left is worth more",
                    str(self._paths.root),
                )
            # One that was held since it was chosen stays: another takes its place. One whose
            # bytes had vanished frees none of the disk, but its share of the quota.
            free_bytes += sum(v.size_bytes for v in victims if self.evict(v.clip_id, "room"))

    def evict(self, clip_id: str, reason: str) -> bool:
        """Give up a clip: tombstone first, then its bytes, then its sidecar.

        False, and nothing happens, when it is not here or held.
        """
        with self._lock, self._holds.unless_held(clip_id) as free:
            if not free or self._index.get(clip_id) is None:
                return False
            sidecar = self._sidecar(clip_id)
            if sidecar is None or self._is_lost(sidecar):
                return False
            self._bury(sidecar, reason)
            self._disk.remove(self._paths.clip(clip_id))
            self._disk.sync_folder(self._paths.clips)
            self._disk.remove(self._paths.sidecar(clip_id))
            self._index.drop(clip_id)
            return True

    def _bury(self, sidecar: Sidecar, reason: str) -> None:
        """Put on record that a clip is not here any more."""
        self._bury_entry(entry_of(sidecar), sidecar.request.event, reason)

    def _bury_entry(self, entry: Entry, event: EventKey | None, reason: str) -> None:
        stone = tombstone_of(entry, event, reason, self._ledger.budget_utc_ns())
        self._ledger.tombstones.add(stone)

    def _is_lost(self, sidecar: Sidecar) -> bool:
        """Whether the clip's bytes have vanished; then that is put on record."""
        clip_id = sidecar.request.clip_id
        if size_of(self._paths.clip(clip_id)) is not None:
            return False
        self._index.drop(clip_id)
        self._bury(sidecar, "missing")
        self._recovery.forget(sidecar)
        return True

    def _sidecar(self, clip_id: str) -> Sidecar | None:
        """A clip's sidecar, made anew when it is damaged or gone; None when the clip is no better.

        Raises `FileNotFoundError` when no such clip is known.
        """
        path = self._paths.sidecar(clip_id)
        try:
            return read_sidecar(path)
        except CorruptError as error:
            reason = error.message
        except FileNotFoundError:
            reason = "the sidecar is gone"
        clip_path = self._paths.clip(clip_id)
        with self._lock:
            known = self._index.get(clip_id)
            is_here = size_of(clip_path) is not None
            if known is None and not is_here:
                raise FileNotFoundError(str(clip_path))
            entry = self._recovery.readopt(clip_path, reason) if is_here else None
            if entry is not None:
                self._index.put(entry)
                return read_sidecar(path)
            self._index.drop(clip_id)
            # One that could not be set aside is still in its place, for the next open.
            if known is not None and size_of(clip_path) is None:
                self._bury_entry(known, None, "damaged" if is_here else "missing")
            return None

    def hold(self, clip_id: str) -> AbstractContextManager[None]:
        """Keep a clip from being given up while it is being sent, whatever was chosen before.

        Entering raises `FileNotFoundError` for a clip that is being given up right now.
        """
        return self._holds.hold(clip_id)

    def queue(self) -> tuple[Entry, ...]:
        """Clips still to be sent, in order of commit."""
        return self._index.entries("queued")

    def entry(self, clip_id: str) -> Entry | None:
        """A clip's entry as it is now, from memory; None for a clip that is not here (any more)."""
        return self._index.get(clip_id)

    def request(self, clip_id: str) -> UploadRequest:
        """What to declare. Raises `FileNotFoundError` when the clip is not here."""
        sidecar = self._sidecar(clip_id)
        if sidecar is None:
            raise FileNotFoundError(str(self._paths.clip(clip_id)))
        return sidecar.request

    def path(self, clip_id: str) -> Path:
        """Where a clip's bytes are."""
        return self._paths.clip(clip_id)

    def mark_uploaded(self, receipt: Receipt) -> None:
        """The cloud holds the clip, proven: it is the first to go when room is short."""
        self._set_state(receipt.request.clip_id, "uploaded", "")

    def mark_unwanted(self, clip_id: str, reason: str) -> None:
        """The cloud does not want the clip: it is not offered again, and goes early."""
        self._set_state(clip_id, "unwanted", reason)

    def _set_state(self, clip_id: str, state: State, note: str) -> None:
        with self._lock:
            entry = self._index.get(clip_id)
            if entry is None:
                return
            # First here: a disk that is full must not have the same clip sent again and again.
            self._index.put(replace(entry, state=state, note=note))
            found = self._sidecar(clip_id)
            if found is None:
                return
            sidecar = found.model_copy(update={"state": state, "note": note})
            self._index.put(entry_of(sidecar))
            write_sidecar(self._disk, self._paths.sidecar(clip_id), sidecar)

    def quarantine(self, clip_id: str, reason: str) -> None:
        """Set aside a clip whose bytes are not what its digests say, or put on record that they
        are gone.
        """
        with self._lock:
            if self._index.get(clip_id) is None:
                return
            sidecar = self._sidecar(clip_id)
            if sidecar is None or self._is_lost(sidecar):
                return
            self._recovery.quarantine(self._paths.clip(clip_id), reason)
            self._index.drop(clip_id)
            self._bury(sidecar, "damaged")
            self._recovery.forget(sidecar)
            self._trim_quarantine()

    def _trim_quarantine(self) -> None:
        trim_quarantine(
            self._paths, self._disk, self._clock, int(self._quota_bytes * QUARANTINE_RATIO)
        )

    def ls(self) -> tuple[SpoolRow, ...]:
        """All files of the spool, as `list_spool` reads them: each sidecar, so not every second."""
        return list_spool(self._paths.root)
