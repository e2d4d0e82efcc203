"""Whole folders of drives, out and back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from contracts.errors import ConflictError, InputError
from offline.labels.formats.cameras import read_cameras, read_pictures
from offline.labels.formats.files import read_json, write_json
from offline.labels.formats.folders import (
    FORMATS,
    Format,
    export_drives,
    import_labels,
    labelled_drives,
    write_drives,
)
from offline.labels.formats.sequence import LabelSequence, read_sequence, write_sequence
from tests.offline.labels.formats.answers import answered
from tests.offline.labels.formats.drives import (
    CAMERAS,
    HUMAN,
    INSTANTS,
    assert_same,
    frame,
    small_sequence,
    write_drive,
)


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    return write_drive(tmp_path / "drives/first", small_sequence())


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "nuscenes"])
def test_out_and_back(drive: Path, tmp_path: Path, form: Format) -> None:
    done = export_drives(form, labelled_drives([drive.parent]), tmp_path / "out")
    assert (done.drives, done.frames) == (1, 3)
    if form == "label-studio":
        path = tmp_path / "out/tasks.json"
        write_json(path, [answered(task, "accept") for task in json.loads(path.read_text())])
    found = import_labels(form, tmp_path / "out", HUMAN, [drive])
    (folder,) = write_drives(found, tmp_path / "back")
    assert folder.name == "drive-1"
    if form == "kitti":
        assert done.left_out.counts["velocity"] == 6
        assert "6 × velocity" in done.left_out.sentences()
    else:
        assert_same(read_sequence(folder), small_sequence())
    with pytest.raises(InputError, match="there are labels already"):
        write_drives(found, tmp_path / "back")


@pytest.mark.parametrize("form", ["coco", "label-studio"])
def test_pictures_lie_where_the_files_say(drive: Path, tmp_path: Path, form: Format) -> None:
    done = export_drives(form, [drive], tmp_path / "out")
    assert done.pictures == 6 and not done.left_out.counts
    found = sorted(path.name for path in (tmp_path / "out/images").glob("drive-1/front/*"))
    assert found == [f"{instant}.jpg" for instant in INSTANTS]
    text = (tmp_path / "out" / ("tasks.json" if form != "coco" else "annotations.json")).read_text()
    assert all(f"drive-1/rear/{instant}.jpg" in text for instant in INSTANTS)


def test_a_clip_s_cameras_and_pictures(drive: Path) -> None:
    found = read_cameras(drive / "clip.mcap")
    assert found.keys() == CAMERAS.keys()
    for name, one in found.items():
        assert one.ego_SE3_camera == pytest.approx(CAMERAS[name].ego_SE3_camera)
    clip = drive / "clip.mcap"
    pictures = list(read_pictures(clip, [INSTANTS[2], INSTANTS[0], INSTANTS[1] + 100_000_001]))
    assert [(p.channel[8:], p.instant_ns) for p in pictures] == [
        ("front", INSTANTS[0]), ("rear", INSTANTS[0]),
        ("front", INSTANTS[2]), ("rear", INSTANTS[2]),
    ]  # fmt: skip
    assert pictures[0].taken_ns == INSTANTS[0] - 50_000_000
    only = list(read_pictures(clip, INSTANTS, ["/camera/rear"]))
    assert {p.channel for p in only} == {"/camera/rear"} and len(only) == 3


def test_what_cannot_be_read_or_written_is_refused(drive: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"no labels/\*\.npz"):
        labelled_drives([tmp_path / "out"])
    with pytest.raises(InputError, match="no camera '/camera/top'; there are /camera/front"):
        export_drives("kitti", [drive], out, camera="/camera/top")
    with pytest.raises(InputError, match="two folders hold drive"):
        export_drives("openlabel", [drive, drive], out)
    shutil.rmtree(out)
    out.mkdir()
    with pytest.raises(InputError, match=r"no \.json file"):
        import_labels("openlabel", out, None)
    with pytest.raises(InputError, match="--made-by"):
        import_labels("kitti", out, None)
    with pytest.raises(InputError, match="--drives"):
        import_labels("label-studio", out, None)
    export_drives("label-studio", [drive], out)
    shutil.rmtree(drive / "labels")
    write_sequence(LabelSequence(small_sequence().frames[:2]), drive)
    with pytest.raises(InputError, match="task 4: no frame 2000000000"):
        import_labels("label-studio", out, None, [drive])
    shutil.rmtree(drive / "labels")
    write_sequence(LabelSequence(tuple(frame(instant) for instant in INSTANTS)), drive)
    with pytest.raises(ConflictError, match="task 0: the labels have changed"):
        import_labels("label-studio", out, None, [drive])
    (drive / "clip.mcap").unlink()
    with pytest.raises(InputError, match="no clip"):
        export_drives("coco", [drive], out)


def test_a_sequence_keeps_its_rules() -> None:
    one, two, three = small_sequence().frames
    with pytest.raises(InputError, match="no frame is labelled"):
        LabelSequence(())
    with pytest.raises(InputError, match="frame 1: does not come after"):
        LabelSequence((two, one, three))
    with pytest.raises(InputError, match="frame 1: is of drive 'other'"):
        LabelSequence((one, frame(INSTANTS[1], drive_id="other")))
    twice = (one.record.boxes[0],) * 2
    with pytest.raises(InputError, match="frame 0: track 7 is there 2 times"):
        LabelSequence((frame(INSTANTS[0], *twice),))


def test_large_files_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "big.json"
    path.write_text("[" + " " * 100 + "]")
    assert read_json(path, 102) == []
    with pytest.raises(InputError, match=r"big\.json: larger than 101 bytes"):
        read_json(path, 101)
