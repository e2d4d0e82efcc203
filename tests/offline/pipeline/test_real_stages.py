"""A whole turn by the command, with every stage's own work: small, and nothing of it made up."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner

from cli import loop_run
from cli.loop import app
from contracts.gate_report import GateReport
from contracts.ids import digest_file, sha256_hex
from contracts.labels import read_labels
from contracts.scenario_suite import SUITE_FILE, FrozenScenario, FrozenSuite, Scenario, suite_text
from contracts.shadow_evidence import ShadowEvidence
from kernels.clip.content import content_digest
from models.runs import TrainingRun, finish_run, save_weights
from models.student.config import StudentConfig, student_s
from models.student.network import Student
from models.teacher.config import teacher_config
from models.teacher.network import new_teacher
from offline.gates.model_file import read_model
from offline.gates.policy import PUBLISHED
from offline.pipeline.stages.rollout import ROLLOUT_FILE
from offline.pipeline.turn import PRODUCT, LoopFolder
from offline.pipeline.work import Outside, Say
from sim_fleet.dataset import DatasetSpec, write_dataset
from tests.models.evaluation_drives import NARROW

ZOO = Path(__file__).parents[3] / "models/zoo"
DRIVES = (("pool", 7, 2, 0.1), ("old", 17, 1, 0.9), ("held-out", 27, 2, 0.5))
"""Of each set: its name, first seed, how many drives, and seconds between labels."""


class Onlookers:
    """A fleet on which the candidate told what the active model told."""

    def evidence(self, active: Path, candidate: Path, drives: Path, out: Path, say: Say) -> None:
        found = ShadowEvidence(
            candidate=read_model(candidate).manifest.sha256,
            active=read_model(active).manifest.sha256, vehicles=3, frames=900, crashes=0,
            agreed=2000, disagreements=9, confirmed=8, refuted=1,
        )  # fmt: skip
        out.write_text(found.model_dump_json())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drives, a teacher that learned nothing, a suite of one scenario, and the loop's file."""
    folder = tmp_path_factory.mktemp("world")
    for name, seed, count, every_s in DRIVES:
        write_dataset(DatasetSpec.model_validate({
            "apiVersion": "longtail/dataset/v1", "name": name, "drives": [{
                "scenario": "everyday-city", "seeds": (seed, count), "seconds": 3.2,
                "every_s": every_s,
            }],
        }), folder / name)  # fmt: skip
    _pool(folder)
    _teacher(folder / "teacher")
    _suite(folder / "held-out", folder / "suite")
    (folder / "shadow.yaml").write_text("drives: none that anybody reads\n")
    (folder / "drawn.json").write_text('{"*": 0.5}')
    policy = yaml.safe_load(PUBLISHED.read_text())
    policy["suite"], policy["same_embedding_cosine"] = None, 0.5
    policy["budget"]["max_cpu_ratio"] = 5.0
    policy["shadow"]["min_frames"] = 300
    policy["figures"] = [
        {"gate": gate, "figures": [figure], "margin": 1.0, "most": 9.0, "min_truths": 1}
        for gate, figure in (
            ("tails", "recall/vehicle"), ("aggregate", "recall/vehicle"), ("heads", "mean_iou"),
            ("calibration", "calibration_error"),
        )
    ]  # fmt: skip
    (folder / "policy.yaml").write_text(yaml.safe_dump(policy))
    recipe = {
        "apiVersion": "longtail/retrain/v1", "name": "quick", "train": {"epochs": 1, "batch": 4},
        "replay": {"share": 1.0, "slices": ["region"]}, "mix": {"tags": []},
    }  # fmt: skip
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder


def _pool(folder: Path) -> None:
    """Clips by their ids, as a cloud gives them, and the truth under the same names."""
    for drive in list((folder / "pool").iterdir()):
        clip_id = digest_file(drive / "clip.mcap").clip_id()
        (folder / "clips").mkdir(exist_ok=True)
        os.link(drive / "clip.mcap", folder / "clips" / f"{clip_id}.mcap")
        (folder / "truth").mkdir(exist_ok=True)
        drive.rename(folder / "truth" / clip_id)


