"""A whole turn by the command, with every stage's own work: small, and nothing of it made up."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.loop import app
from contracts.gate_report import GateReport
from offline.pipeline.records import read_record
from offline.pipeline.stages.evaluate import PAGE_FILE, REPORT_FILE
from offline.pipeline.stages.rollout import ROLLOUT_FILE
from offline.pipeline.stages.shadow import SIGNED_FILE
from offline.pipeline.stages.train import RUN
from offline.pipeline.table import TABLE
from offline.pipeline.turn import PRODUCT, LoopFolder
from offline.retrain.run import read_report
from tests.offline.pipeline.real import with_onlookers, write_world

ROOT = Path(__file__).parents[3]
MEASURED = {"evaluate", "shadow", "rollout"}
"""They hold the gate report, and it the CPU time that was measured: never the same twice."""
REPORTS = {REPORT_FILE, PAGE_FILE, SIGNED_FILE}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    write_world(folder)
    return folder


def called(*words: object) -> dict[str, object]:
    done = CliRunner().invoke(app, [*map(str, words), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_clips_become_a_model_that_may_go_out(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_onlookers(monkeypatch)
    loop = tmp_path / "loop"
    told = called("run", world / "loop.yaml", "--loop", loop)
    assert told["state"] == "done"
    page = Path(str(told["report"])).read_text()
    assert "passes" in page
    products = {
        stage["stage"]: next((loop / "stages" / stage["stage"]).glob("*")) / PRODUCT
        for stage in told["stages"]  # type: ignore[attr-defined]
    }
    report = GateReport.model_validate_json((products["shadow"] / "report.json").read_bytes())
    assert report.passes and report.gates[-1].verdict == "pass"
    mix = read_report(products["train"] / RUN).mix
    assert mix.reference == mix.after == {"tod": {"day": 1.0}}
    sent = json.loads((products["rollout"] / ROLLOUT_FILE).read_text())
    assert sent["model"]["version"] == 2
    assert sent["model"]["digest"] == report.candidate
    assert {each["id"] for each in sent["specs"]} == {"rare-class"}
    # Asked again, it is the same turn, and nothing is computed.
    before = {path: path.stat().st_mtime_ns for path in loop.glob("stages/*/*/record.json")}
    again = called("run", world / "loop.yaml", "--loop", loop)
    assert again["turn"] == told["turn"] and again["keys"] == told["keys"]
    assert {p: p.stat().st_mtime_ns for p in loop.glob("stages/*/*/record.json")} == before
    _lineage(loop, report.candidate)


def _lineage(loop: Path, model: str) -> None:
    """From the rollout down to the vehicle, and from the vehicle up to the rollout."""
    turn = LoopFolder(loop).turn(None)
    way = ["rollout", "gate report", "model", "dataset version", "label set", "clip", "vehicle"]
    origins = called("lineage", turn.name, "--loop", loop)["origins"]
    assert _kinds(origins) >= set(way) | {"stage run"}
    assert not _missing(origins) - {"dataset version"}
    uses = called("lineage", "sim-dataset", "--loop", loop)["uses"]
    assert _kinds(uses) >= set(way)
    of_model = called("lineage", model, "--loop", loop)
    assert {"gate report", "rollout"} <= _kinds(of_model["uses"])


def _kinds(branch: object) -> set[str]:
    assert isinstance(branch, dict)
    return {branch["kind"]}.union(*map(_kinds, branch["beyond"]))


def _missing(branch: object) -> set[str]:
    assert isinstance(branch, dict)
    own = {branch["kind"]} if branch["missing"] else set()
    return own.union(*map(_missing, branch["beyond"]))


@pytest.mark.soak
def test_killed_at_random_the_turn_ends_the_same(world: Path, tmp_path: Path) -> None:
    assert _started(world, tmp_path / "whole", None) == 0
    rng = random.Random(5)
    for _ in range(12):
        if _started(world, tmp_path / "killed", rng.uniform(2.0, 14.0)) == 0:
            break
    assert _started(world, tmp_path / "killed", None) == 0
    whole, killed = _digests(tmp_path / "whole"), _digests(tmp_path / "killed")
    assert set(whole) == {stage.name for stage in TABLE}
    assert {n: d for n, d in killed.items() if n not in MEASURED} == {
        n: d for n, d in whole.items() if n not in MEASURED
    }
    assert _rolled_out(tmp_path / "killed") == _rolled_out(tmp_path / "whole")


def _rolled_out(loop: Path) -> dict[str, bytes]:
    """What went out, file by file, but for the gate report."""
    (product,) = (loop / "stages" / "rollout").glob(f"*/{PRODUCT}")
    files = {
        str(path.relative_to(product)): path.read_bytes()
        for path in product.rglob("*") if path.is_file()
    }  # fmt: skip
    return {name: content for name, content in files.items() if name not in REPORTS}


def _started(world: Path, loop: Path, kill_after_s: float | None) -> int:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.offline.pipeline.real", str(world), str(loop)],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        return process.wait(kill_after_s)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _digests(loop: Path) -> dict[str, str]:
    """Of each stage's product: one of each stage, since none was done twice."""
    found = {}
    for stage in TABLE:
        (path,) = (loop / "stages" / stage.name).glob("*/record.json")
        record = read_record(path)
        assert record is not None
        found[stage.name] = record.product
    return found
