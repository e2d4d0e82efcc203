"""Trigger specs that follow from what the turn learned: product/ID.yaml, a version each.

*Rare classes*: those of which all that is learned from still holds too few boxes. *Novelty*: the
chosen clips that lie farthest from what the random stream shows, as the candidate sees them, each
with a threshold that the wished share of random clips reaches. A spec that would say what it says
already is not written again.
"""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pydantic import JsonValue

from contracts.errors import InputError
from contracts.geometry import TAXONOMY
from contracts.ids import sha256_hex
from contracts.labels import labels_from
from contracts.samples import Float32s
from contracts.spec_yaml import parse_yaml, read_text
from contracts.trigger_spec import load_spec
from models.data.drives import drive_folders
from offline.acquisition.adapters.ensembles import SingleModel
from offline.acquisition.adapters.pool import ScoredClips
from offline.acquisition.adapters.scoring import EnsembleScorer
from offline.acquisition.adapters.sources import FolderClip, folder_clips
from offline.acquisition.adapters.store import ScoreStore
from offline.acquisition.similar import similar_document
from offline.datasets.label_sets import LABEL_FOLDER
from offline.gates.model_file import read_model
from offline.pipeline.stages.dataset import DATASET
from offline.pipeline.stages.ingest import CLIPS
from offline.pipeline.stages.train import DATASETS, model_manifest
from offline.pipeline.work import Result, Work

COUNTS_FILE, OWNER = "counts.json", "loop"


def specs(work: Work) -> Result:
    """Write the specs that changed."""
    section = work.spec.specs
    counts = _counts(work)
    figures: dict[str, JsonValue] = {"boxes": dict(counts)}
    if section.rare_below is not None:
        figures["rare"] = list(_rare(work, counts, section.rare_below))
    if section.novel:
        figures["novel"] = list(_novel(work))
    return Result(figures)


def spec_files(product: Path) -> list[Path]:
    """The specs of the stage's product that are new."""
    return sorted(product.glob("*.yaml"))


def _counts(work: Work) -> dict[str, int]:
    """Boxes by class in all that the student learns from: the turn's dataset version, those of
    earlier turns, and what is replayed. Each label file once, by its content.
    """
    earlier = sorted((work.needs["train"] / DATASETS).iterdir())
    roots = [work.needs["dataset"] / DATASET, *earlier, *work.spec.train.replay]
    counts: Counter[str] = Counter()
    seen: set[str] = set()
    for folder in drive_folders(roots):
        for path in sorted((folder / LABEL_FOLDER).glob("*.npz")):
            content = path.read_bytes()
            if (digest := sha256_hex(content)) in seen:
                continue
            seen.add(digest)
            boxes = labels_from(content, str(path)).record.boxes
            counts.update(each.box.class_name for each in boxes if not each.ignored)
    return {name: counts[name] for name in TAXONOMY.names}


def _rare(work: Work, counts: dict[str, int], below: int) -> list[str]:
    """The rare-class spec asks for what is rare now; names outside of the taxonomy stay."""
    found = [name for name in TAXONOMY.names if counts[name] < below]
    path = _standing(work, work.spec.specs.rare_spec)
    document = _document(path)
    asked = document["when"]["classes"]
    wanted = [*found, *(name for name in asked if name not in TAXONOMY.names)]
    if not wanted:
        work.say(f"no class has fewer than {below} boxes: drop {path.name} by hand")
    kept = work.product / "standing"
    kept.mkdir(exist_ok=True)
    if not wanted or sorted(wanted) == sorted(asked):
        shutil.copyfile(path, kept / path.name)
        return found
    document["when"]["classes"] = wanted
    document["version"] += 1
    document["description"] = (
        f"Classes with fewer than {below} boxes in all that turn {work.turn.name} learns from."
    )
    made = _written(work, document)
    shutil.copyfile(made, kept / path.name)
    return found


def _standing(work: Work, path: Path) -> Path:
    """The spec as the turn before left it, or as it is published."""
    before = work.before.get("specs")
    kept = None if before is None else before / "standing" / path.name
    return kept if kept is not None and kept.is_file() else path


def _novel(work: Work) -> list[str]:
    """Specs for the clips farthest from the random stream; their ids."""
    section = work.spec.specs
    model = read_model(model_manifest(work.needs["train"]))
    request = work.spec.acquire.request
    scorer = EnsembleScorer(
        SingleModel(model.predictor, model.config, model.manifest.sha256), request.scoring
    )
    clips = ScoredClips(scorer, ScoreStore(work.shared / "scores", scorer.digest))
    every = folder_clips([work.needs["ingest"] / CLIPS])
    random = [each for each in every if each.manifest.stream == "random"]
    wanted = int(section.rate * len(random))
    if wanted < 1:
        work.say(f"{len(random)} random clips cannot tell a rate of {section.rate:g}")
        return []
    usual = np.stack(list(_embedded(clips, random).values()))
    chosen = folder_clips([work.needs["acquire"] / CLIPS])
    directed = _embedded(clips, [each for each in chosen if each.manifest.stream != "random"])
    nearest = {name: float((usual @ vector).max()) for name, vector in directed.items()}
    names = []
    for clip_id in sorted(nearest, key=lambda name: (nearest[name], name))[: section.novel]:
        cosines = np.sort(usual @ directed[clip_id])[::-1]
        threshold = float(cosines[wanted - 1])
        if threshold <= 0:
            continue
        why = (
            f"Of {len(random)} random clips of turn {work.turn.name} {section.rate:.3g} reach the "
            "threshold with their mean; single frames scatter more."
        )
        document = similar_document(
            clip_id,
            model.manifest.sha256,
            directed[clip_id].tolist(),
            round(threshold, 6),
            OWNER,
            why,
        )
        names.append(_written(work, document).stem)
    return names


def _embedded(clips: ScoredClips, sources: list[FolderClip]) -> dict[str, Float32s]:
    """Embeddings float32 [d] of length 1, by clip id."""
    found: dict[str, Float32s] = {}
    for shard in clips.shards(sources):
        for clip, vector in zip(shard.candidates, shard.embeddings, strict=True):
            length = float(np.linalg.norm(vector))
            if length > 0:
                found[clip.clip_id] = (vector / length).astype(np.float32)
    return found


def _document(path: Path) -> dict[str, Any]:
    value = parse_yaml(read_text(path), str(path)).value
    if not isinstance(value, dict):
        raise InputError("this is no trigger spec", str(path))
    return value


def _written(work: Work, document: dict[str, Any]) -> Path:
    """The spec's file, checked as the vehicle checks it."""
    path = work.product / f"{document['id']}.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False, width=96), "utf-8")
    load_spec(path)
    return path
