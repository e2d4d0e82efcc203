"""`longtail label clip`: a recorded drive in, a labelled drive out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from cli.label import app
from contracts.errors import CorruptError, InputError
from contracts.ids import sha256_hex
from contracts.labels import LIGHT_STATES, FrameLabels, read_labels
from models.data.drives import LabelledFrame, read_drive
from models.runs import TrainingRun, finish_run, save_weights
from models.student.config import StudentConfig, student_s
from models.student.network import Student
from models.teacher.config import teacher_config
from models.teacher.network import new_teacher
from offline.labels.clips.instants import PERIOD_NS, _one_a_frame, frames_of, instants_of
from offline.labels.clips.seen import read_seen, see_clip, write_seen
from tests.models.evaluation_drives import NARROW
from tests.sim_fleet.labelled import short_drive

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return short_drive(tmp_path_factory.mktemp("short"))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a teacher that has learned nothing, but to see something anywhere."""
    folder = tmp_path_factory.mktemp("teacher")
    torch.manual_seed(0)
    student = student_s()
    config = StudentConfig.model_validate({**teacher_config(student).model_dump(), **NARROW})
    network = new_teacher(Student(config), 2, 0)
    for member in network.members:
        torch.nn.init.normal_(member.tail_heat.bias, -4.0, 0.2)
        torch.nn.init.normal_(member.tail_heat.weight, 0.0, 0.7)
    nothing = sha256_hex(b"")
    weights = save_weights(folder, network)
    finish_run(folder, TrainingRun(
        kind="teacher", config=config, members=2, recipe=nothing, stage="members", seed=0,
        dataset=nothing, examples=1, weights=weights,
    ))  # fmt: skip
    return folder


def labelled(drive: Path, teacher: Path, out: Path, *more: str) -> list[dict[str, object]]:
    found = RUNNER.invoke(app, [
        "clip", str(drive), "--teacher", str(teacher), "--out", str(out), "--workers", "0",
        "--json", *more,
    ])  # fmt: skip
    assert found.exit_code == 0, found.output
    figures: list[dict[str, object]] = json.loads(found.stdout)
    return figures


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "labels").glob("*.npz"))}


def test_a_drive_is_labelled_once_and_can_be_trained_on(
    drive: Path, teacher: Path, tmp_path: Path
) -> None:
    (figures,) = labelled(drive, teacher, tmp_path)
    out = tmp_path / drive.name
    made = files(out)
    assert figures["drive"] == drive.name and figures["instants"] == len(made) > 25
    labels = [read_labels(out / "labels" / name) for name in made]
    assert {one.record.provenance.source for one in labels} == {"auto"}
    for one in labels:
        check(one)
    frames: list[LabelledFrame] = list(read_drive(out, student_s()))
    assert len(frames) == len(made)
    # Called again, nothing is done anew, and a label that somebody lost is there again.
    next((out / "labels").iterdir()).unlink()
    assert labelled(drive, teacher, tmp_path) == [figures]
    assert files(out) == made


def check(labels: FrameLabels) -> None:
    record = labels.record
    assert record.ego_pose is not None and record.ground_grid == student_s().grid
    assert labels.ground is not None and record.light in (None, *LIGHT_STATES)
    for each in record.boxes:
        assert each.provenance is not None and each.provenance.digest == record.provenance.digest
        how = each.provenance.made_by.rpartition(": ")[2]
        assert how in {"detected", "smoothed", "filled", "extended"}
        assert each.ignored or each.confidence >= 0.5


def test_what_was_seen_is_kept_whole(drive: Path, teacher: Path, tmp_path: Path) -> None:
    from models.runs import load_teacher
    from models.teacher.boxes import TeacherBoxes
    from models.teacher.predict import TeacherView

    network, _ = load_teacher(teacher)
    view = TeacherView(network)
    seen = see_clip(drive / "clip.mcap", view, 0.05)
    path = tmp_path / "seen.npz"
    write_seen(path, seen)
    again = read_seen(path)
    np.testing.assert_array_equal(again.fused.scores, seen.fused.scores)
    np.testing.assert_array_equal(again.views.boxes.centre_m, seen.views.boxes.centre_m)
    np.testing.assert_array_equal(again.ground, seen.ground)
    assert again.grid == seen.grid and again.sources == 4 and len(seen.views) > 0
    assert set(seen.source.tolist()) <= set(range(4))
    (frame, *_) = (one.frame for one in read_drive(drive, network.config))
    opinions = view.opinions(frame)
    decoder = TeacherBoxes(network.config, 0.05)
    assert len(decoder.by_member(opinions)) == 2
    assert [len(views) for views in decoder.by_view(opinions)] == [2, 2]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CorruptError, match="not what was seen"):
        read_seen(path)


def test_instants_are_the_sweeps_that_can_be_seen_from_later(drive: Path) -> None:
    now, later = instants_of(drive / "clip.mcap", 0.0), instants_of(drive / "clip.mcap", 0.2)
    assert (np.diff(now.mono_ns) == PERIOD_NS).all()
    assert 1 <= now.mono_ns.size - later.mono_ns.size <= 3
    with pytest.raises(InputError, match="no instant can be seen"):
        instants_of(drive / "clip.mcap", 60.0)


def test_of_a_faster_lidar_one_sweep_a_frame_is_taken() -> None:
    times = 7 + np.arange(0, 10**9, 40_000_000)
    kept = _one_a_frame(times)
    assert (np.diff(frames_of(kept)) == 1).all()
    off = (kept - 7) - frames_of(kept) * PERIOD_NS
    assert np.abs(off).max() <= 20_000_000


def test_no_clip_is_refused(teacher: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    found = RUNNER.invoke(app, [
        "clip", str(tmp_path / "empty"), "--teacher", str(teacher), "--out", str(tmp_path / "o"),
    ])  # fmt: skip
    assert isinstance(found.exception, InputError) and "no clip" in str(found.exception)