def _teacher(folder: Path) -> None:
    folder.mkdir()
    torch.manual_seed(0)
    config = StudentConfig.model_validate({**teacher_config(student_s()).model_dump(), **NARROW})
    network, nothing = new_teacher(Student(config), 2, 0), sha256_hex(b"")
    weights = save_weights(folder, network)
    finish_run(folder, TrainingRun(
        kind="teacher", config=config, members=2, recipe=nothing, stage="members", seed=0,
        dataset=nothing, examples=1, weights=weights,
    ))  # fmt: skip


def _suite(drives: Path, out: Path) -> None:
    drive = sorted(drives.iterdir())[0]
    out.mkdir()
    (out / drive.name).symlink_to(drive)
    ask = {"ask": "told", "who": "vehicle", "within_m": 40, "share": 0.01}
    scenario = Scenario.model_validate(
        {"name": "city", "slice": "plain", "drive": {"scenario": "everyday-city"}, "asks": [ask]}
    )
    labels = [read_labels(path) for path in sorted((drive / "labels").glob("*.npz"))]
    frozen = FrozenScenario(
        scenario=scenario, folder=drive.name, frames=content_digest(drive / "clip.mcap", labels),
        standing="target",
    )  # fmt: skip
    suite = FrozenSuite(name="one", version=1, scenarios=(frozen,))
    (out / SUITE_FILE).write_text(suite_text(suite))


def document(world: Path) -> Path:
    path = world / "loop.yaml"
    path.write_text(yaml.safe_dump({
        "apiVersion": "longtail/loop/v1", "name": "real", "seed": 2,
        "ingest": {"folders": ["clips"]},
        "acquire": {"by": str(ZOO / "student-s.manifest.yaml"), "request": {
            "select": {"budget": 900, "seed": 1},
        }},
        "label": {"teacher": "teacher", "workers": 0},
        "review": {"truth": "truth", "accept": 0.9, "budget_s": 3000},
        "dataset": {"every_s": 0.4, "rule": {"parts": [["train", 1]]}},
        "train": {"recipe": "recipe.yaml", "replay": ["old"], "calibrate": ["held-out"],
                  "range_frames": 4, "threads": 1},
        "evaluate": {"suite": "suite", "tails": ["held-out"], "random": ["held-out"],
                     "probabilities": "drawn.json", "policy": "policy.yaml"},
        "specs": {"rare_below": 10},
        "shadow": {"by": "simulated", "drives": "shadow.yaml"},
        "rollout": {"to": "folder"},
    }))  # fmt: skip
    return path


def called(*words: object) -> dict[str, object]:
    done = CliRunner().invoke(app, [*map(str, words), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_clips_become_a_model_that_may_go_out(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = loop_run._outside

    def with_onlookers(folder: Path | None) -> Outside:
        real = outside(folder)
        return Outside(real.opens_on_a_vehicle, Onlookers(), real.settings, real.clock)

    monkeypatch.setattr(loop_run, "_outside", with_onlookers)
    loop = tmp_path / "loop"
    told = called("run", document(world), "--loop", loop)
    assert told["state"] == "done"
    page = Path(str(told["report"])).read_text()
    assert "passes" in page
    products = {
        stage["stage"]: next((loop / "stages" / stage["stage"]).glob("*")) / PRODUCT
        for stage in told["stages"]  # type: ignore[attr-defined]
    }
    report = GateReport.model_validate_json((products["shadow"] / "report.json").read_bytes())
    assert report.passes and report.gates[-1].verdict == "pass"
    sent = json.loads((products["rollout"] / ROLLOUT_FILE).read_text())
    assert sent["model"]["version"] == 2
    assert sent["model"]["digest"] == report.candidate
    assert {each["id"] for each in sent["specs"]} == {"rare-class"}
    # Asked again, it is the same turn, and nothing is computed.
    before = {path: path.stat().st_mtime_ns for path in loop.glob("stages/*/*/record.json")}
    again = called("run", document(world), "--loop", loop)
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
