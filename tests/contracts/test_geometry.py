"""Taxonomy, boxes in their frames, transforms, grids, and label files."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from shapely.geometry import Point, Polygon

from contracts.errors import CorruptError, InputError
from contracts.geometry import (
    TAXONOMY,
    BevGrid,
    Box3D,
    Boxes,
    SE3_of_quaternion,
    apply_SE3,
    boxes_of,
    checked_SE3,
    flat_SE3,
    inverse_SE3,
    no_boxes,
    taxonomy_of,
    wrapped,
    yaw_of,
)
from contracts.labels import (
    UNKNOWN,
    FrameLabels,
    FrameRecord,
    LabelledBox,
    Provenance,
    labels_bytes,
    labels_from,
    read_labels,
)

GRID = BevGrid(x_min_m=-4, y_min_m=-2, cell_m=0.5, rows=16, columns=8)
ORACLE = Provenance(source="oracle", made_by="test")


def random_boxes(rng: np.random.Generator, n: int) -> Boxes:
    return Boxes(
        rng.uniform(-20, 20, (n, 3)), rng.uniform(0.3, 8, (n, 3)), rng.uniform(-3, 3, n),
        rng.uniform(-9, 9, (n, 2)), rng.integers(0, len(TAXONOMY.classes), n), np.arange(n),
    )  # fmt: skip


def test_the_taxonomy_holds_each_class_in_one_group() -> None:
    assert TAXONOMY.names == (
        "car", "truck", "bus", "pedestrian", "cyclist", "motorcycle", "animal", "debris",
        "road_worker",
    )  # fmt: skip
    assert sorted(name for group in TAXONOMY.groups for name in group) == sorted(TAXONOMY.names)
    assert TAXONOMY.groups[0] == ("car", "truck", "bus")
    assert "road_worker" in TAXONOMY.rare_names and "car" not in TAXONOMY.rare_names
    assert taxonomy_of(1) is TAXONOMY and TAXONOMY.index("bus") == 2
    with pytest.raises(InputError, match="no class of taxonomy version 1"):
        TAXONOMY.index("tram")
    with pytest.raises(InputError, match="version 9"):
        taxonomy_of(9)


@given(st.integers(0, 2**31), st.integers(0, 6))
def test_boxes_survive_records_and_frames(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    boxes = random_boxes(rng, n)
    again = boxes_of(boxes.as_records())
    for name in ("centre_m", "size_m", "yaw_rad", "velocity_mps", "class_index", "track_id"):
        np.testing.assert_array_equal(getattr(boxes, name), getattr(again, name))
    world_SE3_ego = flat_SE3(*rng.uniform(-50, 50, 2), rng.uniform(-3, 3), 1.0)
    world = boxes.moved(world_SE3_ego, "world")
    back = world.moved(inverse_SE3(world_SE3_ego), "ego")
    np.testing.assert_allclose(back.centre_m, boxes.centre_m, atol=1e-9)
    np.testing.assert_allclose(back.velocity_mps, boxes.velocity_mps, atol=1e-9)
    np.testing.assert_allclose(wrapped(back.yaw_rad - boxes.yaw_rad), 0, atol=1e-9)
    flat = boxes.corners_m().reshape(-1, 2)
    moved = apply_SE3(world_SE3_ego, np.column_stack([flat, np.zeros(len(flat))]))[:, :2]
    np.testing.assert_allclose(world.corners_m().reshape(-1, 2), moved, atol=1e-9)


@given(st.integers(0, 2**31))
def test_points_in_boxes_are_those_of_shapely(seed: int) -> None:
    rng = np.random.default_rng(seed)
    boxes = random_boxes(rng, 3)
    points = boxes.centre_m[rng.integers(0, 3, 30)] + rng.uniform(-5, 5, (30, 3))
    inside = boxes.contain(points)
    for b, corners in enumerate(boxes.corners_m()):
        ground = Polygon(corners)
        assert ground.exterior.is_ccw
        for p, point in enumerate(points):
            if ground.exterior.distance(Point(point[:2])) < 1e-9:
                continue
            high = abs(point[2] - boxes.centre_m[b, 2]) <= boxes.size_m[b, 2] / 2
            assert inside[b, p] == (high and ground.contains(Point(point[:2])))


@given(st.integers(0, 2**31), st.sampled_from([-0.2, 0.0, 0.1, 2.0]))
def test_points_far_from_a_box_are_told_as_all_others(seed: int, margin_m: float) -> None:
    rng = np.random.default_rng(seed)
    boxes = random_boxes(rng, 4)
    points = boxes.centre_m[rng.integers(0, 4, 200)] + rng.normal(0, 4, (200, 3))
    points[::20, rng.integers(0, 3)] = np.nan
    away = points[None] - boxes.centre_m[:, None]
    cos, sin = np.cos(boxes.yaw_rad)[:, None], np.sin(boxes.yaw_rad)[:, None]
    local = np.stack(
        [cos * away[..., 0] + sin * away[..., 1], -sin * away[..., 0] + cos * away[..., 1],
         away[..., 2]], axis=-1
    )  # fmt: skip
    expected = (np.abs(local) <= boxes.size_m[:, None] / 2 + margin_m).all(axis=-1)
    np.testing.assert_array_equal(boxes.contain(points, margin_m), expected)


def test_what_is_no_box_is_refused() -> None:
    good = {"centre_m": (0, 0, 0), "size_m": (1, 1, 1), "yaw_rad": 0.0, "class_name": "car"}
    assert Box3D.model_validate(good).velocity_mps is None
    for broken in ({"size_m": (1, 0, 1)}, {"yaw_rad": float("nan")}, {"colour": "red"},
                   {"centre_m": (0, 0, float("inf"))}, {"track_id": -1}):  # fmt: skip
        with pytest.raises(ValidationError):
            Box3D.model_validate({**good, **broken})
    with pytest.raises(InputError, match="box 0"):
        boxes_of([Box3D.model_validate({**good, "frame": "world"})])
    with pytest.raises(InputError, match="size_m"):
        replace(no_boxes(), size_m=np.zeros((2, 3)))
    tilted = SE3_of_quaternion(np.zeros(3), np.array([np.sin(0.2), 0, 0, np.cos(0.2)]))
    with pytest.raises(InputError, match="tilts"):
        no_boxes().moved(tilted, "world")


@given(st.floats(-3.1, 3.1), st.floats(-9, 9), st.floats(-9, 9))
def test_transforms_agree_with_each_other(yaw: float, x: float, y: float) -> None:
    flat = flat_SE3(x, y, yaw)
    turn = np.array([0, 0, np.sin(yaw / 2), np.cos(yaw / 2)])
    np.testing.assert_allclose(SE3_of_quaternion(np.array([x, y, 0.0]), turn), flat, atol=1e-12)
    np.testing.assert_allclose(flat @ inverse_SE3(flat), np.eye(4), atol=1e-12)
    assert yaw_of(checked_SE3(flat)) == pytest.approx(yaw)


@pytest.mark.parametrize("matrix", [np.eye(3), 2 * np.eye(4), np.diag([1, 1, -1, 1.0]),
                                    np.full((4, 4), np.nan)])  # fmt: skip
def test_what_is_no_rigid_motion_is_refused(matrix: np.ndarray) -> None:
    with pytest.raises(InputError):
        checked_SE3(matrix)


def test_a_turn_of_pi_stays_and_of_minus_pi_becomes_it() -> None:
    found = wrapped(np.array([np.pi, -np.pi, 3 * np.pi, 0.5 - 4 * np.pi]))
    np.testing.assert_allclose(found, [np.pi, np.pi, np.pi, 0.5])
    with pytest.raises(InputError, match="length 1"):
        SE3_of_quaternion(np.zeros(3), np.array([0, 0, 0, 0.5]))


def test_grid_cells_hold_their_middles() -> None:
    x, y = GRID.centres()
    assert (x[0], x[-1], y[0], y[-1]) == (-3.75, 3.75, -1.75, 1.75)
    assert GRID.x_max_m == 4 and GRID.y_max_m == 2
    inside = GRID.inside(np.array([[-4, -2], [4, 0], [3.99, 1.99], [0, -2.01]]))
    assert inside.tolist() == [True, False, True, False]
    assert GRID.coarser(4) == BevGrid(x_min_m=-4, y_min_m=-2, cell_m=2, rows=4, columns=2)
    with pytest.raises(InputError, match="divide"):
        GRID.coarser(3)


def labels(with_ground: bool = True) -> FrameLabels:
    rng = np.random.default_rng(4)
    boxes = random_boxes(rng, 3).as_records()
    record = FrameRecord(
        drive_id="d1", mono_ns=17, provenance=ORACLE, light="red", tags={"weather": "rain"},
        boxes=tuple(
            LabelledBox(box=b, ignored=i == 1, visibility=0.5) for i, b in enumerate(boxes)
        ),
        ground_grid=GRID if with_ground else None,
    )  # fmt: skip
    ground = rng.choice([0, 1, UNKNOWN], (2, 16, 8)).astype(np.uint8)
    return FrameLabels(record, ground if with_ground else None)


@pytest.mark.parametrize("with_ground", [True, False])
def test_label_files_come_back_whole_and_the_same(tmp_path: Path, with_ground: bool) -> None:
    before = labels(with_ground)
    path = tmp_path / "a.npz"
    path.write_bytes(labels_bytes(before))
    after = read_labels(path)
    assert after.record == before.record and after.ignored().tolist() == [False, True, False]
    assert labels_bytes(after) == path.read_bytes()
    if before.ground is not None:
        np.testing.assert_array_equal(after.ground, before.ground)
    np.testing.assert_allclose(after.boxes().centre_m, before.boxes().centre_m)


def test_broken_label_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorruptError, match="no label file"):
        labels_from(labels_bytes(labels())[:200], "cut")
    with pytest.raises(CorruptError, match="no label file"):
        labels_from(b"", "empty")
    with pytest.raises(InputError, match="no labels can be read"):
        read_labels(tmp_path / "none.npz")
    for arrays in (
        {"ground": np.zeros((2, 16, 8), np.uint8)},
        {"labels": np.frombuffer(b"{}", np.uint8)},
        {"labels": np.frombuffer(b"not json", np.uint8)},
    ):
        stream = io.BytesIO()
        np.savez(stream, **arrays)
        with pytest.raises(InputError, match=r"x\.npz"):
            labels_from(stream.getvalue(), "x.npz")


def test_a_pickle_in_a_label_file_is_never_loaded() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        content = io.BytesIO()
        np.lib.format.write_array(content, np.array([{}], dtype=object), allow_pickle=True)
        archive.writestr("labels.npy", content.getvalue())
    with pytest.raises(CorruptError):
        labels_from(stream.getvalue(), "x")


def test_labels_that_break_a_rule_are_refused() -> None:
    good = labels().record
    with pytest.raises(InputError, match="come together"):
        FrameLabels(good)
    with pytest.raises(InputError, match="must be uint8"):
        FrameLabels(good, np.zeros((2, 16, 9), np.uint8))
    with pytest.raises(InputError, match="holds 0, 1"):
        FrameLabels(good, np.full((2, 16, 8), 7, np.uint8))
    tram = {"centre_m": (0, 0, 0), "size_m": (1, 1, 1), "yaw_rad": 0.0, "class_name": "tram"}
    for broken in ({"class_name": "tram"}, {"class_name": "car", "frame": "world"}):
        with pytest.raises(ValidationError, match=r"boxes\.0"):
            FrameRecord(drive_id="d", mono_ns=0, provenance=ORACLE, boxes=(
                LabelledBox(box=Box3D.model_validate({**tram, **broken})),))  # fmt: skip
