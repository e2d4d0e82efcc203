"""What single stages do with what a turn gives them."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO, cast

import pytest
import yaml

from contracts.clip import ClipEmbedding
from contracts.geometry import TAXONOMY
from contracts.ids import digest_file, sha256_hex
from contracts.review import Judgement, Purpose, Tier, Verdict
from offline.acquisition.draw import lot
from offline.health.records import HealthReport
from offline.labels.review.records import Outcome, Settled
from offline.labels.review.route import RoutingRecord, TaskKey
from offline.labels.review.told import work_of as work_of_people
from offline.pipeline.records import ClipRef, Turn
from offline.pipeline.spec import SpecsSection
from offline.pipeline.stages.acquire import (
    HEALTH_FILE,
    LABELLED,
    SELECTION_FILE,
    acquire,
    turn_seed,
)
from offline.pipeline.stages.dataset import DATASET, TRAIN, annotators_of
from offline.pipeline.stages.ingest import CLIPS, ingest
from offline.pipeline.stages.review import of_this_turn
from offline.pipeline.stages.specs import _rare, spec_files, specs
from offline.pipeline.stages.train import DATASETS
from offline.pipeline.table import StageName
from offline.pipeline.work import Work
from tests.offline.datasets.drives import write_drive
from tests.offline.health.periods import write_period
from tests.offline.pipeline.loops import turn_of
from tests.offline.pipeline.machine import outside

OTHER = ClipEmbedding(model_digest="c" * 64, vector=(1.0, 0.0, 0.0))
PROPOSAL = sha256_hex(b"what was shown")


def work_of(
    folder: Path, turn: Turn | None = None, needs: dict[StageName, Path] | None = None,
    before: dict[StageName, Path] | None = None,
) -> Work:  # fmt: skip
    """An attempt at a stage of a turn over clips that nobody opens."""
    work = Work(
        turn or turn_of(folder), "", needs or {}, before or {}, folder / "product",
        folder / "scratch", folder / "loop", outside(), lambda text: None,
    )  # fmt: skip
    for each in (work.product, work.scratch, work.shared):
        each.mkdir(parents=True, exist_ok=True)
    return work


def test_a_copy_that_was_cut_off_does_not_hold_up_the_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where clips lie on another disk they are copied; a kill on the way leaves no clip by name."""
    content = bytes(range(256)) * 4096
    elsewhere = tmp_path / "clip.mcap"
    elsewhere.write_bytes(content)
    clip_id = digest_file(elsewhere).clip_id()
    clip = ClipRef(clip_id=clip_id, path=elsewhere)
    work = work_of(tmp_path, turn_of(tmp_path).model_copy(update={"clips": (clip,)}))

    def other_disk(source: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, "another disk")

    def killed(read: BinaryIO, written: BinaryIO, length: int) -> None:
        written.write(read.read(1000))
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "link", other_disk)
    with monkeypatch.context() as during, pytest.raises(KeyboardInterrupt):
        during.setattr(shutil, "copyfileobj", killed)
        ingest(work)
    assert not list((work.shared / CLIPS).glob("*.mcap"))
    assert ingest(work).figures["clips"] == 1
    assert (work.product / CLIPS / f"{clip_id}.mcap").read_bytes() == content
    assert not list(tmp_path.rglob(".*.partial"))


def test_each_turn_draws_by_a_seed_of_its_own(tmp_path: Path) -> None:
    """Else who lost the first draw would lose the second to newcomers."""

    def seed_after(chosen: str | None) -> int:
        if chosen is None:
            return turn_seed(work_of(tmp_path), 1)
        before = tmp_path / chosen
        before.mkdir(exist_ok=True)
        (before / SELECTION_FILE).write_text(chosen)
        return turn_seed(work_of(tmp_path, before={"acquire": before}), 1)

    seeds = [seed_after(each) for each in (None, "first", "second")]
    assert seeds[0] == 1 and len(set(seeds)) == 3
    assert seeds == [seed_after(each) for each in (None, "first", "second")]
    clips = [sha256_hex(str(number).encode()) for number in range(200)]
    first, second = (
        set(sorted(clips, key=lambda clip: lot(seed, "random", clip))[:100]) for seed in seeds[:2]
    )
    assert 30 < len(first & second) < 70


def by_id(folder: Path) -> None:
    for path in list(folder.iterdir()):
        path.rename(folder / f"{digest_file(path).clip_id()}.mcap")


