"""What single stages do with what a turn gives them."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import BinaryIO

import pytest

from contracts.ids import digest_file, sha256_hex
from offline.acquisition.draw import lot
from offline.pipeline.records import ClipRef, Turn
from offline.pipeline.stages.acquire import SELECTION_FILE, turn_seed
from offline.pipeline.stages.ingest import CLIPS, ingest
from offline.pipeline.table import StageName
from offline.pipeline.work import Work
from tests.offline.pipeline.loops import turn_of
from tests.offline.pipeline.machine import outside


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
