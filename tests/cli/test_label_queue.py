"""`longtail label queue`, `export` and `import`: a day of two annotators, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.label import app
from contracts.errors import ConflictError, InputError
from offline.labels.formats.files import write_json
from offline.labels.formats.sequence import read_sequence
from offline.labels.queue.task_files import tasks_text
from tests.cloud_ingest.conftest import database_url, postgres, tables
from tests.offline.labels.formats.answers import answered
from tests.offline.labels.formats.drives import assert_same, small_sequence, write_drive
from tests.offline.labels.formats.moving import INSTANTS, write_moving_drive
from tests.offline.labels.queue.tasks import new_task

__all__ = ["database_url", "postgres", "tables"]
RUNNER = CliRunner()
Run = Callable[..., Any]


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A command's JSON, or with `words=True` its words."""
    monkeypatch.setenv("DATABASE_URL", database_url)

    def invoke(*arguments: str | Path, words: bool = False) -> Any:
        more = [] if words else ["--json"]
        result = RUNNER.invoke(app, [*map(str, arguments), *more], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout if words else json.loads(result.stdout)

    return invoke


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    return write_drive(tmp_path / "drives/first", small_sequence())


def test_tasks_are_added_taken_and_answered(run: Run, drive: Path, tmp_path: Path) -> None:
    assert "no task" in run("queue", "counts", words=True)
    added = run("queue", "add", drive, "--search")
    assert (added["new"], added["known"]) == (3, 0)
    assert "0 new, 3 known already" in run("queue", "add", drive, "--search", words=True)
    assert [row["track"] for row in run("queue", "list")] == [7, 9, None]
    assert "search" in run("queue", "list", "--state", "queued", words=True)

    held = run("queue", "next", "--annotator", "ann", "--minutes", "5")
    task_id = held["task"]["task_id"]
    assert held["task"]["track"] == 7 and len(held["proposal"]) == 3
    told = run("queue", "submit", task_id[:12], "--annotator", "ann", "--verdict", "verified",
               "--seconds", "7", "--comment", "clear")  # fmt: skip
    assert told == {"task_id": task_id, "state": "submitted"}
    shown = run("queue", "show", task_id[:8], words=True)
    assert 'ann: verified, 3 boxes, 7 s, "clear"' in shown

    walker = run("queue", "next", "--annotator", "ann")
    boxes = walker["proposal"]
    boxes[0]["box"]["centre_m"][0] -= 1
    write_json(tmp_path / "boxes.json", boxes)
    answer = ("queue", "submit", walker["task"]["task_id"], "--verdict", "adjusted")
    with pytest.raises(ConflictError, match="bob holds no seat"):
        run(*answer, "--annotator", "bob", "--boxes", tmp_path / "boxes.json")
    run(*answer, "--annotator", "ann", "--boxes", tmp_path / "boxes.json")
    assert run("queue", "show", walker["task"]["task_id"])["judgements"][0]["boxes"] == boxes
    search = run("queue", "next", "--annotator", "ann", words=True)
    assert "search for missed objects in drive-1, 3 frames, yours for 60 minutes" in search
    assert "nothing to do" in run("queue", "next", "--annotator", "ann", words=True)
    assert run("queue", "next", "--annotator", "ann") is None
    assert run("queue", "counts") == [
        {"tier": "expert", "state": "reserved", "tasks": 1},
        {"tier": "expert", "state": "submitted", "tasks": 2},
    ]


def test_a_task_as_a_picture(run: Run, drive: Path, tmp_path: Path) -> None:
    run("queue", "add", drive)
    (car, _) = run("queue", "list")
    told = run("queue", "show", car["task_id"], "--picture", tmp_path / "x.png", "--drives", drive)
    assert told["drawn"].startswith("car, track 7: front camera, frame 0 of drive-1")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_tasks_of_a_file(run: Run, tmp_path: Path) -> None:
    new = [new_task(1, wanted=3), new_task(None)]
    lines = tasks_text(new).splitlines()
    path = tmp_path / "tasks.jsonl"
    path.write_text("\n\n".join(lines))
    assert run("queue", "add", path)["task_ids"] == [one.task.task_id for one in new]
    for text, why in [
        ("{", r"tasks\.jsonl:1:1:2: no JSON"),
        ("{}", r"tasks\.jsonl:1: an object of task, sealed and proposal"),
        (lines[0].replace('"car"', '"tank"', 1), "unknown class 'tank'"),
        (lines[0].replace('"judgements_wanted": 3', '"judgements_wanted": 0'), "judgements_wanted"),
        (lines[0].replace("12.0", "12.5"), r"tasks\.jsonl:1: .*proposal_digest"),
    ]:
        path.write_text(text)
        with pytest.raises(InputError, match=why):
            run("queue", "add", path)


def test_label_studio_and_back(run: Run, drive: Path, tmp_path: Path) -> None:
    run("queue", "add", drive)
    out = tmp_path / "out"
    told = run("export", "--queue", "--format", "label-studio", "--out", out, "--drives", drive)
    assert told == {"tasks": 2, "pictures": 2, "skipped": []}
    tasks = json.loads((out / "tasks.json").read_text())
    assert tasks[0]["data"]["image"].startswith("/data/local-files/?d=images/drive-1/front/")
    write_json(tmp_path / "done.json", [answered(task, "accept") for task in tasks])
    done = run("import", tmp_path / "done.json", "--format", "label-studio", "--queue")
    assert done == {"submitted": 2, "known": 0, "unfinished": 0, "missed": 0, "opened": 0,
                    "refused": []}  # fmt: skip
    again = run("import", tmp_path / "done.json", "--format", "label-studio", "--queue", words=True)
    assert "0 submitted, 2 known" in again
    write_json(tmp_path / "late.json", [answered(task, "accept", 2) for task in tasks])
    late = run("import", tmp_path / "late.json", "--format", "label-studio", "--queue", words=True)
    assert late.count("refused: ") == 2


@pytest.mark.parametrize("form", ["openlabel", "coco", "fiftyone"])
def test_drives_and_back(run: Run, drive: Path, tmp_path: Path, form: str) -> None:
    told = run("export", "--format", form, "--out", tmp_path / "out", "--drives", drive)
    assert (told["drives"], told["frames"], told["left_out"]) == (1, 3, {})
    back = run("import", tmp_path / "out", "--format", form, "--out", tmp_path / "back")
    assert (back["drives"], back["flat"]) == (1, [])
    assert_same(read_sequence(tmp_path / "back/drive-1"), small_sequence())


def test_what_kitti_cannot_carry_is_said(run: Run, drive: Path, tmp_path: Path) -> None:
    words = run("export", "--format", "kitti", "--out", tmp_path / "out", "--drives", drive,
                "--camera", "/camera/front", words=True)  # fmt: skip
    assert "left out: 3 × box that the picture does not show" in words
    back = run("import", tmp_path / "out", "--format", "kitti", "--out", tmp_path / "back",
               "--made-by", "ann")  # fmt: skip
    assert (back["drives"], back["frames"]) == (1, 3)


def test_nuscenes_and_back(run: Run, tmp_path: Path) -> None:
    drive = write_moving_drive(tmp_path / "moving")
    told = run("export", "--format", "nuscenes", "--out", tmp_path / "out", "--drives", drive,
               "--keyframe-hz", "5")  # fmt: skip
    assert (told["frames"], told["pictures"], told["sweeps"]) == (8, 24, 16)
    words = run("import", tmp_path / "out", "--format", "nuscenes", "--out", tmp_path / "back",
                words=True)  # fmt: skip
    assert words.splitlines() == ["1 drives, 8 frames, 0 adjust, 0 unanswered"]
    frames = read_sequence(tmp_path / "back/drive-1").frames
    assert [one.record.mono_ns for one in frames] == list(INSTANTS[::2])


def test_what_is_refused(run: Run, drive: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "out", "--drives", drive)
    for arguments, why in [
        (("export", "--format", "yolo", *out), "--format: one of openlabel, coco"),
        (("export", "--format", "coco", "--camera", "x", *out), "--camera: is KITTI's"),
        (("export", "--format", "coco", "--keyframe-hz", "5", *out), "is nuScenes'"),
        (("export", "--format", "nuscenes", *out), "no pose: neither /pose nor"),
        (("export", "--format", "coco", "--queue", *out), "tells no review task"),
        (("import", drive, "--format", "coco"), "either a folder for labels, or the queue"),
        (("import", drive, "--format", "coco", "--queue"), "answers come by label-studio"),
        (("import", drive, "--format", "openlabel", "--queue"), "name them"),
        (("queue", "list", "--state", "lost"), "--state: one of queued, reserved"),
        (("queue", "list", "--tier", "auto_accept"), "--tier: one of consensus, expert"),
        (("queue", "next", "--annotator", "a b"), "'a b' is no name"),
        (("queue", "show", "abcdef"), "no such task"),
    ]:
        with pytest.raises(InputError, match=why):
            run(*arguments)
