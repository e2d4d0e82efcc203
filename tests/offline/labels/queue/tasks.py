"""Review tasks for tests."""

from __future__ import annotations

from contracts.geometry import Box3D
from contracts.ids import sha256_hex
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
from offline.labels.queue.records import HeldTask, NewTask


def boxes_of(track: int, frames: tuple[int, ...] = (0, 1)) -> tuple[FrameBox, ...]:
    return tuple(
        FrameBox(
            frame=frame,
            box=Box3D(
                centre_m=(12.0 + frame, 1.0, 0.75), size_m=(4.2, 1.8, 1.5), yaw_rad=0.2,
                class_name="car", velocity_mps=(3.0, -0.5), track_id=track,
            ),
        )
        for frame in frames
    )  # fmt: skip


def new_task(
    track: int | None = 1, *, wanted: int = 1, priority: float = 0.0,
    purpose: Purpose = Purpose.ROUTED, clip_id: str = "drive-1", salt: str = "a",
    shown: tuple[FrameBox, ...] | None = None,
) -> NewTask:  # fmt: skip
    boxes = boxes_of(track or 0) if shown is None else shown
    task = ReviewTask(
        task_id=task_id_of(salt, clip_id, track, (0, 1)), clip_id=clip_id, track=track,
        class_name="" if track is None else "car",
        tier=Tier.EXPERT if wanted == 1 else Tier.CONSENSUS, judgements_wanted=wanted,
        frames=(0, 1), proposal_digest=proposal_digest(boxes), priority=priority, cost_s=20.0,
    )  # fmt: skip
    truth = sha256_hex(b"truth") if purpose is Purpose.GOLD else None
    sealed = SealedPurpose(task_id=task.task_id, purpose=purpose, truth_digest=truth)
    return NewTask(task, sealed, boxes)


def verified(held: HeldTask, **changes: object) -> Judgement:
    """An answer: all as shown."""
    values: dict[str, object] = {
        "task_id": held.task.task_id, "round": held.round, "annotator": held.annotator,
        "verdict": Verdict.VERIFIED, "boxes": held.proposal, "seconds": 12.5,
        "submitted_utc_ns": 1_700_000_000_000_000_000,
    }  # fmt: skip
    return Judgement.model_validate(values | changes)
