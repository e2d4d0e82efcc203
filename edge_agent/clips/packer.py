"""The pack task: closed capture windows become clips in the spool, one at a time.

Runs in a thread of its own behind a bounded queue. A clip that cannot be written is written once
more, since the disk may have failed at one place or been filled by others meanwhile; one that
cannot be written then either (disk full) is told as lost in an event record and its budget is
given back; the drive goes on.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from typing import TypeVar

import structlog

from contracts.clip import ClipManifest
from contracts.errors import ExhaustedError, LongtailError, TransientError
from edge_agent.clips.event_records import EventTeller
from edge_agent.clips.pack import (
    DriveFacts,
    PreparedClip,
    is_partial,
    prepare,
    upload_request,
    write_active,
)
from edge_agent.clips.prefilter import Thinned, thin_out
from edge_agent.disk import translated
from edge_agent.selection.budget import BudgetBook, pool_of
from edge_agent.selection.capture import ClipJob
from edge_agent.spool.entry import PRIORITIES, Entry, Priority
from edge_agent.spool.spool import Spool
from kernels.clip.encoding import EncodedMessage, payload_bytes

QUEUED_JOBS = 4
_WEIGHTS = dict(zip(PRIORITIES, (16.0, 8.0, 4.0, 2.0, 1.0), strict=True))
MAX_SCORE = 10.0
_NICENESS = 10
_SLICE_S, _REST_S = 0.002, 0.002
"""Work on a clip, and rest after it: the drive shares the interpreter, its frames come first."""

_Any = TypeVar("_Any")
Judge = Callable[[ClipJob, Sequence[EncodedMessage], str | None], ClipJob | None]
log = structlog.get_logger(__name__)


def clip_value(manifest: ClipManifest, priority: Priority) -> float:
    """What a clip is worth against others: its best cause's score, weighted by priority."""
    best = max((cause.score for cause in manifest.causes), default=0.0)
    return _WEIGHTS[priority] * min(MAX_SCORE, max(0.1, best))


def yield_to_others() -> None:
    """Let this thread have what the others leave of the processor, where threads can (Linux) and
    may: a sandbox can forbid it, and clips are made all the same.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        try:
            # The agent may have been started as nicer than this: rising again takes a right.
            niceness = max(_NICENESS, os.getpriority(os.PRIO_PROCESS, thread))
            os.setpriority(os.PRIO_PROCESS, thread, niceness)
        except OSError as error:
            log.warning("the pack thread keeps its priority", reason=str(error))


@dataclass(frozen=True, slots=True)
class PackedClip:
    """One line of the agent's report."""

    clip_id: str
    event: str
    trigger_ids: tuple[str, ...]
    size_bytes: int
    partial: bool