@pytest.mark.parametrize("same_model", [True, False])
def test_what_is_new_is_compared_with_the_turn_before(tmp_path: Path, same_model: bool) -> None:
    before, now, chosen = (tmp_path / name for name in ("before", "now", "chosen"))
    by_id(write_period(before / CLIPS, 1000))
    by_id(write_period(now / CLIPS, 0, shift=6.0, **({} if same_model else {"embedding": OTHER})))
    if same_model:  # Else the choice itself could not compare them.
        for path in (before / CLIPS).iterdir():
            shutil.copyfile(path, now / CLIPS / path.name)
    (chosen / CLIPS).mkdir(parents=True)
    (chosen / LABELLED).mkdir()
    (chosen / SELECTION_FILE).write_text("")
    work = work_of(tmp_path, needs={"ingest": now}, before={"ingest": before, "acquire": chosen})
    acquire(work)
    health = HealthReport.model_validate_json((work.product / HEALTH_FILE).read_bytes())
    assert health.unmeasured["selection bias"] == "no triggered clip"
    if same_model:
        assert health.drift is not None
        assert ("all", "car a frame") in {(e.cohort, e.measure) for e in health.drift.drifted}
    else:
        assert health.drift is None and "cannot be compared" in health.unmeasured["drift"]
    assert str(tmp_path) not in health.model_dump_json()


def test_a_label_set_names_those_who_judged_it(tmp_path: Path) -> None:
    """And no others that are in the journal of all turns."""

    def line(clip: str, purpose: Purpose, annotator: str) -> Settled:
        asked = sha256_hex(annotator.encode())
        return Settled(
            task_id=asked, round=1, clip_id=clip, track=3, proposal_digest=PROPOSAL, frames=(0,),
            tier=Tier.EXPERT, purpose=purpose, outcome=Outcome.ACCEPTED, shown=(),
            judgements=(Judgement(
                task_id=asked, round=1, annotator=annotator, verdict=Verdict.NO_OBJECT, seconds=9,
                submitted_utc_ns=1,
            ),), rule_digest=PROPOSAL, taxonomy_version=1,
        )  # fmt: skip

    lines = [
        line("earlier", Purpose.ROUTED, "ann"), line("gold", Purpose.GOLD, "bea"),
        line("ours", Purpose.ROUTED, "eve"), line("ours", Purpose.AUDIT, "cid"),
    ]  # fmt: skip
    tasks = [TaskKey(clip_id=name, track=3, proposal_digest=PROPOSAL) for name in ("ours", "gold")]
    assert annotators_of(lines, tasks) == ("cid", "eve")
    # Nor do seconds of other turns count for this one; those of gold do.
    told = work_of_people([each for each in lines if TaskKey.of(each) in tasks], TAXONOMY)
    assert told["spent_s"] == {"expert": 27}
    record = SimpleNamespace(tasks=tuple(tasks))
    assert of_this_turn(lines, cast(RoutingRecord, record)) == lines[1:]


def test_a_class_is_rare_by_all_that_is_learned_from(tmp_path: Path) -> None:
    dataset, trained, old = (tmp_path / name for name in ("dataset", "train", "old"))
    write_drive(dataset / DATASET / TRAIN / "new", [10, 20], drive="new")
    write_drive(trained / DATASETS / "000" / TRAIN / "earlier", [10, 20, 30], drive="earlier")
    write_drive(old / "drive", [10], drive="old")
    # The same labels under another name are not more of them.
    write_drive(old / "again", [10, 20], drive="new")
    turn = turn_of(tmp_path)
    spec = turn.spec.model_copy(update={
        "train": turn.spec.train.model_copy(update={"replay": (old,)}),
        "specs": SpecsSection(rare_below=12),
    })  # fmt: skip
    work = work_of(
        tmp_path, turn.model_copy(update={"spec": spec}), {"dataset": dataset, "train": trained}
    )
    figures = specs(work).figures
    boxes, rare = figures["boxes"], figures["rare"]
    assert isinstance(boxes, dict) and boxes["car"] == 2 * (2 + 3 + 1)
    assert isinstance(rare, list) and "car" not in rare and "pedestrian" in rare


def test_where_nothing_is_rare_the_spec_stands(tmp_path: Path) -> None:
    dataset, trained, old = (tmp_path / name for name in ("dataset", "train", "old"))
    (trained / DATASETS).mkdir(parents=True)
    for place in (dataset / DATASET, old):
        write_drive(place / "drive", [10])
    turn = turn_of(tmp_path)
    published = yaml.safe_load(SpecsSection().rare_spec.read_text())
    published["when"]["classes"] = ["car"]
    (tmp_path / "rare.yaml").write_text(yaml.safe_dump(published))
    spec = turn.spec.model_copy(update={
        "train": turn.spec.train.model_copy(update={"replay": (old,)}),
        "specs": SpecsSection(rare_below=1, rare_spec=tmp_path / "rare.yaml"),
    })  # fmt: skip
    work = work_of(
        tmp_path, turn.model_copy(update={"spec": spec}), {"dataset": dataset, "train": trained}
    )
    assert _rare(work, dict.fromkeys(TAXONOMY.names, 5), 1) == []
    assert not spec_files(work.product)
