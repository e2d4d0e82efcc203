"""Runs that stop and go on, mirrors, recipes, and a teacher with its student."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from contracts.errors import CorruptError, InputError
from kernels.bev_decoding import BevDecoder
from models.evaluation.adapters import decoder_of
from models.history import History
from models.recipe import ModelRecipe, StageSpec, read_recipe
from models.runs import (
    TrainingRun,
    finish_run,
    load_student,
    load_teacher,
    pack_run,
    read_run,
    save_weights,
)
from models.student.augment import (
    NO_AUGMENTATION,
    Augmentation,
    augmented,
    mirrored_frame,
    mirrored_targets,
)
from models.student.dropout import NO_DROPOUT
from models.student.export import onnx_bytes
from models.student.network import new_student
from models.student.train import Example, Recipe, train_student
from models.teacher.config import teacher_config
from models.teacher.network import Teacher, of_first
from models.teacher.predict import TeacherView
from models.teacher.train import MembersLearner, train_members
from tests.models.student_frames import box_maps, examples, tiny_config

CONFIG = tiny_config()
QUICK = Recipe(epochs=4, batch=2, max_rate=3e-3)
ZOO = Path(__file__).parents[2] / "models" / "zoo"


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def made() -> list[Example]:
    return examples(CONFIG, 6)[0]


@pytest.fixture(scope="module")
def teacher(made: list[Example]) -> Teacher:
    sight = train_student(CONFIG, made, replace(QUICK, epochs=30), 1)
    drives = np.array([0, 0, 1, 1, 2, 2])
    return train_members(sight, made, drives, replace(QUICK, epochs=12), 3, 2)


class KilledError(Exception):
    """The process that trained is gone."""


@pytest.mark.parametrize("after", [1, 3])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    made: list[Example], tmp_path: Path, after: int
) -> None:
    whole = train_student(CONFIG, made, QUICK, 3)
    checkpoint = tmp_path / "checkpoint.pt"
    told: list[int] = []

    def kill(epoch: int, losses: dict[str, float]) -> None:
        if epoch == after + 1:
            raise KilledError
        told.append(epoch)

    with pytest.raises(KilledError):
        train_student(CONFIG, made, QUICK, 3, kill, checkpoint=checkpoint)
    resumed = train_student(
        CONFIG, made, QUICK, 3, lambda epoch, _: told.append(epoch), checkpoint=checkpoint
    )
    assert told == [1, 2, 3, 4]  # one that was trained and not told of is trained again
    for one, other in zip(whole.state_dict().items(), resumed.state_dict().items(), strict=True):
        assert one[0] == other[0] and torch.equal(one[1], other[1])


def test_a_checkpoint_of_something_else_is_refused(made: list[Example], tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    train_student(CONFIG, made, replace(QUICK, epochs=1), 3, checkpoint=checkpoint)
    with pytest.raises(CorruptError, match="another recipe or seed"):
        train_student(CONFIG, made, replace(QUICK, epochs=1), 4, checkpoint=checkpoint)
    checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    with pytest.raises(CorruptError, match="no checkpoint"):
        train_student(CONFIG, made, replace(QUICK, epochs=1), 3, checkpoint=checkpoint)


def test_a_mirror_twice_is_no_mirror(made: list[Example]) -> None:
    for example in made[:2]:
        frame = mirrored_frame(mirrored_frame(example.frame, CONFIG), CONFIG)
        for name in ("images", "lidar", "radar"):
            np.testing.assert_array_equal(getattr(frame, name), getattr(example.frame, name))
        np.testing.assert_array_equal(frame.table.depth, example.frame.table.depth)
        targets = mirrored_targets(mirrored_targets(example.targets, CONFIG), CONFIG)
        np.testing.assert_array_equal(targets.heat, example.targets.heat)
        np.testing.assert_allclose(targets.boxes.values, example.targets.boxes.values, atol=1e-6)


def test_mirrored_targets_are_the_boxes_on_the_other_side(made: list[Example]) -> None:
    decoder = BevDecoder(decoder_of(CONFIG), CONFIG.taxonomy.names)

    def boxes(example: Example) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        maps = box_maps(CONFIG, example.targets.boxes)
        found = decoder.decode(example.targets.heat[None], maps[None], 0.99).boxes
        table = np.column_stack([
            found.centre_m, found.size_m, np.sin(found.yaw_rad), np.cos(found.yaw_rad),
            found.velocity_mps,
        ])  # fmt: skip
        return table[np.lexsort((table[:, 1], table[:, 0]))]

    for example in made:
        straight = boxes(example)
        straight[:, [1, 6, 9]] *= -1
        mirrored = boxes(replace(example, targets=mirrored_targets(example.targets, CONFIG)))
        np.testing.assert_allclose(mirrored, straight, atol=1e-4)


def test_light_changes_pictures_and_nothing_else(made: list[Example]) -> None:
    rng = np.random.default_rng(1)
    how = Augmentation(mirror=0.0, contrast=0.3, brightness=30.0)
    frame, targets, mirrored = augmented(made[0].frame, made[0].targets, CONFIG, how, rng)
    assert not mirrored and targets is made[0].targets
    assert (frame.images != made[0].frame.images).any() and frame.lidar is made[0].frame.lidar
    same, _, _ = augmented(made[0].frame, made[0].targets, CONFIG, NO_AUGMENTATION, rng)
    assert same is made[0].frame


def test_each_member_learns_from_drives_of_its_own(made: list[Example]) -> None:
    drives = np.repeat(np.arange(30), 2)
    learner = MembersLearner(Teacher(CONFIG, 8), drives, QUICK, 5)
    learns = learner.learns
    assert learns.shape == (8, 60) and set(learns.sum(axis=1)) == {40}
    assert (learns[:, ::2] == learns[:, 1::2]).all()  # whole drives
    assert len({row.tobytes() for row in learns}) == 8
    with pytest.raises(InputError, match="drives of 4"):
        train_members(new_student(CONFIG, 0), made, np.arange(4), QUICK, 2, 0)
    with pytest.raises(InputError, match="at least 2"):
        train_members(new_student(CONFIG, 0), made, np.arange(6), QUICK, 1, 0)


def test_members_differ_and_their_sight_stays(teacher: Teacher, made: list[Example]) -> None:
    maps = TeacherView(teacher, mirror=False).maps(made[0].frame)
    assert maps.members.shape[0] == 3
    assert np.abs(maps.members[0] - maps.members[1]).max() > 0.02
    np.testing.assert_allclose(maps.heat, maps.members.mean(axis=0), atol=1e-6)
    assert not any(weights.requires_grad for weights in teacher.sight.parameters())


def test_fewer_members_say_what_they_said_among_all(teacher: Teacher, made: list[Example]) -> None:
    whole = TeacherView(teacher).opinions(made[0].frame)
    fewer = TeacherView(of_first(teacher, 2)).opinions(made[0].frame)
    np.testing.assert_array_equal(fewer.heat, whole.heat[:2])
    np.testing.assert_array_equal(fewer.boxes, whole.boxes[:2])
    assert len(teacher.members) == 3
    for count in (0, 4):
        with pytest.raises(InputError, match="1 to 3 members can be asked"):
            of_first(teacher, count)


def test_the_mirror_of_a_frame_gets_the_mirror_of_the_answer(
    teacher: Teacher, made: list[Example]
) -> None:
    view = TeacherView(teacher)
    straight = view.maps(made[1].frame)
    mirrored = view.maps(mirrored_frame(made[1].frame, CONFIG))
    np.testing.assert_allclose(mirrored.heat[..., ::-1], straight.heat, atol=1e-5)
    shape = (-1, 10, *straight.heat.shape[1:])
    boxes, other = straight.boxes.reshape(shape), mirrored.boxes.reshape(shape)[..., ::-1]
    np.testing.assert_allclose(other[:, 6], -boxes[:, 6], atol=1e-4)
    np.testing.assert_allclose(other[:, 1], 1 - boxes[:, 1], atol=1e-4)
    np.testing.assert_allclose(other[:, 3:6], boxes[:, 3:6], atol=1e-4)


def test_a_student_comes_nearer_to_its_teacher(teacher: Teacher, made: list[Example]) -> None:
    view = TeacherView(teacher)
    taught = [replace(one, teacher=view.word(one.frame)) for one in made]
    assert all(one.teacher is not None and one.teacher.heat.max() > 0 for one in taught)
    start = train_student(CONFIG, made, QUICK, 1)
    losses: list[float] = []
    recipe = replace(QUICK, epochs=10, dropout=NO_DROPOUT)
    train_student(
        CONFIG, taught, recipe, 1, lambda _, means: losses.append(means["teacher"]), start=start
    )
    assert losses[-1] < 0.7 * losses[0]
    with pytest.raises(InputError, match="for some examples"):
        train_student(CONFIG, [taught[0], made[1]], recipe, 1)


def test_a_network_that_looks_ahead_is_no_model_for_a_vehicle() -> None:
    config = teacher_config(CONFIG)
    assert config.ahead_s == pytest.approx(0.2)
    with pytest.raises(InputError, match="looks ahead"):
        onnx_bytes(new_student(config, 0))


def test_a_run_on_disk_is_whole_or_refused(teacher: Teacher, tmp_path: Path) -> None:
    student = new_student(CONFIG, 4)
    history = History(tmp_path, resumed=False)
    history.add(1, {"heat": 2.0})
    history.add(2, {"heat": 1.0})
    assert History(tmp_path, resumed=True).epochs == [{"heat": 2.0}, {"heat": 1.0}]
    with pytest.raises(InputError, match="no finished training run"):
        read_run(tmp_path)
    some = "0" * 64
    run = TrainingRun(
        kind="student", config=CONFIG, recipe=some, stage="student", seed=4, dataset=some,
        examples=6, weights=save_weights(tmp_path, student),
    )  # fmt: skip
    finish_run(tmp_path, run)
    again, told = load_student(tmp_path)
    assert told == run
    for one, other in zip(student.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
    packed = pack_run(tmp_path, tmp_path / "packed")
    assert packed.parents == {"float32": run.weights} and packed.weights != run.weights
    smaller, _ = load_student(tmp_path / "packed")
    for one, other in zip(student.parameters(), smaller.parameters(), strict=True):
        assert other.dtype == torch.float32
        np.testing.assert_allclose(other.detach(), one.detach(), rtol=1e-3, atol=1e-4)
    assert (tmp_path / "packed" / "weights.pt").stat().st_size < 0.7 * (
        tmp_path / "weights.pt"
    ).stat().st_size
    with pytest.raises(InputError, match="no teacher"):
        load_teacher(tmp_path)
    save_weights(tmp_path, teacher)
    with pytest.raises(CorruptError, match="not those of the run"):
        load_student(tmp_path)


def test_the_shipped_recipe_reads_and_a_wrong_one_says_where(tmp_path: Path) -> None:
    recipe = read_recipe(ZOO / "student-s.recipe.yaml")
    assert recipe.teacher.count == 8 and recipe.config().size == "s"
    assert recipe.digest() == ModelRecipe.model_validate(recipe.model_dump(by_alias=True)).digest()
    assert recipe.student[0].recipe().dropout.radar > 0
    with pytest.raises(InputError, match="wheel"):
        StageSpec(epochs=1, dropout={"wheel": 0.1}).recipe()
    path = tmp_path / "recipe.yaml"
    path.write_text((ZOO / "student-s.recipe.yaml").read_text().replace("epochs:", "epoch:", 1))
    with pytest.raises(InputError, match=r"recipe\.yaml:\d+:\d+"):
        read_recipe(path)
