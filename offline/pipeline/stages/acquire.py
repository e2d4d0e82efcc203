"""Which clips are labelled: product/clips/ID.mcap, and why: product/selection.json.

What earlier turns labelled is known: product/labelled/ holds those clips too. Each turn draws its
random stream by a seed of its own (`offline.acquisition.draw`), which product/selection.json names.
product/health.json tells how the clips that are new differ from those of the turn before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from contracts.canonical import canonical_digest, canonical_json
from contracts.errors import InputError
from contracts.ids import sha256_hex
from offline.acquisition.adapters.ensembles import SingleModel, open_ensemble
from offline.acquisition.adapters.pool import ScoredClips
from offline.acquisition.adapters.request import AcquisitionReport, AcquisitionRequest
from offline.acquisition.adapters.request import acquire as choose
from offline.acquisition.adapters.scoring import ClipScorer, EnsembleScorer, ToldScorer
from offline.acquisition.adapters.sources import folder_clips
from offline.acquisition.adapters.store import ScoreStore
from offline.datasets.export import place_file
from offline.gates.model_file import read_model
from offline.health.report import health_report
from offline.pipeline.stages.ingest import CLIPS
from offline.pipeline.work import Result, Work

SELECTION_FILE, HEALTH_FILE, LABELLED = "selection.json", "health.json", "labelled"


def acquire(work: Work) -> Result:
    """Choose within the budget."""
    section, select = work.spec.acquire, work.spec.acquire.request.select
    scorer = scorer_of(section.by, section.passes, section.request)
    store = ScoreStore(work.shared / "scores", scorer.digest)
    clips = ScoredClips(scorer, store, lambda done: work.say(f"{done} clips scored"))
    before = _known_before(work)
    pool = folder_clips([work.needs["ingest"] / CLIPS])
    known = {path.name for path in before}
    pool = [each for each in pool if each.path.name not in known]
    if not pool:
        raise InputError("every clip of the snapshot is labelled already", work.turn.name)
    request = section.request.model_copy(
        update={"select": select.model_copy(update={"seed": turn_seed(work, select.seed)})}
    )
    report = choose(request, clips, pool, folder_clips(before) if before else [])
    _look_after(work, lambda: ScoredClips(scorer, store))
    return _kept(work, _without_places(report), before)


def turn_seed(work: Work, seed: int) -> int:
    """The file's seed in a first turn. Later it follows from what the turn before chose, by which
    seed: the stage's key holds that, and no two turns of a line have chosen the same.
    """
    if "acquire" not in work.before:
        return seed
    chosen = sha256_hex((work.before["acquire"] / SELECTION_FILE).read_bytes())
    return int(canonical_digest({"seed": seed, "after": chosen})[:12], 16)


def scorer_of(by: Path | None, passes: int | None, request: AcquisitionRequest) -> ClipScorer:
    """By a training run, a model by its manifest, or (`by` None) the vehicles' own word."""
    if by is None:
        return ToldScorer(request.scoring)
    if by.is_file():
        found = read_model(by)
        model = SingleModel(found.predictor, found.config, found.manifest.sha256)
        return EnsembleScorer(model, request.scoring)
    return EnsembleScorer(open_ensemble(by, passes=passes), request.scoring)


def _known_before(work: Work) -> list[Path]:
    if "acquire" not in work.before:
        return []
    product = work.before["acquire"]
    return sorted([*(product / CLIPS).glob("*.mcap"), *(product / LABELLED).glob("*.mcap")])


def _look_after(work: Work, clips: Callable[[], ScoredClips]) -> None:
    """Drift of the clips that are new against those of the turn before, what triggers choose beside
    the random stream, and how sensors sit.
    """
    folder = work.needs["ingest"] / CLIPS
    earlier = work.before["ingest"] / CLIPS if "ingest" in work.before else None
    known = set() if earlier is None else {path.name for path in earlier.glob("*.mcap")}
    new = [each for each in folder_clips([folder]) if each.path.name not in known]
    old = [] if earlier is None else folder_clips([earlier])
    if not new:
        return
    try:
        told = health_report(new, old, clips())
    except InputError as error:  # Of another model than those before, as vehicles told them.
        alone = health_report(new, [], clips())
        told = alone.model_copy(update={"unmeasured": alone.unmeasured | {"drift": error.message}})
    unmeasured = {Path(place).name: why for place, why in sorted(told.unmeasured.items())}
    told = told.model_copy(update={"unmeasured": unmeasured})
    (work.product / HEALTH_FILE).write_bytes(canonical_json(told) + b"\n")


def _without_places(report: AcquisitionReport) -> AcquisitionReport:
    """The same choice gives the same bytes, wherever clips lie and whoever scored them first."""
    return report.model_copy(update={
        "scored": report.scored + report.reused, "reused": 0,
        "places": {name: Path(place).name for name, place in report.places.items()},
        "left_out": tuple(
            one.model_copy(update={"place": Path(one.place).name}) for one in report.left_out
        ),
    })  # fmt: skip


def _kept(work: Work, report: AcquisitionReport, before: list[Path]) -> Result:
    chosen = report.selection.selections
    if not chosen:
        raise InputError("the budget reaches for no clip", "acquire.request.select.budget")
    for folder, files in (
        (CLIPS, [work.needs["ingest"] / CLIPS / f"{one.clip_id}.mcap" for one in chosen]),
        (LABELLED, before),
    ):
        (work.product / folder).mkdir()
        for path in files:
            place_file(path, work.product / folder / path.name)
    (work.product / SELECTION_FILE).write_bytes(canonical_json(report) + b"\n")
    streams = Counter(one.stream for one in chosen)
    return Result({
        "chosen": len(chosen), "left_out": len(report.left_out), "unit": report.request.unit,
        "expected_cost": round(sum(one.expected_cost for one in chosen), 2),
        "streams": dict(sorted(streams.items())),
    })  # fmt: skip
