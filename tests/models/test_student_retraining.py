"""What a small network still knows after it has learned something else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from contracts.errors import CorruptError, InputError
from contracts.geometry import Boxes
from models.student.crew import Crew
from models.student.dropout import NO_DROPOUT
from models.student.losses import losses_of, weighted
from models.student.network import Student, StudentOutputs
from models.student.retrain import (
    ElasticPull,
    Held,
    OwnWords,
    Restraint,
    corrected,
    fisher_of,
    own_word,
    retrain_student,
)
from models.student.targets import targets_of
from models.student.train import Example, Recipe, drawn_batch, train_student
from models.student.word import SURE
from tests.models.student_frames import frame_of, labels_of, tiny_config

# Shallower still: what a step costs here is the number of its layers, not their size.
CONFIG = tiny_config(rows=16).model_copy(
    update={"trunk_blocks": (0, 0, 0), "image_blocks": (0, 0, 0)}
)
CAR, PEDESTRIAN = CONFIG.taxonomy.index("car"), CONFIG.taxonomy.index("pedestrian")
FIRST = Recipe(epochs=40, batch=3, max_rate=1e-2, dropout=NO_DROPOUT)
AGAIN = Recipe(epochs=40, batch=5, max_rate=1e-2, dropout=NO_DROPOUT)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def scenes_of(kind: int, count: int, seed: int) -> list[Example]:
    """Frames with one object of one kind each."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        boxes = Boxes(
            np.array([[*rng.uniform(-5, 5, 2), 0.9]]), np.array([[3.0, 1.8, 1.8]]),
            rng.uniform(-3, 3, 1), np.zeros((1, 2)), np.array([kind]), np.array([1]),
        )  # fmt: skip
        frame, labels = frame_of(rng, CONFIG, boxes), labels_of(CONFIG, boxes)
        made.append(Example(frame, targets_of(CONFIG, labels)))
    return made


@dataclass(frozen=True)
class Known:
    network: Student
    old: list[Example]
    new: list[Example]


@pytest.fixture(scope="module")
def known() -> Known:
    old, new = scenes_of(CAR, 6, 1), scenes_of(PEDESTRIAN, 6, 2)
    return Known(train_student(CONFIG, old, FIRST, 1), old, new)


def belief(network: Student, examples: list[Example], kind: int) -> float:
    """Mean probability that the network gives the one object of each frame."""
    told = []
    for one in examples:
        heat = own_word(network, one.frame).heat[kind].astype(np.float32)
        told.append(float(heat[one.targets.heat[kind] == 1].max()))
    return float(np.mean(told))


def test_naive_retraining_forgets_and_what_restrains_it_keeps(known: Known) -> None:
    before = belief(known.network, known.old, CAR)
    assert before > 0.5
    naive = retrain_student(known.network, known.new, [], AGAIN, Restraint(), 3)
    held = retrain_student(
        known.network, known.new, known.old[:4], AGAIN, Restraint(anchor=1.0), 3
    )  # fmt: skip
    # Of all six, those two included that are never replayed.
    lost, kept = belief(naive, known.old, CAR), belief(held, known.old, CAR)
    assert lost < 0.5 * before
    assert kept > 2 * lost
    assert min(belief(one, known.new, PEDESTRIAN) for one in (naive, held)) > 0.4


def test_the_elastic_pull_holds_what_mattered(known: Known) -> None:
    short = replace(AGAIN, epochs=5)
    # Replayed here and there, so that only the pull differs.
    loose, pulled = (
        retrain_student(
            known.network, known.new, known.old[:1], short, Restraint(elastic=elastic), 3
        )
        for elastic in (0.0, 300.0)
    )
    pull = ElasticPull(known.network, fisher_of(known.network, known.old, AGAIN, 6, 0))
    with torch.no_grad():
        assert float(pull.of(known.network)) == 0.0
        assert float(pull.of(pulled)) < 0.5 * float(pull.of(loose))


def test_the_fisher_information_is_the_mean_squared_gradient(known: Known) -> None:
    found = fisher_of(known.network, known.old[:1], AGAIN, 1, 0)
    network = Student(CONFIG)
    network.load_state_dict(known.network.state_dict())
    batch = drawn_batch(CONFIG, known.old[:1], np.array([0]), AGAIN, np.random.default_rng(0))
    outputs = StudentOutputs(*network.eval()(*batch.inputs))
    torch.autograd.backward(weighted(losses_of(outputs, batch.targets), AGAIN.weights))
    for name, weights in network.named_parameters():
        if weights.grad is not None:
            assert torch.allclose(found[name], weights.grad**2, rtol=1e-3, atol=1e-9), name


