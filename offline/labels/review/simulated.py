"""Simulated people who answer open tasks against known truth, for tests, demonstrations and the
loop. Their names begin with `simulated-`, so whatever they say is told as theirs in provenance.

What one of them says of a task follows from the seed, the name, the task and its round, and from
nothing else: not from the order of tasks, nor from who else is there.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from contracts.clock import Clock
from contracts.errors import InputError
from contracts.geometry import Boxes, Taxonomy, boxes_of
from contracts.labels import FrameLabels, LabelledBox
from contracts.review import FrameBox, Judgement, Tier, Verdict
from contracts.samples import Float64s
from models.evaluation.overlap import iou_3d
from offline.labels.qa.annotators import VERDICTS, Annotator, Noise
from offline.labels.qa.effort import Effort
from offline.labels.queue.records import HeldTask
from offline.labels.queue.store import ReviewQueue
from offline.labels.review.drives import Drive

EXPERT = Noise(miss=0.002, miss_hidden=0.05, wrong_class=0.005, waved_through=0.03)
_NEAR_M = 3.0
"""How far from what is shown an annotator still takes an object for the one that is meant."""
_SHOWN_IOU = 0.1
_SIZES_M = 0.05, 100.0
_SEARCH_FRAME_S = 20.0


@dataclass(frozen=True, slots=True)
class Person:
    """A simulated annotator with the tier that is answered."""

    name: str
    tier: Tier
    noise: Noise


def team(annotators: int, experts: int, times: float = 1.0) -> tuple[Person, ...]:
    """People by the default noise, every error `times` as large."""
    noise = (Noise(), EXPERT) if times == 1.0 else (Noise().grown(times), EXPERT.grown(times))
    return (
        *(Person(f"simulated-{n}", Tier.CONSENSUS, noise[0]) for n in range(1, annotators + 1)),
        *(Person(f"simulated-expert-{n}", Tier.EXPERT, noise[1]) for n in range(1, experts + 1)),
    )


@dataclass(slots=True)
class Answers:
    """How many tasks each one answered, and the seconds that it would have taken."""

    by_name: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Known:
    """What is true of a clip: `frames` numbered as its tasks number them, None where the truth
    does not tell of that instant.
    """

    taxonomy: Taxonomy
    frames: tuple[FrameLabels | None, ...]

    def tells_of(self, frames: Sequence[int]) -> bool:
        """Whether all of these are known. Raises `InputError` for one that the clip has not."""
        if frames[-1] >= len(self.frames):
            raise InputError(f"a task asks for frame {frames[-1]}", f"{len(self.frames)} frames")
        return all(self.frames[frame] is not None for frame in frames)


def known_of(truth: Mapping[str, Drive], asked: Mapping[str, Drive]) -> dict[str, Known]:
    """The truth by clip, numbered as the drives that are asked about: a task's frame n is the
    n-th label file there, which may be of another instant than the truth's n-th.
    """
    known = {}
    for name, drive in truth.items():
        by_instant = {frame.record.mono_ns: frame for frame in drive.labels.frames}
        instants = asked.get(name, drive).labels.instants()
        frames = tuple(by_instant.get(mono_ns) for mono_ns in instants)
        known[name] = Known(drive.labels.taxonomy, frames)
    return known


async def answer_open(
    queue: ReviewQueue, truth: Mapping[str, Known], people: Sequence[Person], seed: int,
    clock: Clock, most: int | None = None,
) -> Answers:  # fmt: skip
    """Let everybody answer until there is nothing to do, or `most` answers were given.

    Raises `InputError` for a task of a clip without truth; nobody holds it then.
    """
    done = Answers()
    for person in people:
        while most is None or done.by_name.total() < most:
            held = await queue.reserve(person.name, [person.tier])
            if held is None:
                break
            try:
                judgement = simulated_answer(held, truth, person, seed, clock.utc_ns())
            except InputError:
                await queue.release(held.task.task_id, person.name)
                raise
            await queue.submit(judgement)
            done.by_name[person.name] += 1
            done.seconds += judgement.seconds
    return done


def simulated_answer(
    held: HeldTask, truth: Mapping[str, Known], person: Person, seed: int, now_utc_ns: int
) -> Judgement:
    """What a person says of a task; of frames without truth that nobody can tell.

    Raises `InputError` where its clip has no truth.
    """
    known = truth.get(held.task.clip_id)
    if known is None:
        raise InputError("the truth lacks this clip", held.task.clip_id)
    rng = _generator(seed, person.name, held.task.task_id, held.round)
    annotator = Annotator(person.noise, Effort(), known.taxonomy)
    boxes: tuple[FrameBox, ...]
    if not known.tells_of(held.task.frames):
        verdict, boxes, seconds = Verdict.CANNOT_TELL, (), 0.0
    elif held.task.track is None:
        boxes, seconds = _searched(held, known, annotator, rng)
        verdict = Verdict.DRAWN if boxes else Verdict.VERIFIED
    else:
        verdict, boxes, seconds = _judged(held, known, annotator, rng)
    return Judgement(
        task_id=held.task.task_id, round=held.round, annotator=person.name, verdict=verdict,
        boxes=boxes, seconds=round(seconds + annotator.effort.open_s, 3),
        submitted_utc_ns=now_utc_ns, comment=f"simulated, seed {seed}",
    )  # fmt: skip


def _judged(
    held: HeldTask, known: Known, annotator: Annotator, rng: np.random.Generator
) -> tuple[Verdict, tuple[FrameBox, ...], float]:
    shown = boxes_of((one.box for one in held.proposal), annotator.taxonomy)
    truth, is_there, visibility = _meant(held, known, shown)
    answer = annotator.review(shown, truth, is_there, visibility, rng)
    seconds, verdicts = float(answer.seconds.sum()), [VERDICTS[v] for v in answer.verdict.tolist()]
    if all(verdict is Verdict.VERIFIED for verdict in verdicts):
        return Verdict.VERIFIED, held.proposal, seconds
    kept = answer.kept()
    if not kept.any():
        return Verdict.NO_OBJECT, (), seconds
    # A track is one thing: who moves its boxes names it once.
    moved = np.array([verdict is Verdict.ADJUSTED for verdict in verdicts]) & kept
    kind = answer.boxes.class_index.copy()
    if moved.any():
        kind[:] = kind[np.flatnonzero(moved)[0]]
    records = replace(
        answer.boxes, class_index=kind, size_m=_drawable(answer.boxes)
    ).as_records(annotator.taxonomy)  # fmt: skip
    return Verdict.ADJUSTED, tuple(
        FrameBox(frame=one.frame, box=box)
        for one, box, is_kept in zip(held.proposal, records, kept.tolist(), strict=True)
        if is_kept
    ), seconds  # fmt: skip


def _meant(
    held: HeldTask, known: Known, shown: Boxes
) -> tuple[Boxes, np.ndarray[tuple[int], np.dtype[np.bool_]], Float64s]:
    """For each box shown the true box that is meant: of the object that lies nearest to most of
    them, where it lies near; whether it is there; how far it can be seen.
    """
    taxonomy = known.taxonomy
    frames = [_real(known, one.frame) for one in held.proposal]
    votes: Counter[int | None] = Counter()
    for row, boxes in enumerate(frames):
        away = [_away(each, shown, row) for each in boxes]
        if away and min(away) < _NEAR_M:
            votes[boxes[int(np.argmin(away))].box.track_id] += 1
    chosen = votes.most_common(1)[0][0] if votes else None
    records, there, visible = [], [], []
    for row, (one, boxes) in enumerate(zip(held.proposal, frames, strict=True)):
        own = [b for b in boxes if b.box.track_id == chosen and _away(b, shown, row) < _NEAR_M]
        there.append(bool(own))
        records.append(own[0].box if own else one.box)
        visible.append(own[0].visibility if own and own[0].visibility is not None else 1.0)
    return boxes_of(records, taxonomy), np.array(there), np.array(visible, dtype=np.float64)


def _searched(
    held: HeldTask, known: Known, annotator: Annotator, rng: np.random.Generator
) -> tuple[tuple[FrameBox, ...], float]:
    """Boxes of objects that no box shown tells of; who overlooks one does so in all frames."""
    taxonomy, found = known.taxonomy, list[FrameBox]()
    seen: dict[int | None, bool] = {}
    for frame in held.task.frames:
        real = _real(known, frame)
        shown = boxes_of((b.box for b in held.proposal if b.frame == frame), taxonomy)
        truth = boxes_of((b.box for b in real), taxonomy)
        told = iou_3d(truth, shown).max(axis=1, initial=0.0) >= _SHOWN_IOU
        visibility = np.array([1.0 if b.visibility is None else b.visibility for b in real])
        missed = annotator.misses(truth, visibility)
        blurred = annotator.blurred(truth, rng)
        drawn = replace(blurred, size_m=_drawable(blurred)).as_records(taxonomy)
        for row, box in enumerate(drawn):
            track = real[row].box.track_id
            if track not in seen:
                seen[track] = bool(rng.random() >= missed[row])
            if seen[track] and not told[row]:
                kind = real[row].box.class_name
                found.append(FrameBox(frame=frame, box=box.model_copy(
                    update={"class_name": kind, "velocity_mps": None}
                )))  # fmt: skip
    seconds = _SEARCH_FRAME_S * len(held.task.frames) + annotator.effort.draw_s * len(found)
    return tuple(found), seconds


def _drawable(boxes: Boxes) -> Float64s:
    """Sizes as no tool would refuse them, however bad the annotator."""
    return np.clip(boxes.size_m, *_SIZES_M)


def _real(known: Known, frame: int) -> list[LabelledBox]:
    labels = known.frames[frame]
    return [] if labels is None else [one for one in labels.record.boxes if not one.ignored]


def _away(labelled: LabelledBox, shown: Boxes, row: int) -> float:
    x, y, _ = labelled.box.centre_m
    return float(np.hypot(x - shown.centre_m[row, 0], y - shown.centre_m[row, 1]))


def _generator(seed: int, *names: object) -> np.random.Generator:
    text = " ".join([str(seed), *map(str, names)])
    return np.random.default_rng(list(hashlib.sha256(text.encode()).digest()))
