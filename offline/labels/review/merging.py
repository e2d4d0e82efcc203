"""Decisions and accepted boxes to labels.

People judge key frames. Between two of them their correction of the auto box (place along its own
axes, size, heading) goes over evenly from the one to the other, as an annotation tool would do it;
whether there is an object is told by the nearer one. So every box that was asked about gets an
answer, and what nobody was asked about stays as it was routed.

What a search found is taught in the frames that were searched; between them its place is only led
from one to the next, and ignored.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from contracts.geometry import (
    EGO_FRAME,
    WORLD_FRAME,
    Box3D,
    Taxonomy,
    boxes_of,
    flat_SE3,
    inverse_SE3,
    wrapped,
    yaw_of,
)
from contracts.labels import FrameLabels, LabelledBox, Provenance
from contracts.review import FrameBox, Purpose, Tier
from contracts.samples import Float64s
from offline.labels.review.drives import Drive, said_by
from offline.labels.review.records import FINAL, Object, Outcome, Settled
from offline.labels.review.route import TaskKey

Corrected = dict[tuple[int, int], LabelledBox | None]
"""By frame and row: what takes a label's place, None for nothing."""


def settled_labels(
    drive: Drive, tasks: Iterable[TaskKey], lines: Iterable[Settled]
) -> list[FrameLabels]:
    """A routed drive's labels after all that was decided about its tasks.

    Args:
        drive: as `route` wrote it.
        tasks: that were made of it; decisions about others are another routing's.
        lines: the journal's.
    """
    known = {(t.track, t.proposal_digest) for t in tasks if t.clip_id == drive.name}
    corrected: Corrected = {}
    found: defaultdict[int, list[LabelledBox]] = defaultdict(list)
    rows, spare = _rows(drive), _spare(drive)
    for line in lines:
        ours = line.clip_id == drive.name and (line.track, line.proposal_digest) in known
        if not ours or line.purpose is Purpose.GOLD or line.outcome not in FINAL:
            continue
        if line.track is None:
            for one in line.objects:
                for frame, labelled in _searched(drive, line, one, spare):
                    found[frame].append(labelled)
                spare += 1
        else:
            corrected |= _track(drive, line, rows.get(line.track, []))
    return [
        _merged(number, frame, corrected, found[number])
        for number, frame in enumerate(drive.labels.frames)
    ]


@dataclass(frozen=True, slots=True)
class _Correction:
    """From an auto box to what people say: along its axes in m, log sizes, and heading."""

    place_m: Float64s
    size: Float64s
    turn_rad: float


def _rows(drive: Drive) -> dict[int, list[tuple[int, int]]]:
    """Frame and row of the auto boxes of each track."""
    result: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for number, frame in enumerate(drive.labels.frames):
        for row, labelled in enumerate(frame.record.boxes):
            track = labelled.box.track_id
            if track is not None and said_by(labelled, frame).source == "auto":
                result[track].append((number, row))
    return dict(result)


def _track(drive: Drive, line: Settled, rows: Sequence[tuple[int, int]]) -> Corrected:
    """Of the boxes that the task stands for: those that waited, or for an audit, were accepted."""
    frames = drive.labels.frames
    covered = [
        (number, row) for number, row in rows
        if frames[number].record.boxes[row].ignored == (line.purpose is Purpose.ROUTED)
    ]  # fmt: skip
    auto = {number: frames[number].record.boxes[row] for number, row in covered}
    if line.outcome is Outcome.UNUSABLE:
        return {
            place: frames[place[0]].record.boxes[place[1]].model_copy(update={"ignored": True})
            for place in covered
        }
    if not line.objects:
        return dict.fromkeys(covered)
    one, taxonomy = line.objects[0], drive.labels.taxonomy
    told = {each.frame: each for each in one.boxes}
    keys = sorted(set(line.frames) & auto.keys())
    corrections = {
        frame: _correction(auto[frame], told[frame], taxonomy) for frame in keys if frame in told
    }
    result: Corrected = {}
    for number, row in covered:
        nearer, weights = _between(keys, number)
        if nearer not in corrections:
            result[number, row] = None
            continue
        change = _mixed([(corrections[key], w) for key, w in weights if key in corrections])
        how = "" if number in told else ": interpolated"
        result[number, row] = _answered(
            auto[number], told[nearer], change, taxonomy,
            confidence=one.confidence, provenance=_said(line, one, how),
        )  # fmt: skip
    return result


def _between(keys: Sequence[int], frame: int) -> tuple[int, list[tuple[int, float]]]:
    """The nearest key frame, the earlier of equals; and those on both sides with their weights."""
    at = int(np.searchsorted(keys, frame))
    before, after = keys[max(0, at - 1)], keys[min(at, len(keys) - 1)]
    if frame == after or at in (0, len(keys)):
        only = after if at < len(keys) else before
        return only, [(only, 1.0)]
    share = (frame - before) / (after - before)
    return before if share <= 0.5 else after, [(before, 1 - share), (after, share)]


def _correction(auto: LabelledBox, told: FrameBox, taxonomy: Taxonomy) -> _Correction:
    one = boxes_of([auto.box], taxonomy)
    two = boxes_of([told.box], taxonomy)
    away = two.centre_m[0] - one.centre_m[0]
    return _Correction(
        _turned(away, -float(one.yaw_rad[0])), np.log(two.size_m[0] / one.size_m[0]),
        float(wrapped(two.yaw_rad - one.yaw_rad)[0]),
    )  # fmt: skip


