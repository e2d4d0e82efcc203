"""Labelled drives as frames: by the vehicle's kernels, and the same from the cache."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from contracts.errors import CorruptError, InputError
from contracts.labels import labels_bytes
from models.data.drives import LabelledFrame, _Wanted, read_drive
from models.data.examples import Examples
from models.data.frames import CACHE_FOLDER, load_frames
from models.data.packed import packed, read_packed, write_packed
from models.student.config import StudentConfig, student_s
from models.teacher.config import teacher_config
from tests.sim_fleet.labelled import short_drive

CONFIG = student_s()


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return short_drive(tmp_path_factory.mktemp("short"))


@pytest.fixture(scope="module")
def frames(drive: Path) -> list[LabelledFrame]:
    return list(read_drive(drive, CONFIG))


def assert_same(one: LabelledFrame, other: LabelledFrame, atol: float = 0.0) -> None:
    assert labels_bytes(one.labels) == labels_bytes(other.labels)
    for name in ("images", "lidar", "radar", "cameras_present"):
        found, wanted = getattr(one.frame, name), getattr(other.frame, name)
        assert found.dtype == wanted.dtype
        np.testing.assert_allclose(found, wanted, atol=atol if found.dtype.kind == "f" else 0)
    assert (one.frame.table.pixel == other.frame.table.pixel).all()
    assert (one.frame.table.depth == other.frame.table.depth).all()


def test_a_frame_has_all_sensors_and_its_labels(frames: list[LabelledFrame]) -> None:
    assert len(frames) == 2
    for one in frames:
        assert one.frame.cameras_present.all()
        assert one.frame.lidar_present and one.frame.radar_present
        assert one.frame.images.std() > 10 and (one.frame.lidar[3] > 0).mean() > 0.02
    assert frames[0].labels.record.mono_ns < frames[1].labels.record.mono_ns


def test_what_is_left_undecoded_is_what_no_frame_looks_at(
    drive: Path, frames: list[LabelledFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Wanted, "takes", lambda self, message, mono_ns: True)
    for one, other in zip(frames, read_drive(drive, CONFIG), strict=True):
        assert_same(one, other)


def test_a_teacher_sees_sweeps_on_both_sides(drive: Path, frames: list[LabelledFrame]) -> None:
    config = teacher_config(CONFIG)
    for one, student in zip(read_drive(drive, config), frames, strict=True):
        recent = one.frame.lidar[6:]
        assert recent.shape[0] == 5 and (recent.reshape(5, -1).sum(axis=1) > 0).all()
        # Its third slot is the sweep of now, the student's first.
        np.testing.assert_array_equal(recent[2], student.frame.lidar[6])
        np.testing.assert_array_equal(recent[4], student.frame.lidar[8])
        np.testing.assert_array_equal(one.frame.images, student.frame.images)


def test_packed_frames_are_the_frames(frames: list[LabelledFrame], tmp_path: Path) -> None:
    path = tmp_path / "frames.npz"
    write_packed(path, packed(frames))
    drive = read_packed(path)
    assert drive.pixel.shape[0] == 1  # one calibration, one table
    for row, one in enumerate(frames):
        assert_same(one, LabelledFrame(drive.frame(row), drive.labels[row]), atol=1e-3)
    path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(CorruptError, match="no packed frames"):
        read_packed(path)


def test_the_second_load_reads_what_the_first_kept(drive: Path, tmp_path: Path) -> None:
    shutil.copytree(drive, tmp_path / "one" / drive.name)
    first = load_frames([tmp_path], CONFIG)
    (kept,) = (tmp_path / "one" / drive.name / CACHE_FOLDER).iterdir()
    second = load_frames([tmp_path / "one"], CONFIG)
    assert first.digest == second.digest and len(first) == len(second) == 2
    for one, other in zip(first, second, strict=True):
        assert_same(one, other)
    assert (first.drive_of == 0).all()
    # Another label is another data set, and is not answered from what was kept.
    label = sorted((tmp_path / "one" / drive.name / "labels").glob("*.npz"))[0]
    label.unlink()
    fewer = load_frames([tmp_path], CONFIG)
    assert len(fewer) == 1 and fewer.digest != first.digest
    assert len(list(kept.parent.iterdir())) == 2


def test_examples_carry_targets_and_a_teachers_words(drive: Path) -> None:
    frames = load_frames([drive], CONFIG)
    made = Examples(frames, CONFIG)
    assert len(made) == 2 and made[0].teacher is None
    assert (made[0].targets.heat == 1).sum() >= 3
    with pytest.raises(InputError, match="words on 0"):
        Examples(frames, CONFIG, [])


def test_bad_drives_are_refused_with_their_place(drive: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no labelled drive"):
        load_frames([tmp_path], CONFIG)
    copy = tmp_path / "drive"
    shutil.copytree(drive, copy, ignore=shutil.ignore_patterns(CACHE_FOLDER))
    late = sorted((copy / "labels").glob("*.npz"))[-1]
    beyond: StudentConfig = teacher_config(CONFIG)
    short = beyond.model_copy(update={"ahead_slots": 4, "lidar": beyond.lidar.model_copy(
        update={"slot_s": 0.2})})  # fmt: skip
    with pytest.raises(InputError, match="ends before its label"):
        list(read_drive(copy, short))
    late.write_bytes(b"no label")
    with pytest.raises(CorruptError, match=late.name):
        list(read_drive(copy, CONFIG))
    for label in (copy / "labels").glob("*.npz"):
        label.unlink()
    with pytest.raises(InputError, match="no drive there has a label"):
        load_frames([copy], CONFIG)
