"""`longtail label auto`: what it writes, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cli.label import app
from contracts.errors import InputError
from offline.labels.auto.parameters import PUBLISHED, parameters_text, read_parameters
from offline.labels.formats.openlabel_reader import read_openlabel
from offline.labels.kitti import detection_text, read_labels
from tests.offline.labels.auto.worlds import driving, parked_row, standing, street

CALIBRATION = "".join(
    [f"P{k}: 721.5 0 609.6 0 0 721.5 172.9 0 0 0 1 0\n" for k in range(4)]
    + ["R0_rect: 1 0 0 0 1 0 0 0 1\n"]
    + [f"{name}: 1 0 0 0 0 1 0 0 0 0 1 0\n" for name in ("Tr_velo_to_cam", "Tr_imu_to_velo")]
)
RUNNER = CliRunner()


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    seen = street([*parked_row(20), driving((10, -3, 0), 0.8, 0, 20)], standing(0, 0, 0, 20))
    (tmp_path / "boxes/any_Car").mkdir(parents=True)
    (tmp_path / "calib").mkdir()
    (tmp_path / "boxes/any_Car/0007.txt").write_text(detection_text(seen.clip.found))
    (tmp_path / "calib/0007.txt").write_text(CALIBRATION)
    return tmp_path


def arguments(root: Path, *more: str) -> list[str]:
    return [
        "auto", "--detections", str(root / "boxes"), "--calib", str(root / "calib"),
        "--out", str(root / "out"), "--workers", "0", *more,
    ]  # fmt: skip


@pytest.mark.parametrize("more", [[], ["--online"], ["--everything"]])
def test_result_files_with_scores(folders: Path, more: list[str]) -> None:
    result = RUNNER.invoke(app, arguments(folders, "--json", *more), catch_exceptions=False)
    assert result.exit_code == 0
    row = json.loads(result.stdout)[0]
    found = read_labels(folders / "out/0007.txt").objects
    assert (row["sequence"], row["frames"], row["boxes"]) == ("0007", 20, len(found))
    assert row["tracks"] == len(set(found.track_id.tolist())) >= 10
    assert 0 <= found.score.min() <= found.score.max() <= 1


def test_called_again_it_goes_on(folders: Path) -> None:
    for name in ("0008", "0009"):
        shutil.copy(folders / "calib/0007.txt", folders / f"calib/{name}.txt")
    boxes = folders / "boxes/any_Car"
    shutil.copy(boxes / "0007.txt", boxes / "0008.txt")
    (boxes / "0009.txt").write_text("0,2,1\n")
    with pytest.raises(InputError, match=r"0009: 1 of 3 failed .*0009\.txt:1: has 3 columns"):
        RUNNER.invoke(app, arguments(folders, "--workers", "1"), catch_exceptions=False)
    first = {path.name: path.stat() for path in (folders / "out").glob("*.txt")}
    assert sorted(first) == ["0007.txt", "0008.txt"]
    shutil.copy(boxes / "0007.txt", boxes / "0009.txt")
    (folders / "out/0008.txt").unlink()
    result = RUNNER.invoke(app, arguments(folders, "--json"), catch_exceptions=False)
    assert result.exit_code == 0
    assert [line for line in result.stderr.splitlines() if "done before" not in line] == [
        "3 of 3: 0009"
    ]
    texts = {path.read_bytes() for path in (folders / "out").glob("*.txt")}
    assert len(texts) == 1
    after = (folders / "out/0007.txt").stat()
    assert (after.st_ino, after.st_mtime_ns) == (
        first["0007.txt"].st_ino, first["0007.txt"].st_mtime_ns,
    )  # fmt: skip
    other = RUNNER.invoke(app, arguments(folders, "--everything"), catch_exceptions=False)
    assert "done before" not in other.stderr


def test_wrong_input_is_refused_with_its_place(folders: Path) -> None:
    path = folders / "boxes/any_Car/0007.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:4], lines[4] + ",1", *lines[5:]]))
    with pytest.raises(InputError, match=r"0007\.txt:5: has 16 columns"):
        RUNNER.invoke(app, arguments(folders), catch_exceptions=False)
    assert not (folders / "out/0007.txt").exists()
    with pytest.raises(InputError, match=r"no 0008\.txt"):
        RUNNER.invoke(app, arguments(folders, "--sequence", "0008"), catch_exceptions=False)
    shutil.rmtree(folders / "boxes/any_Car")
    with pytest.raises(InputError, match=r"no \.txt file"):
        RUNNER.invoke(app, arguments(folders), catch_exceptions=False)
    with pytest.raises(InputError, match="doubtful"):
        RUNNER.invoke(app, arguments(folders, "--online", "--everything"), catch_exceptions=False)


def test_parameters_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "parameters.json"
    path.write_text(PUBLISHED.read_text())
    assert read_parameters(path) == read_parameters()
    assert parameters_text(read_parameters()) == PUBLISHED.read_text()
    path.write_text(PUBLISHED.read_text().replace('"patience": 10', '"patience": -1', 1))
    with pytest.raises(InputError, match=r"parameters\.json: 0\.association\.patience"):
        read_parameters(path)
    path.write_text(PUBLISHED.read_text().replace('"Pedestrian"', '"Car"', 1))
    with pytest.raises(InputError, match="twice"):
        read_parameters(path)


def test_openlabel_tells_how_each_box_came_about(folders: Path) -> None:
    result = RUNNER.invoke(app, arguments(folders, "--openlabel"), catch_exceptions=False)
    assert result.exit_code == 0
    found = read_labels(folders / "out/0007.txt").objects
    sequence = read_openlabel(folders / "out/0007.json")
    assert len(sequence.frames) == 20
    told = {
        (number, box.box.track_id): box
        for number, frame in enumerate(sequence.frames) for box in frame.record.boxes
    }  # fmt: skip
    boxes = [told[key] for key in zip(found.frame.tolist(), found.track_id.tolist(), strict=True)]
    assert len(boxes) == len(told)
    assert np.allclose([box.confidence for box in boxes], found.score, atol=1e-5)
    assert np.allclose([box.box.centre_m for box in boxes], found.centre_m, atol=1e-3)
    how = {box.provenance.made_by for box in boxes if box.provenance is not None}
    assert "auto-labeller: smoothed" in how
    digests = {box.provenance.digest for box in boxes if box.provenance is not None}
    assert len(digests) == 1 and None not in digests
