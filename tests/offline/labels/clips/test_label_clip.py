"""`longtail label clip`: a recorded drive in, a labelled drive out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from typer.testing import CliRunner

from cli.label import app
from contracts.errors import CorruptError, InputError
from contracts.geometry import TAXONOMY
from contracts.ids import sha256_hex
from contracts.labels import LIGHT_STATES, FrameLabels, read_labels
from kernels.clip.reader import read_manifest
from models.data.drives import drive_folders, frames_at
from models.runs import TrainingRun, finish_run, load_teacher, save_weights
from models.student.config import StudentConfig, student_s
from models.student.inputs import StudentFrame
from models.student.network import Student
from models.teacher.boxes import TeacherBoxes
from models.teacher.config import teacher_config
from models.teacher.network import new_teacher
from models.teacher.predict import Opinions, TeacherView
from offline.labels.clips import seen as seen_module
from offline.labels.clips.instants import (
    PERIOD_NS,
    Instants,
    _one_a_frame,
    frames_of,
    instants_of,
)
from offline.labels.clips.labelling import Labeller, labels_of
from offline.labels.clips.parameters import ClipParameters, read_clip_parameters
from offline.labels.clips.seen import ClipSeen, read_seen, see_clip, write_seen
from offline.labels.clips.stage import Settings
from offline.labels.fusion.table import Detections, joined
from tests.models.evaluation_drives import NARROW
from tests.offline.labels.clips.scene import FRAMES, KINDS, POSES, TIMES_NS, detections, truth
from tests.sim_fleet.labelled import short_drive

RUNNER = CliRunner()
PARAMETERS = read_clip_parameters()[0]


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return short_drive(tmp_path_factory.mktemp("short"))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a teacher that has learned nothing."""
    folder = tmp_path_factory.mktemp("teacher")
    torch.manual_seed(0)
    config = StudentConfig.model_validate({**teacher_config(student_s()).model_dump(), **NARROW})
    network = new_teacher(Student(config), 2, 0)
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
    known = read_manifest(drive / "clip.mcap").summary.tags()
    assert known["tod"] == "day" and all(one.record.tags == known for one in labels)
    for one in labels:
        check(one)
    assert drive_folders([tmp_path]) == [out]
    assert (out / "clip.mcap").samefile(drive / "clip.mcap")
    # Called again, nothing is done anew, and a label that somebody lost is there again.
    next((out / "labels").iterdir()).unlink()
    assert labelled(drive, teacher, tmp_path) == [figures]
    refused = RUNNER.invoke(app, [
        "clip", str(drive), "--teacher", str(teacher), "--out", str(tmp_path / "none"),
        "--workers", "0", "--members", "3",
    ])  # fmt: skip
    assert refused.exit_code == 1 and "1 to 2 members can be asked" in str(refused.exception)
    assert files(out) == made


