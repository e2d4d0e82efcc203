"""Label Studio's answers taken over into the frame labels that they were given on.

A class that was changed and a box that was deleted are taken over when every picture that shows
the box says the same. A box that was moved, that a picture calls unfit, or of which two pictures
say different things, keeps its cuboid but is `ignored`: known to be wrong, it is neither taught
nor measured until an expert has looked. Boxes that were drawn are returned: a 2D box makes no
label.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError

from contracts.errors import ConflictError, InputError
from contracts.geometry import Frozen
from contracts.labels import FrameLabels, FrameRecord, LabelledBox, Provenance
from offline.labels.formats.coco import FlatBox
from offline.labels.formats.label_studio import frame_digest
from offline.labels.formats.label_studio_reader import Answer, AnsweredPicture
from offline.labels.formats.sequence import LabelSequence


@dataclass(slots=True)
class Edited:
    """Sequences as people left them; `adjust` names boxes for an expert (drive, instant, place);
    `missed` are objects without a cuboid; `unanswered` pictures had no answer.
    """

    sequences: list[LabelSequence] = field(default_factory=list)
    adjust: list[tuple[str, int, int]] = field(default_factory=list)
    missed: list[FlatBox] = field(default_factory=list)
    unanswered: int = 0


class _Frame(Frozen):
    kind: str
    drive_id: str
    labels_digest: str
    mono_ns: int
    channel: str


_Said = list[tuple[_Frame, Answer]]


def edited(sequences: Sequence[LabelSequence], pictures: Iterable[AnsweredPicture]) -> Edited:
    """The labels after the answers.

    Raises `ConflictError` when a frame's labels have changed since they were exported,
    `InputError` for answers on something else, or by two people on one picture.
    """
    result, said = Edited(), dict[tuple[str, int], _Said]()
    frames = {(s.drive_id, f.record.mono_ns): f for s in sequences for f in s.frames}
    for picture in pictures:
        own = _own(picture)
        frame = frames.get((own.drive_id, own.mono_ns))
        if frame is None:
            raise InputError(f"no frame {own.mono_ns} of drive {own.drive_id!r}", picture.place)
        if frame_digest(frame) != own.labels_digest:
            raise ConflictError("the labels have changed since the export", picture.place)
        if len(picture.answers) > 1:
            raise InputError("two people answered: consensus is the review queue's", picture.place)
        if not picture.answers:
            result.unanswered += 1
            continue
        said.setdefault((own.drive_id, own.mono_ns), []).append((own, picture.answers[0]))
    for sequence in sequences:
        done = [
            _edited(frame, said.get((sequence.drive_id, frame.record.mono_ns), []), result)
            for frame in sequence.frames
        ]
        result.sequences.append(LabelSequence(tuple(done)))
    return result


def _own(picture: AnsweredPicture) -> _Frame:
    names = _Frame.model_fields
    try:
        own = _Frame.model_validate({k: v for k, v in picture.own.items() if k in names})
    except ValidationError:
        raise InputError("is no task over a frame's labels", picture.place) from None
    if own.kind != "frame":
        raise InputError("is a review task: import it into the queue", picture.place)
    return own


def _edited(frame: FrameLabels, said: _Said, result: Edited) -> FrameLabels:
    record, boxes = frame.record, list[LabelledBox]()
    for own, answer in said:
        result.missed += [
            FlatBox(own.drive_id, own.mono_ns, own.channel, each.class_name, each.box_px, None)
            for each in answer.drawn
        ]
    for place, labelled in enumerate(record.boxes):
        answers = [answer for _, answer in said if place in answer.shown]
        kept = _kept(place, labelled, answers)
        if kept is None:
            continue
        if kept.ignored and not labelled.ignored:
            result.adjust.append((record.drive_id, record.mono_ns, len(boxes)))
        boxes.append(kept)
    if boxes == list(record.boxes):
        return frame
    # Dumped and read again, so that the record's own rules hold for what people chose.
    changed = FrameRecord.model_validate(record.model_dump() | {"boxes": tuple(boxes)})
    return FrameLabels(changed, frame.ground)


def _kept(place: int, labelled: LabelledBox, answers: list[Answer]) -> LabelledBox | None:
    """The box as all pictures that show it leave it; None when it is deleted."""
    if not answers:
        return labelled
    said_by = Provenance(source="human", made_by=answers[0].annotator)
    gone = [place in answer.deleted for answer in answers]
    if all(gone):
        return None
    names = {answer.changed.get(place, labelled.box.class_name) for answer in answers}
    doubtful = any(
        place in answer.moved or answer.verdict in {"adjust", "reject", "cannot_tell"}
        for answer in answers
    )
    if any(gone) or doubtful or len(names) > 1:
        return labelled.model_copy(update={"ignored": True, "provenance": said_by})
    if names == {labelled.box.class_name}:
        return labelled
    solid = labelled.box.model_copy(update={"class_name": names.pop()})
    return labelled.model_copy(
        update={"box": solid, "confidence": 1.0, "provenance": said_by}
    )  # fmt: skip
