"""A small world in which every stage does its own work, and a turn over it as a program to kill.

python -m tests.offline.pipeline.real WORLD LOOP
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch
import yaml

from cli import loop_run
from cli.loop import app
from contracts.ids import digest_file, sha256_hex
from contracts.labels import read_labels
from contracts.scenario_suite import SUITE_FILE, FrozenScenario, FrozenSuite, Scenario, suite_text
from contracts.shadow_evidence import ShadowEvidence
from kernels.clip.content import content_digest
from kernels.clip.encoding import EncodedMessage
from kernels.clip.reader import read_manifest, read_messages
from kernels.clip.writer import write_clip
from models.runs import TrainingRun, finish_run, save_weights
from models.student.config import StudentConfig, student_s
from models.student.network import Student
from models.teacher.config import teacher_config
from models.teacher.network import new_teacher
from offline.gates.model_file import read_model
from offline.gates.policy import PUBLISHED
from offline.pipeline.work import Outside, Say
from sim_fleet.dataset import DatasetSpec, write_dataset
from tests.models.evaluation_drives import NARROW

ZOO = Path(__file__).parents[3] / "models/zoo"
DRIVES = (("pool", 7, 3, 0.1), ("old", 17, 1, 0.9), ("held-out", 27, 2, 0.5))
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


def write_world(folder: Path) -> None:
    """Drives, a teacher that learned nothing, a suite of one scenario, and the loop's file."""
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
        "replay": {"share": 1.0, "slices": ["region"]}, "mix": {"tags": ["tod"]},
    }  # fmt: skip
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    _document(folder, "loop.yaml", "clips")
    _document(folder, "next.yaml", "clips", "later")


def _pool(folder: Path) -> None:
    """Clips by their ids, as a cloud gives them, and the truth under the same names. One is of the
    random stream, and one comes later.
    """
    drives = sorted((folder / "pool").iterdir())
    _as_drawn(drives[0] / "clip.mcap")
    for drive, clips in zip(drives, ("clips", "clips", "later"), strict=True):
        clip_id = digest_file(drive / "clip.mcap").clip_id()
        (folder / clips).mkdir(exist_ok=True)
        os.link(drive / "clip.mcap", folder / clips / f"{clip_id}.mcap")
        (folder / "truth").mkdir(exist_ok=True)
        drive.rename(folder / "truth" / clip_id)


def _as_drawn(clip: Path) -> None:
    manifest = read_manifest(clip)
    drawn = manifest.model_copy(update={"stream": "random", "inclusion_probability": 0.05})
    messages = [
        EncodedMessage(
            one.channel, one.schema.name, one.log_ns - manifest.utc_minus_mono_ns, one.payload
        )
        for one in read_messages(clip)
    ]
    with clip.open("wb") as stream:
        write_clip(stream, drawn, messages, {})


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


def _document(world: Path, name: str, *clips: str) -> None:
    (world / name).write_text(yaml.safe_dump({
        "apiVersion": "longtail/loop/v1", "name": "real", "seed": 2,
        "ingest": {"folders": [*clips]},
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


def with_onlookers(patch: pytest.MonkeyPatch) -> None:
    """The shadow is told by `Onlookers`; everything else is as it is."""
    outside = loop_run._outside

    def made(folder: Path | None) -> Outside:
        real = outside(folder)
        return Outside(real.opens_on_a_vehicle, Onlookers(), real.settings, real.clock)

    patch.setattr(loop_run, "_outside", made)


if __name__ == "__main__":
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as own:
        with_onlookers(own)
        app(["run", str(Path(sys.argv[1]) / "loop.yaml"), "--loop", sys.argv[2], "--json"])
