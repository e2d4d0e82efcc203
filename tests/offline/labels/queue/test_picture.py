"""A task's picture: made of the best view, the points in the ego's axes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from contracts.errors import InputError
from contracts.review import Tier, review_of
from contracts.samples import LidarSample, MountSample
from kernels.clip.encoding import encode_sample
from kernels.clip.writer import write_clip
from offline.labels.queue.clips import ClipFolders
from offline.labels.queue.from_drives import search_task, track_tasks
from offline.labels.queue.picture import draw_task, ego_points_at
from offline.labels.queue.records import TaskRow
from tests.offline.labels.formats.drives import (
    INSTANTS,
    OFFSET_NS,
    manifest,
    small_sequence,
    write_drive,
)


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    image = pytest.importorskip("matplotlib.image")
    sequence = small_sequence()
    view = ClipFolders([write_drive(tmp_path / "one", sequence)]).view("drive-1")
    search = search_task(sequence, "drive-1", Tier.EXPERT, 1)
    for new in (next(track_tasks(sequence, "drive-1", Tier.EXPERT, 1, 1.01)), search):
        row = TaskRow(new.task, review_of(new.task), new.proposal, ())
        told = draw_task(row, view, tmp_path / "task.png")
        assert "of drive-1" in told and "camera, frame" in told
        pixels = image.imread(tmp_path / "task.png")
        red = (pixels[..., 0] > 0.8) & (pixels[..., 1] < 0.3)
        assert pixels.shape == (500, 1500, 4) and 300 < red.sum() < 30_000
    with pytest.raises(InputError, match="cannot be written"):
        draw_task(row, view, tmp_path / "absent/task.png")


def test_points_are_the_newest_sweep_s_in_the_ego_frame(tmp_path: Path) -> None:
    mount = np.eye(4)
    mount[:3, 3] = (1.0, 0.0, 2.0)
    ahead = np.array([[5.0, 0, 0], [6.0, 1, 0]], np.float32)
    messages = [encode_sample(MountSample(INSTANTS[0], "top", mount), OFFSET_NS)]
    for late_ns, points in ((-20_000_000, ahead + 3), (0, ahead), (20_000_000, ahead - 3)):
        messages.append(
            encode_sample(
                LidarSample("/lidar/top", INSTANTS[1] + late_ns, points,
                            np.zeros(2, np.uint8), "top"),
                OFFSET_NS,
            )
        )  # fmt: skip
    with (tmp_path / "clip.mcap").open("wb") as stream:
        write_clip(stream, manifest(), messages, {})
    found = ego_points_at(tmp_path / "clip.mcap", INSTANTS[1])
    found = found[np.argsort(found[:, 0])]
    np.testing.assert_allclose(found, [[6, 0, 2], [7, 1, 2]], atol=0.05)
    assert ego_points_at(tmp_path / "clip.mcap", INSTANTS[0]).shape == (0, 3)
