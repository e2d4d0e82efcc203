"""Sweeps in KITTI's folders, through the labeller's stage."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cli.label import app
from contracts.errors import CorruptError, InputError
from contracts.geometry import flat_SE3
from offline.labels.auto.kitti_stage import RESULT, label_sequence, sequence_inputs
from offline.labels.auto.parameters import PUBLISHED
from offline.labels.calibration.calibrator import PUBLISHED as CALIBRATOR
from offline.labels.points.sweep import SweepFiles, files_of


def folder(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        np.array([[1, 2, 3, 0.5]], dtype="<f4").tofile(path)
    return root


@pytest.mark.parametrize("name", ["0003", "velodyne_0003", "0003_sync"])
def test_a_sequence_has_one_folder(tmp_path: Path, name: str) -> None:
    files = files_of(folder(tmp_path, f"{name}/000010.bin", f"{name}/000002.bin"), "0003")
    assert list(files) == [2, 10]


def test_folders_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    folder(tmp_path, "a_0003/0.bin", "b_0003/0.bin", "0004/note.txt")
    with pytest.raises(InputError, match="has a_0003, b_0003"):
        files_of(tmp_path, "0003")
    with pytest.raises(InputError, match="needs one folder 0005"):
        files_of(tmp_path, "0005")
    with pytest.raises(InputError, match="no FRAME"):
        files_of(tmp_path, "0004")
    with pytest.raises(InputError, match="frame 7 is there twice"):
        files_of(folder(tmp_path, "0007/7.bin", "0007/007.bin"), "0007")


def test_points_are_told_in_the_frame_of_the_boxes(tmp_path: Path) -> None:
    folder(tmp_path, "0003/5.bin")
    sweeps = SweepFiles(files_of(tmp_path, "0003"), flat_SE3(10, 0, np.pi / 2, 1))
    assert sweeps.get(4) is None
    sweep = sweeps.get(5)
    assert sweep is not None
    np.testing.assert_allclose(sweep.xyz_m, [[8, 1, 4]], atol=1e-5)
    np.testing.assert_allclose(sweep.intensity, [0.5], atol=0.01)
    (tmp_path / "0003" / "5.bin").write_bytes(b"short")
    with pytest.raises(CorruptError):
        sweeps.get(5)


def test_the_stage_takes_points(shared_data: Path) -> None:
    kitti = shared_data / "kitti_tracking"
    inputs = sequence_inputs("0000", kitti, kitti / "calib", PUBLISHED, CALIBRATOR, kitti)
    plain = sequence_inputs("0000", kitti, kitti / "calib", PUBLISHED, CALIBRATOR)
    assert inputs.digest() != plain.digest()
    with_points = label_sequence(inputs.request({}))
    without = label_sequence(plain.request({}))
    assert with_points.figures["sweeps"] == 30
    assert "sweeps" not in without.figures
    assert with_points.files[RESULT] != without.files[RESULT]
    with pytest.raises(InputError, match="takes no points"):
        label_sequence(inputs.request({"online": True}))


def test_the_command_takes_points(tmp_path: Path, shared_data: Path) -> None:
    kitti = shared_data / "kitti_tracking"
    arguments = [
        "auto", "--detections", str(kitti), "--calib", str(kitti / "calib"),
        "--points", str(kitti), "--out", str(tmp_path / "out"), "--sequence", "0000",
    ]  # fmt: skip
    told = CliRunner().invoke(app, [*arguments, "--workers", "1", "--json"])
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)[0]["sweeps"] == 30
    refused = CliRunner().invoke(app, [*arguments, "--online"])
    assert refused.exit_code != 0