def test_the_teacher_looks_once_where_nobody_asks_for_the_mirror(
    drive: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Settings().told() == {"bf16": False, "points": True}  # as before the choice was there
    whole = instants_of(drive / "clip.mcap", 0.2)
    few = Instants(whole.mono_ns[5:8], whole.world_SE3_ego[5:8])
    monkeypatch.setattr(seen_module, "instants_of", lambda clip, ahead_s: few)
    views: list[int] = []
    plain = TeacherView.opinions

    def opinions(view: TeacherView, frame: StudentFrame) -> Opinions:
        told = plain(view, frame)
        views.append(told.heat.shape[1])
        return told

    monkeypatch.setattr(TeacherView, "opinions", opinions)
    for words, looks in (((), [2, 2, 2]), (("--no-mirror",), [1, 1, 1]), (("--mirror",), [])):
        views.clear()
        labelled(drive, teacher, tmp_path, *words)
        assert views == looks


def check(labels: FrameLabels) -> None:
    record = labels.record
    assert record.ego_pose is not None and record.ground_grid == student_s().grid
    assert labels.ground is not None and record.light in (None, *LIGHT_STATES)
    for each in record.boxes:
        assert each.provenance is not None and each.provenance.digest == record.provenance.digest
        how = each.provenance.made_by.rpartition(": ")[2]
        assert how in {"detected", "smoothed", "filled", "extended"}
        assert each.ignored or each.confidence >= min(PARAMETERS.taught_from.values())


def test_what_was_seen_is_kept_whole(
    drive: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = drive / "clip.mcap"
    few = instants_of(clip, 0.2)
    few = Instants(few.mono_ns[5:7], few.world_SE3_ego[5:7])
    monkeypatch.setattr(seen_module, "instants_of", lambda clip, ahead_s: few)
    network, _ = load_teacher(teacher)
    view = TeacherView(network)
    seen = see_clip(clip, view, 0.01)
    path = tmp_path / "seen.npz"
    write_seen(path, seen)
    again = read_seen(path)
    np.testing.assert_array_equal(again.fused.scores, seen.fused.scores)
    np.testing.assert_array_equal(again.views.boxes.centre_m, seen.views.boxes.centre_m)
    np.testing.assert_array_equal(again.ground, seen.ground)
    assert again.grid == seen.grid and again.sources == 4 and len(seen.views) > 0
    assert set(seen.source.tolist()) <= set(range(4))
    frame = next(frames_at(clip, few.mono_ns.tolist(), network.config))
    opinions, decoder = view.opinions(frame), TeacherBoxes(network.config, 0.01)
    by_view = [one for member in decoder.by_view(opinions) for one in member]
    assert sum(len(one.boxes) for one in by_view) == int((seen.views.group == 0).sum())
    assert len(decoder.by_member(opinions)) == 2
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CorruptError, match="not what was seen"):
        read_seen(path)


def test_labels_teach_what_is_sure_and_ignore_what_is_not() -> None:
    kept = np.ones((FRAMES, 4), dtype=np.bool_)
    kept[20:30, 1] = False
    found = detections(kept)
    weak = np.where(found.boxes.track_id == 3, 0.35, 0.9)
    found = Detections(found.boxes, weak, found.distributions, found.group)
    # A ghost that is seen once is a track of its own, and takes nothing from the others.
    ghost = found.take(np.array([len(found) - 1]))
    ghost.boxes.centre_m[0, :2] = (-20.0, 30.0)
    found = joined([found, ghost], len(TAXONOMY.classes))
    grid = student_s().grid
    ground = np.full((FRAMES, 2, grid.rows, grid.columns), 250, dtype=np.uint8)
    light = np.tile(np.float32([0.02, 0.9, 0.04, 0.04]), (FRAMES, 1))
    none = found.take(np.zeros(len(found), dtype=np.bool_))
    seen = ClipSeen(
        TIMES_NS, POSES, found, none, np.zeros(0, np.int64), 1, ground, light, grid
    )  # fmt: skip
    parameters, calibrator = read_clip_parameters()
    labeller = Labeller("teacher", sha256_hex(b"weights"), parameters, calibrator)
    tags = {"tod": "dusk"}
    labels = labels_of(seen, None, "drive", tags, TAXONOMY, labeller)
    assert len(labels) == FRAMES
    for k, one in enumerate(labels):
        check(one)
        taught = one.boxes().take(~one.ignored())
        real = truth(k)
        for row in range(3):
            away = np.hypot(*(taught.centre_m - real.centre_m[row])[:, :2].T)
            assert away.min() < 0.25 and taught.class_index[away.argmin()] == KINDS[row]
        assert one.record.ego_pose is not None
        np.testing.assert_allclose(one.record.ego_pose.world_SE3_ego(), POSES[k], atol=1e-9)
    said = {each.provenance.made_by for each in labels[25].record.boxes if each.provenance}
    assert any(words.endswith("filled") for words in said)
    assert labels[0].record.provenance.made_by == "auto-labeller with teacher"
    assert all(one.record.tags == tags for one in labels)
    again = labels_of(seen, None, "drive", tags, TAXONOMY, labeller)
    assert again[9].record == labels[9].record


def test_instants_are_the_sweeps_that_can_be_seen_from_later(drive: Path) -> None:
    now, later = instants_of(drive / "clip.mcap", 0.0), instants_of(drive / "clip.mcap", 0.2)
    assert (np.diff(now.mono_ns) == PERIOD_NS).all()
    assert 1 <= now.mono_ns.size - later.mono_ns.size <= 3
    with pytest.raises(InputError, match="no instant can be seen"):
        instants_of(drive / "clip.mcap", 60.0)


def test_of_a_faster_lidar_one_sweep_a_frame_is_taken() -> None:
    times = 7 + np.arange(0, 920_000_000, 40_000_000)
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


def test_what_lies_at_the_edge_of_the_grid_does_not_count() -> None:
    found = detections(np.ones((FRAMES, 4), dtype=np.bool_))
    grid = student_s().grid
    none = found.take(np.zeros(len(found), dtype=np.bool_))
    seen = ClipSeen(
        TIMES_NS, POSES, found, none, np.zeros(0, np.int64), 1, np.zeros((0, 2, 1, 1), np.uint8),
        np.zeros((0, 4), np.float32), grid,
    )  # fmt: skip
    every = seen.counted(0.0, 0.0)
    x, y = every.boxes.centre_m[:, :2].T
    assert grid.inside(every.boxes.centre_m[:, :2]).all() and len(every) < len(found)
    inner = seen.counted(0.5, 20.0)
    within = (x >= grid.x_min_m + 20) & (x <= grid.x_max_m - 20)
    within &= (y >= grid.y_min_m + 20) & (y <= grid.y_max_m - 20)
    np.testing.assert_array_equal(inner.group, every.group[within])
    assert not len(seen.counted(0.95, 0.0))


def test_thresholds_are_there_for_each_class_and_above_what_is_ignored() -> None:
    whole = PARAMETERS.model_dump()
    for taught in ({"Car": 0.5}, {**PARAMETERS.taught_from, "Car": 0.05}):
        with pytest.raises(ValidationError, match="taught_from"):
            ClipParameters.model_validate({**whole, "taught_from": taught})