class Packer:
    """Owns the pack thread.

    Args:
        facts: of the drive, as they hold when a job is submitted.
        on_packed: called in the pack thread after each clip is durable.
        judge: gives the job as it may be packed, or None where it is suppressed, in the pack
            thread; told the digest of the drive's model.
        redact: makes a clip's messages fit to be kept, in the pack thread.
        thin: leaves out what a clip need not hold, in the pack thread.
    """

    def __init__(
        self,
        spool: Spool,
        book: BudgetBook,
        events: EventTeller,
        facts: DriveFacts,
        on_packed: Callable[[PackedClip], None],
        judge: Judge = lambda job, _messages, _digest: job,
        redact: Callable[[Sequence[EncodedMessage]], Sequence[EncodedMessage]] = lambda m: m,
        thin: Callable[[ClipJob, Sequence[EncodedMessage]], Thinned] = thin_out,
    ) -> None:
        self._spool = spool
        self._book = book
        self._events = events
        self.facts = facts
        self._on_packed = on_packed
        self._judge = judge
        self._redact = redact
        self._thin = thin
        self._finishing = threading.Event()
        self._jobs: queue.Queue[tuple[ClipJob, Sequence[EncodedMessage], DriveFacts] | None]
        self._jobs = queue.Queue(QUEUED_JOBS)
        self._thread = threading.Thread(target=self._run, name="pack", daemon=True)
        self.counts: Counter[str] = Counter()

    def start(self) -> None:
        self._thread.start()

    def submit(
        self, job: ClipJob, messages: Sequence[EncodedMessage], *, wait: bool = True
    ) -> None:
        """Queue a job. Without `wait` a full queue loses it, and says so."""
        try:
            self._jobs.put((job, messages, self.facts), block=wait)
        except queue.Full:
            self.lose(job, "the pack queue is full")

    @property
    def is_idle(self) -> bool:
        """Whether nothing is queued or being packed."""
        return self._jobs.unfinished_tasks == 0

    def finish(self) -> None:
        """Pack what is queued, then end the thread."""
        self._finishing.set()
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        yield_to_others()
        while (item := self._jobs.get()) is not None:
            try:
                self.pack(*item)
            except Exception:
                # Nothing may end the task that makes all clips, not even telling of a lost one.
                log.exception("a lost clip could not be told")
            finally:
                del item  # a clip's messages, which would wait here for the next one
                self._jobs.task_done()
        self._jobs.task_done()  # of the word that it is over

    def pack(self, job: ClipJob, messages: Sequence[EncodedMessage], facts: DriveFacts) -> None:
        """Make one clip of a job in this thread, unless it is suppressed, or tell it as lost.

        Raises nothing of its own.
        """
        try:
            passed = self._judge(job, messages, facts.model_digest)
            if passed is not None:
                self._pack(passed, messages, facts)
        except ExhaustedError as error:
            self.lose(job, f"disk: {error.message}")
        except (LongtailError, OSError) as error:
            self.lose(job, str(error))
        except Exception as error:
            log.exception("clip could not be packed", key=job.event.text())
            self.lose(job, f"{type(error).__name__}: {error}")

    def _pack(self, job: ClipJob, messages: Sequence[EncodedMessage], facts: DriveFacts) -> None:
        thinned = self._thin(job, self._redact(messages))
        clip = prepare(job, thinned.messages, facts, thinned.left_out, self._paced)
        try:
            entry = self._keep(job, clip)
        except (ExhaustedError, TransientError) as error:
            # The second time room is made for what the disk really has.
            log.warning("clip is written again", key=job.event.text(), reason=str(error))
            entry = self._keep(job, clip)
        try:
            self._book.settle(job.event, job.causes, job.stream == "random", entry.size_bytes)
        except LongtailError as error:
            # The clip is safe; its reservation stands for what it took.
            log.warning("clip not settled", clip=entry.clip_id[:12], reason=str(error))
        self._report(clip, entry.clip_id, entry.size_bytes)

    def _paced(self, things: Iterable[_Any], /) -> Iterator[_Any]:
        """The same, with a rest after each slice while the drive goes on and no job waits."""
        began_s = perf_counter()
        for thing in things:
            yield thing
            if perf_counter() - began_s >= _SLICE_S and self._jobs.empty():
                self._finishing.wait(_REST_S)
                began_s = perf_counter()

    def _keep(self, job: ClipJob, clip: PreparedClip) -> Entry:
        """Write the clip into the spool. Raises `LongtailError`, with nothing left behind."""
        expected_bytes = payload_bytes(clip.messages) + 64 * len(clip.messages)
        value = clip_value(clip.manifest, job.priority)
        pool = pool_of(safety=job.safety, random=job.stream == "random")
        event = job.event
        name = f"{event.boot_id}-{event.start_mono_ns}-{event.end_mono_ns}"
        path = self._spool.begin(name, expected_bytes, pool, value)
        try:
            with translated(path):
                written = write_active(self._spool.create(path), clip, self._paced)
            return self._spool.commit(
                path,
                upload_request(clip.manifest, written),
                job.priority,
                "allowed" if job.cellular else "forbidden",
                value,
            )
        except LongtailError:
            # What cannot be removed either is brought to order at the next open.
            with suppress(LongtailError):
                self._spool.discard(path)
            raise

    def _report(self, clip: PreparedClip, clip_id: str, size_bytes: int) -> None:
        self.counts["packed"] += 1
        trigger_ids = tuple(dict.fromkeys(c.trigger_id for c in clip.manifest.causes))
        event = clip.manifest.event.text()
        packed = PackedClip(clip_id, event, trigger_ids, size_bytes, is_partial(clip.manifest))
        log.info(
            "clip packed", clip=clip_id[:12], triggers=trigger_ids, bytes=size_bytes,
            partial=packed.partial,
        )  # fmt: skip
        self._on_packed(packed)

    def lose(self, job: ClipJob, reason: str) -> None:
        """Tell a job's clip as lost, and give its budget back. Any thread."""
        self.counts["lost"] += 1
        log.error("clip lost", key=job.event.text(), reason=reason)
        try:
            self._book.release(job.causes, "disk")
        except LongtailError as error:
            log.warning("budget not given back", key=job.event.text(), reason=str(error))
        for cause in job.causes:
            span = {"start_mono_ns": cause.start_mono_ns, "end_mono_ns": cause.end_mono_ns}
            self._events.tell(job.event.model_copy(update=span), cause, "lost", reason)
