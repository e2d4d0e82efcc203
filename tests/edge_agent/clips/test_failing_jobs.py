"""A clip that fails between the drive and the pack thread: told, and nothing else is lost by it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contracts.clock import VirtualClock
from contracts.upload import EventRecord
from edge_agent import drive_side
from edge_agent.ledger import Ledger
from edge_agent.selection.clip_gate import ClipGate
from tests.edge_agent.agent_drives import driven_with_many_clips


def failing_first(real: Callable[..., Any]) -> Callable[..., Any]:
    """As the real one, but for the first call."""
    left = [ZeroDivisionError("not foreseen")]

    def call(*words: Any) -> Any:
        if left:
            raise left.pop()
        return real(*words)

    return call


def test_a_clip_that_cannot_be_collected_is_told_and_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = driven_with_many_clips(tmp_path / "whole")
    monkeypatch.setattr(drive_side, "collect", failing_first(drive_side.collect))
    report = driven_with_many_clips(tmp_path / "failing")
    assert len(whole.clips) >= 2
    assert report.lost_clips == 1
    assert len(report.clips) == len(whole.clips) - 1
    assert report.not_recorded == {}  # no sample was lost by it
    outbox = Ledger(tmp_path / "failing" / "ledger.sqlite", VirtualClock(), "later").outbox
    records = [EventRecord.model_validate_json(row.body) for row in outbox.waiting(10_000)]
    (lost,) = {each.event.text(): each for each in records if each.outcome == "lost"}.values()
    assert lost.reason == "ZeroDivisionError: not foreseen"


def test_clips_are_judged_beside_the_drive_each_after_the_one_before_is_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, str]] = []
    for name in ("judge", "packed"):
        real = getattr(ClipGate, name)

        def noted(*words: Any, real: Callable[..., Any] = real, name: str = name) -> Any:
            seen.append((threading.current_thread().name, name))
            return real(*words)

        monkeypatch.setattr(ClipGate, name, noted)
    report = driven_with_many_clips(tmp_path / "state")
    assert seen == [("pack", "judge"), ("pack", "packed")] * len(report.clips)
    assert len(report.clips) >= 2


def test_a_clip_that_cannot_be_judged_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = driven_with_many_clips(tmp_path / "whole")
    monkeypatch.setattr(ClipGate, "judge", failing_first(ClipGate.judge))
    report = driven_with_many_clips(tmp_path / "failing")
    assert report.lost_clips == 0
    assert len(report.clips) == len(whole.clips) >= 1
