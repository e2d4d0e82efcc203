"""Passes with dropout before the heads: the network is untouched, the mean is its own."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from contracts.errors import InputError
from models.student.inputs import StudentFrame, batch_of
from models.student.mc_dropout import McDropout
from models.student.network import Student, new_student
from models.teacher.boxes import TeacherBoxes
from offline.acquisition.adapters.ensembles import DropoutEnsemble
from offline.acquisition.scores.clip import clip_scores
from tests.models.student_frames import frame_of, random_scene, tiny_config

CONFIG = tiny_config()


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def student() -> Student:
    found = new_student(CONFIG, 3).eval()
    with torch.no_grad():  # an untrained head tells nothing: let this one tell a lot
        found.tasks.tail_heat.weight.normal_(0, 0.6, generator=torch.Generator().manual_seed(1))
        found.tasks.tail_heat.bias.fill_(-1.0)
    return found


@pytest.fixture(scope="module")
def frames() -> list[StudentFrame]:
    rng = np.random.default_rng(0)
    return [frame_of(rng, CONFIG, random_scene(rng, CONFIG)) for _ in range(3)]


def test_the_network_stays_as_it_was(student: Student, frames: list[StudentFrame]) -> None:
    before = {name: value.clone() for name, value in student.state_dict().items()}
    with torch.no_grad():
        plain = student(*batch_of(frames[:1]))
    (told,) = McDropout(student).frames(frames[:1])
    assert all(torch.equal(before[name], value) for name, value in student.state_dict().items())
    assert not any(module._forward_pre_hooks for module in student.modules())
    np.testing.assert_allclose(told.plain.heat, torch.sigmoid(plain.heat[0]).numpy(), atol=1e-6)
    np.testing.assert_allclose(told.plain.boxes, plain.boxes[0].numpy(), atol=1e-6)
    np.testing.assert_allclose(told.plain.embedding, plain.embedding[0].numpy(), atol=1e-6)
    assert told.plain.members.shape == (8, *told.plain.heat.shape)
    assert told.opinions.heat.shape == (8, 1, *told.plain.heat.shape)
    assert told.opinions.boxes.shape == (8, 1, *told.plain.boxes.shape)
    np.testing.assert_allclose(told.opinions.light.sum(axis=-1), 1, rtol=1e-5)


def test_the_mean_over_many_passes_is_the_plain_network(
    student: Student, frames: list[StudentFrame]
) -> None:
    """The heads are linear: their logits' mean over all masks is that of no mask."""
    (told,) = McDropout(student, passes=600, rate=0.2, seed=5).frames(frames[:1])
    rows = np.ix_(range(600), range(told.plain.heat.shape[0]), [3, 17], [9, 30])
    logits = np.log(told.plain.members[rows]) - np.log1p(-told.plain.members[rows])
    own = told.plain.heat[:, [3, 17]][:, :, [9, 30]]
    spread = logits.std(axis=0) / np.sqrt(600)
    assert (np.abs(logits.mean(axis=0) - (np.log(own) - np.log1p(-own))) < 5 * spread + 1e-5).all()
    assert spread.max() > 1e-4


def test_passes_are_of_the_seed_and_not_of_the_batch(
    student: Student, frames: list[StudentFrame]
) -> None:
    dropout = McDropout(student, passes=4, seed=9)
    together = dropout.frames(frames)
    for frame, one in zip(frames, together, strict=True):
        (alone,) = McDropout(student, passes=4, seed=9).frames([frame])
        np.testing.assert_allclose(alone.opinions.heat, one.opinions.heat, atol=1e-5)
        np.testing.assert_allclose(alone.opinions.boxes, one.opinions.boxes, atol=1e-4)
    (other,) = McDropout(student, passes=4, seed=10).frames(frames[:1])
    assert np.abs(other.opinions.heat - together[0].opinions.heat).max() > 0.01


def test_more_dropout_is_more_doubt(student: Student, frames: list[StudentFrame]) -> None:
    told = []
    for rate in (0.02, 0.2, 0.5):
        dropout = McDropout(student, passes=6, rate=rate, seed=1)
        ensemble = DropoutEnsemble(dropout, TeacherBoxes(CONFIG), "a" * 64, {})
        told.append(clip_scores(ensemble.seen(frame).evidence for frame in frames))
    doubts = [scores["mutual_information"] for scores in told]
    assert 0 < doubts[0] < doubts[1] < doubts[2]
    assert set(told[0]) == {
        "ambiguity", "disagreement", "entropy", "expected_entropy", "mutual_information",
    }  # fmt: skip


@pytest.mark.parametrize("wrong", [{"passes": 1}, {"rate": 0.0}, {"rate": 1.0}])
def test_what_is_no_dropout_is_refused(student: Student, wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=r"passes|rate"):
        McDropout(student, **wrong)  # type: ignore[arg-type]
