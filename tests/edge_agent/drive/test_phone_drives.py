"""The published hard-brake spec on labelled phone drives: recall and false alarms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from contracts.trigger_spec import load_spec
from tests.edge_agent.phone_drives import fires_s, load_phone_drive

PUBLISHED = Path(__file__).resolve().parents[3] / "trigger_specs"


def test_hard_brake_as_published_on_labelled_drives(
    shared_data: Path, record_property: Callable[[str, object], None]
) -> None:
    spec = load_spec(PUBLISHED / "hard-brake.yaml")
    brakes = load_phone_drive(shared_data / "driverBehavior" / "17")
    calm = load_phone_drive(shared_data / "driverBehavior" / "20")
    fires = fires_s(brakes, spec)
    recalled = [
        (start, end)
        for start, end in brakes.brakes_s
        if any(start - 1.0 <= fire <= end + 1.0 for fire in fires)
    ]
    false_alarms = fires_s(calm, spec)
    per_hour = len(false_alarms) / calm.hours
    record_property("recall_of_6", len(recalled))
    record_property("false_alarms_per_hour", round(per_hour, 1))
    assert calm.brakes_s == []
    assert len(brakes.brakes_s) == 6
    assert len(recalled) == 6
    # Trip 20 is ten minutes of aggressive cornering on request: not ordinary driving.
    assert per_hour <= 15.0
