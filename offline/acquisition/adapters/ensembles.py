"""What opinions say of frames: a teacher's members, a student's passes with dropout, or one model.

All come in the same form, so the same scores apply; one model alone has no mutual information.
The objects asked about are those that the fused word tells (the teacher's mean, the plain
student), each with every opinion's class distribution at its cell and every opinion's box
nearest to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from contracts.errors import InputError
from contracts.geometry import Int64s
from contracts.samples import Float32s
from offline.acquisition.scores.classes import distributions_at
from offline.acquisition.scores.clip import FrameEvidence
from offline.acquisition.scores.geometry import member_boxes

if TYPE_CHECKING:  # torch is loaded only where an ensemble is opened
    from models.evaluation.predictor import Predictor
    from models.student.config import StudentConfig
    from models.student.inputs import StudentFrame
    from models.student.mc_dropout import McDropout
    from models.teacher.boxes import TeacherBoxes
    from models.teacher.predict import Opinions, TeacherMaps, TeacherView

LIKELY = 0.3
"""Raw score from which on a box counts as one that a labeller will have to draw."""


@dataclass(frozen=True, slots=True)
class SeenFrame:
    """Evidence of a frame, its embedding float32 [d], and the classes int64 [k] of its likely
    boxes, into the taxonomy.
    """

    evidence: FrameEvidence
    embedding: Float32s
    likely: Int64s


class Ensemble(Protocol):
    """Several opinions on frames of one configuration.

    `space` is the digest of the weights that the embeddings come from; `identity` names all that
    the opinions depend on; `alone`: there is one opinion only.
    """

    config: StudentConfig
    space: str
    identity: dict[str, str | int | float]
    alone: bool

    def seen(self, frame: StudentFrame) -> SeenFrame: ...


class TeacherEnsemble:
    """A teacher's members."""

    alone = False

    def __init__(self, view: TeacherView, boxes: TeacherBoxes, space: str) -> None:
        self.config, self.space = view.teacher.config, space
        self.identity: dict[str, str | int | float] = {"kind": "teacher", "weights": space}
        self._view, self._boxes = view, boxes

    def seen(self, frame: StudentFrame) -> SeenFrame:
        opinions = self._view.opinions(frame)
        return _seen(self._boxes, self._view.fused(opinions), opinions)


class DropoutEnsemble:
    """A student's passes with dropout before its heads."""

    alone = False

    def __init__(
        self, passes: McDropout, boxes: TeacherBoxes, space: str,
        settings: dict[str, str | int | float],
    ) -> None:  # fmt: skip
        self.config, self.space = passes.student.config, space
        self.identity = {"kind": "dropout", "weights": space, **settings}
        self._passes, self._boxes = passes, boxes

    def seen(self, frame: StudentFrame) -> SeenFrame:
        (told,) = self._passes.frames([frame])
        return _seen(self._boxes, told.plain, told.opinions)


class SingleModel:
    """One model as it runs on vehicles, so that its embeddings are in their space."""

    alone = True

    def __init__(self, predictor: Predictor, config: StudentConfig, digest: str) -> None:
        self.config, self.space = config, digest
        self.identity: dict[str, str | int | float] = {"kind": "model", "weights": digest}
        self._predictor = predictor

    def seen(self, frame: StudentFrame) -> SeenFrame:
        told = self._predictor.predict(frame)
        likely = told.boxes.class_index[told.scores >= LIKELY]
        return SeenFrame(FrameEvidence(told.distributions[None]), told.embedding, likely)


def _seen(boxes: TeacherBoxes, fused: TeacherMaps, opinions: Opinions) -> SeenFrame:
    decoded = boxes.fused(fused)
    members = [one.boxes for one in boxes.by_member(opinions)]
    evidence = FrameEvidence(
        distributions_at(fused.members, decoded.cells), member_boxes(decoded.boxes, members)
    )
    likely = decoded.boxes.class_index[decoded.scores >= LIKELY]
    return SeenFrame(evidence, fused.embedding, likely)


def open_ensemble(
    run: Path, *, passes: int | None = None, rate: float | None = None, seed: int = 0
) -> Ensemble:
    """The ensemble of a training run: a teacher's members, or passes over a student.

    Args:
        passes, rate, seed: of the dropout; else as `models.student.mc_dropout` states.

    Raises:
        InputError: no finished run, or passes asked of a teacher.
    """
    from models.runs import load_student, load_teacher, read_run
    from models.student.mc_dropout import PASSES, RATE, McDropout
    from models.teacher.boxes import TeacherBoxes
    from models.teacher.predict import TeacherView

    found = read_run(run)
    boxes = TeacherBoxes(found.config)
    if found.kind == "teacher":
        if passes is not None or rate is not None:
            raise InputError("a teacher has members; passes are a student's", str(run))
        return TeacherEnsemble(TeacherView(load_teacher(run)[0]), boxes, found.weights)
    count, share = passes or PASSES, RATE if rate is None else rate
    dropout = McDropout(load_student(run)[0], passes=count, rate=share, seed=seed)
    settings: dict[str, str | int | float] = {"passes": count, "rate": share, "seed": seed}
    return DropoutEnsemble(dropout, boxes, found.weights, settings)
