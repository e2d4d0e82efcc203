"""FiftyOne imports what `longtail label export --format fiftyone` writes, and gives it back.

FiftyOne with its dependencies is 800 MB and takes its database from the network, so `make interop`
does not install it: `FIFTYONE_PYTHON` names a Python that has `fiftyone` and `mongomock`.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from offline.labels.formats.fiftyone.reader import read_fiftyone
from offline.labels.formats.folders import export_drives
from tests.interop.programs import clean_environment
from tests.offline.labels.formats.drives import assert_same
from tests.offline.labels.formats.moving import INSTANTS, sequence, write_moving_drive

pytestmark = pytest.mark.interop
SCRIPT = Path(__file__).with_name("fiftyone_import.py")


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """What FiftyOne knows after its import, and the folder of its own export."""
    python = os.environ.get("FIFTYONE_PYTHON")
    if not python:
        pytest.skip("FIFTYONE_PYTHON names no Python that has fiftyone and mongomock")
    folder = tmp_path_factory.mktemp("fiftyone")
    drive = write_moving_drive(folder / "drives" / "first")
    export_drives("fiftyone", [drive], folder / "out")
    done = subprocess.run(
        [python, str(SCRIPT), str(folder / "out"), str(folder / "export")],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False,
        env=clean_environment({"FIFTYONE_DATABASE_DIR": str(folder / "database")}),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.strip().splitlines()[-1]), folder / "export"


def test_frames_boxes_and_scenes_arrive(imported: tuple[Any, Path]) -> None:
    told, _ = imported
    assert told["media"] == {"front": "image", "rear_left": "image", "scene": "3d"}
    # The first frame has no picture of the slice that is shown first.
    assert (told["shown"], len(told["frames"])) == (15, 16)
    for found, instant, frame in zip(told["frames"], INSTANTS, sequence().frames, strict=True):
        assert (found["drive"], found["mono_ns"], found["weather"]) == ("drive-1", instant, "rain")
        assert found["clouds"] == [f"{instant}.pcd"]
        assert found["boxes"] == [
            [
                one.box.class_name, one.box.track_id, one.confidence, list(one.box.centre_m),
                list(one.box.size_m), [0.0, 0.0, one.box.yaw_rad],
            ]
            for one in frame.record.boxes
        ]  # fmt: skip
    assert all(0 <= share <= 1 for boxes in told["flat"] for box in boxes for share in box)
    assert sum(map(len, told["flat"])) > 10


def test_what_fiftyone_exports_is_read_back(imported: tuple[Any, Path]) -> None:
    _, export = imported
    found = read_fiftyone(export)
    assert found.flat == []
    assert_same(found.sequences[0], sequence())
