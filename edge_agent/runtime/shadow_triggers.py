"""Specs in shadow: evaluated on each tick beside those that work, counted, never kept.

Each has capture windows of its own, which merge as real ones do. When a window closes, its size
is that of the messages in the ring that a clip would have taken (its channels, its downsampling,
the latched ones) and of their places in a clip file, without any being copied.
Cooldowns are the caller's (`admit`); budgets do not matter here.

Totals are kept for each trigger, version and digest over restarts by the ledger; a spec that is
put into shadow again goes on counting where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock

from contracts.check_in import ShadowTrigger
from contracts.clock import NS_PER_S
from contracts.trigger_spec import LoadedSpec
from edge_agent.drive.ring import Ring
from edge_agent.selection.capture import CaptureBook, ClipJob
from kernels.triggers.engine import Fire, TickInputs, TriggerEngine

MESSAGE_BYTES = 50
"""What a clip file adds to a message's payload: its head and its index entry. On
recorded and simulated clips sizes then come within a tenth of the files'."""

COUNTED = ("fires", "clips", "size_bytes", "driving_ns")


@dataclass(slots=True)
class _Book:
    """One spec's count in this process, and its open windows."""

    loaded: LoadedSpec
    windows: CaptureBook
    fires: int = 0
    clips: int = 0
    size_bytes: int = 0
    driving_ns: int = 0


def would_be_bytes(job: ClipJob, ring: Ring) -> int:
    """Size of the messages that a clip of this job would take now."""
    start_ns = job.requested.start_mono_ns
    if ring.lost_until_ns is not None:
        start_ns = max(start_ns, ring.lost_until_ns + 1)
    end_ns = job.requested.end_mono_ns
    latched = [len(m.payload) for m in ring.latched() if job.wants(m.channel)]
    found = [h.size_bytes for h in ring.heads(start_ns, end_ns, job.wants, job.keep_every)]
    return sum(latched) + sum(found) + MESSAGE_BYTES * (len(latched) + len(found))


class ShadowTriggers:
    """All specs in shadow. Used by the drive's thread; `told` and `amounts` by any.

    Args:
        admit: asked for every fire; True when it lies outside of the spec's cooldown.
    """

    def __init__(
        self,
        vehicle_id: str,
        boot_id: str,
        ring: Ring,
        engine: TriggerEngine,
        admit: Callable[[Fire], bool],
    ) -> None:
        self._vehicle_id = vehicle_id
        self._boot_id = boot_id
        self._ring = ring
        self._admit = admit
        self._known: dict[str, _Book] = {}
        self._books: dict[str, _Book] = {}
        self._lock = Lock()
        self.engine = engine
        self.swap(engine)

    def swap(self, engine: TriggerEngine) -> None:
        """Go on with the specs of another engine, which has taken over this one's state."""
        books: dict[str, _Book] = {}
        for loaded in engine.specs:
            book = self._known.get(loaded.digest)
            if book is None:
                book = _Book(loaded, CaptureBook(self._vehicle_id, self._boot_id))
            books[loaded.digest] = book
        gone = [book for digest, book in self._books.items() if digest not in books]
        with self._lock:
            self._known = {**self._known, **books}
            self._books, self.engine = books, engine
        for book in gone:
            self._close(book, book.windows.flush())

    def tick(self, inputs: TickInputs, step_ns: int) -> None:
        """Evaluate; `step_ns` is the drive time since the tick before."""
        if not self._books:
            return
        for fire in self.engine.step(inputs):
            book = self._books[fire.loaded.digest]
            if self._admit(fire):
                book.fires += 1
                book.windows.add(fire)
        for book in self._books.values():
            book.driving_ns += step_ns
            self._close(book, book.windows.due(inputs.now_ns))

    def finish(self) -> None:
        """The drive is over: all open windows close."""
        for book in self._books.values():
            self._close(book, book.windows.flush())

    def _close(self, book: _Book, jobs: list[ClipJob]) -> None:
        for job in jobs:
            book.clips += 1
            book.size_bytes += would_be_bytes(job, self._ring)

    def amounts(self) -> dict[str, float]:
        """All counts of this process by name, for `Totals.watch`."""
        with self._lock:
            known = list(self._known.values())
        return {
            _name(book.loaded, counted): getattr(book, counted)
            for book in known
            for counted in COUNTED
        }

    def told(self, totals: Mapping[str, float]) -> tuple[ShadowTrigger, ...]:
        """Specs now in shadow with their durable totals."""
        with self._lock:
            books = list(self._books.values())
        return tuple(_told(book.loaded, totals) for book in books)


def _name(loaded: LoadedSpec, counted: str) -> str:
    spec = loaded.spec
    return f"shadow/{spec.id}/{spec.version}/{loaded.digest}/{counted}"


def _told(loaded: LoadedSpec, totals: Mapping[str, float]) -> ShadowTrigger:
    fires, clips, size_bytes, driving_ns = (
        int(totals.get(_name(loaded, counted), 0)) for counted in COUNTED
    )
    return ShadowTrigger(
        trigger_id=loaded.spec.id, version=loaded.spec.version, digest=loaded.digest,
        fires=fires, clips=clips, size_bytes=size_bytes, driving_s=driving_ns / NS_PER_S,
    )  # fmt: skip
