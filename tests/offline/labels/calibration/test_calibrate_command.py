"""`longtail label calibrate`: folders in, an artifact and figures out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cli.label import app
from contracts.errors import InputError
from offline.labels.calibration.calibrator import read_calibrator
from offline.labels.kitti import detection_text, label_text, read_labels
from tests.cli.test_label_auto import CALIBRATION
from tests.offline.labels.auto.worlds import driving, parked_row, standing, street
from tests.offline.labels.tracked import NO_REGIONS, LabelFile

FRAMES = 12
RUNNER = CliRunner()


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for name in ("boxes", "calib", "gt"):
        (tmp_path / name).mkdir()
    for number in range(3):
        courses = [*parked_row(FRAMES), driving((10, -3, 0), 0.8, 0, FRAMES)]
        seen = street(courses, standing(0, 0, 0, FRAMES), noise_m=0.05 + 0.05 * number)
        # Every third car that was detected is none.
        real = seen.truth.take(np.asarray(seen.truth.track_id % 3 != 0))
        (tmp_path / f"boxes/{number:04d}.txt").write_text(detection_text(seen.clip.found))
        (tmp_path / f"calib/{number:04d}.txt").write_text(CALIBRATION)
        (tmp_path / f"gt/{number:04d}.txt").write_text(label_text(LabelFile(real, *NO_REGIONS)))
    return tmp_path


def arguments(root: Path, *more: str) -> list[str]:
    folders = [f"--{name}={root / part}" for name, part in
               (("detections", "boxes"), ("calib", "calib"), ("gt", "gt"))]  # fmt: skip
    return ["calibrate", *folders, f"--out={root / 'calibrator.json'}", *more]


def test_fits_writes_and_tells(folders: Path) -> None:
    done = RUNNER.invoke(app, arguments(folders, "--json"), catch_exceptions=False)
    told = json.loads(done.stdout)
    calibrator = read_calibrator(folders / "calibrator.json")
    assert told["digest"] == calibrator.digest
    assert calibrator.origin.sequences == ("0000", "0001", "0002")
    assert [one["class_name"] for one in told["left_out"]] == ["car"]
    assert told["left_out"][0]["boxes"] == calibrator.origin.boxes
    words = RUNNER.invoke(app, arguments(folders, "--link", "isotonic"), catch_exceptions=False)
    assert words.exit_code == 0
    assert "never" in words.stdout
    auto = ["auto", "--detections", folders / "boxes", "--calib", folders / "calib", "--out",
            folders / "out", "--calibrator", folders / "calibrator.json", "--everything",
            "--workers", "0"]  # fmt: skip
    assert RUNNER.invoke(app, [str(a) for a in auto], catch_exceptions=False).exit_code == 0
    score = read_labels(folders / "out/0000.txt").objects.score
    assert 0 <= score.min() <= score.max() <= 1


def test_what_does_not_suffice_is_refused(folders: Path) -> None:
    with pytest.raises(InputError, match="at least 3"):
        RUNNER.invoke(app, arguments(folders, "--sequence", "0000"), catch_exceptions=False)
    (folders / "out").mkdir()
    (folders / "bad.json").write_text("{}")
    auto = ["auto", "--detections", folders / "boxes", "--calib", folders / "calib", "--out",
            folders / "out", "--calibrator", folders / "bad.json", "--workers", "0"]  # fmt: skip
    with pytest.raises(InputError, match=r"bad\.json"):
        RUNNER.invoke(app, [str(a) for a in auto], catch_exceptions=False)
