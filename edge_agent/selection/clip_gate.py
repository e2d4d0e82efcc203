"""The last question before a clip is packed: is its scene known well enough already, and may it
travel over a link that costs?

Guarantees: a clip with a safety cause or of the random stream always passes. One that is
suppressed gives its budget back and is counted as `duplicate` for each of its triggers, and its
event record says so. A scene counts as known only once its clip is in the spool.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import structlog
from pydantic import ValidationError

from contracts.errors import LongtailError
from edge_agent.disk import Disk, RealDisk, replace_file
from edge_agent.selection.budget import BudgetBook
from edge_agent.selection.capture import ClipJob
from edge_agent.selection.scene_of import scene_of
from edge_agent.selection.scenes import Known, Scene, SceneBook
from kernels.clip.encoding import EncodedMessage, payload_bytes

WAITING = 64
"""Clips between gate and spool whose scenes are remembered."""

log = structlog.get_logger(__name__)


class ClipGate:
    """Judges the clips of one vehicle, in the pack thread: it looks at a picture and a sweep, for
    which the drive has no time, and a clip is judged when those before it are in the spool.

    Args:
        book: whose reservations are given back.
        day: today, in budget time.
        path: where known scenes are kept; None remembers for this process only.
        fleet: a file of scenes that others have kept, as `path`'s; another one may take its place.
        tell: told of each clip that is suppressed.
        disk: where durable steps go.
    """

    def __init__(
        self,
        book: BudgetBook,
        day: Callable[[], int],
        path: Path | None = None,
        fleet: Path | None = None,
        tell: Callable[[ClipJob], None] = lambda _: None,
        disk: Disk | None = None,
    ) -> None:
        self._book = book
        self._disk = disk or RealDisk()
        self._day = day
        self._path = path
        self._tell = tell
        self._waiting: dict[str, list[Scene]] = {}
        self._fleet = fleet
        self._fleet_stamp = _stamp(fleet)
        self.scenes = SceneBook(read_scenes(path), read_scenes(fleet))

    def judge(
        self, job: ClipJob, messages: Sequence[EncodedMessage], model_digest: str | None
    ) -> ClipJob | None:
        """The job as it may be packed, or None: it is suppressed. `model_digest` is of the model
        that ran when its window closed.
        """
        if self._is_known(job, messages, model_digest):
            try:
                self._book.release(job.causes, "duplicate")
            except LongtailError as error:
                log.warning("budget not given back", key=job.event.text(), reason=str(error))
            self._tell(job)
            log.info("scene is known", triggers=job.trigger_ids, key=job.event.text())
            return None
        if job.cellular:
            size_bytes = payload_bytes(messages)
            if not self._book.may_use_cellular(job.specs, size_bytes):
                return replace(job, cellular=False)
        return job

    def _is_known(
        self, job: ClipJob, messages: Sequence[EncodedMessage], model_digest: str | None
    ) -> bool:
        """Whether all causes are of triggers that have enough of their scene."""
        limits = {s.spec.id: s.spec.budget.clips_per_scene for s in job.specs}
        if not any(limits.values()):
            return False
        exempt = job.safety or job.stream == "random" or None in limits.values()
        self._read_news()
        day = self._day()
        scenes = [scene_of(cause, messages, model_digest) for cause in job.causes]
        found = [scene for scene in scenes if scene is not None]
        self._waiting[job.event.text()] = found
        for event in list(self._waiting)[: max(0, len(self._waiting) - WAITING)]:
            del self._waiting[event]
        if exempt:
            return False
        enough = len(found) == len(scenes) and all(
            self.scenes.is_enough(scene, day, limits[scene.trigger_id] or 1) for scene in found
        )
        if enough:
            del self._waiting[job.event.text()]
        return enough

    def _read_news(self) -> None:
        """Take up the fleet's list when another one has taken its place."""
        stamp = _stamp(self._fleet)
        if stamp != self._fleet_stamp:
            self._fleet_stamp = stamp
            self.scenes.fleet = tuple(read_scenes(self._fleet))

    def packed(self, event: str) -> None:
        """The clip of an event is in the spool: its scenes are known from here on."""
        found = self._waiting.pop(event, [])
        for scene in found:
            self.scenes.add(scene, self._day())
        if found and self._path is not None:
            document = [known.model_dump(mode="json") for known in self.scenes.own]
            try:
                replace_file(self._disk, self._path, json.dumps(document).encode())
            except LongtailError as error:
                log.warning("scenes not kept", reason=str(error))


def _stamp(path: Path | None) -> tuple[int, int] | None:
    """What changes when another file takes the path; None where there is none."""
    try:
        found = None if path is None else path.stat()
    except OSError:
        return None
    return None if found is None else (found.st_ino, found.st_mtime_ns)


def read_scenes(path: Path | None) -> list[Known]:
    """Scenes of a file; none where there is none. What cannot be read is told, and nothing is known
    then: too much is kept, never too little.
    """
    if path is None or not path.is_file():
        return []
    try:
        return [Known.model_validate(each) for each in json.loads(path.read_text("utf-8"))]
    except (OSError, ValueError, TypeError, ValidationError, RecursionError) as error:
        log.warning("known scenes begin anew", path=str(path), reason=str(error))
        return []
