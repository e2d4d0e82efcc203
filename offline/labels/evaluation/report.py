"""One class of one set of tracks, measured in every way: what `longtail label eval` tells."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pydantic import Field

from contracts.geometry import Frozen
from models.evaluation.slices import RANGES_M
from offline.labels.evaluation.amota import Amota, amota
from offline.labels.evaluation.clear import clear
from offline.labels.evaluation.detections import (
    AT_ALL,
    RIGHT_FROM,
    acceptance,
    calibration,
    match_boxes,
)
from offline.labels.evaluation.hota import hota
from offline.labels.evaluation.identity import identity
from offline.labels.evaluation.kitti_rules import (
    MEASURED,
    ClassTable,
    class_table,
    image_scene,
    space_scene,
)
from offline.labels.evaluation.scene import Scene
from offline.labels.kitti import LabelFile

OVERLAPS_3D = (0.25, 0.5, 0.7)
Figure = float | None
"""In 0..1 unless told otherwise; None where there is nothing to measure."""
_DIGITS = 4


class ImageFigures(Frozen):
    """Tracking on 2D boxes after KITTI's benchmark."""

    hota: Figure
    deta: Figure
    assa: Figure
    loca: Figure
    mota: Figure
    motp: Figure
    idf1: Figure
    ids: int
    frag: int
    mostly_tracked: Figure
    mostly_lost: Figure


class SpaceFigures(Frozen):
    """Tracking on 3D boxes after AB3DMOT at one overlap; MOTA and on at the best confidence."""

    samota: Figure
    amota: Figure
    amotp: Figure
    mota: Figure
    motp: Figure
    ids: int
    frag: int
    mostly_tracked: Figure
    mostly_lost: Figure
    recall: Figure
    precision: Figure
    confidence: float | None = Field(description="None: all tracks are taken.")


class BoxFigures(Frozen):
    """Boxes frame by frame, all or within a range; `ap` by overlap as text. Calibration is None
    where scores are no probabilities; `ece` and `worst_bin` go by `RIGHT_FROM`, `ece_at` by the
    overlaps from which a box may count as right.
    """

    truths: int
    ap: dict[str, Figure]
    ece: Figure
    ece_at: dict[str, Figure]
    worst_bin: Figure
    laece: Figure
    laace: Figure


class AcceptFigures(Frozen):
    """Accepted unseen at `PRECISION`, each sequence by a threshold fixed on the others: the
    `share` of all true boxes, and the `precision` that came out. `confidence`: the threshold that
    holds on all, None where there is none.
    """

    share: Figure
    precision: Figure
    confidence: float | None


class ClassReport(Frozen):
    """One class; `space` by overlap, `boxes` by range in metres, both as text, "all" first;
    `accepted` is None for a single sequence.
    """

    class_name: str
    sequences: int
    truths: int
    tracks: int
    image: ImageFigures
    space: dict[str, SpaceFigures]
    boxes: dict[str, BoxFigures]
    accepted: AcceptFigures | None


def evaluate(truth: Mapping[str, LabelFile], found: Mapping[str, LabelFile]
             ) -> tuple[ClassReport, ...]:  # fmt: skip
    """Every class of KITTI's that has a true box which counts.

    Raises `InputError` where the sequences differ or tracks have no scores.
    """
    tables = ((name, class_table(truth, found, name)) for name in MEASURED)
    return tuple(
        class_report(name, table, len(truth)) for name, table in tables if not table.ignored.all()
    )


def class_report(name: str, table: ClassTable, sequences: int) -> ClassReport:
    """All figures of one class."""
    scene = space_scene(table)
    return ClassReport(
        class_name=name.lower(), sequences=sequences, truths=int((~table.ignored).sum()),
        tracks=len(set(table.found.track_id.tolist())),
        image=_image_figures(image_scene(table)),
        space={f"{one:g}": _space_figures(amota(table, scene, one)) for one in OVERLAPS_3D},
        boxes={
            "all": _box_figures(table, scene),
            **{
                f"{low:g}-{high:g}": _box_figures(table, scene, (low, high))
                for low, high in RANGES_M
            },
        },
        accepted=_accept_figures(table, scene),
    )  # fmt: skip


