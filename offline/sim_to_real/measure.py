"""Figures of one model on one set of frames, and what came in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from contracts.geometry import Bools
from contracts.samples import Float64s
from offline.sim_to_real.recorded import View
from offline.sim_to_real.records import Figure, GroupFigures, InputFigures, OneSet

if TYPE_CHECKING:
    from models.evaluation.document import ModelIdentity
    from models.evaluation.predictor import Labelled, Prediction, Predictor
    from models.evaluation.weighed import Sized
    from models.student.config import StudentConfig
    from models.student.inputs import StudentFrame

ALL = "all"


@dataclass(frozen=True, slots=True)
class Subject:
    """The model, and how its inputs are laid out."""

    identity: ModelIdentity
    predictor: Predictor
    config: StudentConfig


class InView:
    """A predictor whose answers count only where people looked; `at` tells the frame's time."""

    def __init__(self, predictor: Predictor, view: View) -> None:
        self._predictor, self._view = predictor, view
        self.at_ns = 0

    def predict(self, frame: StudentFrame) -> Prediction:
        from dataclasses import replace

        told = self._predictor.predict(frame)
        kept: Bools = self._view.counts(self.at_ns, told.boxes.centre_m)
        return replace(told, boxes=told.boxes.take(kept), scores=told.scores[kept],
                       distributions=told.distributions[kept])  # fmt: skip


def measured_set(
    subject: Subject, frames: Iterable[Labelled], name: str, kind: Literal["real", "simulated"],
    *, view: View | None = None, notes: tuple[str, ...] = (),
) -> OneSet:  # fmt: skip
    """Raises `InputError` where there is no labelled frame."""
    from models.evaluation.document import CALIBRATION
    from models.evaluation.evaluate import Subject as Measurable
    from models.evaluation.evaluate import measure
    from models.evaluation.slices import RANGES_M
    from models.evaluation.weighed import FALSE, GROUPS, sized_statistics

    looker = _Looker(subject.config)
    seen = None if view is None else InView(subject.predictor, view)
    predictor = seen or subject.predictor
    stream = looker.watched(frames, seen)
    data, (found,) = measure([Measurable(subject.identity, predictor)], stream, name)
    ones = np.ones(data.frames)
    sized = sized_statistics(found)
    ranges = [(ALL, ""), *((f"{low:g}-{high:g}", f"@range={low:g}-{high:g}")
                           for low, high in RANGES_M)]  # fmt: skip
    figures = [_group(sized, group, reach, suffix, ones) for group in GROUPS
               for reach, suffix in ranges]  # fmt: skip
    alarms = [_value(sized.get(f"{FALSE}/{group}"), ones) for group in GROUPS]
    return OneSet(
        name=name, kind=kind, frames=data.frames, drives=data.drives,
        sensors=looker.sensors(), figures=tuple(figures),
        calibration_error=_value(sized.get(CALIBRATION), ones),
        false_per_frame=sum(each for each in alarms if each is not None),
        inputs=looker.figures(), notes=notes,
    )  # fmt: skip


def _group(sized: dict[str, Sized], group: str, reach: str, suffix: str, ones: Float64s
           ) -> GroupFigures:  # fmt: skip
    from models.evaluation.weighed import AP, RECALL

    recall = sized.get(f"{RECALL}/{group}{suffix}")
    return GroupFigures(
        group=group, range_m=reach, truths=0 if recall is None else recall.truths,
        ap=_value(sized.get(f"{AP}/{group}{suffix}"), ones), recall=_value(recall, ones),
    )  # fmt: skip


def _value(sized: Sized | None, ones: Float64s) -> Figure:
    if sized is None:
        return None
    value = float(sized.statistic(ones))
    return None if np.isnan(value) else value


@dataclass
class _Looker:
    """Looks at frames as they pass: what the model's rasters hold, and how many points objects
    have.
    """

    config: StudentConfig
    _frames: int = 0
    _objects: int = 0
    _filled: float = 0.0
    _bright: list[float] = field(default_factory=list)
    _points: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _of_kind: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    _present: set[str] = field(default_factory=set)

    def watched(self, frames: Iterable[Labelled], seen: InView | None) -> Iterator[Labelled]:
        for each in frames:
            if seen is not None:
                seen.at_ns = each.labels.record.mono_ns
            self._look(each)
            yield each

    def _look(self, each: Labelled) -> None:
        from kernels.bev.raster import FULL_COUNT, lidar_channels

        frame = each.frame
        self._frames += 1
        there = {"lidar": frame.lidar_present, "radar": frame.radar_present,
                 "camera": bool(frame.cameras_present.any())}  # fmt: skip
        self._present |= {name for name, here in there.items() if here}
        names = list(lidar_channels(self.config.lidar))
        newest = frame.lidar[names.index("recent_0")]
        filled = newest > 0
        counts = np.expm1(newest[filled] * np.log1p(FULL_COUNT))
        for reach, near in _by_range(self.config, filled):
            self._points[reach] += float(counts[near].sum())
        self._filled += float(filled.sum())
        if filled.any():
            bright = frame.lidar[names.index("intensity")][filled]
            self._bright.append(float(np.average(bright, weights=counts)))
        for one in each.labels.record.boxes:
            if not one.ignored:
                self._objects += 1
                if one.points:
                    self._of_kind[one.box.class_name].append(one.points)

    def sensors(self) -> tuple[str, ...]:
        return tuple(name for name in ("lidar", "radar", "camera") if name in self._present)

    def figures(self) -> InputFigures:
        return InputFigures(
            points={reach: total / self._frames for reach, total in self._points.items()},
            intensity=float(np.mean(self._bright)) if self._bright else None,
            filled_cells=self._filled / self._frames, objects=self._objects / self._frames,
            points_per_object={
                kind: float(np.median(counts)) for kind, counts in sorted(self._of_kind.items())
            },
        )  # fmt: skip


def _by_range(config: StudentConfig, filled: Bools) -> Iterator[tuple[str, Bools]]:
    """For each range, which of the filled cells lie in it."""
    from models.evaluation.slices import RANGES_M

    grid = config.lidar.grid
    row, column = np.nonzero(filled)
    away = np.hypot(
        grid.x_min_m + (row + 0.5) * grid.cell_m, grid.y_min_m + (column + 0.5) * grid.cell_m
    )
    for low, high in RANGES_M:
        yield f"{low:g}-{high:g}", (away >= low) & (away < high)
