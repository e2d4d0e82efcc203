"""What a turn tells of itself, for the report: read from its records and products alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from contracts.clock import NS_PER_S
from contracts.datasets import DatasetVersion
from contracts.errors import InputError
from contracts.gate_report import GateReport
from kernels.clip.reader import read_manifest
from offline.acquisition.adapters.request import AcquisitionReport
from offline.datasets.lineage import Thing
from offline.datasets.store import DatasetStore
from offline.gates.evidence import ShadowEvidence
from offline.health.records import HealthReport
from offline.labels.formats.files import read_json
from offline.labels.review.route import ROUTING_FILE, RoutingRecord
from offline.loop_report.facts import (
    AcquisitionFacts,
    Change,
    DatasetFacts,
    Duration,
    FunnelFacts,
    LineageRow,
    LoopFacts,
    ReviewFacts,
    RolloutStage,
    SpecChange,
    StageFacts,
    StreamFacts,
    TimeFacts,
    TrainingFacts,
)
from offline.loop_report.lineage import lineage_rows
from offline.loop_report.tails import tails_of
from offline.pipeline.course import noted_rollout, on_the_canary_utc_ns, rollout_stages
from offline.pipeline.fleet import noted_fleet
from offline.pipeline.lineage import loop_lineage
from offline.pipeline.records import StageRecord, Turn
from offline.pipeline.stages.acquire import HEALTH_FILE, SELECTION_FILE
from offline.pipeline.stages.dataset import STORE, read_made
from offline.pipeline.stages.evaluate import EVIDENCE, read_report
from offline.pipeline.stages.ingest import CLIPS
from offline.pipeline.stages.review import STANDING_FILE
from offline.pipeline.stages.rollout import ROLLOUT_FILE
from offline.pipeline.stages.shadow import SHADOW_FILE
from offline.pipeline.stages.train import RUN
from offline.pipeline.table import TABLE, StageName
from offline.pipeline.turn import PRODUCT, LoopFolder, Progress
from offline.retrain.run import read_report as read_retrain_report
from offline.traceability.evidence import read_evidence

_STANDS = ("stands", "accepted")


class TurnFacts:
    """Reads one turn. Stages that were not done leave their part out."""

    def __init__(self, folder: LoopFolder, turn: Turn) -> None:
        self._folder, self._turn = folder, turn
        self._progress: Progress = folder.progress(turn.turn_id)
        self._records: dict[StageName, StageRecord] = {}
        for name, key in self._progress.keys.items():
            found = folder.record(name, key)
            if found is not None:
                self._records[name] = found
        # A stage that refused is not among the keys that others may read, but tells why.
        self._refused = self._refusal()

    def facts(self) -> LoopFacts:
        """Of the turn as it stands now."""
        turns = [each.turn_id for each in self._folder.turns()]
        return LoopFacts(
            name=self._turn.name, seed=self._turn.spec.seed,
            turn=1 + turns.index(self._turn.turn_id), stages=tuple(self._stages()),
            fleet=noted_fleet(self._folder, self._turn), health=self._health(),
            funnel=self._funnel(), acquisition=self._acquisition(), review=self._review(),
            dataset=self._dataset(), training=self._training(), gates=self._gates(),
            tails=self._tails(), shadow=self._shadow(), rollout=self._rollout(),
            specs=self._specs(), lineage=self._lineage(), times=self._times(),
        )  # fmt: skip

    def _refusal(self) -> StageRecord | None:
        if self._progress.state != "refused" or self._progress.stage is None:
            return None
        name = self._progress.stage
        begun = self._turn.begun_utc_ns
        found = [
            record for path in (self._folder.path / "stages" / name).iterdir()
            if (record := self._folder.record(name, path.name)) is not None
            and record.state == "refused" and record.why == self._progress.why
        ]  # fmt: skip
        return max(found, key=lambda record: (record.ended_utc_ns >= begun, record.ended_utc_ns),
                   default=None)  # fmt: skip

    def _product(self, name: StageName) -> Path | None:
        record = self._records.get(name)
        if record is None and self._refused is not None and self._refused.stage == name:
            record = self._refused
        return None if record is None else self._folder.stage(name, record.key) / PRODUCT

    def _stages(self) -> list[StageFacts]:
        told = []
        for stage in TABLE:
            record = self._records.get(stage.name)
            if record is None and self._refused is not None and self._refused.stage == stage.name:
                record = self._refused
            if record is not None:
                told.append(self._ended(record))
            elif stage.name == self._progress.stage and self._progress.state != "done":
                state = "waiting" if self._progress.state in ("waiting", "running") else "failed"
                told.append(StageFacts.model_validate(
                    {"name": stage.name, "state": state, "reason": self._progress.why}
                ))  # fmt: skip
        return told

    def _ended(self, record: StageRecord) -> StageFacts:
        reused = record.ended_utc_ns < self._turn.begun_utc_ns
        state = "failed" if record.state == "refused" else "reused" if reused else "done"
        return StageFacts.model_validate({
            "name": record.stage, "state": state, "key": record.key, "reason": record.why,
            "start_utc_ns": None if reused else record.begun_utc_ns,
            "wall_s": record.wall_s, "cpu_s": record.cpu_s, "figures": _plain(record.figures),
        })  # fmt: skip

    def _funnel(self) -> FunnelFacts | None:
        if "ingest" not in self._records:
            return None
        figures = {name: record.figures for name, record in self._records.items()}
        trained = None
        if "train" in figures and "dataset" in figures:
            version = self._version()
            trained = sum(1 for each in version.clips("train") if each.frames)
        return FunnelFacts(
            uploaded=_whole(figures["ingest"].get("clips")),
            acquired=_whole(figures.get("acquire", {}).get("chosen")),
            labelled=_whole(figures.get("label", {}).get("clips")),
            in_dataset=_whole(figures.get("dataset", {}).get("clips")), trained_on=trained,
        )  # fmt: skip

    def _acquisition(self) -> AcquisitionFacts | None:
        product = self._product("acquire")
        if product is None:
            return None
        report = AcquisitionReport.model_validate_json((product / SELECTION_FILE).read_bytes())
        selection = report.selection
        return AcquisitionFacts(
            unit=selection.unit, budget=selection.config.budget, pool=selection.pool,
            streams=tuple(
                StreamFacts(stream=name, clips=total.clips, expected_cost=total.expected_cost)
                for name, total in sorted(selection.by_stream.items())
            ),
        )  # fmt: skip

    def _health(self) -> HealthReport | None:
        product = self._product("acquire")
        path = None if product is None else product / HEALTH_FILE
        if path is None or not path.is_file():
            return None
        return HealthReport.model_validate_json(path.read_bytes())

    def _review(self) -> ReviewFacts | None:
        product = self._product("review")
        if product is None:
            return None
        routing = RoutingRecord.model_validate_json((product / ROUTING_FILE).read_bytes())
        standing, boxes = read_json(product / STANDING_FILE), routing.report.boxes
        total = sum(boxes.values())
        of_turn = standing["turn"]  # and not of those before, which share its journal
        agreed = of_turn["agreement"]

        def share(*fates: str) -> float | None:
            return sum(boxes.get(fate, 0) for fate in fates) / total if total else None

        return ReviewFacts(
            boxes=total, auto_accepted=share(*_STANDS), consensus=share("consensus"),
            expert=share("expert"), waiting=share("waits"), kappa=agreed["fleiss_kappa"],
            icc={name: one["value"] for name, one in agreed["icc"].items()
                 if one["value"] is not None},
            residual_error=min(1.0, routing.report.expected_errors / total) if total else None,
            expected_s=sum(routing.report.cost_s.values()),
            labeller_s=sum(of_turn["spent_s"].values()),
            simulated_people=bool(self._records["review"].figures.get("simulated")),
        )  # fmt: skip

    def _version(self) -> DatasetVersion:
        product = self._product("dataset")
        if product is None:
            raise InputError("has no dataset yet", self._turn.name)
        store = DatasetStore(self._folder.path / STORE)
        return store.get(DatasetVersion, read_made(product).version)

    def _dataset(self) -> DatasetFacts | None:
        if "dataset" not in self._records:
            return None
        figures = self._records["dataset"].figures
        train = self._product("train")
        mix = None if train is None else read_retrain_report(train / RUN)
        trained = self._records["train"].figures if train is not None else {}
        part = None
        if mix is not None:
            epoch = _number(trained.get("epoch_frames"))
            part = max(0.0, 1.0 - mix.new_frames / epoch) if epoch else None
        frames = _mapping(figures.get("frames"))
        return DatasetFacts(
            digest=str(figures["version"]), frames=sum(frames.values()), by_split=frames,
            by_source=_mapping(figures.get("boxes")),
            before={} if mix is None else mix.mix.before,
            after={} if mix is None else mix.mix.after,
            reference={} if mix is None else mix.mix.reference, replay_share=part,
        )  # fmt: skip

    def _training(self) -> TrainingFacts | None:
        record = self._records.get("train")
        if record is None:
            return None
        history = record.figures.get("history")
        losses = history if isinstance(history, list) else []
        return TrainingFacts.model_validate({
            "losses": losses, "seconds": record.wall_s, "model": record.figures.get("model"),
        })  # fmt: skip

    def _gates(self) -> GateReport | None:
        product = self._product("shadow") or self._product("evaluate")
        return None if product is None else read_report(product)

    def _tails(self) -> tuple[Change, ...]:
        product = self._product("shadow") or self._product("evaluate")
        if product is None:
            return ()
        return tails_of(read_report(product), read_evidence(product / EVIDENCE))

    def _shadow(self) -> ShadowEvidence | None:
        product = self._product("shadow")
        if product is None:
            return None
        return ShadowEvidence.model_validate_json((product / SHADOW_FILE).read_bytes())

    def _rollout(self) -> tuple[RolloutStage, ...]:
        return rollout_stages(
            self._records.get("rollout"), noted_rollout(self._folder, self._turn)
        )  # fmt: skip

    def _specs(self) -> tuple[SpecChange, ...]:
        product = self._product("rollout")
        if product is None:
            return ()
        return tuple(
            SpecChange(trigger_id=each["id"], version=each["version"],
                       told="written from what the turn learned", state="in shadow")
            for each in read_json(product / ROLLOUT_FILE)["specs"]
        )  # fmt: skip

    def _lineage(self) -> tuple[LineageRow, ...]:
        if "train" not in self._records:
            return ()
        known = loop_lineage(self._folder)
        model = Thing("model", str(self._records["train"].figures["model"]))
        origins, uses = known.origins(model), known.uses(model)
        return (*lineage_rows(origins, "origins"), *lineage_rows(uses, "uses"))

    def _times(self) -> TimeFacts | None:
        ingest = self._product("ingest")
        if ingest is None:
            return None
        received = {each.clip_id: each.received_utc_ns for each in self._turn.clips}
        ends = sorted(
            _begun_utc_ns(path, received[path.stem]) for path in (ingest / CLIPS).glob("*.mcap")
        )
        canary_utc_ns = on_the_canary_utc_ns(noted_rollout(self._folder, self._turn))
        return TimeFacts(
            clip_to_rollout=_since(ends, self._end_utc_ns("rollout")),
            clip_to_canary=_since(ends, canary_utc_ns),
            log_to_curated=_since(ends, self._end_utc_ns("dataset")),
        )

    def _end_utc_ns(self, stage: StageName) -> int | None:
        record = self._records.get(stage)
        return None if record is None else record.ended_utc_ns


def _since(ends: list[int], until_utc_ns: int | None) -> Duration | None:
    """From the clips' ends until then; nothing where clocks do not agree."""
    if until_utc_ns is None or not ends or until_utc_ns < ends[-1]:
        return None
    spans = sorted((until_utc_ns - end) / NS_PER_S for end in ends)
    return Duration(
        median_s=spans[len(spans) // 2], least_s=spans[0], most_s=spans[-1], count=len(spans)
    )


def _begun_utc_ns(path: Path, received_utc_ns: int | None) -> int:
    """When the clip ended on the vehicle. A simulated vehicle lives in a time of its own: then when
    its clip arrived, in the cloud or on this disk.
    """
    manifest = read_manifest(path)
    if manifest.clock.source != "simulated":
        return manifest.end_utc_ns
    return path.stat().st_mtime_ns if received_utc_ns is None else received_utc_ns


def _plain(figures: Mapping[str, JsonValue]) -> dict[str, int | float | str]:
    return {name: v for name, v in figures.items() if isinstance(v, int | float | str)}


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _mapping(value: Any) -> dict[str, int]:
    return dict(value) if isinstance(value, dict) else {}
