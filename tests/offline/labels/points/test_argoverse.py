"""An Argoverse log as a clip: levelled, standing still where things stand, refined in the world."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import feather

from bench.label_points import argoverse_figures
from contracts.errors import InputError
from kernels.lidar.objects import crop
from offline.labels.argoverse import ArgoverseLog, read_log
from offline.labels.auto.planar import placed
from offline.labels.kitti import CLASSES

POSE = {"qw": 1.0, "qx": 0.0, "qy": 0.0, "qz": 0.0, "tx_m": 0.0, "ty_m": 0.0, "tz_m": 0.0}


@pytest.fixture(scope="module")
def log(shared_data: Path) -> ArgoverseLog:
    return read_log(next((shared_data / "av2").iterdir()))


def test_a_recorded_log(log: ArgoverseLog) -> None:
    assert (log.frames, len(log.truth)) == (156, 10448)
    assert {CLASSES[kind] for kind in log.truth.kind} == {
        "Car", "Truck", "Pedestrian", "Cyclist", "Motorcycle",
    }  # fmt: skip
    assert sorted(log.sweep_files) == [116, 117]
    # Parked for the whole log: it hardly moves in the levelled world, height included.
    truth, world = log.truth, log.world_SE2_level
    xy = placed(world[truth.frame], truth.centre_m[:, :2])
    spans = [
        np.ptp(np.column_stack([xy, truth.centre_m[:, 2]])[truth.track_id == track], axis=0)
        for track in np.unique(truth.track_id)
        if (truth.track_id == track).sum() == log.frames
    ]
    assert sum(bool((span < (0.6, 0.6, 0.05)).all()) for span in spans) >= 10


def test_points_lie_in_the_boxes_that_were_annotated_on_them(log: ArgoverseLog) -> None:
    sweep = log.get(116)
    assert sweep is not None
    assert log.get(0) is None
    rows = np.flatnonzero(log.truth.frame == 116)
    here = log.truth.take(rows)
    box, _ = crop(sweep.xyz_m, here.centre_m, here.yaw_rad, here.size_m / 2)
    inside = np.bincount(box, minlength=len(here))
    told = log.interior_points[rows]
    many = told > 50
    assert many.sum() >= 5
    np.testing.assert_allclose(inside[many], told[many], rtol=0.15)


def test_the_world_more_than_halves_the_errors_of_noised_boxes(log: ArgoverseLog) -> None:
    by_name = {each.name: each for each in argoverse_figures(log, seeds=1)}
    for name in ("Argoverse: centre error", "Argoverse: heading error"):
        assert by_name[name].holds
        assert by_name[name].ratio is not None
        assert by_name[name].ratio < 0.4
    assert by_name["Argoverse: dropped boxes that were filled"].value > 90


def made(folder: Path, **changes: object) -> Path:
    """A log of one annotation and two poses, 50 ms apart."""
    poses = {"timestamp_ns": [100, 50_000_100]} | {k: [v, v] for k, v in POSE.items()}
    box = {
        "timestamp_ns": [200], "track_uuid": ["a"], "category": ["BUS"], "length_m": [11.0],
        "width_m": [2.5], "height_m": [3.0], "num_interior_pts": [7],
    } | {k: [v] for k, v in POSE.items()}  # fmt: skip
    box |= changes
    feather.write_feather(pa.table(poses), folder / "city_SE3_egovehicle.feather")
    kept = {name: column for name, column in box.items() if column is not None}
    feather.write_feather(pa.table(kept), folder / "annotations.feather")
    return folder


def test_a_made_up_log(tmp_path: Path) -> None:
    log = read_log(made(tmp_path, tx_m=[12.0], tz_m=[1.5]))
    assert CLASSES[log.truth.kind[0]] == "Bus"
    np.testing.assert_allclose(log.truth.centre_m, [[12.0, 0.0, 1.5]])
    assert log.truth.size_m.tolist() == [[11.0, 2.5, 3.0]]


def test_what_is_no_object_is_left_out(tmp_path: Path) -> None:
    assert len(read_log(made(tmp_path, category=["BOLLARD"])).truth) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"category": None}, "annotations.feather: lacks category"),
        ({"timestamp_ns": [60_000_000]}, "poses cover"),
    ],
)
def test_bad_logs_are_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_log(made(tmp_path, **change))


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (made(tmp_path) / "annotations.feather").write_bytes(b"no table")
    with pytest.raises(InputError, match="cannot be read"):
        read_log(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        read_log(tmp_path / "nowhere")
