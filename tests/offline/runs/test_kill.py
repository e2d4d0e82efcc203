"""A run that is killed goes on where it was, and ends as if nothing had been."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from offline.executor.inline import InlineExecutor
from offline.runs import folder as folder_module
from offline.runs.files import write_durably
from offline.runs.folder import WorkFolder
from offline.runs.records import ClipRecord, StageRun
from offline.runs.run import run_stage
from tests.offline.executor.works import LOG, TROUBLE
from tests.offline.runs.clips import CONFIGURATION, STAGE, clips_of, write_clips

ROOT = Path(__file__).parents[3]
CLIPS, KILLS, WORKERS = 200, 3, 2


@pytest.fixture(autouse=True)
def _without_flushes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)


def whole_run(tmp_path: Path, clips: int) -> StageRun:
    """Uninterrupted, in a folder of its own."""
    inputs = write_clips(tmp_path / "clips", clips)
    return run_stage(STAGE, CONFIGURATION, inputs, WorkFolder(tmp_path / "whole"), InlineExecutor())


def products(work: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in work.glob("objects/*/*")}


def finished(work: Path) -> dict[str, tuple[int, int]]:
    """Records of clips with a product: inode and time of the record and of its files."""
    found = {}
    for path in work.glob("clips/*.json"):
        record = ClipRecord.model_validate_json(path.read_bytes())
        files = [path, *(WorkFolder(work).objects.path(each) for each in record.files.values())]
        found[record.clip] = tuple(part for each in files for part in _marks(each))
    return found  # type: ignore[return-value]


def _marks(path: Path) -> tuple[int, int]:
    told = path.stat()
    return told.st_ino, told.st_mtime_ns


def start(
    tmp_path: Path, executor: str = "pool", more: Mapping[str, str] = {}
) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.offline.runs.clips"]
    return subprocess.Popen(
        [*command, str(tmp_path / "clips"), str(tmp_path / "work"), executor],
        cwd=ROOT, env={**os.environ, LOG: str(tmp_path / "log"), **more}, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_killed_at_any_clip_a_run_goes_on(tmp_path: Path) -> None:
    whole = whole_run(tmp_path, CLIPS)
    rng = random.Random(7)
    done: dict[str, tuple[int, int]] = {}
    for _ in range(KILLS):
        with start(tmp_path) as process:
            assert process.stdout is not None
            for _ in range(len(done) + rng.randrange(1, CLIPS // (KILLS + 1))):
                assert process.stdout.readline()
            os.killpg(process.pid, signal.SIGKILL)
        after = finished(tmp_path / "work")
        assert after.items() >= done.items()
        assert len(after) < CLIPS
        done = after
    with start(tmp_path) as process:
        told, _ = process.communicate()
        assert process.returncode == 0
    assert "chatter" not in told
    assert told.count("False") == len(done)
    assert told.count("True") == CLIPS - len(done)
    assert finished(tmp_path / "work").items() >= done.items()
    computed = Counter((tmp_path / "log").read_text().split())
    # Only what was being worked on when the kill came, or had come back and was not yet kept.
    assert len(computed) == CLIPS
    assert sum(computed.values()) - CLIPS <= 2 * WORKERS * KILLS
    assert products(tmp_path / "work") == products(tmp_path / "whole")
    (record,) = (tmp_path / "work/runs").iterdir()
    assert StageRun.model_validate_json(record.read_bytes()) == whole
    assert not list((tmp_path / "work").glob("**/.*.tmp"))


def test_workers_end_with_their_pool(tmp_path: Path) -> None:
    write_clips(tmp_path / "clips", 3)
    (tmp_path / "trouble").mkdir()
    for clip in ("clip-000", "clip-001", "clip-002"):
        (tmp_path / "trouble" / clip).write_text("hang")
    os.mkfifo(tmp_path / "log")
    log = os.open(tmp_path / "log", os.O_RDWR)
    with start(tmp_path, "pool", {TROUBLE: str(tmp_path / "trouble")}) as process:
        assert process.stderr is not None
        # The log is a pipe here: this waits until both workers hang.
        told = b""
        while told.count(b"\n") < WORKERS:
            told += os.read(log, 100)
        process.kill()
        # It ends once nobody holds it: workers share it.
        assert "Error" not in process.stderr.read()
    os.close(log)


class PowerCut(BaseException):
    """Stops a process between two steps of the disk."""


@pytest.mark.parametrize("written", [False, True])
def test_stopped_at_any_write_a_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: bool
) -> None:
    whole = whole_run(tmp_path, 3)
    inputs = write_clips(tmp_path / "again", 3)
    left = 0

    def write(path: Path, content: bytes, mode: int = 0o644) -> None:
        nonlocal left
        left -= 1
        if left < 0 and not written:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_name(f".{path.name}.x.tmp").write_bytes(content[: len(content) // 2])
            raise PowerCut
        write_durably(path, content, mode)
        if left < 0:
            raise PowerCut

    monkeypatch.setattr(folder_module, "write_durably", write)
    monkeypatch.setattr("offline.runs.objects.write_durably", write)
    work, runs = WorkFolder(tmp_path / "work"), []
    for steps in range(20):
        left = steps % 4
        try:
            runs.append(run_stage(STAGE, CONFIGURATION, inputs, work, InlineExecutor()))
        except PowerCut:
            continue
        break
    assert runs == [whole]
    assert products(tmp_path / "work") == products(tmp_path / "whole")
    assert not list((tmp_path / "work").glob("**/.*.tmp"))


@pytest.mark.interop
def test_two_ray_workers_give_the_same_and_may_die(tmp_path: Path) -> None:
    whole = whole_run(tmp_path, CLIPS)
    (tmp_path / "trouble").mkdir()
    for clip, how in {"clip-007": "kill", "clip-100": "input"}.items():
        (tmp_path / "trouble" / clip).write_text(how)
    with start(tmp_path, "ray", {TROUBLE: str(tmp_path / "trouble")}) as process:
        told, _ = process.communicate()
        assert process.returncode == 0
    assert told.count("True") == CLIPS
    (record,) = (tmp_path / "work/runs").iterdir()
    failures = StageRun.model_validate_json(record.read_bytes()).failed
    assert [(each.clip, each.failure.kind) for each in failures if each.failure] == [
        ("clip-007", "WorkerDied"), ("clip-100", "InputError"),
    ]  # fmt: skip
    again: list[str] = []
    run = run_stage(
        STAGE, CONFIGURATION, clips_of(tmp_path / "clips"), WorkFolder(tmp_path / "work"),
        InlineExecutor(), lambda each: again.append(each.record.clip) if each.computed else None,
    )  # fmt: skip
    assert (again, run) == (["clip-007", "clip-100"], whole)
    assert products(tmp_path / "work") == products(tmp_path / "whole")
