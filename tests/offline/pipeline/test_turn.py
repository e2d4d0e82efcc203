"""Turns: what is done is taken as it is, what changed is done again, and a refusal ends it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from contracts.errors import ConflictError, CorruptError, InputError
from contracts.ids import sha256_hex
from offline.gates.policy import PUBLISHED
from offline.labels.clips.parameters import TEACHER, calibration_file
from offline.pipeline import turn as turn_module
from offline.pipeline.dry_run import planned
from offline.pipeline.snapshot import due
from offline.pipeline.spec import Trigger
from offline.pipeline.stages.evaluate import best_ever
from offline.pipeline.stages.train import MODEL
from offline.pipeline.table import STAGES, TABLE, Stage, StageName
from offline.pipeline.turn import PRODUCT, LoopFolder, Progress, Runner
from offline.pipeline.work import Result, Waiting, Work
from tests.offline.pipeline import machine
from tests.offline.pipeline.loops import spec_of, turn_of, write_loop
from tests.offline.pipeline.machine import GATE, LOG, PEOPLE, outside, run, stage_work


def computed(folder: Path) -> list[str]:
    return (folder / LOG).read_text().split()


def test_a_finished_turn_computes_nothing_again(tmp_path: Path) -> None:
    turn = turn_of(tmp_path)
    assert run(tmp_path, turn).state == "done"
    names = [stage.name for stage in TABLE]
    assert computed(tmp_path) == names
    assert run(tmp_path, turn).state == "done"
    assert computed(tmp_path) == names
    rows = planned(Runner(LoopFolder(tmp_path / "loop"), turn, outside()))
    assert [row.state for row in rows] == ["done"] * len(TABLE)
    # Another answer of people changes what follows from it, and nothing before it.
    (tmp_path / "files/truth/file").write_text("another truth")
    rows = planned(Runner(LoopFolder(tmp_path / "loop"), turn, outside()))
    assert [row.state for row in rows[:4]] == ["done"] * 3 + ["to be computed"]
    assert rows[3].cpu_s is not None and "the last took" in rows[3].told
    assert run(tmp_path, turn).state == "done"
    assert computed(tmp_path)[len(names) :][0] == "review"


def test_what_a_gate_refuses_goes_no_further(tmp_path: Path) -> None:
    (tmp_path / GATE).touch()
    turn = turn_of(tmp_path)
    ended = run(tmp_path, turn)
    assert (ended.state, ended.stage) == ("refused", "evaluate") and "a child" in ended.why
    assert computed(tmp_path)[-1] == "evaluate"
    # A refusal is an answer: asked again, the gates are not run again, and the answer is the same.
    assert run(tmp_path, turn) == ended
    assert computed(tmp_path).count("evaluate") == 1
    assert LoopFolder(tmp_path / "loop").last_shipped() is None


def test_a_turn_waits_for_people_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / PEOPLE).touch()
    turn = turn_of(tmp_path)
    ended = run(tmp_path, turn)
    assert (ended.state, ended.stage, ended.why) == (
        "waiting", "review", "2 labelling tasks are open"
    )  # fmt: skip
    (tmp_path / PEOPLE).unlink()
    assert run(tmp_path, turn).state == "done"
    assert computed(tmp_path).count("label") == 1


def test_a_next_turn_reads_what_the_one_before_made(tmp_path: Path) -> None:
    first = turn_of(tmp_path)
    assert run(tmp_path, first).state == "done"
    second = turn_of(tmp_path, clips=4, after=first.turn_id)
    assert second.turn_id != first.turn_id
    assert run(tmp_path, second).state == "done"
    loop = LoopFolder(tmp_path / "loop")
    assert [turn.turn_id for turn in loop.turns()] == sorted([first.turn_id, second.turn_id])
    keys = loop.progress(second.turn_id).keys
    told = (loop.stage("train", keys["train"]) / PRODUCT / "two").read_text()
    assert "'train': \"train of" in told or "'train': 'train of" in told
    shipped = loop.last_shipped()
    assert shipped is not None


def test_a_candidate_is_held_against_what_the_turn_before_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the gates and in shadow alike, and a stage's key tells against which model."""
    reference: dict[tuple[str, str], Path] = {}
    names: tuple[StageName, ...] = ("evaluate", "shadow")

    def with_models(stage: Stage, folder: Path, kill: str) -> turn_module.Perform:
        plain = stage_work(stage, folder, kill)

        def perform(work: Work) -> Result | Waiting:
            if stage.name == "train":
                (work.product / MODEL).mkdir()
                (work.product / MODEL / "student.manifest.yaml").write_text(work.turn.turn_id)
            if stage.name in names:
                reference[work.turn.turn_id, stage.name] = best_ever(work)
            return plain(work)

        return perform

    monkeypatch.setattr(machine, "stage_work", with_models)
    first = turn_of(tmp_path)
    assert run(tmp_path, first).state == "done"
    second = turn_of(tmp_path, clips=4, after=first.turn_id)
    assert run(tmp_path, second).state == "done"
    loop = LoopFolder(tmp_path / "loop")
    model = loop.stage("train", loop.progress(first.turn_id).keys["train"]) / PRODUCT / MODEL
    for name in names:
        assert reference[first.turn_id, name] == first.spec.evaluate.reference
        assert reference[second.turn_id, name] == model / "student.manifest.yaml"
    keys = loop.progress(second.turn_id).keys
    alone = Runner(loop, second.model_copy(update={"after": None}), outside())
    for name in names:
        assert alone.key(STAGES[name], keys) != keys[name]