def test_the_word_gives_way_to_labels(known: Known) -> None:
    (example,) = scenes_of(CAR, 1, 7)
    word = own_word(known.network, example.frame)
    told = corrected(word, example.targets)
    here = example.targets.heat[CAR] == 1
    assert (told.heat[CAR][here] == 1).all()
    unlabelled = replace(
        example.targets, heat=np.zeros_like(example.targets.heat),
        counted=np.ones_like(example.targets.counted),
    )  # fmt: skip
    assert corrected(word, unlabelled).heat.max() <= SURE
    assert not len(told.boxes.cells)
    nobody_knows = replace(unlabelled, counted=np.zeros_like(example.targets.counted))
    assert np.array_equal(corrected(word, nobody_knows).heat, word.heat)


def test_the_same_seed_gives_the_same_weights_and_leaves_the_old_ones(known: Known) -> None:
    short = replace(AGAIN, epochs=2)
    before = {name: w.clone() for name, w in known.network.state_dict().items()}
    one, two = (
        retrain_student(known.network, known.new, known.old[:1], short, Restraint(1.0, 10.0), 5)
        for _ in range(2)
    )
    assert all(
        torch.equal(a, b)
        for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True)
    )
    assert all(torch.equal(before[k], w) for k, w in known.network.state_dict().items())


def test_nothing_new_and_a_pull_without_replay_are_refused(known: Known) -> None:
    with pytest.raises(InputError, match="nothing new to learn"):
        retrain_student(known.network, [], known.old, AGAIN, Restraint(), 1)
    with pytest.raises(InputError, match="which weights matter"):
        retrain_student(known.network, known.new, [], AGAIN, Restraint(elastic=1.0), 1)


def test_words_are_kept_and_not_told_twice(known: Known, tmp_path: Path) -> None:
    examples = known.old[:2]
    told: list[int] = []
    folder = tmp_path / "words"
    in_memory = OwnWords(known.network, examples)
    OwnWords(known.network, examples[:1], folder)
    (folder / "000001.npz").write_bytes(b"")  # the run was stopped here, or so it seems
    kept = OwnWords(known.network, examples, folder, lambda done, of: told.append(done))
    assert told == [1, 2] and len(kept) == len(in_memory) == 2
    own = own_word(known.network, examples[0].frame)
    for word in (in_memory[0], kept[0]):
        assert np.array_equal(word.heat, own.heat)
        assert np.array_equal(word.boxes.values, own.boxes.values)
        assert word.embedding is not None and np.array_equal(word.embedding, own.embedding)
    with pytest.raises(CorruptError, match="no word"):
        kept[1]
    with pytest.raises(InputError, match="need a folder"):
        OwnWords(known.network, examples, crew=Crew(1, 2))


class Untouched(Sequence[Example]):
    """Examples of which none may be looked at."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, place: int) -> Example:  # type: ignore[override]
        raise AssertionError(f"example {place} was drawn")


def test_what_weighs_nothing_is_not_taught(known: Known) -> None:
    short, new = replace(AGAIN, epochs=2), known.new[:2]
    retrain_student(
        known.network, new, Untouched(), short, Restraint(), 5,
        weights=np.array([1.5, 0.5, 0.0, 0.0, 0.0]),
    )  # fmt: skip
    with pytest.raises(InputError, match="2 examples, weights"):
        retrain_student(known.network, new, [], short, Restraint(), 5, weights=np.ones(3))


def moved(before: Student, after: Student) -> set[str]:
    """Names of weights and statistics that differ; counters of batches left out."""
    old, new = before.state_dict(), after.state_dict()
    return {
        name for name in old if "num_batches" not in name and not torch.equal(old[name], new[name])
    }


def test_what_is_held_does_not_move(known: Known) -> None:
    short = replace(AGAIN, epochs=2)

    def after(*held: Held) -> set[str]:
        again = retrain_student(known.network, known.new, [], short, Restraint(held=held), 5)
        assert all(each.requires_grad for each in again.parameters())
        return moved(known.network, again)

    everything = after()
    statistics = {name for name in everything if "running_" in name}
    assert statistics
    assert after("statistics") == everything - statistics
    sight = after("sight", "ground", "light")
    assert sight
    assert not {name for name in sight if name.startswith(("sight.", "tasks.tail_ground"))}
    assert not {name for name in sight if name.startswith(("tasks.tail_light", "tasks.no_light"))}
    assert "tasks.shared.1.running_mean" in sight  # not of the sight


def test_a_blend_lies_between_before_and_after(known: Known) -> None:
    short = replace(AGAIN, epochs=2)
    whole, half = (
        retrain_student(known.network, known.new, [], short, Restraint(blend=part), 5)
        for part in (1.0, 0.5)
    )
    old, new, between = (one.state_dict() for one in (known.network, whole, half))
    for name in moved(known.network, whole):
        torch.testing.assert_close(between[name], (old[name] + new[name]) / 2, msg=name)
