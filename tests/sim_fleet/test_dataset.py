"""Labelled drives: what is labelled lies where the sensors saw it, and comes again the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from contracts.errors import InputError
from contracts.geometry import BevGrid
from contracts.labels import FrameLabels, read_labels
from contracts.samples import LidarSample, MountSample, PoseSample
from kernels.clip.reader import read_samples
from models.data.drives import drive_digest
from sim_fleet.dataset import (
    DatasetSpec,
    DrivesSpec,
    read_dataset_spec,
    shows_rare,
    write_dataset,
)
from sim_fleet.labels import ego_points
from sim_fleet.source import START_NS
from tests.sim_fleet.labelled import SPEC, short_drive


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return short_drive(tmp_path_factory.mktemp("short"))


@pytest.fixture(scope="module")
def labels(drive: Path) -> list[FrameLabels]:
    return [read_labels(path) for path in sorted((drive / "labels").glob("*.npz"))]


def test_instants_are_labelled_by_the_recipe(labels: list[FrameLabels]) -> None:
    assert [round((one.record.mono_ns - START_NS) / 1e9, 3) for one in labels] == [1.8, 2.7]
    tags = labels[0].record.tags
    assert tags["region"] == "city" and tags["tod"] == "day" and tags["weather"] == "clear"


def test_boxes_lie_about_the_lidar_returns_that_they_tell(
    drive: Path, labels: list[FrameLabels]
) -> None:
    samples = list(read_samples(drive / "clip.mcap"))
    mount = next(one for one in samples if isinstance(one, MountSample) and "top" in one.frame_id)
    for one in labels:
        now = one.record.mono_ns
        sweep = next(s for s in samples if isinstance(s, LidarSample) and s.mono_ns == now)
        inside = one.boxes().contain(ego_points(sweep, mount), 0.1).sum(axis=1)
        told = np.array([labelled.points for labelled in one.record.boxes])
        # The clip keeps points to a few millimetres, so one at a face may change sides.
        assert (np.abs(inside - told) <= np.maximum(2, 0.1 * told)).all()
        unseen = np.array([labelled.visibility for labelled in one.record.boxes]) < 0.05
        assert (one.ignored() == ((told == 0) | unseen)).all()
        assert (~one.ignored()).sum() >= 3


def test_the_ego_stands_on_a_road_where_its_pose_says(
    drive: Path, labels: list[FrameLabels]
) -> None:
    poses = {s.mono_ns: s for s in read_samples(drive / "clip.mcap") if isinstance(s, PoseSample)}
    for one in labels:
        pose, grid, ground = one.record.ego_pose, one.record.ground_grid, one.ground
        assert pose is not None and grid is not None and ground is not None
        np.testing.assert_allclose(pose.position_m, poses[one.record.mono_ns].position_m, atol=1e-6)
        row, column = grid.places(np.zeros((1, 2)))[0].astype(int)
        assert ground[0, row, column] == 1
        lane = ground[1].astype(bool)
        # A lane is a line of cells without gaps, and it lies on the road.
        assert (ground[0].astype(bool) & lane).sum() > 0.97 * lane.sum()
        assert (np.diff(np.flatnonzero(lane.any(axis=1))) == 1).all()


def test_the_same_recipe_gives_the_same_bytes_and_goes_on_where_it_stopped(
    drive: Path, tmp_path: Path
) -> None:
    again = short_drive(tmp_path)
    assert drive_digest(again) == drive_digest(drive)
    before = (again / "clip.mcap").stat().st_mtime_ns
    torn = tmp_path / ".everyday-city-8"
    torn.mkdir()
    (torn / "clip.mcap").write_bytes(b"half a drive")
    two = SPEC.model_copy(update={"drives": (
        SPEC.drives[0].model_copy(update={"seeds": (7, 2), "seconds": 2.2}),
    )})  # fmt: skip
    assert write_dataset(two, tmp_path, every=2) == [again]
    assert torn.exists()  # the other drive is not meant
    assert [folder.name for folder in write_dataset(two, tmp_path)] == [
        "everyday-city-7", "everyday-city-8",
    ]  # fmt: skip
    assert (again / "clip.mcap").stat().st_mtime_ns == before and not torn.exists()


def test_only_a_handful_of_frames_show_a_rare_class(tmp_path: Path) -> None:
    spec = DatasetSpec(
        apiVersion="longtail/dataset/v1", name="rare",
        drives=(
            DrivesSpec(
                scenario="cyclist-beside-truck", seeds=(1, 1), seconds=6.0, every_s=0.5,
                rare_frames=2,
            ),
        ),
    )  # fmt: skip
    (drive,) = write_dataset(spec, tmp_path)
    found = [read_labels(path) for path in (drive / "labels").glob("*.npz")]
    assert len(found) == 2 and all(shows_rare(one) for one in found)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name: a\ndrives:\n  - {scenario: everyday-city, seeds: [1, 1]}", "apiVersion"),
        ("apiVersion: longtail/dataset/v1\nname: a\ndrives: []", "3:"),
        ("apiVersion: longtail/dataset/v1\nname: a\ndrives:\n"
         "  - {scenario: everyday-city, seeds: [1, 1], sunny: 1}", "4:"),
    ],
)  # fmt: skip
def test_a_wrong_recipe_is_refused_with_its_place(
    tmp_path: Path, text: str, complaint: str
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=complaint):
        read_dataset_spec(path)


def test_drives_that_would_be_one_are_refused(tmp_path: Path) -> None:
    night = SPEC.drives[0].model_copy(update={"tod": "night"})
    twice = SPEC.model_copy(update={"drives": (SPEC.drives[0], night)})
    with pytest.raises(InputError, match="everyday-city-7"):
        write_dataset(twice, tmp_path)
    unknown = SPEC.model_copy(update={"drives": (
        SPEC.drives[0].model_copy(update={"scenario": "everyday-citty"}),
    )})  # fmt: skip
    with pytest.raises(InputError, match="everyday-city"):
        write_dataset(unknown, tmp_path)


def test_the_shipped_recipes_read() -> None:
    recipes = sorted((Path(__file__).parents[2] / "models" / "zoo" / "data").glob("*.yaml"))
    assert len(recipes) == 4
    for path in recipes:
        assert read_dataset_spec(path).name == path.stem


def test_ground_is_labelled_on_the_grid_of_the_student() -> None:
    from models.student.config import student_m, student_s
    from sim_fleet.labelling import GROUND_GRID

    grids: list[BevGrid] = [student_s().grid, student_m().grid]
    assert grids == [GROUND_GRID, GROUND_GRID]
