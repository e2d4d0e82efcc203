"""The agent's report: written each second for weeks, so it costs the same however much is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent import drive_side
from edge_agent.spool import Spool
from tests.edge_agent.agent_drives import driven_with_many_clips


def test_clips_are_told_from_memory_and_the_newest_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = driven_with_many_clips(tmp_path / "whole")
    assert [clip.state for clip in whole.clips] == ["queued"] * len(whole.clips)

    def read(self: Spool) -> None:
        raise AssertionError("the spool's files are read for a report")

    monkeypatch.setattr(Spool, "ls", read)
    monkeypatch.setattr(drive_side, "CLIPS_TOLD", 1)
    report = driven_with_many_clips(tmp_path / "few")
    assert len(whole.clips) >= 2
    assert report.clips == whole.clips[-1:]
    assert report.counters == whole.counters


def test_a_clip_that_made_room_is_told_as_evicted(tmp_path: Path) -> None:
    whole = driven_with_many_clips(tmp_path / "whole")
    quota = sum(clip.size_bytes for clip in whole.clips[-2:]) + 1000
    report = driven_with_many_clips(tmp_path / "cramped", spool={"quota": f"{quota}B"})
    assert {clip.state for clip in report.clips} == {"queued", "evicted"}
