"""Review tasks through Label Studio: out as pre-labelled pictures, back as judgements.

A track is shown in the one picture where it is seen best. A search for missed objects is one
Label Studio task for each picture of each of its frames, with the boxes that are known; it is
answered when one person has answered them all.

What a picture can say becomes a judgement, and nothing more:

| answer on a track                          | judgement                                     |
|--------------------------------------------|-----------------------------------------------|
| accept, nothing changed                    | verified                                      |
| accept, class changed                      | adjusted: the cuboids with the new class      |
| reject, or box deleted                     | no object                                     |
| adjust, cannot_tell, or box moved          | cannot tell; the comment says where it was    |
|                                            | moved to, for an expert with the points       |
| box drawn                                  | a `MissedObject`, which opens a task           |

A search is verified when nothing was drawn, moved or doubted; else nobody can tell by pictures.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pydantic import Field, ValidationError

from contracts.errors import InputError
from contracts.geometry import Frozen
from contracts.labels import LabelledBox
from contracts.review import (
    FrameBox,
    Judgement,
    Purpose,
    ReviewTask,
    SealedPurpose,
    Tier,
    Verdict,
    proposal_digest,
    task_id_of,
)
from offline.labels.formats.cameras import Picture
from offline.labels.formats.coco import Pictured
from offline.labels.formats.label_studio import Json, picture_task
from offline.labels.formats.label_studio_reader import Answer, AnsweredPicture
from offline.labels.formats.projection import Px, shown_in
from offline.labels.queue.clips import ClipView
from offline.labels.queue.records import NewTask, TaskRow

_SALT = "label-studio missed object"
_MAX_COMMENT = 1000
_WHOLE = 0.1
"""A box of which less is cut off is seen whole."""


@dataclass(frozen=True, slots=True)
class MissedObject:
    """An object that somebody drew in a picture of a frame, and that no box covers."""

    clip_id: str
    frame: int
    channel: str
    class_name: str
    box_px: Px
    beside: tuple[FrameBox, ...]
    """The boxes that were shown in that frame."""


@dataclass(slots=True)
class Answered:
    """Judgements to be submitted, objects that were missed, searches that lack pictures."""

    judgements: list[Judgement] = field(default_factory=list)
    missed: list[MissedObject] = field(default_factory=list)
    unfinished: int = 0


class _Own(Frozen):
    kind: str
    task_id: str
    round: int
    frame: int = Field(ge=0)
    channel: str
    pictures: int = Field(ge=1)


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture to be shown, and the Label Studio task over it."""

    picture: Picture
    task: Json


def studio_tasks(row: TaskRow, view: ClipView, image_prefix: str = "") -> list[Shot]:
    """A review task's pictures. Raises `InputError` when no picture shows the track."""
    pictures = view.pictures(row.task.frames)
    if row.task.track is not None:
        pictures = [_best(row, view, pictures)]
    elif not pictures:
        raise InputError("no picture of these frames", f"task {row.task.task_id[:12]}")
    return [_shot(row, view, one, len(pictures), image_prefix) for one in pictures]


def boxes_in(row: TaskRow, frame: int) -> list[FrameBox]:
    """The boxes shown in a frame, in their order."""
    return [each for each in row.proposal if each.frame == frame]


def _best(row: TaskRow, view: ClipView, pictures: Sequence[Picture]) -> Picture:
    """Where the track's box is seen best: whole if possible, then large."""
    best, most = None, (False, 0.0)
    for picture in pictures:
        for each in boxes_in(row, view.instants.index(picture.instant_ns)):
            shown = shown_in(each.box, view.cameras[picture.channel])
            if shown is None:
                continue
            left, top, right, bottom = shown.box_px
            camera = view.cameras[picture.channel]
            share = (right - left) * (bottom - top) / (camera.width * camera.height)
            worth = (shown.truncation < _WHOLE, share * (1.0 - shown.truncation))
            if worth > most:
                best, most = picture, worth
    if best is None:
        raise InputError("no picture shows this track", f"task {row.task.task_id[:12]}")
    return best


def best_picture(row: TaskRow, view: ClipView) -> Picture:
    """Where a track is seen best; of a search the first picture."""
    pictures = view.pictures(row.task.frames)
    if row.task.track is not None:
        return _best(row, view, pictures)
    if not pictures:
        raise InputError("no picture of these frames", f"task {row.task.task_id[:12]}")
    return pictures[0]


def _shot(row: TaskRow, view: ClipView, picture: Picture, pictures: int, image_prefix: str) -> Shot:
    frame = view.instants.index(picture.instant_ns)
    own = {
        "kind": "review", "task_id": row.task.task_id, "round": row.review.round,
        "clip_id": row.task.clip_id, "frame": frame, "pictures": pictures,
    }  # fmt: skip
    name = Pictured(picture.channel, picture.instant_ns, picture.file_name(view.clip_id))
    boxes = {
        place: LabelledBox(box=each.box) for place, each in enumerate(boxes_in(row, frame))
    }  # fmt: skip
    return Shot(
        picture, picture_task(name, view.cameras[picture.channel], boxes, own, image_prefix)
    )


