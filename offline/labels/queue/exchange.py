"""The review queue's open tasks to a folder for other tools, and people's answers back.

An answer from elsewhere takes a seat and answers at once, so all rules of the queue hold for it:
nobody answers twice, a task of n judgements takes n. What the queue refuses is told, and the rest
goes in: one late answer does not hold up a file of a thousand. Sent again, a file changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from contracts.clock import Clock
from contracts.errors import ConflictError, InputError
from contracts.geometry import TAXONOMY
from contracts.review import Judgement
from offline.labels.formats.files import write_json, write_whole
from offline.labels.formats.folders import CONFIG, IMAGES, TASKS, Format, write_picture
from offline.labels.formats.label_studio import label_config
from offline.labels.formats.label_studio_reader import read_answers
from offline.labels.formats.openlabel import openlabel_document
from offline.labels.formats.openlabel_reader import read_openlabel
from offline.labels.queue.clips import ClipFolders
from offline.labels.queue.openlabel import review_judgement, review_sequence, task_of
from offline.labels.queue.records import TaskRow
from offline.labels.queue.store import ReviewQueue
from offline.labels.queue.studio import (
    MissedObject,
    judgements_of,
    missed_task,
    own_task_id,
    studio_tasks,
)

_FORMATS = "tells no review task: use label-studio (2D) or openlabel (cuboids)"


@dataclass(slots=True)
class Shared:
    """Review tasks that were written, and why others were not."""

    tasks: int = 0
    pictures: int = 0
    skipped: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Taken:
    """Answers that count, were known, or were refused, and the tasks that missed objects opened."""

    submitted: int = 0
    known: int = 0
    refused: list[str] = field(default_factory=list)
    unfinished: int = 0
    missed: int = 0
    opened: int = 0


def share_tasks(
    form: Format, rows: Sequence[TaskRow], clips: ClipFolders, out: Path, image_prefix: str = ""
) -> Shared:
    """Write tasks into the folder `out`. One that no picture shows is skipped, and told."""
    if form not in {"label-studio", "openlabel"}:
        raise InputError(_FORMATS, form)
    out.mkdir(parents=True, exist_ok=True)
    done, studio = Shared(), []
    for row in rows:
        view = clips.view(row.task.clip_id)
        if form == "openlabel":
            document = openlabel_document(review_sequence(row, view), view.cameras)
            write_json(out / f"{row.task.task_id}.json", document)
            done.tasks += 1
            continue
        try:
            shots = studio_tasks(row, view, image_prefix)
        except InputError as error:
            done.skipped.append(str(error))
            continue
        for shot in shots:
            write_picture(shot.picture, view.clip_id, out / IMAGES)
            studio.append(shot.task)
        done.tasks, done.pictures = done.tasks + 1, done.pictures + len(shots)
    if form == "label-studio":
        write_json(out / TASKS, studio)
        write_whole(out / CONFIG, label_config(TAXONOMY).encode())
    return done


async def take_studio_answers(queue: ReviewQueue, path: Path) -> Taken:
    """Submit what people answered in Label Studio (its JSON export)."""
    pictures = [one for one in read_answers(path, TAXONOMY.names) if one.answers]
    rows = {task_id: await queue.row(task_id) for task_id in map(own_task_id, pictures)}
    found = judgements_of(rows, pictures)
    done = await _submit(queue, found.judgements)
    done.unfinished = found.unfinished
    await _open_missed(queue, found.missed, done)
    return done


async def _open_missed(queue: ReviewQueue, missed: Iterable[MissedObject], done: Taken) -> None:
    """One task a frame, however many objects it misses and however many people say so."""
    frames = {(one.clip_id, one.frame, one.beside): one for one in missed}
    added = await queue.add((missed_task(one) for one in frames.values()), "label-studio")
    done.missed, done.opened = len(frames), added.new


async def take_openlabel_answers(
    queue: ReviewQueue, source: Path, annotator: str, seconds: float, clock: Clock
) -> Taken:
    """Submit one person's answers from OpenLABEL files, a task each."""
    paths = sorted(source.glob("*.json")) if source.is_dir() else [source]
    if not paths:
        raise InputError("no .json file", str(source))
    now, judgements = clock.utc_ns(), []
    for path in paths:
        sequence = read_openlabel(path)
        row = await queue.row(task_of(sequence, str(path)))
        judgements.append(
            review_judgement(row, sequence, annotator, seconds, now, str(path))
        )  # fmt: skip
    return await _submit(queue, judgements)


async def _submit(queue: ReviewQueue, judgements: Iterable[Judgement]) -> Taken:
    done = Taken()
    for judgement in judgements:
        known = {
            (one.round, one.annotator): one
            for one in (await queue.row(judgement.task_id)).judgements
        }
        before = known.get((judgement.round, judgement.annotator))
        if before is not None and _same(before, judgement):
            done.known += 1
            continue
        try:
            await queue.take(judgement.task_id, judgement.annotator)
            await queue.submit(judgement)
            done.submitted += 1
        except (ConflictError, InputError) as error:
            done.refused.append(str(error))
    return done


def _same(one: Judgement, other: Judgement) -> bool:
    """The same answer, whenever the file was read."""
    when = {"submitted_utc_ns": 0}
    return one.model_copy(update=when) == other.model_copy(update=when)
