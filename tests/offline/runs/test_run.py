"""What is computed, what is not, and what becomes of a clip that fails."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from contracts.errors import ConflictError, InputError, TransientError
from offline.executor.inline import InlineExecutor
from offline.executor.local_pool import LocalPool
from offline.executor.ports import Executor
from offline.runs.folder import WorkFolder
from offline.runs.records import StageRun
from offline.runs.run import check, run_stage
from offline.runs.stage import ClipInputs, Configuration, Stage
from tests.offline.executor.works import TROUBLE
from tests.offline.runs.clips import CONFIGURATION, STAGE, clips_of, write_clips


class Work:
    """A work folder over six clips, and which of them each run computed."""

    def __init__(self, folder: Path) -> None:
        self.clips = write_clips(folder / "clips", 6)
        self.folder = WorkFolder(folder / "work")
        self.computed: list[str] = []

    def run(
        self, clips: list[ClipInputs] | None = None, stage: Stage = STAGE,
        configuration: Configuration = CONFIGURATION, executor: Executor | None = None,
    ) -> StageRun:  # fmt: skip
        self.computed = []
        return run_stage(
            stage, configuration, self.clips if clips is None else clips, self.folder,
            executor or InlineExecutor(),
            lambda each: self.computed.append(each.record.clip) if each.computed else None,
        )  # fmt: skip


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path)


def names(clips: list[ClipInputs]) -> list[str]:
    return [each.clip for each in clips]


def test_nothing_is_computed_twice(work: Work) -> None:
    first = work.run()
    assert sorted(work.computed) == names(work.clips)
    assert first.digest is not None
    clips = work.clips[:]
    random.Random(0).shuffle(clips)
    assert work.run(clips) == first
    assert work.computed == []
    part = work.run(clips[:3])
    assert work.computed == []
    assert part.key != first.key
    assert {each.key for each in part.clips} < {each.key for each in first.clips}


def test_what_the_product_depends_on_makes_it_new(work: Work) -> None:
    first = work.run()
    wider = work.run(configuration={"width": 5})
    assert sorted(work.computed) == names(work.clips)
    assert first.digest != wider.digest
    work.run(stage=replace(STAGE, version=2))
    assert sorted(work.computed) == names(work.clips)
    path = work.clips[2].files["points"][0]
    path.write_text(path.read_text().replace("e+00", "e-01", 1))
    changed = work.run()
    assert work.computed == [work.clips[2].clip]
    assert [a == b for a, b in zip(first.clips, changed.clips, strict=True)].count(False) == 1


def test_a_changed_source_makes_it_new(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    first = work.run()
    monkeypatch.setattr("offline.runs.stage.source_digest", lambda _: "0" * 64)
    second = work.run()
    assert sorted(work.computed) == names(work.clips)
    assert (first.key == second.key, first.digest == second.digest) == (False, True)


def test_a_clip_that_fails_is_told_and_tried_again(
    work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TROUBLE, str(tmp_path / "trouble"))
    (tmp_path / "trouble").mkdir()
    (tmp_path / "trouble/clip-001").write_text("kill")
    (tmp_path / "trouble/clip-004").write_text("input")
    run = work.run(executor=LocalPool(2))
    assert [each.clip for each in run.failed] == ["clip-001", "clip-004"]
    assert run.digest is None
    with pytest.raises(TransientError, match=r"clip-001: 2 of 6 failed .* its worker process died"):
        check(run)
    (tmp_path / "trouble/clip-001").unlink()
    run = work.run()
    assert sorted(work.computed) == ["clip-001", "clip-004"]
    with pytest.raises(
        InputError, match=r"clip-004: 1 of 6 failed .*clip-004\.txt:7: no such lane"
    ):
        check(run)
    (tmp_path / "trouble/clip-004").unlink()
    run = work.run()
    assert work.computed == ["clip-004"]
    check(run)
    other = Work(tmp_path / "other")
    assert other.run() == run


def test_what_was_damaged_is_made_again(work: Work, tmp_path: Path) -> None:
    first = work.run()
    digest = first.clips[1].files["course.f64"]
    path = work.folder.objects.path(digest)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])
    (tmp_path / f"work/clips/{first.clips[3].key}.json").write_text("{")
    assert work.run() == first
    assert sorted(work.computed) == ["clip-001", "clip-003"]
    assert work.folder.objects.holds(digest)


def test_wrong_input_is_refused_before_anything_is_done(work: Work) -> None:
    with pytest.raises(InputError, match="twice"):
        work.run([*work.clips, work.clips[0]])
    missing = ClipInputs("gone", {"points": [Path("/nonexistent/gone.txt")]})
    with pytest.raises(InputError, match=r"gone\.txt: cannot be read"):
        work.run([*work.clips, missing])
    with pytest.raises(InputError, match="no such module"):
        work.run(stage=Stage("smooth", 1, "tests.offline.absent:smooth"))
    assert work.computed == []


def test_a_second_process_is_turned_away(work: Work) -> None:
    with work.folder.locked(), pytest.raises(ConflictError, match="another process"):
        work.run()
    assert work.run().digest is not None


def test_no_clips_are_a_run_as_well(work: Work) -> None:
    assert work.run([]).clips == ()
    assert clips_of(Path("/nonexistent")) == []
