"""The clip labeller in the simulator, where truth is exact: against the same ensemble frame by
frame, against a causal tracker, and against people.

Drives are by day, in town and on motorways, on seeds that neither the teacher nor the labeller's
parameters were made on; `--data` takes others (write them with a label every 0.1 s). What hides is
taken from the oracle: an object is hidden while no lidar point lies in it or less than a twentieth
of it shows. People are `offline.labels.qa.annotators`: the noise that published human labels have.
They draw each frame by itself, of what can be judged.

Labels are made with the lidar's points, as `longtail label clip` makes them. The teacher's grid
reaches 70 m ahead, 51 m aside and 32 m behind: farther off a frame by itself tells nothing, and
labels come from tracks only.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from bench.figures import Figure, figure
from bench.label_sim_drives import MEASURED_ON, TEACHER, Drive, Places, drives_of, simulate
from bench.label_sim_measures import (
    Hidden,
    Results,
    ap_3d,
    ap_at,
    ap_from_above,
    beyond,
    error_of,
    ground_tally,
    hidden_of,
    known_tally,
    light_tally,
    mean_known,
    of_detections,
    of_labels,
    of_people,
)
from contracts.geometry import TAXONOMY, Int64s
from models.evaluation.matching import Matcher
from offline.labels.calibration.calibrator import Calibrator
from offline.labels.clips.ground import fused_ground
from offline.labels.clips.instants import PERIOD_NS
from offline.labels.clips.labelling import taught_rows
from offline.labels.clips.light import fused_light
from offline.labels.clips.parameters import ClipParameters, read_clip_parameters
from offline.labels.clips.tracks import ClipBoxes, online_boxes, tracked_boxes
from offline.labels.fusion.boxes import fused_frames
from offline.labels.qa.annotators import Annotator, Noise
from offline.labels.qa.effort import Effort

SMALL: Places = {"city": 1, "motorway": 1}
SMALL_S = 12.0
FAR_M = (50.0, 80.0)
NAMES = ("car", "truck", "pedestrian")
"""Classes that the teacher knows and that are common."""
MEASURES: dict[str, Callable[[Results, str], float]] = {
    "3D IoU 0.7": partial(ap_3d, overlap=0.7), "BEV IoU 0.7": partial(ap_from_above, overlap=0.7),
    "0.5 m": partial(ap_at, distance_m=0.5), "2 m": partial(ap_at, distance_m=2.0),
}  # fmt: skip
_LAYERS = ("road", "lanes")
_SEED = 8
_LEFT_OUT_M = 2.0


@dataclass(slots=True)
class Tally:
    """Everything that is counted, over all drives."""

    by_map: Results = field(default_factory=list)
    by_boxes: Results = field(default_factory=list)
    labels: Results = field(default_factory=list)
    taught: Results = field(default_factory=list)
    people: Results = field(default_factory=list)
    hidden: Hidden = field(default_factory=Hidden)
    online: Hidden = field(default_factory=Hidden)
    told_at_all: Hidden = field(default_factory=Hidden)
    ground: dict[str, Int64s] = field(default_factory=dict)
    light: dict[str, Int64s] = field(default_factory=dict)
    instants: int = 0

    def add(self, drive: Drive, parameters: ClipParameters, calibrator: Calibrator) -> None:
        """Count one drive."""
        seen, by_class = drive.seen, parameters.by_class()
        found = seen.counted(parameters.seen_from, parameters.edge_m)
        clip = found, seen.mono_ns, seen.world_SE3_ego, TAXONOMY, by_class
        boxes = tracked_boxes(*clip, calibrator, drive.sweeps)
        views = fused_frames(seen.views, seen.source, seen.sources, len(seen), TAXONOMY)
        taught = boxes.take(taught_rows(boxes, parameters, TAXONOMY))
        self.by_map += of_detections(drive, seen.fused)
        self.by_boxes += of_detections(drive, views.found)
        self.labels += of_labels(drive, boxes)
        self.taught += of_labels(drive, taught)
        rng = np.random.default_rng(_SEED + self.instants)
        self.people += of_people(drive, Annotator(Noise(), Effort()), rng)
        self.instants += len(seen)
        told = boxes.take(boxes.confidence >= parameters.ignored_from)
        self._add_hidden(drive, taught, told, clip)
        self._add_surroundings(drive, parameters)

    def _add_hidden(
        self, drive: Drive, taught: ClipBoxes, told: ClipBoxes, clip: tuple[object, ...]
    ) -> None:
        causal = online_boxes(*clip)  # type: ignore[arg-type]
        causal_boxes, frames = causal.as_boxes(), drive.frames()

        def ego(boxes: ClipBoxes) -> Hidden:
            return hidden_of(drive, lambda k: boxes.boxes.take(boxes.instant == k))

        self.hidden += ego(taught)
        self.told_at_all += ego(told)
        self.online += hidden_of(drive, lambda k: causal_boxes.take(causal.frame == frames[k]))

    def _add_surroundings(self, drive: Drive, parameters: ClipParameters) -> None:
        seen = drive.seen
        alone = (seen.ground / 255).astype(np.float32)
        over = fused_ground(seen.ground, seen.world_SE3_ego, seen.grid, parameters.ground)
        known = over.labels(parameters.ground)
        light = fused_light(seen.light, drive.frames(), parameters.light, PERIOD_NS * 1e-9)
        for name, tally in (
            ("alone", ground_tally(drive, alone)),
            ("fused", ground_tally(drive, over.probability)),
            ("known", known_tally(known)),
        ):
            self.ground[name] = self.ground.get(name, 0) + tally
        for name, tally in (
            ("alone", light_tally(drive, seen.light)), ("fused", light_tally(drive, light)),
            ("told", light_tally(drive, light, parameters.light.least)),
        ):  # fmt: skip
            self.light[name] = self.light.get(name, 0) + tally


def run(data: Sequence[Path] = (), teacher: Path = TEACHER) -> list[Figure]:
    """All figures.

    Args:
        data: folders of labelled drives; else two short ones are simulated.
        teacher: its training run.
    """
    parameters, calibrator = read_clip_parameters()
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        roots = list(data)
        if not roots:
            roots = [Path(folder)]
            simulate(roots[0], MEASURED_ON, SMALL, SMALL_S)
        for drive in drives_of(roots, teacher):
            tally.add(drive, parameters, calibrator)
    return [
        *_fusion_figures(tally), *_label_figures(tally), *_far_figures(tally),
        *_people_figures(tally), *_hidden_figures(tally), *_surroundings_figures(tally),
    ]  # fmt: skip


def _fusion_figures(tally: Tally) -> list[Figure]:
    """Boxes fused over members and views against boxes of the fused map."""
    return [
        figure(
            f"box fusion of members and views, {name}, AP at {at}",
            MEASURES[at](tally.by_boxes, name), "%", reference="boxes of the fused heat map",
            reference_value=MEASURES[at](tally.by_map, name),
        )
        for name, at in (("car", "3D IoU 0.7"), ("car", "2 m"), ("pedestrian", "0.5 m"))
    ]  # fmt: skip


def _label_figures(tally: Tally) -> list[Figure]:
    """Labels against the same ensemble frame by frame, at all ranges; and what they are worth."""
    figures = []
    for name in NAMES:
        for at, labels, alone in (
            ("3D IoU 0.7", ap_3d(tally.labels, name, 0.7), ap_3d(tally.by_map, name, 0.7)),
            ("0.5 m", ap_at(tally.labels, name, 0.5), ap_at(tally.by_map, name, 0.5)),
            ("2 m", ap_at(tally.labels, name, 2.0), ap_at(tally.by_map, name, 2.0)),
        ):
            figures.append(figure(
                f"labels, {name}, AP at {at}", labels, "%", reference="frame by frame",
                reference_value=alone,
            ))  # fmt: skip
    every = tuple(range(len(TAXONOMY.classes)))
    told, taught = Matcher(tally.labels), Matcher(tally.taught)
    matched = told.match(every, _LEFT_OUT_M)
    sure = taught.match(every, _LEFT_OUT_M)
    return [
        *figures,
        figure("confidence, ECE at 2 m", error_of(matched.scores, matched.right), "%"),
        figure("taught boxes within 2 m of a true one", 100 * float(sure.right.mean()), "%"),
        figure("judged true boxes taught", 100 * sure.right.sum() / sure.truths, "%"),
        figure(
            "judged true boxes neither taught nor ignored",
            100 * (1 - matched.right.sum() / matched.truths), "%",
        ),
    ]  # fmt: skip


def _far_figures(tally: Tally) -> list[Figure]:
    """Beyond 50 m, where a frame by itself sees little."""
    labels, alone = beyond(tally.labels, *FAR_M), beyond(tally.by_map, *FAR_M)
    where = f"{FAR_M[0]:g}-{FAR_M[1]:g} m"
    return [
        figure(
            f"car, {where}, AP at {at}, over frame by frame", ours - theirs, "AP points",
            reference="labels' AP, %", reference_value=ours, goal=">= 8",
        )
        for at, ours, theirs in (
            ("3D IoU 0.7", ap_3d(labels, "car", 0.7), ap_3d(alone, "car", 0.7)),
            ("3D IoU 0.5", ap_3d(labels, "car", 0.5), ap_3d(alone, "car", 0.5)),
            ("0.5 m", ap_at(labels, "car", 0.5), ap_at(alone, "car", 0.5)),
            ("2 m", ap_at(labels, "car", 2.0), ap_at(alone, "car", 2.0)),
        )
    ]  # fmt: skip


def _people_figures(tally: Tally) -> list[Figure]:
    """Against simulated annotators of published noise."""
    figures = []
    for at, measure in MEASURES.items():
        ours = [measure(tally.labels, name) for name in NAMES]
        theirs = [measure(tally.people, name) for name in NAMES]
        goal = "ratio >= 1" if at == "3D IoU 0.7" else ""
        for name, own, people in (
            *zip(NAMES, ours, theirs, strict=True),
            ("mean of these", mean_known(ours), mean_known(theirs)),
        ):
            figures.append(figure(
                f"labels against people, {name}, AP at {at}", own, "%",
                reference="simulated annotators", reference_value=people, goal=goal,
            ))  # fmt: skip
    return figures


def _hidden_figures(tally: Tally) -> list[Figure]:
    """What is told of objects while they are hidden for 0.5 to 3 s."""
    count = max(1, tally.hidden.boxes)
    return [
        figure("boxes hidden for 0.5-3 s", tally.hidden.boxes, "boxes"),
        figure(
            "of these taught, within 2 m", tally.hidden.near / count, "recall",
            reference="causal tracker", reference_value=tally.online.near / count, goal=">= 0.8",
        ),
        figure(
            "of these taught, at 3D IoU 0.5", tally.hidden.over / count, "recall",
            reference="causal tracker", reference_value=tally.online.over / count,
        ),
        figure(
            "hidden, labelled just before and after: taught, within 2 m",
            tally.hidden.flanked_near / max(1, tally.hidden.flanked), "recall",
        ),
        figure(
            "of these, share of all hidden", tally.hidden.flanked / count, "ratio"
        ),
        figure(
            "hidden, of objects that the teacher saw well at 5 instants or more: taught",
            tally.hidden.known_near / max(1, tally.hidden.known), "recall",
        ),
        figure("of these, share of all hidden", tally.hidden.known / count, "ratio"),
        figure(
            "of all hidden taught or ignored, within 2 m", tally.told_at_all.near / count, "recall"
        ),
    ]  # fmt: skip


def _surroundings_figures(tally: Tally) -> list[Figure]:
    """Road, lanes and light over the clip against frame by frame."""
    share = {name: each[0] / each[1] for name, each in tally.ground.items()}
    light = {name: float(right / max(1, told)) for name, (told, right) in tally.light.items()}
    told = {name: int(each[0]) for name, each in tally.light.items()}
    return [
        *(
            figure(f"{layer}, IoU over the clip", float(share["fused"][k]), "IoU",
                   reference="frame by frame", reference_value=float(share["alone"][k]))
            for k, layer in enumerate(_LAYERS)
        ),
        *(
            figure(f"{layer}, cells that are known", 100 * float(share["known"][k]), "%")
            for k, layer in enumerate(_LAYERS)
        ),
        figure("light, right over the clip", 100 * light["fused"], "%",
               reference="frame by frame", reference_value=100 * light["alone"]),
        figure("light, told at all", 100 * told["told"] / max(1, told["alone"]), "%"),
        figure("light, right where it is told", 100 * light["told"], "%"),
    ]  # fmt: skip