def flat(report: ClassReport) -> dict[str, Figure | str]:
    """One object of plain keys: `hota`, `mota_025`, `ap_070_20_40` .."""
    found: dict[str, Figure | str] = {
        "class": report.class_name, "sequences": report.sequences, "truths": report.truths,
        "tracks": report.tracks, **report.image.model_dump(),
    }  # fmt: skip
    for overlap, space in report.space.items():
        found |= {f"{name}_{_code(overlap)}": v for name, v in space.model_dump().items()}
    for distance, boxes in report.boxes.items():
        where = "" if distance == "all" else f"_{distance.replace('-', '_')}"
        figures = boxes.model_dump()
        found |= {f"ap_{_code(o)}{where}": value for o, value in figures.pop("ap").items()}
        found |= {f"ece_{_code(o)}{where}": v for o, v in figures.pop("ece_at").items()}
        figures["boxes"] = figures.pop("truths")
        found |= {f"{name}{where}": value for name, value in figures.items()}
    told = report.accepted
    found |= {
        f"accept_{name}": None if told is None else getattr(told, name)
        for name in AcceptFigures.model_fields
    }
    return found


def _code(overlap: str) -> str:
    return f"{round(float(overlap) * 100):03d}"


def _image_figures(scene: Scene) -> ImageFigures:
    higher, usual, same = hota(scene), clear(scene), identity(scene)
    tracks = max(1, usual.tracks)
    return ImageFigures(
        hota=_figure(higher.hota.mean()), deta=_figure(higher.det_a.mean()),
        assa=_figure(higher.ass_a.mean()), loca=_figure(higher.loc_a.mean()),
        mota=_figure(usual.mota), motp=_figure(usual.motp), idf1=_figure(same.f1),
        ids=usual.switches, frag=usual.fragments,
        mostly_tracked=_figure(usual.mostly_tracked / tracks),
        mostly_lost=_figure(usual.mostly_lost / tracks),
    )  # fmt: skip


def _space_figures(family: Amota) -> SpaceFigures:
    best = family.best
    tracks = max(1, best.tracks)
    return SpaceFigures(
        samota=_figure(family.samota), amota=_figure(family.amota), amotp=_figure(family.amotp),
        mota=_figure(best.mota), motp=_figure(best.motp), ids=best.switches, frag=best.fragments,
        mostly_tracked=_figure(best.mostly_tracked / tracks),
        mostly_lost=_figure(best.mostly_lost / tracks), recall=_figure(best.recall),
        precision=_figure(best.precision),
        confidence=None if math.isinf(family.threshold) else family.threshold,
    )  # fmt: skip


def _accept_figures(table: ClassTable, scene: Scene) -> AcceptFigures | None:
    told = acceptance(table, scene)
    if told is None:
        return None
    least = float(told.overall)
    return AcceptFigures(
        share=_figure(told.share), precision=_figure(told.precision),
        confidence=None if math.isinf(least) else least,
    )  # fmt: skip


def _box_figures(
    table: ClassTable, scene: Scene, range_m: tuple[float, float] | None = None
) -> BoxFigures:
    matches = {overlap: match_boxes(table, scene, overlap, range_m) for overlap in OVERLAPS_3D}
    located = match_boxes(table, scene, AT_ALL, range_m)
    by_overlap = {overlap: calibration(match, located) for overlap, match in matches.items()}
    right, trust = matches[RIGHT_FROM], by_overlap[RIGHT_FROM]
    return BoxFigures(
        truths=right.truths,
        ap={f"{overlap:g}": _figure(match.ap) for overlap, match in matches.items()},
        ece=trust and _figure(trust.ece),
        ece_at={f"{o:g}": each and _figure(each.ece) for o, each in by_overlap.items()},
        worst_bin=trust and _figure(trust.worst_bin),
        laece=trust and _figure(trust.laece), laace=trust and _figure(trust.laace),
    )  # fmt: skip


def _figure(value: float) -> Figure:
    return None if math.isnan(value) else round(float(value), _DIGITS)
