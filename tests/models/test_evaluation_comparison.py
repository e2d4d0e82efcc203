"""Two models on the same frames: gains that are known beforehand."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.errors import InputError
from models.evaluation.comparison import Comparison, compare
from models.evaluation.document import ModelIdentity
from models.evaluation.evaluate import Subject, measure
from models.evaluation.predictor import Prediction
from models.student.inputs import StudentFrame
from tests.models.evaluation_drives import Oracle, drives, number_of, only

MODELS = (ModelIdentity(name="new", kind="other"), ModelIdentity(name="old", kind="other"))
FRAMES = 9


def without_kind(kind: int, numbers: range | None = None) -> Oracle:
    """Never tells of a class, in some frames or in all."""

    def answer(frame: StudentFrame, told: Prediction) -> Prediction:
        if numbers is not None and number_of(frame) not in numbers:
            return told
        return only(told, told.boxes.class_index != kind)

    return Oracle(drives(4, FRAMES), answer)


def compared(
    candidate: Oracle, reference: Oracle, inclusion: np.ndarray | None = None, resamples: int = 50
) -> Comparison:
    frames = drives(4, FRAMES)
    subjects = [Subject(MODELS[0], candidate), Subject(MODELS[1], reference)]
    data, (ours, theirs) = measure(subjects, frames, "synthetic")
    return compare(ours, theirs, MODELS, data, inclusion=inclusion, resamples=resamples)


def test_a_model_against_itself_gains_nothing_for_sure() -> None:
    found = compared(without_kind(1), without_kind(1))
    assert {d.gain.value for d in found.figures.values() if d.gain.value is not None} == {0.0}
    assert {d.gain.low for d in found.figures.values() if d.gain.low is not None} == {0.0}


def test_a_lost_class_is_told_where_it_was_lost() -> None:
    found = compared(without_kind(0), without_kind(9)).figures
    lost = found["recall/car"]
    assert (lost.candidate, lost.reference) == (0.0, 1.0)
    assert (lost.gain.value, lost.gain.low, lost.gain.high) == (-1.0, -1.0, -1.0)
    # Two of the three vehicles are cars.
    assert found["recall/vehicle"].gain.value == pytest.approx(-2 / 3, abs=1e-3)
    assert found["recall/vehicle@tod=night"].gain.value == pytest.approx(-2 / 3, abs=1e-3)
    assert found["ap_2m@tod=day"].gain.value is not None
    assert found["recall/pedestrian"].gain.value == 0.0
    assert found["mean_iou"].gain.value == 0.0
    assert "recall/cyclist" not in found  # nothing there to recall
    assert found["recall/car"].truths == 4 * FRAMES * 2


def test_false_alarms_count_against_who_tells_them() -> None:
    def called_a_truck(frame: StudentFrame, told: Prediction) -> Prediction:
        kind = told.boxes.class_index.copy()
        kind[kind == 0] = 1
        return told.__class__(
            told.boxes.__class__(
                told.boxes.centre_m, told.boxes.size_m, told.boxes.yaw_rad,
                told.boxes.velocity_mps, kind, told.boxes.track_id,
            ), told.scores, told.distributions, told.grid, told.ground, told.light,
            told.embedding,
        )  # fmt: skip

    found = compared(Oracle(drives(4, FRAMES), called_a_truck), without_kind(9)).figures
    assert found["false_per_frame/truck"].candidate == 2.0
    assert found["false_per_frame/truck"].gain.value == -2.0
    # A driver brakes for either.
    assert found["false_per_frame/vehicle"].gain.value == 0.0
    assert found["recall/vehicle"].gain.value == 0.0


def test_frames_that_came_by_lot_weigh_the_inverse_of_their_probability() -> None:
    night = without_kind(0, range(FRAMES, 2 * FRAMES))  # one of four drives, by night
    even = compared(night, without_kind(9)).figures["recall/car"]
    assert even.candidate == 0.75
    assert even.gain.low is not None and even.gain.high is not None
    assert even.gain.low < -0.25 < even.gain.high <= 0.0
    inclusion = np.ones(4 * FRAMES)
    inclusion[FRAMES : 2 * FRAMES] = 0.25
    weighted = compared(night, without_kind(9), inclusion)
    assert weighted.weighted
    # That drive now stands for four: 3 of 7 are seen.
    assert weighted.figures["recall/car"].candidate == pytest.approx(3 / 7, abs=1e-4)


@pytest.mark.parametrize("wrong", [np.ones(3), np.full(36, 1.5), np.zeros(36)])
def test_a_probability_that_is_none_is_refused(wrong: np.ndarray) -> None:
    with pytest.raises(InputError, match="a probability over 0 up to 1 for each of 36"):
        compared(without_kind(1), without_kind(1), wrong)


def test_different_frames_are_refused() -> None:
    data, (ours,) = measure([Subject(MODELS[0], without_kind(1))], drives(4, FRAMES), "four")
    few = drives(2, FRAMES)
    _, (theirs,) = measure([Subject(MODELS[1], Oracle(few))], few, "two")
    with pytest.raises(InputError, match="measured on different frames"):
        compare(ours, theirs, MODELS, data)


def test_one_drive_gives_no_interval() -> None:
    frames = drives(1, FRAMES)
    subjects = [Subject(MODELS[0], Oracle(frames)), Subject(MODELS[1], Oracle(frames))]
    data, (ours, theirs) = measure(subjects, frames, "one")
    assert compare(ours, theirs, MODELS, data).figures["recall/car"].gain.low is None