def _mixed(parts: Sequence[tuple[_Correction, float]]) -> _Correction:
    total = sum(weight for _, weight in parts)
    turn, heaviest = 0.0, max(parts, key=lambda part: part[1])[0]
    for one, weight in parts:
        off = float(wrapped(np.array([one.turn_rad - heaviest.turn_rad]))[0])
        # Half a turn from one key frame to the next is front taken for back, not a manoeuvre.
        turn += weight / total * (off if abs(off) < np.pi / 2 else 0.0)
    return _Correction(
        np.sum([one.place_m * (weight / total) for one, weight in parts], axis=0),
        np.sum([one.size * (weight / total) for one, weight in parts], axis=0),
        heaviest.turn_rad + turn,
    )


def _answered(
    auto: LabelledBox, nearest: FrameBox, change: _Correction, taxonomy: Taxonomy, *,
    confidence: float, provenance: Provenance,
) -> LabelledBox:  # fmt: skip
    one = boxes_of([auto.box], taxonomy)
    yaw = float(one.yaw_rad[0])
    moved = replace(
        one, centre_m=one.centre_m + _turned(change.place_m, yaw),
        size_m=np.clip(one.size_m * np.exp(change.size), 0.01, 200.0),
        yaw_rad=wrapped(one.yaw_rad + change.turn_rad),
        class_index=np.array([taxonomy.index(nearest.box.class_name)]),
    )  # fmt: skip
    return auto.model_copy(update={
        "box": moved.as_records(taxonomy)[0], "confidence": confidence, "ignored": False,
        "provenance": provenance,
    })  # fmt: skip


def _turned(away_m: Float64s, yaw_rad: float) -> Float64s:
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    x, y, z = away_m.tolist()
    return np.array([cos * x - sin * y, sin * x + cos * y, z])


def _said(line: Settled, one: Object, how: str) -> Provenance:
    return Provenance(
        source="consensus" if line.tier is Tier.CONSENSUS else "human",
        made_by=f"{one.made_by}{how}"[:200],
    )


def _spare(drive: Drive) -> int:
    """A track number over all that are there."""
    boxes = [labelled.box for frame in drive.labels.frames for labelled in frame.record.boxes]
    return 1 + max((box.track_id for box in boxes if box.track_id is not None), default=-1)


def _searched(
    drive: Drive, line: Settled, one: Object, track: int
) -> Iterable[tuple[int, LabelledBox]]:
    """Boxes of a found object: where they were drawn, and, ignored, led on between two that are
    neighbours among the searched frames.
    """
    place = {frame: number for number, frame in enumerate(line.frames)}
    for here, there in zip(one.boxes, [*one.boxes[1:], None], strict=True):
        yield here.frame, _found(here, track, one.confidence, _said(line, one, ""), False)
        if there is None or place[there.frame] != place[here.frame] + 1:
            continue
        for frame in range(here.frame + 1, there.frame):
            led = _led(drive, here, there, frame)
            how = _said(line, one, ": interpolated")
            yield frame, _found(FrameBox(frame=frame, box=led), track, one.confidence, how, True)


def _found(
    told: FrameBox, track: int, confidence: float, said: Provenance, ignored: bool
) -> LabelledBox:
    return LabelledBox(
        box=told.box.model_copy(update={"track_id": track}), confidence=confidence,
        ignored=ignored, provenance=said,
    )  # fmt: skip


def _led(drive: Drive, here: FrameBox, there: FrameBox, frame: int) -> Box3D:
    """The box of an instant between two, in a straight line over ground where poses are known."""
    frames = drive.labels.frames
    poses = [frames[each].record.ego_pose for each in (here.frame, there.frame, frame)]
    steady = np.eye(4)
    first, last, now = (
        steady if None in poses or pose is None else flat_part(pose.world_SE3_ego())
        for pose in poses
    )
    taxonomy = drive.labels.taxonomy
    one = boxes_of([here.box], taxonomy).moved(first, WORLD_FRAME)
    two = boxes_of([there.box], taxonomy).moved(last, WORLD_FRAME)
    start, end = (frames[each].record.mono_ns for each in (here.frame, there.frame))
    share = (frames[frame].record.mono_ns - start) / (end - start)
    between = replace(
        one, centre_m=one.centre_m + share * (two.centre_m - one.centre_m),
        size_m=one.size_m + share * (two.size_m - one.size_m),
        yaw_rad=wrapped(one.yaw_rad + share * wrapped(two.yaw_rad - one.yaw_rad)),
    )  # fmt: skip
    return between.moved(inverse_SE3(now), EGO_FRAME).as_records(taxonomy)[0]


def flat_part(world_SE3_ego: Float64s) -> Float64s:
    """A pose without roll and pitch: boxes have a yaw only."""
    x, y, z = world_SE3_ego[:3, 3].tolist()
    return flat_SE3(x, y, yaw_of(world_SE3_ego), z)


def _merged(
    number: int, frame: FrameLabels, corrected: Corrected, found: Sequence[LabelledBox]
) -> FrameLabels:
    boxes = []
    for row, labelled in enumerate(frame.record.boxes):
        after = corrected.get((number, row), labelled)
        if after is not None:
            boxes.append(after)
    record = frame.record.model_copy(update={"boxes": (*boxes, *found)})
    return replace(frame, record=record)