def own_task_id(picture: AnsweredPicture) -> str:
    """Which review task a picture belongs to. Raises `InputError` for another kind."""
    return _own(picture).task_id


def _own(picture: AnsweredPicture) -> _Own:
    told = {name: picture.own[name] for name in _Own.model_fields if name in picture.own}
    try:
        own = _Own.model_validate(told)
    except ValidationError:
        raise InputError("is no review task's picture", picture.place) from None
    if own.kind != "review":
        raise InputError("is no review task's picture", picture.place)
    return own


def judgements_of(rows: dict[str, TaskRow], pictures: Iterable[AnsweredPicture]) -> Answered:
    """What people answered on review tasks, `rows` by their ids."""
    result = Answered()
    said: dict[tuple[str, str], list[tuple[_Own, Answer]]] = {}
    for picture in pictures:
        own = _own(picture)
        if own.task_id not in rows:
            raise InputError(f"no task {own.task_id[:12]}", picture.place)
        for answer in picture.answers:
            said.setdefault((own.task_id, answer.annotator), []).append((own, answer))
    for (task_id, _), answers in said.items():
        row = rows[task_id]
        result.missed += [one for own, answer in answers for one in _missed(row, own, answer)]
        if len({(own.frame, own.channel) for own, _ in answers}) < answers[0][0].pictures:
            result.unfinished += 1
            continue
        judge = _of_search if row.task.track is None else _of_track
        result.judgements.append(judge(row, answers))
    return result


def _missed(row: TaskRow, own: _Own, answer: Answer) -> list[MissedObject]:
    return [
        MissedObject(row.task.clip_id, own.frame, own.channel, each.class_name, each.box_px,
                     tuple(boxes_in(row, own.frame)))
        for each in answer.drawn
    ]  # fmt: skip


def _of_track(row: TaskRow, answers: list[tuple[_Own, Answer]]) -> Judgement:
    ((_, answer), *_rest) = answers
    if answer.verdict == "reject" or answer.deleted:
        return _judgement(row, answers, Verdict.NO_OBJECT, ())
    if answer.moved or answer.verdict in {"adjust", "cannot_tell"}:
        return _judgement(row, answers, Verdict.CANNOT_TELL, ())
    if not answer.changed:
        return _judgement(row, answers, Verdict.VERIFIED, row.proposal)
    (name,) = set(answer.changed.values())
    renamed = tuple(
        each.model_copy(update={"box": each.box.model_copy(update={"class_name": name})})
        for each in row.proposal
    )
    return _judgement(row, answers, Verdict.ADJUSTED, renamed)


def _of_search(row: TaskRow, answers: list[tuple[_Own, Answer]]) -> Judgement:
    clean = all(
        answer.verdict == "accept"
        and not (answer.drawn or answer.moved or answer.deleted or answer.changed)
        for _, answer in answers
    )
    return _judgement(row, answers, Verdict.VERIFIED if clean else Verdict.CANNOT_TELL, ())


def _judgement(
    row: TaskRow, answers: list[tuple[_Own, Answer]], verdict: Verdict, boxes: tuple[FrameBox, ...]
) -> Judgement:
    comment = "; ".join(part for own, answer in answers for part in _remarks(own, answer))
    return Judgement(
        task_id=row.task.task_id, round=answers[0][0].round, annotator=answers[0][1].annotator,
        verdict=verdict, boxes=boxes, comment=comment[:_MAX_COMMENT],
        seconds=sum(answer.seconds for _, answer in answers),
        submitted_utc_ns=max(answer.submitted_utc_ns for _, answer in answers),
    )  # fmt: skip


def _remarks(own: _Own, answer: Answer) -> list[str]:
    """What a judgement has no field for, in words."""
    where = f"{own.channel} frame {own.frame}"
    remarks = [] if answer.verdict == "accept" else [f"{answer.verdict} in {where}"]
    if answer.verdict != "accept" or answer.moved:
        remarks += [f"class {name}" for name in sorted(set(answer.changed.values()))]
    for what, each in (
        *(("moved to", region) for region in answer.moved.values()),
        *((f"missed {region.class_name} at", region) for region in answer.drawn),
    ):
        remarks.append(f"{what} {' '.join(f'{side:.0f}' for side in each.box_px)} px in {where}")
    return remarks


def missed_task(missed: MissedObject) -> NewTask:
    """The task that a missed object opens: an expert searches that frame."""
    task_id = task_id_of(_SALT, missed.clip_id, None, (missed.frame,))
    task = ReviewTask(
        task_id=task_id, clip_id=missed.clip_id, track=None, class_name="", tier=Tier.EXPERT,
        judgements_wanted=1, frames=(missed.frame,),
        proposal_digest=proposal_digest(missed.beside), priority=1.0, cost_s=60.0,
    )  # fmt: skip
    return NewTask(task, SealedPurpose(task_id=task_id, purpose=Purpose.ROUTED), missed.beside)
