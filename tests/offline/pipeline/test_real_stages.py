"""A whole turn by the command, with every stage's own work: small, and nothing of it made up."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True)
class Turned:
    """A turn that was run: its loop's folder, and what the command told."""

    loop: Path
    told: dict[str, Any]

    def product(self, stage: str) -> Path:
        key = self.told["keys"][stage]
        return LoopFolder(self.loop).stage(stage, key) / PRODUCT  # type: ignore[arg-type]

    def gates(self) -> GateReport:
        return GateReport.model_validate_json((self.product("shadow") / REPORT_FILE).read_bytes())


@pytest.fixture(scope="module")
def first(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Turned:
    loop = tmp_path_factory.mktemp("first") / "loop"
    with pytest.MonkeyPatch.context() as patch:
        with_onlookers(patch)
        return Turned(loop, called("run", world / "loop.yaml", "--loop", loop))


def called(*words: object) -> dict[str, Any]:
    done = CliRunner().invoke(app, [*map(str, words), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_clips_become_a_model_that_may_go_out(world: Path, first: Turned) -> None:
    assert first.told["state"] == "done"
    assert "passes" in Path(first.told["report"]).read_text()
    report = first.gates()
    assert report.passes and report.gates[-1].verdict == "pass"
    mix = read_report(first.product("train") / RUN).mix
    assert mix.reference == mix.after == {"tod": {"day": 1.0}}
    sent = json.loads((first.product("rollout") / ROLLOUT_FILE).read_text())
    assert sent["model"]["version"] == 2
    assert sent["model"]["digest"] == report.candidate
    assert {each["id"] for each in sent["specs"]} == {"rare-class"}
    # Asked again, it is the same turn, and nothing is computed.
    records = list(first.loop.glob("stages/*/*/record.json"))
    before = {path: path.stat().st_mtime_ns for path in records}
    again = called("run", world / "loop.yaml", "--loop", first.loop)
    assert again["turn"] == first.told["turn"] and again["keys"] == first.told["keys"]
    assert {path: path.stat().st_mtime_ns for path in records} == before
    _lineage(first.loop, report.candidate)


def test_the_next_turn_builds_on_what_shipped(
    world: Path, first: Turned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_onlookers(monkeypatch)
    loop = shutil.copytree(first.loop, tmp_path / "loop")
    second = Turned(loop, called("run", world / "next.yaml", "--loop", loop))
    assert second.told["state"] == "done"
    assert LoopFolder(loop).turn(None).after == first.told["turn"]
    # Only the clip that came since is chosen; the earlier ones are old data now.
    chosen = [path.stem for path in (second.product("acquire") / "clips").iterdir()]
    assert chosen == [path.stem for path in (world / "later").iterdir()]
    reports = [read_report(each.product("train") / RUN) for each in (first, second)]
    assert reports[1].old_frames == reports[0].old_frames + reports[0].new_frames
    # It is held against the model that the turn before shipped, and takes its place.
    assert second.gates().passes
    assert second.gates().reference == first.gates().candidate != second.gates().candidate
    sent = json.loads((second.product("rollout") / ROLLOUT_FILE).read_text())
    assert sent["model"]["version"] == 3
    assert sent["model"]["digest"] == second.gates().candidate
    uses = called("lineage", first.gates().candidate, "--loop", loop)["uses"]
    assert f"real-{second.told['turn'][:8]}" in json.dumps(uses)  # its rollout


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
