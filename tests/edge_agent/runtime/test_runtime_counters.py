"""What a drive counts, and that a tick writes none of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.clock import NS_PER_S
from edge_agent.runtime import BuiltIn
from tests.edge_agent.runtime_rig import Rig, model_release, spec


def test_the_counters_of_a_drive(tmp_path: Path) -> None:
    online = False
    rig = Rig(tmp_path, BuiltIn((spec(),), model_release("a")), connected=lambda: online)
    rig.ledger.totals.start()
    rig.go(10.0, camera_hz=10, engaged=1.0)
    online = True
    rig.go(20.0, speed=-5.0, accel=-4)  # a disengagement; one fire
    rig.now_ns += 100 * NS_PER_S  # silence: nothing is driven
    rig.go(125.0, engaged=1.0)
    rig.go(130.0)
    rig.tally.packed(1000)
    counters = rig.runtime.report().counters
    assert counters.driving_s == pytest.approx(30.0, abs=0.1)
    assert rig.runtime.report().driving_ns == pytest.approx(30 * NS_PER_S, rel=0.01)
    assert counters.connected_driving_s == pytest.approx(20.0, abs=1.1)
    assert counters.driven_m == pytest.approx(10 * 10 + 10 * 5 + 10 * 10, abs=2)
    assert (counters.frames, counters.fires, counters.disengagements) == (100, 1, 2)
    assert (counters.clips, counters.clip_bytes, counters.starts) == (1, 1000, 1)


def test_ticks_write_nothing(tmp_path: Path) -> None:
    rig = Rig(tmp_path, BuiltIn((spec(),)))
    statements: list[str] = []
    rig.ledger._store._connection.set_trace_callback(statements.append)
    rig.go(60.0)
    assert statements == []
    rig.ledger.flush()
    assert any("total" in statement for statement in statements)