@pytest.mark.parametrize("state", ["running", "waiting", "refused", "failed"])
def test_no_turn_builds_on_one_that_did_not_ship(
    tmp_path: Path, state: Literal["running", "waiting", "refused", "failed"]
) -> None:
    """Whatever it has computed: a model that a gate refused has a key as any other."""
    loop = LoopFolder(tmp_path / "loop")
    first = loop.begin(turn_of(tmp_path))
    keys = {stage.name: sha256_hex(stage.name.encode()) for stage in TABLE}
    loop.write_progress(first.turn_id, Progress(keys=keys, state=state, stage="evaluate"))
    second = turn_of(tmp_path, clips=4, after=first.turn_id)
    with pytest.raises(InputError, match=f"did not ship, it is {state}"):
        loop.begin(second)
    with pytest.raises(InputError, match="did not ship"):
        planned(Runner(loop, second, outside()))
    assert loop.turns() == [first]


def test_a_turn_before_that_lacks_a_product_is_no_start(tmp_path: Path) -> None:
    loop = LoopFolder(tmp_path / "loop")
    first = loop.begin(turn_of(tmp_path))
    loop.write_progress(first.turn_id, Progress(state="done"))
    second = Runner(loop, turn_of(tmp_path, clips=4, after=first.turn_id), outside())
    with pytest.raises(InputError, match="the turn before has no `review`"):
        second.key(replace(STAGES["review"], needs=()), {})


def test_a_product_that_was_changed_is_found_out(tmp_path: Path) -> None:
    turn = turn_of(tmp_path)
    run(tmp_path, turn)
    loop = LoopFolder(tmp_path / "loop")
    key = loop.progress(turn.turn_id).keys["label"]
    (loop.stage("label", key) / PRODUCT / "one").write_text("another")
    with pytest.raises(CorruptError, match="was changed"):
        loop.record("label", key)
    ended = run(tmp_path, turn)
    assert ended.state == "failed" and "was changed" in ended.why


def test_only_one_works_in_a_loop(tmp_path: Path) -> None:
    loop = LoopFolder(tmp_path)
    with loop.locked(), pytest.raises(ConflictError), loop.locked():
        pass
    with pytest.raises(InputError, match="no turn"):
        loop.turn(None)


def test_a_loop_is_told_what_is_wrong_with_its_file(tmp_path: Path) -> None:
    path = write_loop(tmp_path, rollout={"to": "cloud"})
    with pytest.raises(InputError, match=r"loop\.yaml:\d+:\d+.*signs models"):
        spec_of(tmp_path, rollout={"to": "cloud"})
    with pytest.raises(InputError, match="unknown key 'labels'"):
        spec_of(tmp_path, labels={})
    with pytest.raises(InputError, match=r"evaluate\.suite: nothing is at"):
        spec_of(tmp_path, evaluate={"suite": "no", "tails": ["tails"], "random": ["random"]})
    assert path.is_file()


def test_a_key_holds_content_and_not_places(tmp_path: Path) -> None:
    here, there = (
        Runner(LoopFolder(tmp_path / name), turn_of(tmp_path / name), outside())
        for name in ("here", "there")
    )
    assert here.turn.spec != there.turn.spec
    assert here.key(STAGES["ingest"], {}) == there.key(STAGES["ingest"], {})
    more = Runner(here.folder, turn_of(tmp_path / "here", clips=2), outside())
    assert more.key(STAGES["ingest"], {}) != here.key(STAGES["ingest"], {})


@pytest.mark.parametrize(
    ("place", "stages"),
    [
        (PUBLISHED, {"evaluate", "shadow"}),
        (TEACHER, {"label", "review", "dataset"}),
        (calibration_file(TEACHER), {"label", "review", "dataset"}),
    ],
    ids=["policy", "parameters", "calibrator"],
)
def test_a_file_that_counts_unnamed_is_in_the_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Path, stages: set[StageName]
) -> None:
    """Of all stages that it is read by, and of no other."""
    turn, plain = turn_of(tmp_path), turn_module.tree_digest

    def changed(path: Path) -> str:
        return "other" if path == place else plain(path)

    def keys() -> dict[StageName, str]:
        runner = Runner(LoopFolder(tmp_path), turn, outside())
        return {s.name: runner.key(replace(s, needs=(), before=()), {}) for s in TABLE}

    before = keys()
    monkeypatch.setattr(turn_module, "tree_digest", changed)
    after = keys()
    assert {name for name in before if before[name] != after[name]} == stages


def test_a_turn_is_due_by_time_or_by_clips(tmp_path: Path) -> None:
    last, now = turn_of(tmp_path, clips=3), turn_of(tmp_path, clips=5)
    hour_ns = 3600 * 10**9
    assert due(Trigger(clips=3), last, now.clips, 0) == ""
    assert due(Trigger(clips=2), last, now.clips, 0) == "2 clips are new"
    assert due(Trigger(every_h=2), last, now.clips, 5 + hour_ns) == ""
    assert "2.0 hours ago" in due(Trigger(every_h=2), last, now.clips, 5 + 2 * hour_ns)
    assert due(Trigger(every_h=2), last, last.clips, 5 + 9 * hour_ns) == ""
    assert due(Trigger(every_h=2), None, now.clips, 0) == "no turn has been yet"
