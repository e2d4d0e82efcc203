"""One pass over labelled frames, any number of models, one report for each.

Does not do: read files, or choose frames. Frames may come as a stream; none is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from contracts.errors import InputError
from contracts.geometry import TAXONOMY, Taxonomy
from models.evaluation.document import EvaluationReport, FrameSet, ModelIdentity
from models.evaluation.figures import report_from
from models.evaluation.intervals import RESAMPLES
from models.evaluation.predictor import Labelled, Modality, Predictor
from models.evaluation.recording import Recording, Truth
from models.evaluation.slices import RANGES_M, TAG_NAMES
from models.evaluation.statistics import Measured


@dataclass(frozen=True, slots=True)
class Subject:
    """What is measured: a predictor under its name; `without` tells which sensor it lacks."""

    model: ModelIdentity
    predictor: Predictor
    without: Modality | None = None


def evaluate(
    predictor: Predictor,
    frames: Iterable[Labelled],
    model: ModelIdentity,
    frames_name: str,
    *,
    resamples: int = RESAMPLES,
    taxonomy: Taxonomy = TAXONOMY,
) -> EvaluationReport:
    """One model with all sensors; see `evaluate_all`."""
    subjects = [Subject(model, predictor)]
    (found,) = evaluate_all(subjects, frames, frames_name, resamples=resamples, taxonomy=taxonomy)
    return found


def evaluate_all(
    subjects: Sequence[Subject],
    frames: Iterable[Labelled],
    frames_name: str,
    *,
    digest: str | None = None,
    tag_names: Sequence[str] = TAG_NAMES,
    ranges_m: Sequence[tuple[float, float]] = RANGES_M,
    resamples: int = RESAMPLES,
    taxonomy: Taxonomy = TAXONOMY,
) -> tuple[EvaluationReport, ...]:
    """A report for each subject, all on the same frames.

    Args:
        frames_name: what the set of frames is called in the reports.
        digest: of the frames' source, where the caller knows it; else it is over the labels.
        tag_names: each value of each of these tags is a slice.
        ranges_m: slices by distance from the ego.
        resamples: of the intervals; 0 gives none, as for a look during training.

    Raises `InputError` without frames, for a frame that comes twice, and for labels that are
    not comparable (another taxonomy, another ground grid).
    """
    data, measured = measure(
        subjects, frames, frames_name, digest=digest, tag_names=tag_names, ranges_m=ranges_m,
        taxonomy=taxonomy,
    )  # fmt: skip
    return tuple(
        report_from(one, subject.model, data, subject.without, resamples)
        for subject, one in zip(subjects, measured, strict=True)
    )


def measure(
    subjects: Sequence[Subject],
    frames: Iterable[Labelled],
    frames_name: str,
    *,
    digest: str | None = None,
    tag_names: Sequence[str] = TAG_NAMES,
    ranges_m: Sequence[tuple[float, float]] = RANGES_M,
    taxonomy: Taxonomy = TAXONOMY,
) -> tuple[FrameSet, tuple[Measured, ...]]:
    """What each subject answers, frame by frame, before any figure is made of it.

    Arguments and errors as `evaluate_all` has them.
    """
    truth = Truth(taxonomy)
    recordings = [Recording() for _ in subjects]
    for one in frames:
        truth.add(one.labels)
        for subject, recording in zip(subjects, recordings, strict=True):
            told = subject.predictor.predict(one.frame)
            recording.add(told, one.labels, truth.boxes[-1], truth.ignored[-1])
    if not len(truth):
        raise InputError("no labelled frame to measure on", frames_name)
    drives = truth.drive_of_frame()
    data = FrameSet(
        name=frames_name, digest=digest or truth.digest(), frames=len(truth),
        drives=int(drives.max()) + 1,
        truths=sum(int((~ignored).sum()) for ignored in truth.ignored),
    )  # fmt: skip
    return data, tuple(
        Measured(truth, recording, drives, taxonomy, tuple(tag_names), tuple(ranges_m))
        for recording in recordings
    )
