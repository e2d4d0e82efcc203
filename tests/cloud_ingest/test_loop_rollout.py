"""What a turn of the loop tells of its rollout after the turn: by a real service's word."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.loop import app
from client.fleet import FleetClient
from contracts.canonical import canonical_json
from contracts.clock import NS_PER_S
from contracts.errors import CorruptError, InputError
from contracts.ids import sha256_hex
from contracts.ota import ReleaseId
from offline.pipeline.course import (
    COURSE_FILE,
    note_rollout,
    noted_rollout,
    on_the_canary_utc_ns,
    rollout_stages,
)
from offline.pipeline.facts import TurnFacts
from offline.pipeline.records import (
    RECORD_FILE,
    TURN_FILE,
    ClipRef,
    StageRecord,
    Turn,
    tree_digest,
    write_record,
)
from offline.pipeline.stages.rollout import ROLLOUT_FILE
from offline.pipeline.turn import PRODUCT, STATE_FILE, LoopFolder, Progress
from tests.cloud_ingest.fleet_support import (
    AT_ONCE,
    HOUR_S,
    OpenFleet,
    SimulatedFleet,
    digest_of,
    open_fleet,
    publish,
)
from tests.offline.pipeline.loops import spec_of

__all__ = ["open_fleet"]
MODEL = ReleaseId("model", "yolo", 2)
KEY = sha256_hex(b"key")


@pytest.fixture
def fleet(open_fleet: OpenFleet) -> SimulatedFleet:
    found = open_fleet(6)
    publish(found.tables, ReleaseId("model", "yolo", 1), MODEL)
    found.check_in_all()
    return found


NOBODY = "http://127.0.0.1:9"


def shipped(
    fleet: SimulatedFleet, folder: Path, rollout_id: str | None, url: str | None = None
) -> tuple[LoopFolder, Turn]:
    """A turn whose last stage began the rollout."""
    loop = LoopFolder(folder / "loop")
    spec = spec_of(folder / "files", rollout={
        "to": "cloud", "url": url or fleet.server.url, "key": "models.pem", "spec_key": "specs.pem",
    })  # fmt: skip
    clips = (ClipRef(clip_id=sha256_hex(b"clip")),)
    turn = Turn(spec=spec, clips=clips, begun_utc_ns=fleet.clock.utc_ns())
    home = loop.turn_folder(turn.turn_id)
    write_record(home / TURN_FILE, turn)
    (home / STATE_FILE).write_bytes(canonical_json(Progress(keys={"rollout": KEY})))
    figures = {"to": "cloud", "rollout_id": rollout_id, "phase": "running", "stage": 1, "stages": 1,
               "succeeded": 0}  # fmt: skip
    now_ns, stage = fleet.clock.utc_ns(), loop.stage("rollout", KEY)
    (stage / PRODUCT).mkdir(parents=True)
    (stage / PRODUCT / ROLLOUT_FILE).write_text('{"specs": []}')
    write_record(stage / RECORD_FILE, StageRecord(
        stage="rollout", key=KEY, inputs={},
        product=tree_digest(stage / PRODUCT), state="done", begun_utc_ns=now_ns,
        ended_utc_ns=now_ns, wall_s=0.1, cpu_s=0.1,
        figures=figures if rollout_id else {"to": "folder"},
    ))  # fmt: skip
    return loop, turn


def test_the_canary_is_when_a_vehicle_has_the_model(
    fleet: SimulatedFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = fleet.start(MODEL, **AT_ONCE, guardrails=False)
    loop, turn = shipped(fleet, tmp_path, made["rollout_id"])
    begun_ns = fleet.clock.utc_ns()
    note_rollout(loop, turn)
    assert on_the_canary_utc_ns(noted_rollout(loop, turn)) is None
    (before,) = TurnFacts(loop, turn).facts().rollout
    assert (before.name, before.state, before.vehicles) == ("stage 1 of 1", "running", 0)
    # Vehicles that look an hour apart: one look to take it, one to tell.
    for _ in range(2):
        fleet.spend()
    note_rollout(loop, turn)
    at_ns = on_the_canary_utc_ns(noted_rollout(loop, turn))
    assert at_ns is not None and begun_ns < at_ns <= begun_ns + 2 * HOUR_S * NS_PER_S
    for _ in range(3):
        fleet.spend()
    note_rollout(loop, turn)
    (after,) = TurnFacts(loop, turn).facts().rollout
    assert (after.state, after.vehicles) == ("done", 6) and after.end_utc_ns is not None
    # What is over is not asked about again.
    monkeypatch.setattr(FleetClient, "rollout", None)
    note_rollout(loop, turn)
    assert on_the_canary_utc_ns(noted_rollout(loop, turn)) == at_ns


def test_what_was_taken_back_is_told_as_that(fleet: SimulatedFleet, tmp_path: Path) -> None:
    fleet.start(ReleaseId("model", "yolo", 1), **AT_ONCE, guardrails=False)
    for _ in range(3):
        fleet.spend()
    made = fleet.start(MODEL, guardrails=False)
    loop, turn = shipped(fleet, tmp_path, made["rollout_id"])
    broken = sorted(fleet.ordered(MODEL, "model"))[:2]
    fleet.accepts = lambda vehicle, slot, digest: (
        "NaN in the output" if vehicle.vehicle_id in broken and digest == digest_of(MODEL) else None
    )
    for _ in range(4):
        fleet.spend()
    note_rollout(loop, turn)
    found = noted_rollout(loop, turn)
    assert found is not None and found.phase == "halted"
    (stage,) = rollout_stages(loop.record("rollout", KEY), found)
    assert stage.state == "rolled_back" and stage.end_utc_ns is not None


def test_a_report_does_without_the_cloud(fleet: SimulatedFleet, tmp_path: Path) -> None:
    made = fleet.start(MODEL, **AT_ONCE, guardrails=False)
    loop, turn = shipped(fleet, tmp_path, made["rollout_id"], NOBODY)
    found = CliRunner().invoke(app, ["report", "--loop", str(tmp_path / "loop")])
    assert found.exit_code == 0, found.output
    assert "how the rollout stands by now is not known" in found.stderr
    assert Path(found.stdout.strip()).is_file()
    (loop.turn_folder(turn.turn_id) / COURSE_FILE).write_text("{")
    with pytest.raises(CorruptError, match="how a rollout stands"):
        noted_rollout(loop, turn)


def test_nobody_is_asked_about_files_and_a_strange_rollout_is_told(
    fleet: SimulatedFleet, tmp_path: Path
) -> None:
    loop, turn = shipped(fleet, tmp_path / "files", None)
    note_rollout(loop, turn)
    assert noted_rollout(loop, turn) is None
    (stage,) = TurnFacts(loop, turn).facts().rollout
    assert stage.name == "handed over as files"
    loop, turn = shipped(fleet, tmp_path / "strange", "no-such-rollout")
    with pytest.raises(InputError):
        note_rollout(loop, turn)
