"""The candidate: product/run/ as training left it, product/model/ as vehicles take it up.

Trained on the turn's dataset, with frames of all that came before: the datasets that the loop
began with, and those of the turns before. Weighed by what the snapshot's random clips, labelled or
not, say of the road. product/datasets/ carries the latter on to the next turn.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from pydantic import JsonValue

from contracts.model_manifest import ModelManifest
from contracts.spec_yaml import parse_yaml, read_text, validate_located
from models.data.drives import drive_folders
from models.data.frames import load_frames
from models.history import HISTORY_FILE
from models.recipe import RetrainRecipe, read_retrain_recipe
from models.runs import RUN_FILE, WEIGHTS_FILE, load_student
from models.student.deploy import Deployment, deployed
from models.student.export import write_student
from models.telling import PICTURE_FILE, telling_epochs
from offline.datasets.export import place_file
from offline.executor.choice import executor_of
from offline.pipeline.stages.dataset import DATASET, TRAIN, VALIDATION
from offline.pipeline.stages.ingest import CLIPS
from offline.pipeline.work import Result, Work
from offline.retrain.lineage import export_lineage
from offline.retrain.run import MIX_FILE, REPORT_FILE, Folders, RetrainReport, retrain_run
from offline.retrain.together import retrain_together

RUN, MODEL, DATASETS = "run", "model", "datasets"
_KEPT = (RUN_FILE, WEIGHTS_FILE, HISTORY_FILE, REPORT_FILE, MIX_FILE, PICTURE_FILE)


def train(work: Work) -> Result:
    """Retrain and export; goes on after the last whole epoch."""
    section = work.spec.train
    if section.threads:
        torch.set_num_threads(section.threads)
    before = work.before.get("train")
    earlier = [] if before is None else sorted((before / DATASETS).iterdir())
    last = [] if "dataset" not in work.before else [work.before["dataset"] / DATASET]
    folders = Folders(
        section.start if before is None else before / RUN,
        work.needs["dataset"] / DATASET, (*section.replay, *earlier, *last),
        section.reference or (work.needs["ingest"] / CLIPS,),
    )  # fmt: skip
    recipe = read_retrain_recipe(section.recipe)
    run = work.scratch / RUN

    if section.workers > 1:
        executor = executor_of(section.workers, section.ray)
        report = retrain_together(folders, section.recipe, run, section.workers, executor, work.say)
    else:
        told = telling_epochs(run, recipe.train.epochs, work.say)
        report = retrain_run(folders, recipe, run, work.say, told)
    made = _exported(work, run, folders)
    _keep(work, run, [*earlier, *last], made)
    return Result(_figures(report, recipe, run, made))


def model_manifest(product: Path) -> Path:
    """The candidate's manifest in this stage's product; the model lies beside it."""
    return next((product / MODEL).glob("*.manifest.yaml"))


def _exported(work: Work, run: Path, folders: Folders) -> Deployment:
    """Int8 ranges from what it was trained on, probabilities from what it was not."""
    section = work.spec.train
    student, trained = load_student(run)
    seen = load_frames(drive_folders([folders.new / TRAIN, *section.replay]), student.config)
    others = load_frames(_others(folders.new, section.calibrate), student.config)
    rows = np.linspace(0, len(seen) - 1, min(section.range_frames, len(seen))).astype(int)
    return deployed(
        student, [seen.frame(int(row)) for row in rows],
        [(one.frame, one.labels) for one in others],
        name=section.name, version=_before(work).version + 1, score_threshold=section.threshold,
        lineage=export_lineage(trained, others.digest, int8=True) | {"turn": work.turn.turn_id},
        before=_before(work).calibration, progress=work.say,
    )  # fmt: skip


def _others(new: Path, calibrate: tuple[Path, ...]) -> list[Path]:
    own = new / VALIDATION
    has_own = own.is_dir() and any(own.iterdir())
    return drive_folders([*([own] if has_own else []), *calibrate])


def _before(work: Work) -> ModelManifest:
    """Of the model that the vehicles run."""
    before = work.before.get("train")
    path = work.spec.train.before if before is None else model_manifest(before)
    return validate_located(ModelManifest, parse_yaml(read_text(path), str(path)))


def _keep(work: Work, run: Path, datasets: list[Path], made: Deployment) -> None:
    (work.product / RUN).mkdir()
    for name in _KEPT:
        if (run / name).is_file():
            shutil.copyfile(run / name, work.product / RUN / name)
    write_student(work.product / MODEL, made.content, made.manifest)
    for number, folder in enumerate(datasets):
        target = work.product / DATASETS / f"{number:03d}"
        for path in sorted(each for each in folder.rglob("*") if each.is_file()):
            place = target / path.relative_to(folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            place_file(path, place)
    (work.product / DATASETS).mkdir(exist_ok=True)


def _figures(
    report: RetrainReport, recipe: RetrainRecipe, run: Path, made: Deployment
) -> dict[str, JsonValue]:
    return {
        "new_frames": report.new_frames, "old_frames": report.old_frames,
        "replayed": len(report.replayed_rows), "epoch_frames": report.epoch_frames,
        "epochs": recipe.train.epochs, "embedding_cosine": report.embedding_cosine,
        "same_space": report.same_space, "model": made.manifest.sha256,
        "weighed_by": list(report.mix.reference), "untold": list(report.mix.untold),
        "version": made.manifest.version, "history": _history(run),
    }  # fmt: skip


def _history(run: Path) -> JsonValue:
    path = run / HISTORY_FILE
    return json.loads(path.read_text("utf-8")) if path.is_file() else None
